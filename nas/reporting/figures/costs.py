"""Accuracy against cost, and latency as `nas latency` measured it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nas.costs.pareto import nondominated
from nas.reporting.figures.colours import BLUE, GREY, ORANGE, YELLOW
from nas.reporting.figures.figures import Axis, Block, Chart, DataTable, Series, TableColumn
from nas.reporting.figures.series import MAX_CLOUD, Rows, dots, grouped, thinned
from nas.reporting.page.records import RunRecord, number

COSTS = {
    "latency_ms": ("latency", "latency (ms)", 1.0),
    "multiply_adds": ("multiply-adds", "multiply-adds (M)", 1e-6),
    "parameters": ("parameters", "parameters (k)", 1e-3),
}
"""Name of each cost, the title of its axis, and the scale to that unit."""
CAPTIONS = {
    "cells": "Accuracy against {cost}; better is up and to the left. Small dots were rewarded during the search{how}",
    "rewarded": ", on one batch each, with the weights of their epoch; the others are scored on all reward images. ",
    "front": "The line joins the cells that no other beats in both.",
    "other front": "The front shown is that of another cost: cells on it need not be the best here.",
    "models": (
        "The found cells after retraining, a dot a run, the line through a dot one standard deviation of its seeds. "
        "Better is up and to the left; the dashed line joins the runs that no other beats in both accuracy and {cost}."
    ),
    "latency": (
        "Median of the timed passes against batch size, both axes logarithmic; the band ends at p95, the 95th "
        "percentile. A flat line means that a pass costs about the same whatever its size: what takes time is to "
        "launch the work."
    ),
    "throughput": (
        "Images a second at the median latency, both axes logarithmic. Where a line no longer rises the device is "
        "busy, and larger batches gain nothing."
    ),
}
EXACT = ("accuracy", "stand_alone_accuracy")
SOURCES = {
    "rewarded": ("scored.csv", "accuracy", GREY),
    "candidates": ("candidates.json", "shared_accuracy", BLUE),
    "random": ("random.json", "shared_accuracy", YELLOW),
    "Pareto front": ("pareto.json", "shared_accuracy", ORANGE),
}
"""File of each group of cells, the accuracy that it has there, and its colour."""


def front_charts(run: RunRecord) -> list[Chart]:
    """Draws the cells of a search, accuracy against each cost that is known, with the Pareto front."""
    cells = {name: _cells(run, file, accuracy) for name, (file, accuracy, _) in SOURCES.items()}
    chosen = run.record("cost.json").get("cost")
    if chosen not in COSTS:
        front = cells["Pareto front"] or [{}]
        chosen = next((known for known in COSTS if known in front[0]), "multiply_adds")
    in_table = "table" in run.config
    kind = "accuracy in the table" if in_table else "stand-alone accuracy" if run.config.get("evaluator") else ""
    charts = []
    for cost, (words, unit, scale) in COSTS.items():
        series: list[Series] = []
        for name, (_, _, colour) in SOURCES.items():
            points = [(scale * number(cell.get(cost)), 100 * cell["shown_accuracy"]) for cell in cells[name]]
            series += cloud(points, name=name, colour=colour, faint=name == "rewarded")
            if name == "Pareto front" and cost == chosen and series:
                series += stairs(points, colour=colour)
        if any(one.name in ("candidates", "Pareto front") for one in series):
            caption = CAPTIONS["cells"].format(cost=words, how=". " if kind else CAPTIONS["rewarded"])
            caption += CAPTIONS["front"] if cost == chosen else CAPTIONS["other front"]
            x = Axis(("predicted " if cost == "latency_ms" and not in_table else "") + unit)
            key, title = f"{run.key}--front-{cost.replace('_', '-')}", f"Accuracy and {words} of the cells"
            charts.append(Chart(key, title, caption, x, Axis(f"{kind or 'shared-weight accuracy'} (%)"), series))
    return charts


def cloud(points: Sequence[tuple[float, float]], *, name: str, **looks: Any) -> list[Series]:
    """Returns dots at the points (cost, accuracy in %) that are known, with their numbers, if there are any."""
    known = [(*point, f"cell #{index}") for index, point in enumerate(points) if math.isfinite(sum(point))]
    if not known:
        return []
    x, y, notes = zip(*thinned(known, MAX_CLOUD), strict=True)
    return [Series(name=name, x=x, y=y, mark="dots", notes=() if looks.get("faint") else notes, **looks)]


def stairs(points: Sequence[tuple[float, float]], *, end: float | None = None, **looks: Any) -> list[Series]:
    """Returns the stairs between the points of a front: what is reached at a cost is reached at every higher one."""
    known = sorted(point for point in points if math.isfinite(sum(point)))
    if not known:
        return []
    ends = [x for x, _ in known[1:]] + [known[-1][0] if end is None else end]
    x = [place for (start, _), stop in zip(known, ends, strict=True) for place in (start, stop)]
    return [Series(x=x, y=[value for _, value in known for _ in (0, 1)], **looks)]


def model_charts(rows: Rows) -> list[Chart]:
    """Draws the trained models of several runs: test accuracy against parameters, multiply-adds and latency.

    Args:
        rows: The summary of each run.
    """
    charts = []
    for cost, (words, unit, scale) in COSTS.items():
        known = [row for row in rows if math.isfinite(number(row.get(cost)) + number(row.get("test_accuracy")))]
        if len(known) < 2:
            continue
        points = [(scale * row[cost], 100 * row["test_accuracy"]) for row in known]
        front = [points[i] for i in nondominated(points)]
        series = [Series(x=[x for x, _ in front], y=[y for _, y in front], colour=GREY, dashed=True)]
        for colour, (row, (x, y)) in enumerate(zip(known, points, strict=True)):
            series.append(dots([x], [y], [100 * number(row.get("test_accuracy_std"))], name=row["run"], colour=colour))
        axis = Axis("latency at batch size 1 (ms)" if cost == "latency_ms" else unit)
        key, title = f"all-accuracy-{cost.replace('_', '-')}", f"Test accuracy and {words}"
        charts.append(Chart(key, title, CAPTIONS["models"].format(cost=words), axis, Axis("test accuracy (%)"), series))
    return charts


def _cells(run: RunRecord, file: str, accuracy: str) -> list[dict[str, Any]]:
    """Returns the cells of a file, each with the first accuracy that it has as `shown_accuracy`."""
    with run.reading(file):
        given = run.rows(file) if file.endswith(".csv") else run.json(file) or []
        if not all(isinstance(cell, Mapping) for cell in given):
            raise ValueError("not a list of cells")
        keys = (accuracy, *EXACT)
        return [
            {**cell, "shown_accuracy": number(next((cell[key] for key in keys if key in cell), None))} for cell in given
        ]
    return []


VARYING = ("backend", "precision", "threads")
"""Settings by which measurements of one model differ."""


def latency_blocks(runs: Sequence[RunRecord]) -> list[Block]:
    """Draws and lists the latencies of all runs; nothing if none was measured."""
    rows = [row for run in runs for row in latency_rows(run)]
    columns = [
        TableColumn("label", "model"),
        TableColumn("batch_size", "batch size", "g"),
        TableColumn("median_ms", "median (ms)", ".3f"),
        TableColumn("p95_ms", "p95 (ms)", ".3f"),
        TableColumn("images_per_second", "images/s", ",.0f"),
        TableColumn("repeats", "passes", "g"),
    ]
    caption = "Median and p95, the 95th percentile, of the timed passes."
    table = DataTable("latencies", "Measured latencies", caption, columns, rows)
    return [*latency_charts(grouped(rows, "label")), table] if rows else []


def latency_charts(lines: Mapping[str, Rows]) -> list[Chart]:
    """Draws latency and images per second against batch size: Figure 4 of the ShuffleNASNet paper, arXiv:1812.02975.

    Args:
        lines: By label, with `batch_size`, `median_ms`, `p95_ms` and `images_per_second`.
    """
    axis = Axis(
        "batch size (images)", log=2, ticks=tuple(sorted({row["batch_size"] for g in lines.values() for row in g}))
    )
    charts = []
    for key, title, caption, column, unit in (
        ("latency", "Latency", CAPTIONS["latency"], "median_ms", "latency (ms)"),
        ("throughput", "Throughput", CAPTIONS["throughput"], "images_per_second", "images a second"),
    ):
        series = [_series(name, rows, column, colour) for colour, (name, rows) in enumerate(lines.items())]
        charts.append(Chart(key, title, caption, axis, Axis(unit, log=10), series))
    return charts


def latency_rows(run: RunRecord) -> list[dict[str, Any]]:
    """Returns the measurements of a run, each with a `label` that tells models and ways of running them apart."""
    rows: list[dict[str, Any]] = []
    with run.reading("latency.json"):
        measured = [entry for entry in run.record("latency.json").get("latency", []) if number(entry["median_ms"]) > 0]
        for entry in measured:
            model, size = str(entry.get("model", run.name)), float(entry["batch_size"])
            owner = run.name if model in (run.name, run.folder.name) else f"{run.name}: {model}"
            known = {"images_per_second": 1000 * size / entry["median_ms"], **entry, "batch_size": size}
            rows.append({"label": ", ".join([owner, *_settings(entry, measured)]), "run": run.name, **known})
    return rows


def line_labels(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    """Returns the rows of each line of a figure by its label, in order of first appearance.

    A label holds what differs among the rows: the model, and further settings with several values.
    """
    return grouped([{**row, "label": ", ".join([str(row["model"]), *_settings(row, rows)])} for row in rows], "label")


def _settings(row: Mapping[str, Any], rows: Rows) -> list[str]:
    """Returns the settings of a row that are not the same in all rows."""
    varied = [key for key in VARYING if len({str(one.get(key)) for one in rows}) > 1]
    return [f"{row.get(key)} threads" if key == "threads" else str(row.get(key)) for key in varied]


def _series(name: str, rows: Rows, key: str, colour: int) -> Series:
    rows = sorted((row for row in rows if number(row.get(key)) > 0), key=lambda row: float(row["batch_size"]))
    sizes, values = [row["batch_size"] for row in rows], [number(row[key]) for row in rows]
    tops = [number(row.get("p95_ms")) for row in rows] if key == "median_ms" else []
    return Series(name=name, x=sizes, y=values, low=values if tops else (), high=tops, colour=colour)
