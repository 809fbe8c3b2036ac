"""Accuracy against what it costs: the cells of a search, and the trained models of all runs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nas.costs.pareto import nondominated
from nas.reporting.figures.figures import NAN, Axis, Chart, Series
from nas.reporting.figures.learning import COSTS
from nas.reporting.figures.series import MAX_CLOUD, thinned
from nas.reporting.page.records import RunRecord, number

CELLS_CAPTION = "Accuracy against {cost}; better is up and to the left. {dots} {front}"
DOTS = (
    "Small dots were rewarded during the search, on one batch each, with the weights of their epoch; the others are "
    "scored on all reward images."
)
EXACT_DOTS = "Small dots were rewarded during the search."
FRONT = "The line joins the cells that no other beats in both."
EXACT = ("accuracy", "stand_alone_accuracy")
OTHER_FRONT = "The front shown is that of another cost: cells on it need not be the best here."


def front_charts(run: RunRecord) -> list[Chart]:
    """Draws the cells of a search, accuracy against each cost that is known, with the Pareto front."""
    sources = [
        ("rewarded", "scored.csv", "accuracy", True),
        ("candidates", "candidates.json", "shared_accuracy", False),
        ("random", "random.json", "shared_accuracy", False),
        ("Pareto front", "pareto.json", "shared_accuracy", False),
    ]
    cells: dict[str, list[Mapping[str, Any]]] = {}
    for name, file, accuracy, _ in sources:
        cells[name] = []
        with run.reading(file):
            given = run.rows(file) if file.endswith(".csv") else _entries(run, file)
            cells[name] = [
                {**cell, "shown_accuracy": number(next((cell[key] for key in (accuracy, *EXACT) if key in cell), None))}
                for cell in given
            ]
    if not cells["candidates"] and not cells["Pareto front"]:
        return []
    chosen, in_table = "multiply_adds", "table" in run.config
    kind = "accuracy in the table" if in_table else "stand-alone accuracy" if run.config.get("evaluator") else ""
    with run.reading("pareto.json"):
        chosen = _chosen_cost(run)
    dots = EXACT_DOTS if kind else DOTS
    charts = []
    for cost, (words, unit, scale) in COSTS.items():
        series = []
        for colour, (name, _, _, faint) in zip((6, 0, 4, 1), sources, strict=True):
            line = name == "Pareto front" and cost == chosen
            one = _cloud(cells[name], cost, name=name, scale=scale, colour=colour, faint=faint)
            series += [_as_line(one)] if line and one.x else []
            series += [one] if one.x else []
        chart = Chart(
            key=f"{run.key}--front-{cost.replace('_', '-')}",
            title=f"Accuracy and {words} of the cells",
            caption=CELLS_CAPTION.format(cost=words, dots=dots, front=FRONT if cost == chosen else OTHER_FRONT),
            x=Axis(title=("predicted " if cost == "latency_ms" and not in_table else "") + unit),
            y=Axis(title=f"{kind or 'shared-weight accuracy'} (%)"),
            series=tuple(series),
        )
        if any(one.name in ("candidates", "Pareto front") for one in chart.series):
            charts.append(chart)
    return charts


def model_charts(rows: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Draws the trained models of several runs: test accuracy against parameters, multiply-adds and latency.

    Args:
        rows: Of the summary, a run each.
    """
    charts = []
    for cost, (words, unit, scale) in COSTS.items():
        known = [row for row in rows if math.isfinite(number(row.get(cost)) + number(row.get("test_accuracy")))]
        if len(known) < 2:
            continue
        points = [(scale * row[cost], 100 * row["test_accuracy"]) for row in known]
        front = [points[i] for i in nondominated(points)]
        dots = [_model(row, point, colour) for colour, (row, point) in enumerate(zip(known, points, strict=True))]
        line = Series(name="", x=[x for x, _ in front], y=[y for _, y in front], colour=6, dashed=True, faint=True)
        charts.append(
            Chart(
                key=f"all-accuracy-{cost.replace('_', '-')}",
                title=f"Test accuracy and {words}",
                caption=f"The found cells after retraining, a dot a run, the line through a dot one standard deviation "
                f"of its seeds. Better is up and to the left; the dashed line joins the runs that no other beats in "
                f"both accuracy and {words}.",
                x=Axis(title="latency at batch size 1 (ms)" if cost == "latency_ms" else unit),
                y=Axis(title="test accuracy (%)"),
                series=(line, *dots),
            )
        )
    return charts


def _model(row: Mapping[str, Any], point: tuple[float, float], colour: int) -> Series:
    std = 100 * number(row.get("test_accuracy_std"))
    x, y = point
    return Series(
        name=row["run"],
        x=[x],
        y=[y],
        mark="dots",
        low=[y - std],
        high=[y + std],
        colour=colour,
    )


def _entries(run: RunRecord, file: str) -> list[Mapping[str, Any]]:
    entries: list[Mapping[str, Any]] | None = run.json(file)
    if not all(isinstance(entry, Mapping) for entry in entries or []):
        raise ValueError("not a list of cells")
    return entries or []


def _chosen_cost(run: RunRecord) -> str:
    """Returns the cost of the front, a key of `COSTS`."""
    cost = run.record("cost.json").get("cost")
    if cost in COSTS:
        return str(cost)
    front = _entries(run, "pareto.json") or [{}]
    return next((known for known in COSTS if known in front[0]), "multiply_adds")


def _cloud(
    cells: Sequence[Mapping[str, Any]], cost: str, *, name: str, scale: float, colour: int, faint: bool
) -> Series:
    points = [
        (scale * number(cell.get(cost)), 100 * cell["shown_accuracy"], f"cell #{index}" if not faint else "")
        for index, cell in enumerate(cells)
    ]
    points = [point for point in points if math.isfinite(point[0] + point[1])]
    points = sorted(points) if name == "Pareto front" else thinned(points, MAX_CLOUD)
    return Series(
        name=name,
        x=[x for x, _, _ in points],
        y=[y for _, y, _ in points],
        mark="dots",
        notes=() if faint else [note for _, _, note in points],
        colour=colour,
        faint=faint,
    )


def _as_line(one: Series) -> Series:
    """Returns the stairs between the points of a front: what is reached at a cost is reached at every higher one."""
    x, y = [one.x[0]], [one.y[0]]
    for at, value in zip(one.x[1:], one.y[1:], strict=True):
        x, y = [*x, at, at], [*y, y[-1], value]
    return Series(name="", x=[*x, NAN], y=[*y, NAN], colour=one.colour)
