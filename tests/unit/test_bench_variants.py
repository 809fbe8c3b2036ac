from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from nas.compute.device import Runtime
from nas.costs.latency.peak_memory import held_bytes
from nas.studies.benchmarks.scaling import EXTRA, enough_ops, peak_bytes, shortened
from nas.studies.benchmarks.steps import ALL_ON, runtimes
from search_spaces.nasnet import NASNetSpace
from search_spaces.ops import OPS, find_op
from search_spaces.shufflenas import PAPER_OPS, ShuffleNASSpace

CPU = torch.device("cpu")


def test_there_are_eighteen_ops_the_papers_first_and_afterwards_only_those_of_before():
    before = dict(OPS)
    with enough_ops() as ops:
        assert len(set(ops)) == len(ops) >= 18
        assert ops[:6] == PAPER_OPS
        for stride in (1, 2):
            shapes = {find_op(op).build(8, stride)(torch.randn(2, 8, 6, 6)).shape for op in ops}
            assert shapes == {(2, 8, 6 // stride, 6 // stride)}
        kernels = {tuple(map(repr, find_op(op).build(8, 1).modules())) for op in EXTRA}
        assert len(kernels) == len(EXTRA)
    assert before == OPS


def test_ops_leave_the_table_when_a_measurement_fails():
    with pytest.raises(RuntimeError, match="planted"), enough_ops():
        raise RuntimeError("planted")
    assert not set(EXTRA) & set(OPS)


@pytest.mark.parametrize("make_space", [ShuffleNASSpace, NASNetSpace])
def test_a_shortened_cell_is_the_first_blocks_of_the_longer_one(make_space):
    larger, smaller = make_space(blocks=5), make_space(blocks=3)
    generator = torch.Generator().manual_seed(3)
    for _ in range(20):
        actions = [int(torch.randint(len(d.choices), (), generator=generator)) for d in larger.decisions]
        whole, short = larger.decode(actions), smaller.decode(shortened(actions, larger, smaller))
        for name, cell in short.cells.items():
            assert cell.blocks == whole.cells[name].blocks[:3]


def test_a_shortened_cell_keeps_to_the_first_mixer():
    mixers = ("channel_shuffle", "identity")
    larger, smaller = (ShuffleNASSpace(blocks=blocks, mixers=mixers) for blocks in (3, 2))
    short = smaller.decode(shortened([0] * 6 + [1] + [0] * 6 + [1], larger, smaller))
    assert short.normal.mixer == short.reduction.mixer == "channel_shuffle"


def test_the_peak_of_work_is_what_it_holds_at_once():
    def work() -> None:
        first = torch.ones(1_000_000)
        second = first + first
        del first
        third = second + second
        del second, third

    assert peak_bytes(work, device=CPU) == pytest.approx(8_000_000, abs=1000)
    assert peak_bytes(lambda: None, device=CPU) == 0


def test_what_is_there_already_does_not_count_as_peak():
    kept = torch.ones(1_000_000)
    assert peak_bytes(lambda: kept.add_(1), device=CPU) < 1000


def test_bytes_of_weights_follow_their_type():
    network = nn.Linear(3, 5)
    assert held_bytes(network.parameters()) == 4 * 20
    assert held_bytes(network.double().parameters()) == 8 * 20


def test_switches_that_change_nothing_are_left_out():
    usual = Runtime(device=CPU, autocast=None, channels_last=True)
    values = {"channels_last": False}

    def runtime(**changed: object) -> Runtime:
        return replace(usual, **{name: value for name, value in changed.items() if name in values})

    variants = runtimes(SimpleNamespace(runtime=usual, make_runtime=runtime))
    assert list(variants) == [ALL_ON, "without channels_last"]
    assert variants[ALL_ON] is usual
    assert not variants["without channels_last"].channels_last
