"""Fixtures and settings shared by all tests."""

import gc
import os

import hypothesis
import pytest
import torch

from search_spaces.genotype import Block, CellGenotype, Genotype
from tests.commands import start_server
from tests.figures import render

JOBS = {"integration", "faults"}
"""Folders of tests that run whole jobs."""

hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("ci")
os.environ.setdefault("WANDB_MODE", "offline")
# Several tests fork. Once the first backward pass has met a device other than the CPU, torch forbids that, and fake
# tensors register one: so the first is here.
torch.ones((), requires_grad=True).backward()
torch.set_num_threads(1)  # a second thread gains little at these sizes and stalls when another program runs


def make_cell(*pairs: tuple[int, str], mixer: str = "channel_shuffle") -> CellGenotype:
    """A cell of one-input blocks from (input, op) pairs."""
    return CellGenotype(blocks=tuple(Block((source,), (op,)) for source, op in pairs), mixer=mixer)


@pytest.fixture
def genotype() -> Genotype:
    """A genotype with every op of the paper in it."""
    return Genotype(
        space="shufflenas",
        normal=make_cell((0, "sep_conv_3x3"), (1, "max_pool_3x3"), (0, "identity"), (3, "conv_1x1")),
        reduction=make_cell((0, "sep_conv_5x5"), (0, "identity"), (1, "min_pool_3x3"), (2, "conv_1x1")),
    )


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test starts from the same torch seed."""
    torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)  # before fixtures of a module, which run jobs
def pytest_runtest_setup(item: pytest.Item) -> None:
    runs_jobs = bool(JOBS & set(item.path.parts))
    render(charts=not runs_jobs)
    if runs_jobs:
        start_server()


def pytest_collection_finish() -> None:
    gc.freeze()  # libraries and tests stay: without them a collection of garbage takes no half second


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "integration" in item.path.parts:
            item.add_marker(pytest.mark.slow)
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
