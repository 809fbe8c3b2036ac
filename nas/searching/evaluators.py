"""Evaluators: what a search asks for the rewards of architectures.

Three are here: weights shared in a supernet (`nas.searching.shared_weights`), a table of results
(`nas.searching.table_lookup`), and short trainings from scratch (`nas.searching.stand_alone`).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch

from nas.compute.distributed.ranks import ALONE, Ranks
from nas.costs.counting import Cost
from nas.training.evaluation import Score
from search_spaces.genotype import Genotype

Propose = Callable[[int], list[Genotype]]
"""Returns as many architectures as it is asked for: of the controller, or drawn uniformly while the search warms up."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was found out about an architecture.

    Attributes:
        reward: What the controller learns from; higher is better.
        figures: What is recorded next to it, by column of `scored.csv`, such as `accuracy` in [0, 1].
    """

    reward: float
    figures: Mapping[str, float]


class Evaluator(Protocol):
    """Rewards architectures for a search."""

    @property
    def device(self) -> torch.device:
        """The device on which it computes; its generator is seeded before every epoch."""

    @property
    def ranks(self) -> Ranks:
        """The processes that evaluate together."""

    @property
    def is_instant(self) -> bool:
        """Whether an epoch takes milliseconds, so that its time is not logged and few rows are shown."""

    @property
    def is_exact(self) -> bool:
        """Whether a function's reward stays what it is, so that no search asks for it twice."""

    @property
    def costs(self) -> Mapping[str, Cost]:
        """The costs among the figures, by name."""

    @property
    def record(self) -> Mapping[str, Any]:
        """What is known of the data; a search that is resumed must find the same."""

    def train(self, epoch: int, propose: Propose) -> Mapping[str, float]:
        """Does what an epoch begins with, such as training shared weights; returns what to log."""

    def evaluate(self, genotypes: Sequence[Genotype], *, seed: int) -> list[Evaluation]:
        """Returns one evaluation per genotype; `seed` fixes all that is random about them.

        Raises:
            ValueError: If a reward is not finite.
        """

    def score(self, genotypes: Sequence[Genotype]) -> list[dict[str, Any]]:
        """Returns entries of `candidates.json`, one per genotype: the most exact evaluation there is."""

    def learning_rate_scale(self, epoch: int) -> float:
        """Returns the learning rate of an epoch in shares of the largest; 1 where nothing trains."""

    def state_dict(self) -> dict[str, Any]:
        """Returns what a resumed search needs of it."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""


class WithoutWeights:
    """The part of an evaluator that has no weights to train and whose rewards stay what they are."""

    device = torch.device("cpu")
    ranks = ALONE
    is_instant: ClassVar[bool] = False
    is_exact: ClassVar[bool] = True

    def train(self, epoch: int, propose: Propose) -> dict[str, float]:  # noqa: ARG002
        """Does nothing."""
        return {}

    def learning_rate_scale(self, epoch: int) -> float:  # noqa: ARG002
        """Returns 1."""
        return 1.0

    def state_dict(self) -> dict[str, Any]:
        """Returns nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Has nothing to restore."""


class RewardFunction(Protocol):
    """Turns what was measured of a genotype into its reward."""

    def __call__(self, score: Score, genotype: Genotype) -> float:
        """Returns the reward; higher is better."""


def accuracy_reward(score: Score, genotype: Genotype) -> float:  # noqa: ARG001
    """The reward of ENAS: accuracy in [0, 1]."""
    return score.accuracy


def likelihood_reward(score: Score, genotype: Genotype) -> float:  # noqa: ARG001
    """Geometric mean of the right classes' probabilities, exp(−loss) in (0, 1]: orders cells as their loss does.

    Under shared weights the loss tells close cells apart better than the accuracy (Ning et al. 2021, arXiv:2008.03064).
    Of a cell trained alone only the accuracy is known, in finals or with evaluator=stand_alone: then it is the reward.
    """
    return score.accuracy if math.isnan(score.loss) else math.exp(-score.loss)


def finite_reward(reward: RewardFunction, score: Score, genotype: Genotype) -> float:
    """Returns the reward of a score.

    Raises:
        ValueError: If it is not finite: the controller would never recover from it.
    """
    value = reward(score, genotype)
    if not math.isfinite(value):
        unknown = "; it may not ask for the loss where that is not known" if math.isnan(score.loss) else ""
        raise ValueError(f"a reward must be finite, the reward function made {value} of {score}{unknown}")
    return value
