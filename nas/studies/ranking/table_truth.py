"""Cells whose truth a table holds, and how well shared scores order them: nothing is trained.

Cells of one class compute the same function. Some of the classes, chosen by a digest, are for choosing settings; the
figures that are reported are of the others.
"""

import contextlib
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nas.costs.counting import Cost
from nas.models.genotype_files import load_genotype
from nas.searching.table_files import brief, rows_by_function
from nas.searching.table_lookup import TableLookup
from nas.studies.ranking.ordering import Array, Estimates, Integers, Truth, ordering
from search_spaces.genotype import Genotype
from search_spaces.nasbench201 import NAME, OPS, function_text
from search_spaces.space import SearchSpace

Part = Literal["development", "reported", "all"]
FORMULA = {"nor_conv_3x3": 3.0, "nor_conv_1x1": 1.0, "avg_pool_3x3": -1.5, "skip_connect": 0.5}
DEPTH = 0.3
"""What live operations, and convolutions on the longest path, count in the row of NAS-Bench-201 that trains nothing."""
SIZES = ("parameters", "multiply adds")
SEEN = "what a search of the table sees"
"""A row: NAS-Bench-201's validation accuracy after 12 epochs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCells:
    """Cells that a table knows, n of them.

    Attributes:
        genotypes: The cells.
        truth: Their quality, groups and classes.
        rows: By name, scores (n,) that need no training of shared weights, next to which shared scores stand.
    """

    genotypes: list[Genotype]
    truth: Truth
    rows: Mapping[str, Array]

    @property
    def num_classes(self) -> int:
        """Classes of cells that compute the same."""
        return int(self.truth.classes.max()) + 1

    def genotypes_of(self, number: int) -> list[Genotype]:
        """Returns the cells of a class."""
        return [self.genotypes[place] for place in np.flatnonzero(self.truth.classes == number)]

    def of_part(self, part: Part, *, space: SearchSpace, most: int | None = None) -> "TableCells":
        """Returns the cells of a part of the classes, of `most` classes at most: always the same ones.

        Raises:
            ValueError: If there are none.
        """
        wanted = {"development": (True,), "reported": (False,), "all": (True, False)}[part]
        members = [self.genotypes_of(number) for number in range(self.num_classes)]
        numbers = [number for number, own in enumerate(members) if is_development(own, space) in wanted]
        if not numbers:
            raise ValueError(f"the table has no cells for rank.part={part}")
        chosen = sorted(numbers, key=lambda number: _digest(min(_texts(members[number], space))))[:most]
        places = np.flatnonzero(np.isin(self.truth.classes, chosen))
        return self._at(places, lambda values: values[places])

    def once(self) -> tuple["TableCells", Integers]:
        """Returns a cell for each class, the smallest, with the means over the class; and its place among these."""
        by_size = np.argsort(self.rows["parameters"], kind="stable")
        places = by_size[np.unique(self.truth.classes[by_size], return_index=True)[1]]
        members = np.bincount(self.truth.classes)
        return self._at(places, lambda values: np.bincount(self.truth.classes, weights=values) / members), places

    def _at(self, places: Integers, figure: Callable[[Array], Array]) -> "TableCells":
        """Returns the cells at some places, with their own sizes and what `figure` makes of the other columns."""
        truth = Truth(
            values=figure(self.truth.values),
            groups={name: group[places] for name, group in self.truth.groups.items()},
            classes=np.unique(self.truth.classes[places], return_inverse=True)[1],
        )
        rows = {name: row[places] if name in SIZES else figure(row) for name, row in self.rows.items()}
        return TableCells(genotypes=[self.genotypes[place] for place in places], truth=truth, rows=rows)

    def standing(self, genotype: Genotype, *, space: SearchSpace) -> dict[str, Any] | None:
        """Returns the truth of a cell, and where it stands among all and among those of equal parameter count.

        Returns:
            `truth`; `percentile`, the share of all cells that are worse, in 0 … 100; `equal_parameters` with `cells`,
            their `mean`, and the `percentile` among them; `largest`, the truth of the largest cell, and `is_largest`.
            None if no cell of the table computes the same.
        """
        place = self._place(genotype, space=space)
        if place is None:
            return None
        values, sizes = self.truth.values, self.rows["parameters"]
        truth = float(values[place])
        equal = values[sizes == sizes[place]]
        return {
            "truth": truth,
            "percentile": 100 * float((values < truth).mean()),
            "equal_parameters": {
                "cells": len(equal),
                "mean": float(equal.mean()),
                "percentile": 100 * float((equal < truth).mean()),
            },
            "largest": float(values[np.argmax(sizes)]),
            "is_largest": bool(place == np.argmax(sizes)),
        }

    def _place(self, genotype: Genotype, *, space: SearchSpace) -> int | None:
        """Returns the number of a cell, or of another one of its class."""
        if genotype in self.genotypes:
            return self.genotypes.index(genotype)
        canonical = space.canonical(genotype)
        return next((at for at, one in enumerate(self.genotypes) if space.canonical(one) == canonical), None)

    def finals(self, genotypes: Sequence[Genotype], *, space: SearchSpace) -> tuple[float, float] | None:
        """Returns the truth of the one of k cells that a search of the table prefers, and that of the k largest.

        Of cells that are equally large at the edge some are drawn; the second figure is the mean over 1000 draws.

        Returns:
            None where a search of the table sees the truth itself, or a cell is not in the table.
        """
        places = [self._place(genotype, space=space) for genotype in genotypes]
        if SEEN not in self.rows or None in places or not places:
            return None
        sizes, seen = self.rows["parameters"], self.rows[SEEN]
        large = np.flatnonzero(sizes >= np.sort(sizes)[-len(places)])
        generator = np.random.default_rng(0)
        drawn = [generator.permutation(large) for _ in range(1000)]
        largest = [order[np.argsort(-sizes[order], kind="stable")][: len(places)] for order in drawn]
        mine, *theirs = (of[int(np.argmax(seen[of]))] for of in (np.array(places), *largest))
        return float(self.truth.values[mine]), float(self.truth.values[theirs].mean())


def table_cells(space: SearchSpace, lookup: TableLookup, costs: Mapping[str, Cost]) -> TableCells:
    """Returns the cells of a table.

    Args:
        space: Space of the cells; its canonical forms tell which compute the same.
        lookup: The table, whose keys are cells; the truth is its report column, or else what a search sees of it.
        costs: Counted of every cell; `parameters` among them.

    Raises:
        ValueError: If a key is not a cell of the space.
    """
    table = lookup.table
    classes: dict[Any, list[str]] = {}
    cells: dict[str, Genotype] = {}
    for key in table.reward:
        cells[key] = load_genotype(key)
        try:
            space.encode(cells[key])
        except ValueError as error:
            raise ValueError(
                f"{table.path} has {brief(key)}, no cell of the run's {space.name}: {error}; take a table of its space"
            ) from None
        classes.setdefault(space.canonical(cells[key]), []).append(key)
    keys = [key for members in classes.values() for key in members]
    genotypes = [cells[key] for key in keys]
    numbers = np.repeat(np.arange(len(classes)), [len(members) for members in classes.values()])
    columns = {
        role: np.array([values[key] for key in keys])
        for role in ("reward", "report", "group")
        if (values := getattr(table, role)) is not None
    }
    rows: dict[str, Array] = {
        name.replace("_", " "): np.array([cost(genotype) for genotype in genotypes]) for name, cost in costs.items()
    }
    groups = {"parameters": _numbers(rows["parameters"][:, None])}
    if "group" in columns:
        groups["group"] = _numbers(columns["group"][:, None])
    if space.name == NAME:
        live = np.array([live_counts(genotype) for genotype in genotypes])
        alone = np.where(live[:, :-1].any(axis=1), 0, np.arange(len(live)))  # a dead cell is a group of its own
        groups["live operations"] = _numbers(np.column_stack([alone, live[:, :-1]]))
        rows["live operations"] = live @ np.array([*(FORMULA[op] for op in OPS[1:]), DEPTH])
    if "report" in columns:
        rows[SEEN] = columns["reward"]
    rows["random"] = np.random.default_rng(0).permutation(len(genotypes)).astype(np.float64)
    truth = Truth(values=columns.get("report", columns["reward"]), groups=groups, classes=numbers)
    return TableCells(genotypes=genotypes, truth=truth, rows=rows)


def rows_beside(file: Path, cells: TableCells, space: SearchSpace) -> dict[str, Array]:
    """Returns the columns of numbers of a CSV file as scores of the cells, (n,); of a cell that it lacks, the lowest.

    Args:
        file: Its first column is the cell, in any notation; cells that compute the same have the same scores.
        cells: The cells to be scored.
        space: Their space.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no cell of the table, or what is no cell.
    """
    known = rows_by_function(file, space)
    found = [known.get(space.canonical(genotype)) for genotype in cells.genotypes]
    if not any(found):
        raise ValueError(f"{file} scores none of the table's cells")
    columns: dict[str, Array] = {}
    for name in list(next(iter(known.values())))[1:]:
        with contextlib.suppress(ValueError):  # a column of texts
            values = np.array([math.nan if row is None else float(row[name] or math.nan) for row in found])
            finite = np.isfinite(values)
            if finite.any():
                columns[f"beside: {name}"] = np.where(finite, values, values[finite].min() - 1)
    return columns


def is_development(members: Sequence[Genotype], space: SearchSpace) -> bool:
    """Whether a class is for choosing settings, by digests of what its members compute.

    Of NAS-Bench-201 these are 764 of 5,260 classes: a tenth of the functions as the cells are written, twins together.
    Of other spaces it is about a quarter.
    """
    share = 10 if space.name == NAME else 4
    return any(_digest(text) % share == 0 for text in _texts(members, space))


def _texts(members: Sequence[Genotype], space: SearchSpace) -> list[str]:
    """Returns what the members of a class compute as text, as they are written."""
    return [*map(function_text, members)] if space.name == NAME else [repr(space.canonical(members[0]))]


def _digest(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)


def live_counts(genotype: Genotype) -> list[int]:
    """Returns the live edges of each op of NAS-Bench-201 but `none`, and the convolutions on the longest path."""
    edges = genotype.normal.live_edges
    depths = {0: 0}
    for block, _, source, op in edges:
        depths[block + 1] = max(depths.get(block + 1, 0), depths[source] + op.startswith("nor_conv"))
    return [*(sum(edge[-1] == op for edge in edges) for op in OPS[1:]), depths.get(len(genotype.normal.blocks), 0)]


def _numbers(rows: Array) -> Integers:
    """Returns a number for each row, equal where rows are equal."""
    return np.unique(rows, axis=0, return_inverse=True)[1].reshape(-1)


def ordering_rows(
    cells: TableCells,
    scores: Mapping[str, Mapping[str, Array]],
    *,
    seed: int,
    resamples: int,
) -> dict[str, Estimates]:
    """Returns the columns of `nas.studies.ranking.ordering` for each way of scoring.

    Args:
        cells: The cells that were scored.
        scores: By run, by kind of score such as `loss`, (n,), higher is better.
        seed: Seed of the bootstrap.
        resamples: Resamples of the bootstrap.

    Returns:
        By row: of each kind the mean over the runs and, with several, each run; then the rows that train nothing.
    """
    kinds = list(next(iter(scores.values())))
    several = {f"shared {kind}": np.stack([found[kind] for found in scores.values()]) for kind in kinds}
    single = {f"{run}, {kind}": found[kind] for run, found in scores.items() for kind in kinds if len(scores) > 1}
    every: dict[str, Array] = {**several, **single, **cells.rows}
    return {name: ordering(one, cells.truth, seed=seed, resamples=resamples) for name, one in every.items()}
