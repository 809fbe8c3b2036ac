"""Latency as `nas latency` measured it: against batch size, models of all runs beside each other."""

from collections.abc import Mapping, Sequence
from typing import Any

from nas.reporting.figures.figures import Axis, Block, Chart, DataTable, Series, TableColumn
from nas.reporting.figures.series import Rows, grouped
from nas.reporting.page.records import RunRecord, number

VARYING = ("backend", "precision", "threads")
"""What tells measurements of one model apart."""
CAPTION = (
    "Median of the timed passes against batch size, both axes logarithmic; the band ends at p95, the 95th percentile. "
    "A flat line means that a pass costs about the same whatever its size: what takes time is to launch the work."
)
RATE_CAPTION = (
    "Images a second at the median latency, both axes logarithmic. Where a line no longer rises the device is busy, "
    "and larger batches gain nothing."
)


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
        ("latency", "Latency", CAPTION, "median_ms", "latency (ms)"),
        ("throughput", "Throughput", RATE_CAPTION, "images_per_second", "images a second"),
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
