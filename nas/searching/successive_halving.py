"""Successive halving: many cells trained for few epochs, the best of them for more, and so on.

Every rung spends about as many epochs as any other (Jamieson and Talwalkar 2016, arXiv:1502.07943), so that of n cells
n·e₁/eᵢ enter the rung of eᵢ epochs. A rung trains its cells from scratch with a learning rate that is annealed over the
rung's own epochs: short trainings that are annealed order cells better than the beginnings of long ones.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Rung:
    """One stage of successive halving.

    Attributes:
        cells: Cells that enter it.
        epochs: Of each of their trainings.
    """

    cells: int
    epochs: int

    @property
    def cost(self) -> int:
        """Epochs of all its trainings."""
        return self.cells * self.epochs


@dataclass(frozen=True, slots=True)
class Budget:
    """What finals may cost: epochs of training, or seconds of wall time; the other is None."""

    epochs: float | None
    seconds: float | None


def plan(cells: int, epochs: Sequence[int]) -> list[Rung]:
    """Returns the rungs of at least two cells, for rising numbers of epochs; at least two enter each."""
    return [Rung(max(2, round(cells * epochs[0] / of)), of) for of in epochs]


def largest_plan(most: int, epochs: Sequence[int], *, budget: float) -> list[Rung]:
    """Returns the rungs of as many cells as a budget of epochs allows, at most `most`.

    Raises:
        ValueError: If not even two cells fit.
    """
    for cells in range(most, 1, -1):
        rungs = plan(cells, epochs)
        if cost(rungs) <= budget:
            return rungs
    least = cost(plan(2, epochs))
    raise ValueError(f"finals_budget is {budget:.4g} epochs, and the finals of two cells take {least}")


def cost(rungs: Sequence[Rung]) -> int:
    """Returns the epochs of all trainings of some rungs."""
    return sum(rung.cost for rung in rungs)


def fitting(rung: Rung, *, seconds: float, each: float, workers: int) -> int:
    """Returns how many of a rung's cells some workers can train in some seconds, at `each` seconds an epoch.

    One alone, of which there is nothing to choose, is none.
    """
    cells = min(rung.cells, workers * max(0, math.floor(seconds / (each * rung.epochs))))
    return cells if cells > 1 else 0


def parse_budget(text: str) -> Budget:
    """Reads `300 epochs` or a time such as `90s`, `10m`, `1.5h`; raises ValueError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(epochs?|[smh])", text.strip())
    if match is None or not float(match[1]):
        raise ValueError(f"must be a budget such as '300 epochs', 90s, 10m or 1.5h, got {text!r}")
    amount = float(match[1])
    return Budget(amount, None) if match[2] not in SECONDS else Budget(None, amount * SECONDS[match[2]])


def parse_time(text: object) -> float:
    """Reads a time such as `90s`, `10m`, `1.5h` as seconds; raises ValueError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", str(text).strip())
    if match is None or not float(match[1]):
        raise ValueError(f"budget must be a time such as 90s, 10m or 1.5h, got {text!r}")
    return float(match[1]) * SECONDS[match[2]]


def checked_budget(text: object) -> object:
    """Returns the text of a budget, or None; raises ValueError as `parse_budget`."""
    if text is not None:
        parse_budget(str(text))
    return text


def check_budget(epochs: Sequence[int], text: str) -> None:
    """Raises ValueError if a budget of epochs is less than what two cells take."""
    budget = parse_budget(text)
    if budget.epochs is not None:
        largest_plan(2, epochs, budget=budget.epochs)


def in_order(trained: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns entries of cells, those of later rungs first, and of one rung those with higher `stand_alone_reward`.

    Cells that were not trained follow in their order, and last those whose training diverged.
    """
    entries = [dict(entry) for entry in trained]
    ranked = [entry for entry in entries if "stand_alone_reward" in entry]
    ranked.sort(key=lambda entry: (-int(entry.get("rung", 0)), -float(entry["stand_alone_reward"])))
    diverged = [entry for entry in entries if "diverged" in entry]
    return ranked + [entry for entry in entries if not {"stand_alone_reward", "diverged"} & set(entry)] + diverged
