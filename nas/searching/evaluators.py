"""Evaluators turn genotypes into rewards; a reward function says what of a measurement counts."""

import copy
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from nas.compute.cuda_graphs import Recorder
from nas.compute.distributed.ranks import ALONE, Ranks
from nas.data.splits import Split
from nas.models.hardening import harden_mixers, soft_mixers
from nas.training.evaluation import Score, batch_statistics, evaluate, evaluate_paths, recalibrate_batch_norm
from search_spaces.genotype import Genotype

BN_MODES = ("recalibrate", "batch")

Batch = tuple[Tensor, Tensor]
"""Images (N, C, H, W) and labels (N,)."""


class Evaluator(Protocol):
    """Scores genotypes for a controller."""

    def rewards(self, genotypes: Sequence[Genotype], *, seed: int) -> Tensor:
        """Returns one reward a genotype, (N,) float64 on the CPU."""


class RewardFunction(Protocol):
    """Turns what was measured of a genotype into its reward."""

    def __call__(self, score: Score, genotype: Genotype) -> float:
        """Returns the reward; higher is better."""


def accuracy_reward(score: Score, genotype: Genotype) -> float:  # noqa: ARG001
    """The reward of ENAS: accuracy in [0, 1]."""
    return score.accuracy


class SupernetEvaluator:
    """Scores genotypes with shared weights, on images that never train them.

    Args:
        network: The supernet.
        train: Images for recalibrating batch norm.
        reward: Images for scoring.
        batch_size: Of both.
        reward_function: What of the score counts.
        bn: For whole-split scores: `recalibrate` sets the running statistics of each path from training images,
            `batch` takes those of each batch. Rewards on single batches always take the batch's, as ENAS does.
        calibration_batches: Batches of training images for `recalibrate`.
        autocast: Data type of the forward pass; None stays in float32.
        recorder: Records the forward pass of a path that is scored on many batches; a reward is of one batch, and to
            record that would cost as much as it does.
        ranks: Who reward together; each scores some of the cells.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        train: Split,
        reward: Split,
        batch_size: int,
        reward_function: RewardFunction = accuracy_reward,
        bn: str = "recalibrate",
        calibration_batches: int = 4,
        autocast: torch.dtype | None = None,
        recorder: Recorder | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        if bn not in BN_MODES:
            raise ValueError(f"bn must be one of {', '.join(BN_MODES)}, got {bn!r}")
        if calibration_batches < 1:
            raise ValueError(f"calibration_batches must be at least 1, got {calibration_batches}")
        self.network = network
        self.train = train
        self.reward = reward
        self.batch_size = min(batch_size, len(reward))
        self.calibration_batch_size = min(batch_size, len(train))
        self.reward_function = reward_function
        self.bn = bn
        self.calibration_batches = calibration_batches
        self.autocast = autocast
        self.recorder = recorder
        self.ranks = ranks

    def rewards(self, genotypes: Sequence[Genotype], *, seed: int) -> Tensor:
        """Rewards each genotype on one batch of reward images, another one each while they last.

        Args:
            genotypes: N of them.
            seed: Shuffles the images.

        Returns:
            (N,) float64 on the CPU. A child whose outputs are not finite has accuracy 0.

        Raises:
            ValueError: If the reward function returns a number that is not finite.
        """

        def scored(numbers: Sequence[int]) -> list[Score]:
            batches = enumerate(_endless(self.reward, batch_size=self.batch_size, seed=seed))
            own = ((genotypes[number], [_of_number(number, batches)]) for number in numbers)
            with batch_statistics(self.network):
                return evaluate_paths(self.network, own, autocast=self.autocast)

        scores = self.ranks.spread(range(len(genotypes)), scored)
        rewards = [self.reward_function(score, genotype) for score, genotype in zip(scores, genotypes, strict=True)]
        for reward, score in zip(rewards, scores, strict=True):
            if not math.isfinite(reward):  # the controller would never recover from it
                raise ValueError(f"a reward must be finite, the reward function made {reward} of {score}")
        return torch.tensor(rewards, dtype=torch.float64)

    def hardened(self) -> "SupernetEvaluator | None":
        """Returns the same evaluator of a copy whose learned mixers are exact; None if there are none to harden."""
        if not soft_mixers(self.network):
            return None
        evaluator = copy.copy(self)
        evaluator.network = copy.deepcopy(self.network)
        harden_mixers(evaluator.network)
        return evaluator

    def score(self, genotype: Genotype) -> Score:
        """Scores a genotype on all reward images."""
        batches = self.reward.batches(self.batch_size)
        if self.bn == "batch":
            with batch_statistics(self.network):
                return evaluate(self.network, batches, genotype, autocast=self.autocast, recorder=self.recorder)
        calibration = self.train.batches(self.calibration_batch_size, seed=0)
        recalibrate_batch_norm(
            self.network,
            itertools.islice(calibration, self.calibration_batches),
            genotype,
            autocast=self.autocast,
        )
        training = self.network.training
        score = evaluate(self.network.eval(), batches, genotype, autocast=self.autocast, recorder=self.recorder)
        self.network.train(training)
        return score


def _of_number(number: int, numbered: Iterator[tuple[int, Batch]]) -> Batch:
    """Returns the batch of a number, those before it left out."""
    return next(batch for place, batch in numbered if place == number)


def _endless(split: Split, *, batch_size: int, seed: int) -> "itertools.chain[Batch]":
    """Full batches of a split, shuffled anew each time it has been gone through."""
    return itertools.chain.from_iterable(
        split.batches(batch_size, seed=seed + turn, drop_last=True) for turn in itertools.count()
    )
