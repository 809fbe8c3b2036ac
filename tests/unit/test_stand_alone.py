"""Rewards from trainings: what is trained, once each, and what of it a search sees."""

import json
import math
from pathlib import Path

import pytest
import torch

from nas.compute.worker_pool import WorkerPool
from nas.searching.evaluators import accuracy_reward
from nas.searching.settings import StandAloneSettings
from nas.searching.stand_alone import Protocol, StandAlone, Training
from nas.training.settings import RetrainSettings
from search_spaces.genotype import Genotype
from search_spaces.shufflenas import ShuffleNASSpace

SPACE = ShuffleNASSpace(blocks=2)
FIRST, SECOND = SPACE.decode([0, 1, 0, 2, 0, 1, 0, 2]), SPACE.decode([0, 2, 0, 1, 0, 1, 0, 2])
OTHER = SPACE.decode([0, 1, 1, 2, 0, 1, 0, 2])


class Parameters:
    """A cost: the number of ops that are no identity."""

    name = "parameters"

    def __call__(self, genotype: Genotype) -> float:
        return float(sum(op != "identity" for cell in genotype.cells.values() for b in cell.blocks for op in b.ops))


class Trainings:
    """Runs trainings that come to a tenth of how many there were before, or diverge."""

    def __init__(self) -> None:
        self.trained: list[Genotype] = []

    def run(self, training: Training) -> dict[str, object]:
        self.trained.append(training.genotype)
        torch.manual_seed(0)  # as a training does
        result = {"accuracy": len(self.trained) / 10, "seconds": 2.0}
        training.file.parent.mkdir(exist_ok=True)
        training.file.write_text(json.dumps(result))
        return result


def evaluator(folder: Path, runner: Trainings, *, seed: int = 0, reward=accuracy_reward, **training) -> StandAlone:
    return StandAlone(
        pool=WorkerPool(runner, 1),
        protocol=Protocol(network={}, data={"name": "none"}, settings=RetrainSettings(**{"epochs": 2, **training})),
        folder=folder / "trainings",
        space=SPACE,
        seed=seed,
        reward=reward,
        costs={"parameters": Parameters()},
    )


def test_the_example_has_two_names_of_one_function():
    assert FIRST != SECOND
    assert SPACE.canonical(FIRST) == SPACE.canonical(SECOND) != SPACE.canonical(OTHER)


def test_a_function_is_trained_once_whatever_its_name(tmp_path):
    runner = Trainings()
    found = evaluator(tmp_path, runner).evaluate([FIRST, OTHER, SECOND, FIRST], seed=0)
    assert runner.trained == [FIRST, OTHER]
    assert [one.reward for one in found] == [0.1, 0.2, 0.1, 0.1]
    assert found[0].figures == {"accuracy": 0.1, "parameters": 4, "train_seconds": 2.0}


def test_a_search_that_is_resumed_trains_nothing_anew(tmp_path):
    evaluator(tmp_path, Trainings()).evaluate([FIRST, OTHER], seed=0)
    runner = Trainings()
    resumed = evaluator(tmp_path, runner)
    resumed.load_state_dict({"scored": [{"actions": " ".join(map(str, SPACE.encode(FIRST)))}]})
    found = resumed.evaluate([OTHER, SECOND], seed=0)
    assert runner.trained == []
    assert [one.reward for one in found] == [0.2, 0.1]


@pytest.mark.parametrize("changed", [{"seed": 1}, {"epochs": 3}, {"lr_max": 0.3}])
def test_another_protocol_or_seed_is_another_training(tmp_path, changed):
    evaluator(tmp_path, Trainings()).evaluate([FIRST], seed=0)
    runner = Trainings()
    evaluator(tmp_path, runner, **changed).evaluate([FIRST], seed=0)
    assert runner.trained == [FIRST]


def test_the_random_stream_afterwards_depends_on_the_seed_alone(tmp_path):
    """The controller learns next: what it draws must not tell whether a process of its own trained, or none."""
    draws = []
    for runner in (Trainings(), Trainings()):  # the second finds everything trained
        evaluator(tmp_path, runner).evaluate([FIRST, OTHER], seed=7)
        draws.append(torch.rand(3))
    assert torch.equal(*draws)
    evaluator(tmp_path, Trainings()).evaluate([FIRST], seed=8)
    assert not torch.equal(draws[0], torch.rand(3))


def test_a_reward_that_asks_for_the_loss_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"made nan of .*; it may not ask for the loss"):
        evaluator(tmp_path, Trainings(), reward=lambda score, genotype: -score.loss).evaluate([FIRST], seed=0)


def test_a_result_of_an_earlier_version_is_read(tmp_path):
    evaluator(tmp_path, Trainings()).evaluate([FIRST], seed=0)
    (file,) = (tmp_path / "trainings").iterdir()
    file.write_text(json.dumps({"test_accuracy": 0.7, "seconds": 1.0}))
    (found,) = evaluator(tmp_path, Trainings()).evaluate([FIRST], seed=0)
    assert found.figures["accuracy"] == 0.7


def test_a_damaged_result_is_named(tmp_path):
    evaluator(tmp_path, Trainings()).evaluate([FIRST], seed=0)
    (file,) = (tmp_path / "trainings").iterdir()
    file.write_text("{")
    with pytest.raises(ValueError, match=f"{file.name} is damaged, remove it"):
        evaluator(tmp_path, Trainings()).evaluate([FIRST], seed=0)


def test_entries_of_candidates_hold_what_the_trainings_came_to(tmp_path):
    alone = evaluator(tmp_path, Trainings())
    (entry,) = alone.score([FIRST])
    assert Genotype.from_dict(entry["genotype"]) == FIRST
    assert (entry["reward"], entry["stand_alone_accuracy"], entry["parameters"]) == (0.1, 0.1, 4)
    assert alone.train(0, lambda count: pytest.fail("nothing is shared")) == {}
    assert math.isclose(alone.learning_rate_scale(5), 1.0)


def test_a_stand_alone_training_starts_from_scratch():
    with pytest.raises(ValueError, match=r"training\.warm_start"):
        StandAloneSettings(training=RetrainSettings(epochs=2, warm_start="search"))
