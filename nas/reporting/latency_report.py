"""Rows of latencies as a person reads them: the table, the comparison with the references, a flat row for CSV."""

from collections.abc import Mapping, Sequence
from typing import Any

from nas.reporting.latency_plots import line_labels
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


def print_table(rows: Sequence[Row], references: Sequence[str]) -> None:
    """Prints a row each, the lines of the figure one after the other."""
    lines = line_labels(rows)
    width = max(len(label) for label in lines)
    speedups = [Column(f"speedup {name}", f"x {name}", ".2f") for name in references]
    compiled = [Column("prepare_seconds", "prepared s", ".1f")] if {row["backend"] for row in rows} != {"eager"} else []
    table = Table([Column("label", f"{'model':>{width}}", ""), *COLUMNS, *compiled, *speedups])
    for label, measured in lines.items():
        for row in measured:
            ratios = {f"speedup {name}": found["ratio"] for name, found in row["speedup"].items()}
            table.row({**row, **ratios, "label": label})


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
    flat = {key: value for key, value in row.items() if key != "speedup"}
    for reference, found in row["speedup"].items():
        flat |= {f"speedup_{key} {reference}": value for key, value in found.items()}
    return flat
