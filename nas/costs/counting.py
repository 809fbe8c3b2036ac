"""Costs of a genotype: parameters, multiply-adds or latency, each a number with a unit.

Costs are sums over the parts of a genotype's path (`nas.costs.network_parts`), so that one takes less than a
millisecond and a search can have it of every cell that it rewards.
"""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from controllers.uniform import Uniform
from nas.costs.network_parts import NetworkParts, Part
from nas.costs.settings import FIELDS
from nas.models.derived import count_multiply_adds, count_parameters
from nas.runs.seeds import derive_seed
from search_spaces.genotype import Genotype
from search_spaces.space import SearchSpace


class Cost(Protocol):
    """What a genotype costs."""

    @property
    def name(self) -> str:
        """One of `FIELDS`."""

    def __call__(self, genotype: Genotype) -> float:
        """Returns the cost, above 0, in the unit of `UNITS`."""


@dataclass(frozen=True, slots=True)
class Correction:
    """A straight line from a sum over parts to what was measured of whole networks.

    Attributes:
        slope: Above 0.
        intercept: In the unit of the cost.
    """

    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, total: float) -> float:
        """Returns slope · total + intercept."""
        return self.slope * total + self.intercept


@dataclass(frozen=True, slots=True)
class SummedCost:
    """A cost that is a sum over the parts of a genotype's path, and perhaps corrected.

    Attributes:
        name: One of `FIELDS`.
        parts: Finds the parts of a genotype.
        values: The cost of every part.
        correction: Applied to the sum.
        unused: Whether ops that are held and not computed count too.
    """

    name: str
    parts: NetworkParts
    values: Mapping[Part, float]
    correction: Correction = Correction()
    unused: bool = False

    def __call__(self, genotype: Genotype) -> float:
        """Returns the cost; raises ValueError if the network does not hold the genotype's ops."""
        return self.correction(self.sum(genotype))

    def sum(self, genotype: Genotype) -> float:
        """Returns the sum before the correction."""
        return sum(count * self.values[part] for part, count in self.parts.of(genotype, unused=self.unused).items())


@dataclass(frozen=True, slots=True)
class CountedCost:
    """A cost that a function counts, for networks whose parts are not known.

    Attributes:
        name: One of `FIELDS`.
        count: Returns several costs of a genotype, by name.
    """

    name: str
    count: Callable[[Genotype], Mapping[str, Any]]

    def __call__(self, genotype: Genotype) -> float:
        """Returns the cost."""
        return float(self.count(genotype)[self.name])


def size_costs(parts: NetworkParts) -> dict[str, Cost]:
    """Returns `parameters` and `multiply_adds`, equal to what the derived model has at inference."""
    parameters = {part: float(count_parameters(module)) for part, module in parts.prototypes.items()}
    multiply_adds = {
        part: float(count_multiply_adds(module, image_shape=part.reads)) for part, module in parts.prototypes.items()
    }
    return {
        "parameters": SummedCost("parameters", parts, parameters, unused=True),
        "multiply_adds": SummedCost("multiply_adds", parts, multiply_adds),
    }


def cost_fields(costs: Mapping[str, Cost], genotype: Genotype) -> dict[str, float]:
    """Returns costs of a genotype by their names in files, counts as integers."""
    return {
        FIELDS[name]: cost(genotype) if name == "latency" else round(cost(genotype)) for name, cost in costs.items()
    }


def median_cost(cost: Cost, space: SearchSpace, *, num_genotypes: int = 100) -> float:
    """Returns the median cost of genotypes drawn uniformly, the same ones whatever the run's seed.

    Raises:
        ValueError: If the number of genotypes is below 1.
    """
    return statistics.median(cost(genotype) for genotype in random_genotypes(space, num_genotypes, stream="target"))


def random_genotypes(space: SearchSpace, num_genotypes: int, *, stream: str, seed: int = 0) -> list[Genotype]:
    """Draws genotypes uniformly from a stream of its own; torch's global generator stays as it is."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, stream))
        actions = Uniform(space.decisions).sample(num_genotypes).actions
    return [space.decode(row) for row in actions.tolist()]
