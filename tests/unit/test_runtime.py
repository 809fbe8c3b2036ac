import random

import numpy as np
import pytest
import torch

from nas.runtime import derive_seed, environment, make_runtime, seed_everything


def test_streams_of_one_seed_differ_and_repeat():
    seeds = {derive_seed(seed, name, epoch) for seed in (0, 1) for name in ("a", "b") for epoch in range(50)}
    assert len(seeds) == 200
    assert derive_seed(3, "a", 7) == derive_seed(3, "a", 7)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeding_repeats_every_global_stream():
    draws = []
    for _ in range(2):
        seed_everything(derive_seed(0, "x"))
        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert draws[0] == draws[1]


def test_a_runtime_places_networks_channels_last():
    runtime = make_runtime(device="cpu", channels_last=True)
    conv = runtime.place(torch.nn.Conv2d(4, 4, 3))
    assert conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert runtime.autocast is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "warp"}, "device 'warp' is not available"),
        ({"threads": 0}, "runtime.threads must be at least 1"),
        ({"autocast": "fp8"}, "runtime.autocast must be one of auto, off, bf16, fp16"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make_runtime(**settings)


def test_environment_names_what_is_needed_to_repeat_a_run():
    record = environment(make_runtime(device="cpu"), seed=5)
    assert record["seed"] == 5
    assert record["packages"]["torch"] == torch.__version__
    assert {"command", "device", "device_name", "threads", "git_commit", "python"} <= set(record)
