"""Each backend computes what the model computes, where it works, and says why where it does not."""

import importlib.util
import shutil

import pytest
import torch
from torch import nn

from nas.costs.latency import backends
from nas.costs.latency.backends import BACKENDS
from nas.models.derived import DerivedModel
from nas.models.exporting.formats import missing_onnx
from nas.models.inference.ready import for_inference
from nas.models.shufflenasnet import ShuffleNASNet
from search_spaces.cells import genotype_candidates

CPU = torch.device("cpu")
needs_onnx = pytest.mark.skipif(bool(missing_onnx()), reason="needs the packages of [export]")
needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


@pytest.fixture
def derived(genotype) -> DerivedModel:
    settings = {"in_channels": 3, "num_classes": 5, "filters": 4, "cells_per_stage": 1}
    network = ShuffleNASNet(genotype_candidates(genotype), **settings)
    return DerivedModel(for_inference(network, genotype), genotype).eval()


def agrees(name: str, model: nn.Module, images: torch.Tensor) -> None:
    with torch.inference_mode():
        run = BACKENDS[name].prepare(model, images)
        torch.testing.assert_close(run(), model(images), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(run(), model(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_eager_is_the_model(derived, batch_size):
    agrees("eager", derived, torch.randn((batch_size, 3, 8, 8)))


@needs_compiler
@pytest.mark.slow
def test_compiled_models_and_shapes_do_not_displace_each_other():
    models = [nn.Sequential(nn.Flatten(), nn.Linear(12, size)).eval() for size in (2, 3)]
    with torch.inference_mode(), torch._dynamo.config.patch(recompile_limit=1):
        examples = [torch.randn((size, 3, 2, 2)) for size in (1, 2)]
        runs = [BACKENDS["compile"].prepare(*pair) for pair in zip(models, examples, strict=True)]
        for run, model, images in zip(runs, models, examples, strict=True):
            torch.testing.assert_close(run(), model(images))


@needs_onnx
def test_onnxruntime_exports_once_for_all_batch_sizes(derived, monkeypatch):
    images = torch.randn((3, 3, 8, 8)).contiguous(memory_format=torch.channels_last)
    agrees("onnxruntime", derived, images[:1])
    monkeypatch.setattr(backends, "onnx_program", None)
    agrees("onnxruntime", derived, images)


def test_eager_and_compile_work_everywhere():
    for name in ("eager", "compile"):
        for precision in ("fp32", "bf16", "fp16"):
            assert BACKENDS[name].lack(CPU, precision) is None


def test_cuda_graphs_need_a_cuda_device():
    assert BACKENDS["cuda_graph"].lack(CPU, "fp32") == "needs a CUDA device, this is cpu"
    assert BACKENDS["cuda_graph"].lack(torch.device("cuda"), "fp16") is None


def test_onnxruntime_says_which_packages_are_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else object())
    assert BACKENDS["onnxruntime"].lack(CPU, "fp32") == "needs onnxscript: pip install 'shufflenas[export]'"


def test_onnxruntime_is_for_float32_on_the_cpu(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    lack = BACKENDS["onnxruntime"].lack
    assert lack(CPU, "fp32") is None
    assert "not in bf16" in lack(CPU, "bf16")
    assert "device=cpu" in lack(torch.device("cuda"), "fp32")


@pytest.mark.gpu
def test_a_cuda_graph_replays_the_model(derived):
    agrees("cuda_graph", derived.cuda(), torch.randn((2, 3, 8, 8), device="cuda"))
