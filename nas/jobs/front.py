"""The Pareto front of a search: which candidates no other beats in both accuracy and cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.costs.pareto import Point, hypervolume, nondominated
from nas.costs.settings import FIELDS
from nas.jobs.building.costs import SearchCosts
from nas.reporting.plots import pareto_plot
from nas.runs.checkpoints import write_json
from nas.searching.search import Search

Rows = Sequence[Mapping[str, Any]]


def write_front(out: Path, search: Search[Any], *, candidates: Rows, random_cells: Rows, costs: SearchCosts) -> None:
    """Writes `pareto.json` and `pareto.svg`, and adds to `cost.json` the area that the front dominates.

    Rewards that are exact make a front of all rewarded cells. With shared weights these are drawn, but do not count:
    each was scored on one batch, with the weights of its epoch, so that a front of them would be one of lucky scores.
    Nor do finals count: the front is one of shared accuracies. Without a cost there is no front.

    Args:
        out: The run folder.
        search: Its rewarded cells have `accuracy` and costs.
        candidates: Cells scored on all reward images, with `shared_accuracy` and costs.
        random_cells: The same of uniformly drawn ones.
        costs: Says which cost counts, and what the target is.
    """
    if costs.chosen is None:
        return
    field = FIELDS[costs.chosen]
    rewarded = _points(search.scored, field, "accuracy")
    if search.settings.final_samples:
        value, points = "shared_accuracy", _points(candidates, field, "shared_accuracy")
        front = [dict(candidates[number]) for number in nondominated(points)]
        groups = {
            "rewarded, on one batch each": rewarded,
            "random": _points(random_cells, field, "shared_accuracy"),
            "candidates": points,
        }
    else:
        points, front = rewarded, search.front(field)
        value = "accuracy" if "accuracy" in front[0] else "stand_alone_accuracy"
        groups = {"rewarded": rewarded, "random": _points(random_cells, field, value)}
    pareto_plot(
        groups,
        front=_points(front, field, value),
        axis="predicted latency (ms)" if costs.chosen == "latency" else field.replace("_", "-"),
        target=costs.record.get("target") if costs.record.get("reward_cost") == field else None,
        path=out / "pareto.svg",
    )
    write_json(out / "pareto.json", front)
    reference = (max(cost for cost, _ in [*points, *rewarded]), 0.0)
    area = {"hypervolume": hypervolume(points, reference=reference), "hypervolume_reference": list(reference)}
    write_json(out / "cost.json", {**costs.record, **area})


def _points(rows: Rows, cost: str, value: str) -> list[Point]:
    return [(float(row[cost]), float(row[value])) for row in rows]
