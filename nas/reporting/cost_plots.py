"""Figures of costs: accuracy against cost with the Pareto front, and predicted against measured latency."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from nas.costs.pareto import Point
from nas.reporting.figures.colours import BLUE, GREEN, GREY, ORANGE
from nas.reporting.figures.drawing import write_figure
from nas.reporting.figures.figures import Axis, Chart, Series
from nas.reporting.figures.tradeoffs import cloud, stairs

COLOURS = (GREY, ORANGE, BLUE)  # of groups in turn, the same ones whichever others are empty


def pareto_plot(
    groups: Mapping[str, Sequence[Point]],
    *,
    front: Sequence[Point],
    axis: str,
    target: float | None,
    path: str | Path,
) -> None:
    """Draws accuracy against cost, and the Pareto front as a staircase.

    Args:
        groups: Points (cost, accuracy in 0 … 1) by name; empty groups are left out.
        front: Points of the front, by ascending cost.
        axis: What the cost is, with its unit.
        target: A cost to mark; None marks none.
        path: Where the SVG goes.

    Raises:
        ValueError: If the front is empty.
    """
    if not front:
        raise ValueError(f"nothing to draw in {path}: there is no front")
    series: list[Series] = []
    for colour, (name, points) in zip(COLOURS, groups.items(), strict=False):
        shares = [(cost, 100 * accuracy) for cost, accuracy in points]
        series += cloud(shares, name=f"{name} (n = {len(points)})", colour=colour, faint=colour == GREY)
    name = f"front of the candidates (n = {len(front)})"
    end = max(cost for points in [front, *groups.values()] for cost, _ in points)
    series += stairs([(cost, 100 * accuracy) for cost, accuracy in front], end=end, name=name, colour=GREEN)
    marks = [] if target is None else [target]
    title = "Accuracy and cost" + ("" if target is None else "; dashed: the target")
    write_figure(path, Chart("pareto", title, "", Axis(axis), Axis("accuracy with shared weights (%)"), series, marks))


def predictor_plot(pairs: Mapping[str, Sequence[tuple[float, float]]], *, title: str, path: str | Path) -> None:
    """Draws predicted against measured latency in ms, with the line on which both are equal.

    Args:
        pairs: (predicted, measured) by name of the group.
        title: Of the figure.
        path: Where the SVG goes.

    Raises:
        ValueError: If there are no pairs.
    """
    everything = [value for group in pairs.values() for pair in group for value in pair] or [0.0]
    ends = [min(everything), max(everything)]
    series = [
        one
        for colour, (name, group) in enumerate(pairs.items())
        for one in cloud(group, name=f"{name} (n = {len(group)})", colour=colour)
    ]
    equal = Series(name="equal", x=ends, y=ends, colour=GREY, dashed=True)
    lines = [equal] if series else []
    write_figure(path, Chart("predictor", title, "", Axis("predicted (ms)"), Axis("measured (ms)"), [*lines, *series]))
