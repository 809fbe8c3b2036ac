"""The figure of a comparison of latencies: Figure 4 of the ShuffleNASNet paper (arXiv:1812.02975), and throughput."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.reporting.plots import PALETTE, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES = ("-", "--", ":", "-.")


def comparison_plot(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draws latency and images per second against batch size, a line a model, axes logarithmic.

    The median is a line, what lies between it and the 95th percentile a band. Backends, precisions and numbers of
    threads are told apart by the label, where there are several.

    Args:
        rows: With `model`, `backend`, `precision`, `threads`, `batch_size`, `median_ms`, `p95_ms`.
        path: Where the SVG goes.

    Raises:
        ValueError: If there are no rows.
    """
    if not rows:
        raise ValueError(f"nothing to draw in {path}: there are no rows")
    import matplotlib
    from matplotlib.figure import Figure

    lines = line_labels(rows)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.0, 3.6 + 0.12 * max(0, len(lines) - 8)), layout="constrained")
        left, right = figure.subplots(1, 2)
        for index, (label, measured) in enumerate(lines.items()):
            points = sorted(measured, key=lambda row: row["batch_size"])
            sizes = [row["batch_size"] for row in points]
            medians = [row["median_ms"] for row in points]
            tops = [row["p95_ms"] for row in points]
            color = PALETTE[index % len(PALETTE)]
            style = {"color": color, "marker": "o", "markersize": 3.5}
            dashes = DASHES[index // len(PALETTE) % len(DASHES)]
            left.plot(sizes, medians, dashes, **style)
            left.fill_between(sizes, medians, tops, color=color, alpha=0.15, lw=0)
            rates = [1000 * size / median for size, median in zip(sizes, medians, strict=True)]
            right.plot(sizes, rates, dashes, label=label, **style)
        all_sizes = sorted({int(row["batch_size"]) for row in rows})
        _logarithmic(left, all_sizes, title="latency (ms): median, band up to p95")
        _logarithmic(right, all_sizes, title="images per second, at the median")
        figure.legend(loc="outside right upper")
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def line_labels(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Sorts rows into lines, labelled by what differs among them: the model, and further settings with several values.

    Returns:
        The rows of each line by label, in order of first appearance.
    """
    varied = [key for key in ("backend", "precision", "threads") if len({row[key] for row in rows}) > 1]
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        words = [f"{row[key]} threads" if key == "threads" else str(row[key]) for key in varied]
        lines.setdefault(", ".join([str(row["model"]), *words]), []).append(row)
    return lines


def _logarithmic(axes: "Axes", sizes: Sequence[int], *, title: str) -> None:
    from matplotlib.ticker import LogLocator

    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, labels=[str(size) for size in sizes])
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.margins(y=0.1)
    axes.set(title=title, xlabel="batch size")
