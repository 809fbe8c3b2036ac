"""Measured latencies as a person reads them: figure, table, comparison with the references, flat rows for CSV."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.reporting.figures.costs import latency_charts, line_labels
from nas.reporting.figures.drawing import write_figure
from nas.runs.console import Column, Table, result

Row = dict[str, Any]
COLUMNS = (
    Column("batch_size", "batch", "d"),
    Column("median_ms", "median ms", ".3f"),
    Column("p95_ms", "p95 ms", ".3f"),
    Column("images_per_second", "images/s", ".0f"),
    Column("repeats", "passes", "d"),
    Column("peak_memory_mib", "MiB", ".1f"),
)


def comparison_plot(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draws latency and images per second against batch size, a line a model, axes logarithmic.

    Args:
        rows: With `model`, `backend`, `precision`, `threads`, `batch_size`, `median_ms`, `p95_ms`.
        path: Where the SVG goes.

    Raises:
        ValueError: If there are no rows.
    """
    rated = [{"images_per_second": 1000 * row["batch_size"] / row["median_ms"], **row} for row in rows]
    write_figure(path, *latency_charts(line_labels(rated)))


def print_table(rows: Sequence[Row], references: Sequence[str]) -> None:
    """Prints a row each, the lines of the figure one after the other."""
    lines = line_labels(rows)
    width = max(len(label) for label in lines)
    speedups = [Column(f"speedup {name}", f"x {name}", ".2f") for name in references]
    compiled = [Column("prepare_seconds", "prepared s", ".1f")] if {row["backend"] for row in rows} != {"eager"} else []
    table = Table([Column("label", f"{'model':>{width}}", ""), *COLUMNS, *compiled, *speedups])
    for row in (row for measured in lines.values() for row in measured):
        table.row({**row, **{f"speedup {name}": found["ratio"] for name, found in row["speedup"].items()}})


def conclude(rows: Sequence[Row], references: Sequence[str]) -> None:
    """Prints how many times as fast the models are as the references, and how sure that is."""
    lines = line_labels(rows)
    for reference in references:
        result(f"times as fast as {reference} (95 % interval):")
        for label, measured in lines.items():
            if measured[0]["model"] != reference:
                found = ((row["batch_size"], row["speedup"].get(reference)) for row in measured)
                texts = [
                    f"batch {size}: {one['ratio']:.2f} ({one['low']:.2f} … {one['high']:.2f})"
                    for size, one in found
                    if one
                ]
                result(f"  {label}: {', '.join(texts) or 'the reference was left out'}")
    if not references:
        first = rows[0]
        result(f"latency at batch {first['batch_size']}: {first['median_ms']:.3f} ms (p95 {first['p95_ms']:.3f} ms)")


def flat_row(row: Mapping[str, Any]) -> Row:
    """Returns a row without a level below."""
    speedups = row["speedup"].items()
    ratios = {f"speedup_{key} {name}": value for name, found in speedups for key, value in found.items()}
    return {**{key: value for key, value in row.items() if key != "speedup"}, **ratios}
