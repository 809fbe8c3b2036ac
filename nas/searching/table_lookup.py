"""Evaluation by looking up: results that somebody has trained before are read from a table.

A table makes a search a matter of seconds, so that controllers can be compared over many seeds (NAS-Bench-201,
arXiv:2001.00326). The search sees the reward; what is reported of the cell that it finds is another column, such as
the test accuracy after full training.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from nas.costs.counting import Cost
from nas.costs.settings import FIELDS, check_cost
from nas.searching.evaluators import Evaluation, RewardFunction, WithoutWeights, accuracy_reward, finite_reward
from nas.searching.table_files import Table, brief
from nas.training.evaluation import Score
from search_spaces.genotype import Genotype


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLookup:
    """Looks genotypes up in a table.

    Attributes:
        table: The table.
        key_of: Returns the key of a genotype, such as `search_spaces.nasbench201.arch_string`.
        reward_scale: Factor on the reward column, above 0. With 0.01 percents become the fractions for which the
            settings of controllers are meant.

    Raises:
        ValueError: If `reward_scale` is out of range.
    """

    table: Table
    key_of: Callable[[Genotype], str]
    reward_scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.reward_scale < math.inf:
            raise ValueError(f"reward_scale must be above 0 and finite, got {self.reward_scale}")

    def accuracy(self, genotype: Genotype) -> float:
        """Returns the scaled value of the reward column.

        Raises:
            ValueError: If the genotype is not in the table.
        """
        return self.reward_scale * self._look_up("reward", genotype)

    def report(self, genotype: Genotype) -> float:
        """Returns what counts in the end, unscaled; a search must not look at it.

        Raises:
            ValueError: If the genotype is not in the table, or there is no such column.
        """
        return self._look_up("report", genotype)

    def cost(self, genotype: Genotype) -> float:
        """Returns the cost, unscaled.

        Raises:
            ValueError: If the genotype is not in the table, or there is no such column.
        """
        return self._look_up("cost", genotype)

    def _look_up(self, role: str, genotype: Genotype) -> float:
        key = self.key_of(genotype)
        value = self.table.column(role).get(key)
        if value is None:
            raise ValueError(f"{self.table.path} has no row {brief(key)}")
        return value


@dataclass(frozen=True, slots=True)
class TabularCost:
    """The cost column of a table, as a cost that a reward can ask for.

    Attributes:
        name: What it is, one of `nas.costs.settings.FIELDS`.
        lookup: Looks it up.
    """

    name: str
    lookup: TableLookup

    def __call__(self, genotype: Genotype) -> float:
        """Returns the cost.

        Raises:
            ValueError: If the genotype is not in the table, or its cost is not above 0.
        """
        cost = self.lookup.cost(genotype)
        if cost <= 0:
            raise ValueError(f"{self.lookup.table.path}: a cost must be above 0, got {cost}")
        return cost


@dataclass(frozen=True, slots=True, kw_only=True)
class TableEvaluator(WithoutWeights):
    """An evaluator that looks rewards up; nothing trains and nothing is random.

    Attributes:
        lookup: The table.
        reward: Makes a reward of what was looked up as accuracy.
        cost: Recorded of every cell, if there is one.
    """

    lookup: TableLookup
    reward: RewardFunction = accuracy_reward
    cost: TabularCost | None = None
    is_instant: ClassVar[bool] = True

    @property
    def costs(self) -> dict[str, Cost]:
        """The cost by its name."""
        return {} if self.cost is None else {self.cost.name: self.cost}

    @property
    def record(self) -> Mapping[str, Any]:
        """What is known of the table."""
        return self.lookup.table.record

    def evaluate(self, genotypes: Sequence[Genotype], *, seed: int) -> list[Evaluation]:  # noqa: ARG002
        """Looks the genotypes up, their report too, which a search records and never looks at.

        Raises:
            ValueError: If a genotype is not in the table, or a reward is not finite.
        """
        return [self._evaluation(genotype) for genotype in genotypes]

    def _evaluation(self, genotype: Genotype) -> Evaluation:
        accuracy = self.lookup.accuracy(genotype)
        report = {} if self.lookup.table.report is None else {"report": self.lookup.report(genotype)}
        costs = {FIELDS[name]: cost(genotype) for name, cost in self.costs.items()}
        figures = {"accuracy": accuracy, **report, **costs}
        return Evaluation(finite_reward(self.reward, Score(loss=math.nan, accuracy=accuracy), genotype), figures)

    def score(self, genotypes: Sequence[Genotype]) -> list[dict[str, Any]]:
        """Returns what the table says of genotypes, with their keys."""
        return [
            {
                "genotype": genotype.to_dict(),
                "key": self.lookup.key_of(genotype),
                "reward": found.reward,
                **found.figures,
            }
            for genotype, found in zip(genotypes, map(self._evaluation, genotypes), strict=True)
        ]


def open_table(
    *,
    path: str,
    key: str,
    key_of: Any,
    reward: str,
    report: str | None = None,
    cost: str | Sequence[str] | None = None,
    cost_name: str = "latency",
    reward_scale: float = 1.0,
    group: str | None = None,
) -> tuple[TableLookup, TabularCost | None]:
    """Reads a table, and says what looks cells and their costs up in it.

    Args:
        path: The file, see `Table.read`.
        key: Column that tells the cells apart.
        key_of: Returns the key of a genotype.
        reward: Column that a search sees.
        report: Column that counts in the end.
        cost: Column of costs; of several names, the first that the file has, if any.
        cost_name: What these are, one of `nas.costs.settings.FIELDS`.
        reward_scale: Factor that makes the reward a fraction.
        group: Column of numbers: cells of one number are compared among themselves in a ranking.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the table breaks a rule, or there is no cost of that name.
    """
    check_cost(cost_name)
    if not callable(key_of):
        raise ValueError(f"key_of must name a function: table.key_of.path=MODULE.FUNCTION, got {key_of!r}")
    table = Table.read(path, key=key, reward=reward, report=report, cost=cost, group=group)
    lookup = TableLookup(table=table, key_of=key_of, reward_scale=reward_scale)
    return lookup, None if table.cost is None else TabularCost(cost_name, lookup)
