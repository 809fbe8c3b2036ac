"""The interface of every search space: a list of decisions, and the way from answers to a genotype and back."""

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

from search_spaces.genotype import Decision, Genotype

CELLS = ("normal", "reduction")


class SearchSpace(Protocol):
    """The interface through which controllers and jobs see a search space.

    What takes a genotype raises ValueError if it is not in the space.
    """

    name: str
    decisions: tuple[Decision, ...]

    def decode(self, actions: Sequence[int]) -> Genotype:
        """Returns the genotype that T answers, one a decision, describe.

        Raises:
            ValueError: If their number or one of them is out of range.
        """

    def encode(self, genotype: Genotype) -> tuple[int, ...]:
        """Returns the T answers that describe a genotype; the inverse of `decode`."""

    def canonical(self, genotype: Genotype) -> Hashable:
        """Returns a key that is equal for two genotypes exactly if they compute the same family of functions."""


class WeightSharingSpace(SearchSpace, Protocol):
    """A search space whose genotypes are paths through a supernet."""

    def candidates(self) -> Mapping[str, Any]:
        """Returns what the supernet holds, by cell name, for the network's constructor."""


def size(space: SearchSpace) -> int:
    """Returns the number of different answers to the decisions, equivalent genotypes counted apart."""
    return math.prod(len(decision.choices) for decision in space.decisions)


def check_actions(decisions: Sequence[Decision], actions: Sequence[int]) -> None:
    """Checks that `actions` answers `decisions`.

    Raises:
        ValueError: If the lengths differ or an answer is out of range.
    """
    if len(actions) != len(decisions):
        raise ValueError(f"expected {len(decisions)} actions, got {len(actions)}")
    for decision, action in zip(decisions, actions, strict=True):
        if not 0 <= action < len(decision.choices):
            raise ValueError(f"{decision.name} has choices 0 … {len(decision.choices) - 1}, got {action}")


def index_of(choices: Sequence[str], name: str, kind: str) -> int:
    """Returns the place of `name` among the choices.

    Raises:
        ValueError: If it is not there; the message lists what is.
    """
    if name not in choices:
        raise ValueError(f"the {kind} {name!r} is not in this space; it has {', '.join(choices)}")
    return choices.index(name)
