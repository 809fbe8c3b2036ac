"""Figures of a ranking: predictions against stand-alone accuracies, and tau by the treatment of batch norm."""

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.reporting.figures.colours import BLUE, GREY, ORANGE
from nas.reporting.figures.drawing import write_figure
from nas.reporting.figures.figures import Axis, Chart, Series
from nas.reporting.figures.series import thinned
from nas.runs.intervals import wilson_interval
from nas.studies.ranking.estimates import Array
from nas.studies.ranking.figures import stand_alone

SOURCES = {"uniform": BLUE, "policy": ORANGE}
MAX_CELLS = 3000  # drawn of a table


def ranking_plot(
    cells: Sequence[Mapping[str, Any]],
    runs: Mapping[str, Mapping[str, Any]],
    *,
    reward_images: int,
    test_images: int,
    path: str | Path,
) -> None:
    """Draws for each run shared-weight against stand-alone accuracy, and next to them tau by treatment of batch norm.

    The bars of a cell are 95 % intervals: how far an accuracy may be off for having been measured on so many images
    (Wilson's). Those of tau are bootstrapped over cells.

    Args:
        cells: Rows with `source`, `stand_alone` and `shared`.
        runs: By name, with `mode` and the figures of `nas.studies.ranking.figures.run_figures`.
        reward_images: Number of images on which shared weights were scored.
        test_images: Number of images on which stand-alone models were.
        path: Where the SVG goes.

    Raises:
        ValueError: If there are no cells.
    """
    charts = []
    for name, run in runs.items():
        tau = run["within"]["all"]["tau"]
        title = f"{name}: tau {tau['value']:.2f} ({tau['low']:.2f} … {tau['high']:.2f})"
        x, y = Axis(f"accuracy with shared weights, {run['mode']} (%)"), Axis("stand-alone test accuracy (%)")
        points: dict[str, list[tuple[float, float]]] = {source: [] for source in SOURCES}
        for cell, accuracy in zip(cells, stand_alone(cells).tolist(), strict=True):
            points[cell["source"]].append((cell["shared"][name][run["mode"]], accuracy))
        series = [_scatter(source, own, (reward_images, test_images)) for source, own in points.items() if own]
        charts.append(Chart(name, title, "", x, y, [*itertools.chain(*series)]))
    modes = []
    for colour, (name, run) in enumerate(runs.items()):
        value, low, high = ([entry["tau"][key] for entry in run["modes"].values()] for key in ("value", "low", "high"))
        modes.append(Series(name=name, x=[*run["modes"]], y=value, mark="dots", low=low, high=high, colour=colour))
    title = "tau by treatment of batch norm"
    write_figure(path, *charts, *([Chart("modes", title, "", Axis(""), Axis("tau"), modes)] if cells else []))


def _scatter(source: str, points: Sequence[tuple[float, float]], images: tuple[int, int]) -> list[Series]:
    """Returns the dots of the cells of a source, and before them their bars."""
    x, y = list[float](), list[float]()
    for shared, truth in points:
        x += [*wilson_interval(shared, images[0]), math.nan, shared, shared, math.nan]
        y += [truth, truth, math.nan, *wilson_interval(truth, images[1]), math.nan]
    bars = Series(x=[100 * value for value in x], y=[100 * value for value in y], colour=GREY)
    across, up = ([100 * value for value in values] for values in zip(*points, strict=True))
    name = f"{source} (n = {len(points)})"
    return [bars, Series(name=name, x=across, y=up, mark="dots", colour=SOURCES[source])]


def ordering_plot(truth: Array, scores: Mapping[str, Mapping[str, Array]], path: str | Path) -> None:
    """Draws for each run the truth of the cells, of at most `MAX_CELLS`, against the loss under its shared weights.

    Args:
        truth: (n,), what the table holds of the cells.
        scores: By run, `loss`, (n,), minus the loss: higher is better.
        path: Where the SVG goes.
    """
    charts = []
    for name, found in scores.items():
        points = thinned([*zip((-found["loss"]).tolist(), truth.tolist(), strict=True)], MAX_CELLS)
        dots = Series(x=[x for x, _ in points], y=[y for _, y in points], mark="dots", faint=True)
        x, y = Axis("shared-weight loss (nats)"), Axis("truth in the table")
        charts.append(Chart(name, f"{name} ({len(points)} of {len(truth)} cells)", "", x, y, [dots]))
    write_figure(path, *charts)
