"""The Pareto front of a search: which candidates no other beats in both accuracy and cost."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.costs.pareto import Point, hypervolume, nondominated
from nas.costs.settings import FIELDS
from nas.jobs.building.costs import SearchCosts
from nas.reporting.cost_plots import pareto_plot
from nas.runs.checkpoints import write_json

Rows = Sequence[Mapping[str, Any]]


def write_front(out: Path, *, rewarded: Rows, candidates: Rows, random_cells: Rows, costs: SearchCosts) -> None:
    """Writes `pareto.json` and `pareto.svg`, and adds to `cost.json` the area that the front dominates.

    Rewarded cells are drawn, but do not count: each was scored on one batch, with the weights of its epoch, so that a
    front of them would be one of lucky scores. Nor do finals count: the front is one of shared accuracies.

    Args:
        out: The run folder.
        rewarded: Every cell that was rewarded, with `accuracy` and costs.
        candidates: Cells scored on all reward images, with `shared_accuracy` and costs.
        random_cells: The same of uniformly drawn ones.
        costs: Says which cost counts, and what the target is.
    """
    field = FIELDS[costs.chosen]
    points = _points(candidates, field, "shared_accuracy")
    looked_at = _points(rewarded, field, "accuracy")
    front = nondominated(points)
    pareto_plot(
        {
            "rewarded, on one batch each": looked_at,
            "random": _points(random_cells, field, "shared_accuracy"),
            "candidates": points,
        },
        front=[points[number] for number in front],
        axis="predicted latency (ms)" if costs.chosen == "latency" else field.replace("_", "-"),
        target=costs.record.get("target") if costs.record.get("reward_cost") == field else None,
        path=out / "pareto.svg",
    )
    write_json(out / "pareto.json", [dict(candidates[number]) for number in front])
    reference = (max(cost for cost, _ in [*points, *looked_at]), 0.0)
    area = {"hypervolume": hypervolume(points, reference=reference), "hypervolume_reference": list(reference)}
    write_json(out / "cost.json", {**costs.record, **area})


def _points(rows: Rows, cost: str, value: str) -> list[Point]:
    return [(float(row[cost]), float(row[value])) for row in rows]
