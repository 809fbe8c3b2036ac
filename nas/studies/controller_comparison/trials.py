"""Trials: one search of one controller from one seed.

A finished one is a line of a file, so that a comparison that was stopped goes on with the others.
"""

import json
import os
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

from controllers.protocol import Controller
from nas.costs.pareto import Point, hypervolume, nondominated
from nas.costs.settings import FIELDS
from nas.runs.seeds import derive_seed, seed_everything
from nas.searching.evaluators import RewardFunction
from nas.searching.search import Search
from nas.searching.settings import QuerySettings
from nas.searching.table_files import first_cells
from nas.searching.table_lookup import TableEvaluator, TableLookup, TabularCost
from nas.studies.controller_comparison.settings import ComparisonSettings
from search_spaces.genotype import Decision
from search_spaces.space import SearchSpace

Part = Literal["accuracy", "front"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One search.

    Attributes:
        part: `accuracy` rewards accuracy alone, `front` accuracy and cost.
        controller: Its name.
        seed: All random streams derive from it.
    """

    part: Part
    controller: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRunner:
    """All that a process needs to run trials; it can be pickled.

    Attributes:
        settings: The protocol.
        space: What is searched.
        controllers: Make the controllers, by name.
        lookup: Looks cells up.
        rewards: By part.
        cost: Of the part `front`.
        reference: Cost and report from which the area of a front is measured; None without that part.
    """

    settings: ComparisonSettings
    space: SearchSpace
    controllers: Mapping[str, Callable[[Sequence[Decision]], Controller]]
    lookup: TableLookup
    rewards: Mapping[Part, RewardFunction]
    cost: TabularCost | None = None
    reference: Point | None = None

    def run(self, trial: Trial) -> dict[str, Any]:
        """Searches.

        Returns:
            `part`, `controller`, `seed`; `reports`, what the cell with the highest reward so far counts for after each
            query; `last_mean` of the reports of the last samples; `proposals`; `own`, the share of cells that the
            controller proposed itself; `seconds`. With the part `front`
            also `areas`, by number of queries.
        """
        settings = self.settings
        with_cost = trial.part == "front"
        seed_everything(derive_seed(trial.seed, "controller"))
        cost, samples = self.cost if with_cost else None, settings.batch(trial.controller)
        search = Search(
            settings=QuerySettings(queries=settings.budget, samples_per_update=samples, top_k=1),
            seed=trial.seed,
            first=first_cells(settings.warm_up, self.space, seed=derive_seed(trial.seed, "warm-up")),
            space=self.space,
            controller=self.controllers[trial.controller](self.space.decisions),
            evaluator=TableEvaluator(lookup=self.lookup, reward=self.rewards[trial.part], cost=cost),
        )
        start = time.perf_counter()
        draws = []
        while not search.finished:
            draws += search.step().draws
        figures = {
            **asdict(trial),
            "reports": incumbent_reports(search.scored),
            "last_mean": statistics.fmean(entry["report"] for entry in search.scored[-settings.last :]),
            "proposals": sum(draw.proposals for draw in draws),
            "own": sum(draw.own for draw in draws) / len(search.scored),
            "seconds": time.perf_counter() - start,
        }
        if with_cost:
            assert self.cost is not None
            assert self.reference is not None
            fronts = {mark: found_front(search.scored[:mark], cost=FIELDS[self.cost.name]) for mark in settings.marks}
            areas = {str(mark): hypervolume(front, reference=self.reference) for mark, front in fronts.items()}
            figures["areas"] = areas
        return figures


def incumbent_reports(scored: Iterable[Mapping[str, Any]]) -> list[float]:
    """Returns, after each cell, the report of the one with the highest reward so far, the first of equals."""
    best: Iterable[Mapping[str, Any]] = accumulate(
        scored, lambda held, entry: entry if entry["reward"] > held["reward"] else held
    )
    return [entry["report"] for entry in best]


def found_front(scored: Sequence[Mapping[str, Any]], *, cost: str) -> list[Point]:
    """Returns cost and report of the cells that no other beats in cost and accuracy, which are what a search sees."""
    numbers = nondominated([(entry[cost], entry["accuracy"]) for entry in scored])
    return [(scored[i][cost], scored[i]["report"]) for i in numbers]


def read_finished(path: Path) -> dict[Trial, dict[str, Any]]:
    """Reads the lines that `append_finished` wrote, but for a last one that was cut off.

    Raises:
        ValueError: If a line is damaged.
    """
    try:
        rows = [json.loads(line) for line in _whole_lines(path).decode().splitlines()]
        return {Trial(row["part"], row["controller"], row["seed"]): row for row in rows}
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path} is damaged, remove it to start anew: {error}") from error


def drop_cut_off(path: Path) -> None:
    """Removes a last line that was cut off, so that others can be added."""
    whole = len(_whole_lines(path))
    if path.exists() and path.stat().st_size > whole:
        os.truncate(path, whole)


def _whole_lines(path: Path) -> bytes:
    text = path.read_bytes() if path.exists() else b""
    return text[: text.rfind(b"\n") + 1]


def append_finished(path: Path, figures: Mapping[str, Any]) -> None:
    """Adds what a trial returned to a file, as a line of JSON."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(dict(figures)) + "\n")
