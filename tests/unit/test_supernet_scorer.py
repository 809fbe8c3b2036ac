"""Scores under shared weights: which statistics normalise, and what is left as it was."""

import copy
import itertools
import math

import pytest
import torch

from nas.data.named import synthetic
from nas.models.shufflenasnet import ShuffleNASNet
from nas.searching.supernet_scorer import SupernetScorer
from nas.training.evaluation import evaluate, recalibrate_batch_norm
from search_spaces.shufflenas import ShuffleNASSpace

SPACE = ShuffleNASSpace(blocks=2)
GENOTYPE = SPACE.decode([0, 1, 0, 2, 0, 1, 1, 2])
DATA = synthetic(num_images=120, image_size=8, num_classes=3, held_out=0.3)


@pytest.fixture
def network() -> ShuffleNASNet:
    """A supernet in training, whose running statistics fit no path."""
    made = ShuffleNASNet(SPACE.candidates(), in_channels=3, num_classes=3, filters=8, cells_per_stage=1, stages=2)
    for batch_norm in (module for module in made.modules() if hasattr(module, "running_mean")):
        batch_norm.running_mean.fill_(5.0)
    return made.train()


def scorer(network, **options) -> SupernetScorer:
    return SupernetScorer(network=network, train=DATA.train, reward=DATA.reward, **{"batch_size": 8, **options})


def test_a_recalibrated_path_is_scored_with_its_running_statistics(network):
    expected = copy.deepcopy(network)
    recalibrate_batch_norm(expected, itertools.islice(DATA.train.batches(8, seed=0), 4), GENOTYPE)
    in_one_batch = evaluate(expected.eval(), DATA.reward.batches(len(DATA.reward)), GENOTYPE)
    score = scorer(network).score([GENOTYPE])[0]
    assert score.loss == pytest.approx(in_one_batch.loss, rel=1e-5)  # whatever the batches: no statistics of theirs
    assert score.accuracy == pytest.approx(in_one_batch.accuracy)
    assert network.training


def test_with_statistics_of_the_batch_the_batches_count_and_nothing_is_kept(network):
    before = copy.deepcopy(network.state_dict())
    losses = {scorer(network, bn="batch", batch_size=size).score([GENOTYPE])[0].loss for size in (8, 12)}
    assert len(losses) == 2
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_every_genotype_gets_a_batch_of_its_own_until_they_are_used_up(network):
    number = len(DATA.reward) // 8
    cells = [GENOTYPE] * (number + 1)
    scores = [score.loss for score in scorer(network).batch_scores(cells, seed=3)]
    assert len(set(scores[:number])) == number
    assert scores == [score.loss for score in scorer(network).batch_scores(cells, seed=3)]
    assert scores != [score.loss for score in scorer(network).batch_scores(cells, seed=4)]


def test_with_common_images_cells_that_are_alike_have_one_score(network):
    common = scorer(network, common_images=True)
    scores = common.batch_scores([GENOTYPE, SPACE.decode([0] * 8), GENOTYPE], seed=3)
    assert scores[0] == scores[2] != scores[1]
    assert scores[0] == scorer(network).batch_scores([GENOTYPE], seed=3)[0]


def test_all_readouts_of_a_spoilt_network_are_finite_and_worst(network):
    (sound,) = scorer(network).read_out([GENOTYPE])
    network.classifier.weight.data.fill_(float("nan"))
    (spoilt,) = scorer(network).read_out([GENOTYPE])
    assert spoilt.accuracy == 0
    assert spoilt.loss > 1000 > sound.loss > 0
    assert spoilt.calibrated_loss == pytest.approx(math.log(3))


def test_some_images_are_drawn_by_the_seed_and_all_images_are_the_same_with_any(network):
    def losses(**options):
        return [scorer(network, bn="batch", seed=seed, **options).score([GENOTYPE])[0].loss for seed in (None, 0, 0, 1)]

    first, drawn, again, other = losses(max_images=8)
    assert drawn == again
    assert len({first, drawn, other}) == 3
    assert len(set(losses())) == 1
