"""What trains before the rewards of an epoch: which images, and the weights of which cells."""

import copy
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from nas.compute.distributed.ranks import ALONE
from nas.data.named import synthetic
from nas.searching.evaluators import accuracy_reward
from nas.searching.settings import SearchSettings
from nas.searching.shared_weights import SharedWeights
from nas.training.evaluation import Score
from search_spaces.shufflenas import ShuffleNASSpace

SPACE = ShuffleNASSpace(blocks=1)
DATA = synthetic(num_images=120, image_size=8, num_classes=3, held_out=0.2)
CELLS = [SPACE.decode([0, op, 0, op]) for op in range(len(SPACE.ops))]


@dataclass
class Trainer:
    """Notes what it is given."""

    images: list[torch.Tensor] = field(default_factory=list)
    cells: list[Any] = field(default_factory=list)
    ranks = ALONE

    def train_epoch(self, batches, paths, *, epoch, num_batches) -> Score:
        self.images = [images for images, _ in batches]
        self.cells = [next(paths) for _ in range(num_batches)]
        return Score(1.0, 0.5)

    def learning_rate(self, epoch: float) -> float:
        return 0.05 / (1 + epoch)


def shared(**settings) -> SharedWeights:
    given = {"epochs": 4, "batch_size": 16, "lr_max": 0.05, "resample": "batch", "warmup": 0.0, **settings}
    return SharedWeights(
        settings=SearchSettings(**given),
        seed=0,
        data=DATA,
        trainer=Trainer(),
        scorer=None,
        reward=accuracy_reward,
        costs={},
    )


def propose(count: int) -> list[Any]:
    return [copy.copy(CELLS[number % len(CELLS)]) for number in range(count)]


def images_of(epoch: int) -> torch.Tensor:
    evaluator = shared()
    evaluator.train(epoch, propose)
    return torch.cat(evaluator.trainer.images)


def test_every_epoch_has_the_images_in_an_order_of_its_own_that_its_number_fixes():
    assert torch.equal(images_of(0), images_of(0))
    assert not torch.equal(images_of(0), images_of(1))


@pytest.mark.parametrize(
    ("resample", "epoch", "several"), [("batch", 3, True), ("epoch", 3, False), ("epoch", 0, True), ("batch", 0, True)]
)
def test_an_epoch_trains_one_cell_or_one_a_batch_and_several_while_it_warms_up(resample, epoch, several):
    evaluator = shared(resample=resample, warmup=0.5)
    logged = evaluator.train(epoch, propose)
    assert len(evaluator.trainer.cells) == len(DATA.train) // 16 > 3
    assert (len(set(evaluator.trainer.cells)) > 1) is several
    assert logged == {"learning_rate": 0.05 / (1 + epoch), "loss": 1.0, "train_accuracy": 0.5}
    assert evaluator.learning_rate_scale(epoch) == pytest.approx(1 / (1 + epoch))
