"""What trains before the rewards of an epoch, which images and cells, and the weights that score at the end."""

import copy
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch

from nas.compute.distributed.ranks import ALONE
from nas.data.named import synthetic
from nas.searching.evaluators import accuracy_reward
from nas.searching.settings import SearchSettings
from nas.searching.shared_weights import SharedWeights
from nas.searching.supernet_scorer import SupernetScorer
from nas.training.evaluation import Score
from search_spaces.shufflenas import ShuffleNASSpace

SPACE = ShuffleNASSpace(blocks=1)
DATA = synthetic(num_images=120, image_size=8, num_classes=3, held_out=0.2)
CELLS = [SPACE.decode([0, op, 0, op]) for op in range(len(SPACE.ops))]


@dataclass
class Trainer:
    """Notes what it is given, and counts an epoch in its network's only weights."""

    network: torch.nn.Module = field(default_factory=lambda: Leaning())
    images: list[torch.Tensor] = field(default_factory=list)
    cells: list[Any] = field(default_factory=list)
    ranks = ALONE

    def train_epoch(self, batches, paths, *, epoch, num_batches) -> Score:
        self.images = [images for images, _ in batches]
        self.cells = [next(paths) for _ in range(num_batches)]
        self.network.bias.data[0] = epoch
        return Score(1.0, 0.5)

    def learning_rate(self, epoch: float) -> float:
        return 0.05 / (1 + epoch)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class Leaning(torch.nn.Module):
    """Gives every image the same logits."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(3))

    def forward(self, images, genotype):
        return self.bias.expand(len(images), 3)


def shared(**settings) -> SharedWeights:
    given = {"epochs": 4, "batch_size": 16, "lr_max": 0.05, "resample": "batch", "warmup": 0.0, **settings}
    trainer = Trainer()
    return SharedWeights(
        settings=SearchSettings(**given),
        seed=0,
        data=DATA,
        trainer=trainer,
        scorer=SupernetScorer(network=trainer.network, train=DATA.train, reward=DATA.reward, batch_size=8, bn="batch"),
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


def test_cells_are_scored_at_the_end_by_the_mean_over_kept_copies_of_the_weights():
    evaluator = shared(keep_every=2)
    for epoch in range(5):
        evaluator.train(epoch, propose)
    assert [weights["bias"][0].item() for weights in evaluator.copies] == [1, 3]  # epochs 0 to 4, every second
    (entry,) = evaluator.score(CELLS[:1])
    losses = []
    for value in (1.0, 3.0):
        evaluator.trainer.network.bias.data[0] = value
        losses.append(evaluator.scorer.score(CELLS[:1])[0].loss)
    assert entry["shared_loss"] == pytest.approx(sum(losses) / 2)
    assert losses[0] != losses[1]


def test_each_copy_scores_on_images_of_its_own_where_not_all_are_taken():
    evaluator = shared(keep_every=1)
    evaluator.scorer = replace(evaluator.scorer, max_images=8)
    evaluator.train(1, propose)
    evaluator.copies *= 4  # the same weights
    (entry,) = evaluator.score(CELLS[:1])
    for _ in evaluator.each_copy():
        losses = [replace(evaluator.scorer, seed=seed).score(CELLS[:1])[0].loss for seed in range(4)]
    assert len(set(losses)) > 1
    assert entry["shared_loss"] == pytest.approx(sum(losses) / 4)


def test_scoring_leaves_the_weights_as_they_were_and_a_resumed_search_has_the_copies():
    evaluator, resumed = shared(keep_every=1), shared(keep_every=1)
    for epoch in range(2):
        evaluator.train(epoch, propose)
    before = copy.deepcopy(evaluator.state_dict())
    entries = evaluator.score(CELLS)
    assert torch.equal(evaluator.trainer.network.bias, before["network"]["bias"])
    resumed.load_state_dict(before)
    assert resumed.score(CELLS) == entries
