"""The figures that searches, retrainings and their costs leave in run folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.costs.pareto import Point
from nas.reporting.figures.colours import BLUE, GREEN, GREY, ORANGE
from nas.reporting.figures.costs import cloud, stairs
from nas.reporting.figures.drawing import write_figure
from nas.reporting.figures.figures import Axis, Chart, Series
from nas.reporting.figures.searches import choice_charts, diagnostic_charts, retrain_chart, reward_chart, single_chart


def search_curves(rows: Sequence[Mapping[str, float]], path: str | Path) -> None:
    """Draws how a search went: the rewards and their baseline, the policy's entropy, the loss of the shared weights.

    Args:
        rows: One an epoch, with `epoch` and any of `reward` (mean of the sampled architectures), `best` (highest so
            far), `baseline`, `entropy` in nats, and `loss` in nats. What is missing, None or NaN is left out.
        path: Where the SVG goes.

    Raises:
        ValueError: If there are no values.
    """
    write_figure(path, reward_chart(rows), single_chart(rows, "entropy"), single_chart(rows, "loss"))


def choice_curves(rows: Sequence[Mapping[str, float]], path: str | Path) -> None:
    """Draws how often each op, and each mixer, was chosen as the policy evolved, stacked to 100 %.

    Args:
        rows: One an epoch, with `epoch` and shares in 0 … 1 by `kind.choice`, as `op.identity`; those of a kind sum
            to 1. Each is drawn as its mean over up to ten epochs, since an epoch has few samples.
        path: Where the SVG goes.

    Raises:
        ValueError: If `rows` is empty or holds no shares.
    """
    write_figure(path, *choice_charts(rows))


def training_curves(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draws the test accuracy of retrained architectures, a line each, in one colour per kind of cell.

    Args:
        rows: One an epoch of each run, with `label` ("found", "random"), `seed`, `epoch` and `test_accuracy` in
            0 … 1. Epochs without a test accuracy (missing, None or NaN) are left out; other keys are not read.
        path: Where the SVG goes.

    Raises:
        ValueError: If there are no values.
    """
    write_figure(path, retrain_chart(rows, "test_accuracy"))


def diagnostics_plot(rows: Sequence[Mapping[str, float]], path: str | Path, *, marks: Sequence[int] = ()) -> None:
    """Draws repeats and regret, the entropy of every decision and the probability of every op and mixer.

    Args:
        rows: Rows of `nas.searching.diagnostics.watch`, one an epoch.
        path: Where the SVG goes.
        marks: Epochs in which something was found, drawn as dashed lines.

    Raises:
        ValueError: If `rows` is empty.
    """
    write_figure(path, *diagnostic_charts(rows, marks=marks))


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
    for colour, (name, points) in zip((GREY, ORANGE, BLUE), groups.items(), strict=False):
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
        title: Title of the figure.
        path: Where the SVG goes.

    Raises:
        ValueError: If there are no pairs.
    """
    values = [value for group in pairs.values() for pair in group for value in pair]
    ends = [min(values), max(values)] if values else []
    series = [Series(name="equal", x=ends, y=ends, colour=GREY, dashed=True)]
    for colour, (name, group) in enumerate(pairs.items()):
        series += cloud(group, name=f"{name} (n = {len(group)})", colour=colour)
    write_figure(path, Chart("predictor", title, "", Axis("predicted (ms)"), Axis("measured (ms)"), series))
