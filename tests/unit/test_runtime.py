import pytest
import torch

from nas.compute.device import Runtime, devices_here, make_runtime
from nas.compute.settings import RuntimeSettings


def test_a_runtime_places_networks_channels_last():
    runtime = make_runtime(RuntimeSettings(channels_last=True), device="cpu")
    conv = runtime.place(torch.nn.Conv2d(4, 4, 3))
    assert conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert runtime.autocast is None


@pytest.mark.parametrize("device", ["warp", "tpu", "cuda:9", "mps:3", "hpu"])
def test_an_absent_device_is_told_with_those_that_are_there(device, monkeypatch):
    with pytest.raises(ValueError, match=f"{device}.*cpu") as told:
        make_runtime(device=device)
    assert len(str(told.value)) < 240
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices_here()[:3] == ["cpu", "cuda:0", "cuda:1"]


def test_graphs_on_the_cpu_are_left_out_with_a_word(capsys):
    assert make_runtime(RuntimeSettings(graphs=True), device="cpu").recorder() is None
    assert "CUDA graphs need a CUDA device" in capsys.readouterr().err
    assert make_runtime(device="cpu").recorder() is None
    assert capsys.readouterr().err == ""


def test_on_the_cpu_only_compiles_what_is_asked_for():
    assert not make_runtime(device="cpu").compiles(steps=10**6)
    assert make_runtime(RuntimeSettings(compile=True), device="cpu").compiles(steps=1)
    assert not make_runtime(RuntimeSettings(compile=False), device="cpu").compiles(steps=10**6)


def test_on_a_gpu_long_trainings_are_compiled():
    runtime = Runtime(device=torch.device("cuda"), autocast=None, channels_last=True, compile="auto")
    assert runtime.compiles(steps=100_000)
    assert not runtime.compiles(steps=100)
