"""The picture of a sweep: accuracy, size, latency and search cost against what was swept."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.reporting.figures.colours import GREY
from nas.reporting.figures.drawing import write_figure
from nas.reporting.figures.figures import Axis, Chart, Series
from nas.reporting.sweeps.summary import FIGURES
from nas.runs.console import Column

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
    key, others = (keys[0] if keys else ""), keys[1:]
    values: list[Any] = [row.get(key) for row in drawn]
    numeric = bool(values) and all(isinstance(value, int | float) for value in values)
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in drawn:
        place = row.get(key) if numeric else str(row.get(key, ""))
        groups.setdefault(", ".join(f"{row.get(other)}" for other in others), []).append({**row, "place": place})
    axis = Axis(key, log=10 if numeric and min(values) > 0 and max(values) / min(values) >= DECADES else 0)
    if numeric and not axis.log and len(set(values)) <= 8:
        axis = Axis(key, ticks=tuple(dict.fromkeys(values)))
    charts = []
    for figure in FIGURES:
        title = f"latency (ms), batch {batch_size}" if figure.key == "latency_ms" else figure.title
        series = [
            one
            for colour, (name, group) in enumerate(groups.items())
            for one in _series(figure, group, name, colour=colour, joined=numeric)
        ]
        charts.append(
            Chart(figure.key, title + (f" by {', '.join(others)}" if others else ""), "", axis, Axis(""), series)
        )
    write_figure(path, *charts)


def _series(figure: Column, group: Rows, name: str, *, colour: int, joined: bool) -> list[Series]:
    places, means = [row["place"] for row in group], [figure.scale * row[figure.key] for row in group]
    stds = [figure.scale * (row[f"{figure.key}_std"] or 0.0) for row in group]
    low = [mean - std for mean, std in zip(means, stds, strict=True)]
    high = [mean + std for mean, std in zip(means, stds, strict=True)]
    series = [Series(x=places, y=means, colour=colour)] if joined else []
    series.append(Series(name=name, x=places, y=means, mark="dots", low=low, high=high, colour=colour))
    random = [row for row in group if "random_accuracy" in row]
    if figure.key == "test_accuracy" and random:
        means = [figure.scale * row["random_accuracy"] for row in random]
        looks: dict[str, Any] = {"colour": colour if name else GREY, "dashed": True} if joined else {"mark": "dots"}
        places = [row["place"] for row in random]
        series.append(Series(name=f"{name} random cells".strip(), x=places, y=means, faint=True, **looks))
    return series
