import time
from types import SimpleNamespace

import pytest
import torch

from nas.compute.timing import Began, median_ratio, time_in_turns, time_once, timing
from nas.data.augmentation import Augmentation
from nas.data.splits import ResidentSplit
from nas.studies.benchmarks.settings import NEEDS, PARTS, BenchSettings
from nas.studies.benchmarks.steps import speedup, summary
from nas.studies.benchmarks.workbench import Workbench, training

CPU = torch.device("cpu")


def test_pieces_take_turns_and_warming_up_is_not_timed():
    order = []
    work = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    times = time_in_turns(work, rounds=3, warmup=2, device=CPU)
    assert order == ["a", "b"] * 5
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}


def test_a_piece_may_say_when_the_part_to_be_timed_began():
    def late() -> Began:
        time.sleep(0.05)
        return Began(time.perf_counter_ns())

    times = time_in_turns({"late": late, "all": lambda: time.sleep(0.05)}, rounds=1, warmup=0, device=CPU)
    assert times["late"][0] < 40 < times["all"][0]


def test_the_first_time_is_timed_alone():
    naps = iter([0.05, 0.0])
    assert time_once({"nap": lambda: time.sleep(next(naps))}, device=CPU)["nap"] >= 50
    assert next(naps) == 0.0


def test_medians_are_taken_over_the_rounds():
    assert timing([3.0, 1.0, 8.0]).median_ms == 3.0
    assert (timing([3.0, 1.0]).min_ms, timing([3.0, 1.0]).max_ms, timing([3.0, 1.0]).rounds) == (1.0, 3.0, 2)
    assert median_ratio([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]) == 2.0  # of 2, 3 and 1


def test_images_a_second_follow_from_the_median():
    figures = summary([10.0, 20.0, 60.0], images=100)
    assert figures == {"ms": 20.0, "min_ms": 10.0, "max_ms": 60.0, "images_per_second": 5000.0}


def test_speedup_is_eager_over_ours_round_by_round():
    cells = [
        {"search step": [1.0, 1.0], "search step, eager loop": [2.0, 4.0]},
        {"search step": [2.0, 2.0], "search step, eager loop": [3.0, 3.0]},
    ]
    assert speedup("search step", cells) == {"median": 1.75, "worst": 1.5}  # of 2, 4, 1.5, 1.5; and of 3 and 1.5


def test_all_parts_run_by_default_and_switches_only_on_a_gpu():
    settings = BenchSettings()
    usual = [part for part in PARTS if part != "loader"]
    assert settings.chosen_parts(cuda=True) == usual
    assert settings.chosen_parts(cuda=False) == [part for part in usual if part != "switches"]
    assert BenchSettings(parts=["loader"]).chosen_parts(cuda=False) == ["loader"]
    assert BenchSettings(parts=["switches"]).chosen_parts(cuda=False) == ["switches"]


def test_a_part_brings_along_what_it_is_computed_from():
    for part, needed in NEEDS.items():
        chosen = BenchSettings(parts=[part]).chosen_parts(cuda=False)
        assert set(chosen) == {part, *needed}
        assert chosen[-1] == part or part == "eager"  # which takes turns with throughput


@pytest.mark.parametrize("parts", [["speed"], []])
def test_parts_that_there_are_not_are_refused(parts):
    with pytest.raises(ValueError, match="parts must list some of throughput"):
        BenchSettings(parts=parts)


class SlowToBegin:
    """A trainer that takes its time before it asks for the first batch."""

    def __init__(self) -> None:
        self.seen = []

    def train_epoch(self, batches, genotypes, *, epoch, num_batches):
        time.sleep(0.05)
        self.seen += [(batch, next(genotypes), epoch, num_batches) for batch in batches]


def test_steps_are_timed_from_their_first_batch_and_take_as_many_as_asked():
    trainer, batches = SlowToBegin(), iter("abcdef")
    work = training(trainer, batches, "cell", steps=2, epoch=7)
    started = time.perf_counter_ns()
    assert work().at_ns - started >= 50e6
    work()
    assert trainer.seen == [(batch, "cell", 7, 2) for batch in "abcd"]
    assert next(batches) == "e"


def test_batches_go_on_through_a_split_in_other_orders():
    images = torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1).expand(12, 1, 2, 2)
    split = ResidentSplit(images, torch.arange(12), mean=torch.zeros(1), std=torch.ones(1))
    data = SimpleNamespace(augmentation=Augmentation(flip=True))
    bench = SimpleNamespace(search=SimpleNamespace(evaluator=SimpleNamespace(data=data)))
    batches = Workbench.batches(bench, split, 5, cutout=0)
    orders = [tuple(label for _ in range(2) for label in next(batches)[1].tolist()) for _ in range(3)]
    assert len(set(orders)) == 3
    assert all(len(set(order)) == 10 for order in orders)  # a pass shows an image once, and drops what is left over
