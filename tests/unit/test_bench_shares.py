import itertools
from types import SimpleNamespace

import pytest

from nas.searching.settings import SearchSettings
from nas.studies.benchmarks.epochs import (
    REST,
    REWARDS,
    SAMPLE,
    UPDATE,
    WEIGHTS,
    Stopwatch,
    extrapolated_epoch,
    retrain_minutes,
    search_minutes,
    shares,
)
from nas.studies.benchmarks.settings import BenchSettings
from nas.training.settings import RetrainSettings

THROUGHPUT = {"search step": {"ms": 500.0, "setup_ms": 1000.0}, "reward": {"ms": 200.0}}
CONTROLLER = {"sample": {"ms": 2.0}, "decode": {"ms": 1.0}, "update": {"ms": 5.0}}

SEARCH = {"epochs": 10, "batch_size": 20, "controller_samples": 4, "samples_per_update": 10, "resample": "epoch"}


def bench_of(**search: object) -> SimpleNamespace:
    return SimpleNamespace(
        done={"throughput": THROUGHPUT, "controller": CONTROLLER},
        search_batches=450 // 20,
        retrain_batches=500 // 20,
        settings=BenchSettings(train_images=450, reward_images=50, test_images=100),
        search=SimpleNamespace(evaluator=SimpleNamespace(settings=SearchSettings(**{**SEARCH, **search}))),
        retraining=RetrainSettings(epochs=12, batch_size=20, last_epochs=3, evaluate_every=5),
    )


def test_shares_of_planted_seconds():
    figures = shares({WEIGHTS: 90.0, REWARDS: 8.0, SAMPLE: 0.5, UPDATE: 0.5, REST: 1.0})
    assert figures["epoch_seconds"] == 100.0
    assert figures["share"] == {WEIGHTS: 0.9, REWARDS: 0.08, SAMPLE: 0.005, UPDATE: 0.005, REST: 0.01}
    assert figures["passes"] == pytest.approx(0.98)


def test_a_stopwatch_adds_up_the_seconds_of_named_methods_and_passes_the_rest_on():
    seconds, clock = {}, itertools.count(step=3.0)
    waits = []
    watched = Stopwatch(
        target=[2, 1],
        names={"append": "grow", "extend": "grow", "sort": "order"},
        seconds=seconds,
        wait=lambda: waits.append(None),
        clock=lambda: next(clock),
    )
    watched.append(5)
    watched.extend([4])
    watched.sort(reverse=True)
    assert watched.index(5) == 0
    assert seconds == {"grow": 6.0, "order": 3.0}
    assert len(waits) == 6


def test_an_epoch_is_extrapolated_from_its_pieces():
    # 450 images are 22 batches of 20; one cell trains and four are rewarded.
    seconds = extrapolated_epoch(bench_of())
    assert seconds == pytest.approx({WEIGHTS: 22 * 0.5 + 1.0, REWARDS: 0.8, SAMPLE: 5 * 0.003, UPDATE: 0.02})


def test_a_cell_a_batch_is_sampled_and_set_up_for_every_batch():
    seconds = extrapolated_epoch(bench_of(resample="batch"))
    assert seconds[WEIGHTS] == pytest.approx(22 * (0.5 + 1.0))
    assert seconds[SAMPLE] == pytest.approx((22 + 4) * 0.003)


@pytest.mark.parametrize(("bn", "batches"), [("recalibrate", 3 + 4), ("batch", 3)])
def test_minutes_of_a_search_are_its_epochs_and_the_final_scores(bn, batches):
    bench = bench_of(final_samples=6, random_cells=2, bn=bn)
    figures = search_minutes(bench, {WEIGHTS: 12.0, REWARDS: 6.0}, reward_ms=600.0)
    # 50 reward images are three batches; the greedy cell, six samples and two random cells are scored.
    assert figures["pieces"] == pytest.approx({WEIGHTS: 2.0, REWARDS: 1.0, "final scores": 9 * batches * 0.01})
    assert figures["minutes"] == pytest.approx(3.0 + 9 * batches * 0.01)


def test_minutes_of_a_retraining_are_its_steps_and_looks_at_the_test_images():
    figures = retrain_minutes(bench_of(), step_ms=60.0, setup_ms=30_000.0, test_ms=120.0, parameters=7)
    # 500 images are 25 steps; of epochs 0 … 11 the test images are looked at in 4 and 9, and in the last three 9 … 11.
    assert figures["pieces"] == pytest.approx({"setup": 0.5, "training": 12 * 25 * 0.001, "test images": 4 * 5 * 0.002})
    assert figures["minutes"] == pytest.approx(0.5 + 0.3 + 0.04)
    assert figures["parameters"] == 7
