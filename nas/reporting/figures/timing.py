"""Latency as `nas latency` measured it: against batch size, models of all runs beside each other."""

from collections.abc import Mapping, Sequence
from typing import Any

from nas.reporting.figures.figures import Axis, Block, Chart, DataTable, Series, TableColumn
from nas.reporting.page.records import RunRecord, number

NAMES = ("backend", "precision", "threads")
"""What tells measurements of one model apart."""
CAPTION = (
    "Median of the timed passes against batch size, both axes logarithmic; the band ends at p95, the 95th percentile. "
    "A flat line means that a pass costs about the same whatever its size: what takes time is to launch the work."
)


def latency_blocks(runs: Sequence[RunRecord]) -> list[Block]:
    """Draws and lists the latencies of all runs; nothing if none was measured."""
    rows = [row for run in runs for row in latency_rows(run)]
    if not rows:
        return []
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["label"], []).append(row)
    sizes = tuple(sorted({row["batch_size"] for row in rows}))
    axis = Axis(title="batch size (images)", log=True, ticks=sizes)
    time = Chart(
        key="latency",
        title="Latency",
        caption=CAPTION,
        x=axis,
        y=Axis(title="latency (ms)", log=True),
        series=tuple(_series(name, group, "median_ms", colour) for colour, (name, group) in enumerate(groups.items())),
    )
    rate = Chart(
        key="throughput",
        title="Throughput",
        caption="Images a second at the median latency, both axes logarithmic. Where a line no longer rises the device "
        "is busy, and larger batches gain nothing.",
        x=axis,
        y=Axis(title="images a second", log=True),
        series=tuple(
            _series(name, group, "images_per_second", colour) for colour, (name, group) in enumerate(groups.items())
        ),
    )
    return [*(chart for chart in (time, rate) if not chart.empty), _table(rows)]


def latency_rows(run: RunRecord) -> list[dict[str, Any]]:
    """Returns the measurements of a run, each with a `label` that tells models and ways of running them apart."""
    rows: list[dict[str, Any]] = []
    with run.reading("latency.json"):
        measured = [entry for entry in run.record("latency.json").get("latency", []) if number(entry["median_ms"]) > 0]
        varying = [name for name in NAMES if len({str(entry.get(name)) for entry in measured}) > 1]
        for entry in measured:
            model = str(entry.get("model", run.name))
            owner = model if model in (run.name, run.folder.name) else f"{run.name}: {model}"
            label = ", ".join([run.name if owner == model else owner, *(str(entry.get(name)) for name in varying)])
            rows.append({"label": label, "run": run.name, **entry, "batch_size": float(entry["batch_size"])})
    return rows


def _series(name: str, rows: Sequence[Mapping[str, Any]], key: str, colour: int) -> Series:
    rows = sorted((row for row in rows if number(row.get(key)) > 0), key=lambda row: float(row["batch_size"]))
    values = [number(row[key]) for row in rows]
    tops = [number(row.get("p95_ms")) for row in rows] if key == "median_ms" else []
    return Series(
        name=name,
        x=[row["batch_size"] for row in rows],
        y=values,
        low=values if tops else (),
        high=tops,
        colour=colour,
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> DataTable:
    return DataTable(
        key="latencies",
        title="Measured latencies",
        caption="Median and p95, the 95th percentile, of the timed passes.",
        columns=[
            TableColumn(key="label", title="model", show=lambda row: str(row["label"]), numeric=False),
            TableColumn(key="batch_size", title="batch size", show=lambda row: f"{row['batch_size']:g}"),
            TableColumn(key="median_ms", title="median (ms)", show=lambda row: f"{row['median_ms']:.3f}"),
            TableColumn(key="p95_ms", title="p95 (ms)", show=lambda row: f"{row['p95_ms']:.3f}"),
            TableColumn(key="images_per_second", title="images/s", show=lambda row: f"{row['images_per_second']:,.0f}"),
            TableColumn(key="repeats", title="passes", show=lambda row: f"{row['repeats']:g}"),
        ],
        rows=[{key: value for key, value in row.items() if not isinstance(value, list | dict)} for row in rows],
    )
