"""The picture of a sweep: accuracy, size, latency and search cost against what was swept."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.reporting.plots import GREY, PALETTE, panels_in_file
from nas.reporting.sweeps.summary import FIGURES
from nas.runs.console import Column

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, Any]]
DECADES = 100.0
"""An axis is logarithmic if its ends are so many times apart."""


def sweep_plot(rows: Rows, keys: Sequence[str], path: str | Path, *, batch_size: int) -> None:
    """Draws every figure against the first key, one colour for each combination of the others.

    Means have the standard deviation as error bar where there is one; the mean of the random cells is a dashed line.
    Numbers lie on an axis, which is logarithmic where they span decades; texts stand side by side.

    Args:
        rows: Of `aggregate`; those without a finished member are left out.
        keys: That were swept, apart from the seed; without any there is one point.
        path: Where the SVG goes.
        batch_size: Of the latency.

    Raises:
        ValueError: If no row has a finished member.
    """
    drawn = [row for row in rows if row["finished"]]
    axis, others = (keys[0] if keys else ""), keys[1:]
    values = list(dict.fromkeys(row.get(axis) for row in drawn))
    numeric = all(isinstance(value, int | float) for value in values)
    places = {value: value if numeric else place for place, value in enumerate(values)}
    series: dict[str, list[Mapping[str, Any]]] = {}
    for row in drawn:
        series.setdefault(", ".join(f"{row.get(key)}" for key in others), []).append(row)
    with panels_in_file(drawn, path, width=3.1 * len(FIGURES), panels=len(FIGURES)) as all_axes:
        for axes, figure in zip(all_axes, FIGURES, strict=True):
            for index, (label, group) in enumerate(series.items()):
                color = PALETTE[index % len(PALETTE)]
                at = [places[row.get(axis)] for row in group]
                _draw(axes, figure, group, at, color=color, label=label, joined=numeric)
            title = f"latency (ms), batch {batch_size}" if figure.key == "latency_ms" else figure.title
            axes.set(title=title, xlabel=axis)
            _scale(axes, places, numeric=numeric)
        if others:
            all_axes[-1].legend(title=", ".join(others), loc="upper left", bbox_to_anchor=(1, 1))


def _draw(
    axes: "Axes", figure: Column, group: Rows, at: Sequence[Any], *, color: str, label: str, joined: bool
) -> None:
    means = [figure.scale * row[figure.key] for row in group]
    deviations = [figure.scale * (row[f"{figure.key}_std"] or 0.0) for row in group]
    axes.errorbar(
        at,
        means,
        yerr=deviations,
        color=color,
        label=label,
        marker="o",
        markersize=3.5,
        capsize=2.5,
        linestyle="-" if joined else "none",
    )
    random = [(place, row["random_accuracy"]) for place, row in zip(at, group, strict=True) if "random_accuracy" in row]
    if figure.key == "test_accuracy" and random:
        shade = GREY if label == "" else color
        axes.plot(
            [place for place, _ in random],
            [figure.scale * accuracy for _, accuracy in random],
            color=shade,
            linestyle="--" if joined else "none",
            marker="_",
            linewidth=1.0,
        )


def _scale(axes: "Axes", places: Mapping[Any, Any], *, numeric: bool) -> None:
    """Sets the horizontal axis: ticks at the values that were swept, as long as they can be read."""
    if numeric and min(places) > 0 and max(places) / min(places) >= DECADES:
        axes.set_xscale("log")
    elif not numeric or len(places) <= 8:
        labels = ["" if value is None else str(value) for value in places]
        long = max(map(len, labels)) * len(labels) > 24
        axes.set_xticks(list(places.values()), labels=labels, rotation=30 if long else 0)
        axes.margins(x=0.1 if len(places) > 1 else 0.5)
