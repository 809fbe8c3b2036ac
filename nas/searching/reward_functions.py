"""Rewards that weigh accuracy against what a cell costs, latency in the first place.

Each is a formula of the accuracy in [0, 1] and of the ratio cost / target. A reward that is built from the config does
not know the network; the search job makes the cost that it asks for and binds it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from nas.costs.counting import Cost
from nas.costs.settings import check_cost
from nas.training.evaluation import Score
from search_spaces.genotype import Genotype

Formula = Callable[[float, float], float]
"""From accuracy and cost / target to a reward."""


@dataclass(frozen=True, slots=True)
class CostReward:
    """A reward of accuracy and cost.

    Attributes:
        formula: Weighs them.
        cost: Which cost it asks for, one of `nas.costs.settings.FIELDS`.
        target: In the unit of the cost, above 0; None leaves the choice to the one who binds it.
        bound: The cost.

    Raises:
        ValueError: If the cost is unknown or the target is not above 0.
    """

    formula: Formula
    cost: str = "latency"
    target: float | None = None
    bound: Cost | None = None

    def __post_init__(self) -> None:
        check_cost(self.cost)
        if self.target is not None and not self.target > 0:
            raise ValueError(f"target must be above 0, got {self.target}")

    def bind(self, cost: Cost, *, target: float) -> "CostReward":
        """Returns the reward with the cost it asked for.

        Raises:
            ValueError: If it is another cost, or the target is not above 0.
        """
        if cost.name != self.cost:
            raise ValueError(f"the reward asks for the cost {self.cost}, got {cost.name}")
        return replace(self, bound=cost, target=target)

    def __call__(self, score: Score, genotype: Genotype) -> float:
        """Returns the reward; raises ValueError before a cost is bound."""
        if self.bound is None or self.target is None:
            raise ValueError(f"the reward needs a cost: bind {self.cost} first")
        return self.formula(score.accuracy, self.bound(genotype) / self.target)


def product_reward(accuracy: float, ratio: float, *, alpha: float, beta: float) -> float:
    """Returns accuracy · ratio^w with w = α up to the target and β beyond it (MnasNet, arXiv:1807.11626, eq. 2, 3)."""
    exponent: float = alpha if ratio <= 1 else beta
    return float(accuracy * ratio**exponent)


def absolute_reward(accuracy: float, ratio: float, *, beta: float) -> float:
    """Returns accuracy + β · |ratio − 1| (TuNAS, arXiv:2008.06120, eq. 3)."""
    return accuracy + beta * abs(ratio - 1)


def limited_reward(accuracy: float, ratio: float) -> float:
    """Returns the accuracy up to the target and 0, the least accuracy there is, beyond it."""
    return accuracy if ratio <= 1 else 0.0


def latency_aware(
    *, cost: str = "latency", target: float | None = None, alpha: float = -0.07, beta: float = -0.07
) -> CostReward:
    """Makes MnasNet's reward; α = β is its soft form, α = 0 with β = −1 its hard one (arXiv:1807.11626, §3.1).

    Raises:
        ValueError: If an exponent is above 0, the cost is unknown or the target is not above 0.
    """
    for name, value in (("alpha", alpha), ("beta", beta)):
        if value > 0:
            raise ValueError(f"{name} must be at most 0, so that a lower cost is not worth less, got {value}")
    return CostReward(partial(product_reward, alpha=alpha, beta=beta), cost, target)


def latency_absolute(*, cost: str = "latency", target: float | None = None, beta: float = -0.07) -> CostReward:
    """Makes the absolute reward of TuNAS, which is highest at the target.

    Raises:
        ValueError: If β is not below 0, the cost is unknown or the target is not above 0.
    """
    if beta >= 0:
        raise ValueError(f"beta must be below 0, got {beta}")
    return CostReward(partial(absolute_reward, beta=beta), cost, target)


def latency_limit(*, cost: str = "latency", target: float | None = None) -> CostReward:
    """Makes the reward with a hard limit: accuracy within, 0 beyond.

    Raises:
        ValueError: If the cost is unknown or the target is not above 0.
    """
    return CostReward(limited_reward, cost, target)
