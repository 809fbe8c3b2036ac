"""Figures of costs: accuracy against cost with the Pareto front, and predicted against measured latency."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from nas.costs.pareto import Point
from nas.reporting.plots import BLUE, GREEN, GREY, ORANGE, PALETTE, panels_in_file

LOOKS = ((GREY, "o", 1.8), (ORANGE, "s", 4.5), (BLUE, "o", 4.0))  # colour, mark and its size, of groups in turn


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
    with panels_in_file(front, path, width=7.4, panels=1) as (axes,):
        shown = {name: points for name, points in groups.items() if points}
        for (name, points), (color, mark, size) in zip(shown.items(), _looks(groups, shown), strict=True):
            costs, accuracies = [cost for cost, _ in points], [100 * accuracy for _, accuracy in points]
            axes.plot(costs, accuracies, mark, color=color, markersize=size, label=f"{name} (n = {len(points)})")
        steps = [*front, (max(cost for points in [front, *shown.values()] for cost, _ in points), front[-1][1])]
        axes.step(
            [cost for cost, _ in steps],
            [100 * accuracy for _, accuracy in steps],
            where="post",
            color=GREEN,
            label=f"front of the candidates (n = {len(front)})",
        )
        if target is not None:
            axes.axvline(target, color=GREY, linestyle="--", linewidth=1.0, label="target")
        axes.set(title="accuracy with shared weights (%)", xlabel=axis)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)


def predictor_plot(pairs: Mapping[str, Sequence[tuple[float, float]]], *, title: str, path: str | Path) -> None:
    """Draws predicted against measured latency in ms, with the line on which both are equal.

    Args:
        pairs: (predicted, measured) by name of the group.
        title: Of the figure.
        path: Where the SVG goes.

    Raises:
        ValueError: If there are no pairs.
    """
    everything = [value for group in pairs.values() for pair in group for value in pair]
    with panels_in_file(everything, path, width=4.6, panels=1) as (axes,):
        ends = [min(everything), max(everything)]
        axes.plot(ends, ends, "--", color=GREY, linewidth=1.0, label="equal")
        for color, (name, group) in zip(PALETTE, pairs.items(), strict=False):
            predicted, measured = [pair[0] for pair in group], [pair[1] for pair in group]
            axes.plot(predicted, measured, "o", color=color, markersize=4.0, label=f"{name} (n = {len(group)})")
        axes.set(title=title, xlabel="predicted (ms)", ylabel="measured (ms)")
        axes.legend(loc="upper left")


def _looks(groups: Mapping[str, Sequence[Point]], shown: Mapping[str, Sequence[Point]]) -> list[tuple[str, str, float]]:
    """Returns the looks of the groups shown, the same ones whichever others are empty."""
    by_name = dict(zip(groups, LOOKS, strict=False))
    return [by_name[name] for name in shown]
