"""What ranks tell one another, and what torchrun told them."""

import random
from pathlib import Path

import pytest
import torch
from torch import nn

from nas.compute.distributed import joining
from nas.compute.distributed.gradients import average_running_statistics
from nas.compute.distributed.launch import Launch, check_command, own_place, read_launch
from nas.compute.distributed.ranks import ALONE, LostRankError, Ranks, digest
from nas.compute.distributed.settings import DistributedSettings
from nas.compute.distributed.shares import Share
from nas.compute.stopping import Stopped
from nas.training.autosave import Saves
from tests.ranks import together

ENVIRONMENT = {"TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}


@pytest.mark.parametrize("size", [2, 3])
def test_what_is_spread_comes_back_in_order_and_is_worked_on_once(size):
    def work(ranks):
        own = []

        def squares(items):
            own.extend(items)
            return [item * item for item in items]

        return ranks.spread(range(7), squares), ranks.spread([], squares), own

    results = together(work, size=size)
    assert [result[:2] for result in results] == [([i * i for i in range(7)], [])] * size
    assert sorted(item for *_, own in results for item in own) == list(range(7))
    assert all(len(own) >= 2 for *_, own in results)


def test_the_first_rank_alone_does_what_is_asked_of_it():
    def work(ranks):
        called = []
        value = ranks.from_first(lambda: called.append(ranks.rank) or {"a": torch.ones(2)})
        return value["a"].tolist(), called

    assert together(work) == [([1, 1], [0]), ([1, 1], [])]


@pytest.mark.parametrize("error", [ValueError("no such cell"), FileNotFoundError("no such file")])
def test_a_mistake_that_the_first_rank_meets_is_one_on_all(error):
    def fail():
        raise error

    def work(ranks):
        with pytest.raises(type(error), match="no such"):
            ranks.from_first(fail)
        return ranks.largest(ranks.rank)  # they are still in step

    assert together(work) == [1, 1]


def test_ranks_that_differ_are_found():
    def work(ranks):
        ranks.check_agreement({"a": [torch.ones(3), 2.0]}, on="nothing")
        with pytest.raises(RuntimeError, match="disagree on the policy"):
            ranks.check_agreement({"a": torch.tensor([1.0, 1.0 + 1e-7 * ranks.rank])}, on="the policy")

    together(work)


def test_digests_tell_types_shapes_and_values_apart():
    states = [torch.zeros(2), torch.zeros(2, dtype=torch.int32), torch.zeros(1, 2), torch.tensor([0.0, -0.0]), None]
    assert len({digest({"a": state}) for state in states}) == len(states)
    assert digest([torch.ones(2), {"b": 1}]) == digest([torch.ones(2), {"b": 1}])


def test_a_rank_that_is_gone_is_missed_at_once():
    def work(ranks):
        if ranks.rank == 1:
            raise SystemExit
        with pytest.raises(LostRankError, match="another process of this job"):
            ranks.sum_(torch.ones(3))
        raise RuntimeError("noticed")

    with pytest.raises(RuntimeError, match="noticed"):
        together(work)


def test_all_start_from_the_first_ranks_weights_and_average_what_they_counted():
    def work(ranks):
        torch.manual_seed(ranks.rank)
        network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
        first = network[0].weight.flatten().tolist()
        ranks.copy_first(network)
        network[1].running_mean.fill_(ranks.rank)
        network[1].num_batches_tracked.fill_(5)
        average_running_statistics(network, ranks)
        norm = network[1]
        return first, network[0].weight.flatten().tolist(), norm.running_mean.tolist(), int(norm.num_batches_tracked)

    (first, kept, *statistics), (other, taken, *others) = together(work)
    assert first == kept == taken != other
    assert statistics == others == [[0.5, 0.5], 5]


def test_ranks_draw_apart_and_then_alike():
    def work(ranks):
        torch.manual_seed(3)
        with ranks.own_randomness():
            apart = torch.rand(1 + ranks.rank)[0].item()
        return apart, torch.rand(()).item()

    (one, then), (other, later) = together(work)
    assert one != other
    torch.manual_seed(3)
    assert then == later == torch.rand(()).item()


def test_whoever_is_asked_to_stop_all_do_and_the_first_saves(tmp_path):
    def five_epochs(ranks, done):
        path = tmp_path / f"{ranks.rank}.pt"
        with Saves(path, lambda: {"done": done}, seconds=1e9, ranks=ranks) as saves:
            for epoch in range(5):
                if (epoch, ranks.rank) == (2, 1):
                    saves._on_signal(15)
                    saves._on_signal(15)  # torchrun hands it on again; that is no second wish
                done.append(epoch)
                saves.reached(last=epoch == 4)

    def work(ranks):
        done = []
        with pytest.raises(Stopped):
            five_epochs(ranks, done)
        return done, (tmp_path / f"{ranks.rank}.pt").exists()

    assert together(work) == [([0, 1, 2], True), ([0, 1, 2], False)]


def test_alone_nothing_is_asked_of_torch_distributed(monkeypatch):
    for name in ("all_reduce", "all_gather_object", "broadcast_object_list", "broadcast"):
        monkeypatch.setattr(torch.distributed, name, lambda *args, **kwargs: pytest.fail("asked"))
    tensor, network = torch.ones(2), nn.BatchNorm1d(2)
    assert ALONE.sum_(tensor) is tensor
    assert ALONE.spread([1, 2], lambda items: [-item for item in items]) == [-1, -2]
    assert ALONE.from_first(lambda: 3) == ALONE.largest(3) == 3
    ALONE.copy_first(network)
    ALONE.check_agreement(object(), on="anything")
    average_running_statistics(network, ALONE)
    state = torch.get_rng_state()
    with ALONE.own_randomness():
        assert torch.equal(torch.get_rng_state(), state)
    assert ALONE.share == Share(0, 1)


@pytest.mark.parametrize("number", random.Random(0).sample(range(100), 5))
def test_a_batch_must_be_divisible(number):
    ranks = Ranks(rank=0, size=4)
    if number % 4:
        with pytest.raises(ValueError, match=rf"search\.batch_size {number} .* divisible by their number, 4"):
            ranks.check_batch_size(number, where="search")
    ranks.check_batch_size(4 * number, where="search")


def test_batch_norm_of_the_whole_batch_needs_the_same_cell_on_every_rank():
    with pytest.raises(ValueError, match=r"batch_norm.*sampling"):
        DistributedSettings(batch_norm="sync", sampling="independent")


def test_torchruns_word_is_read_and_its_absence(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "8")  # as some clusters set it for everybody
    assert read_launch() is None
    assert joining.join(DistributedSettings(), device="cpu") is ALONE
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert read_launch() == Launch(rank=3, size=4, local_rank=1, local_size=2)


@pytest.mark.parametrize(
    ("device", "num_gpus", "expected"),
    [
        ("auto", 0, "auto"),
        ("cpu", 2, "cpu"),
        ("auto", 2, "cuda:1"),
        ("cuda", 4, "cuda:1"),
        ("auto", 1, "2 processes on a machine with 1 GPUs; take --nproc-per-node=1 or device=cpu"),
        ("cuda", 0, "2 processes on a machine with 0 GPUs; take device=cpu"),
        ("cuda:0", 2, "gives every process a GPU of its own: take device=cuda or cpu, got cuda:0"),
    ],
)
def test_every_process_takes_a_gpu_of_its_own(monkeypatch, device, num_gpus, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: num_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    launch = Launch(rank=3, size=4, local_rank=1, local_size=2)
    if " " in expected:
        with pytest.raises(ValueError, match=expected):
            joining.own_device(device, launch)
    else:
        assert joining.own_device(device, launch) == expected
    assert joining.own_device(device, None) == device


@pytest.mark.parametrize(
    ("command", "several", "message"),
    [
        ("latency", False, "nas latency is not data-parallel; start it without torchrun"),
        ("sweep", False, "nas sweep is not data-parallel"),
        ("search", True, "torchrun starts one run"),
        ("search", False, "--max-restarts needs name=RUN"),
    ],
)
def test_what_several_processes_cannot_do_is_refused(monkeypatch, command, several, message):
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "1")
    with pytest.raises(ValueError, match=message):
        check_command(command, several, named=False)
    check_command("pipeline", False, named=True)


def test_other_ranks_write_and_print_where_nobody_looks(capsys):
    with own_place(None) as alone, own_place(Launch(0, 2, 0, 2)) as first:
        assert alone == first == []
    with own_place(Launch(1, 2, 1, 2)) as (override,):
        key, _, folder = override.partition("=")
        assert key == "hydra.run.dir"
        assert list(Path(folder).iterdir()) == []
        print("unheard")
    assert not Path(folder).exists()
    assert capsys.readouterr().out == ""
