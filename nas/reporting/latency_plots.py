"""The figure of a comparison of latencies."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.reporting.figures.drawing import write_figure
from nas.reporting.figures.timing import latency_charts, line_labels

__all__ = ["comparison_plot", "line_labels"]


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
