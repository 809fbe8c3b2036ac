"""What a ranking looks like: predictions against stand-alone accuracies, and what batch norm's treatment changes."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.reporting.figures.colours import BLUE, GREY, ORANGE
from nas.reporting.figures.drawing import write_figure
from nas.reporting.figures.figures import Axis, Chart, Series
from nas.reporting.figures.series import thinned
from nas.runs.intervals import wilson_interval
from nas.studies.ranking.correlations import Array
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
    """Draws for each run shared-weight against stand-alone accuracy, and beside them tau by treatment of batch norm.

    The bars of a cell are 95 % intervals: how far an accuracy may be off for having been measured on so many images
    (Wilson's). Those of tau are bootstrapped over cells.

    Args:
        cells: With `source`, `stand_alone` and `shared`.
        runs: By name, with `mode` and the figures of `nas.studies.ranking.figures.run_figures`.
        reward_images: On which shared weights were scored.
        test_images: On which stand-alone models were.
        path: Where the SVG goes.

    Raises:
        ValueError: If there are no cells.
    """
    charts = []
    for name, run in runs.items():
        tau = run["within"]["all"]["tau"]
        title = f"{name}: tau {tau['value']:.2f} ({tau['low']:.2f} … {tau['high']:.2f})"
        x = Axis(f"accuracy with shared weights, {run['mode']} (%)")
        groups = {source: [cell for cell in cells if cell["source"] == source] for source in SOURCES}
        series = [
            one
            for source, group in groups.items()
            for one in _scatter(group, source, name, mode=run["mode"], images=(reward_images, test_images))
        ]
        charts.append(Chart(name, title, "", x, Axis("stand-alone test accuracy (%)"), series))
    modes = [_modes(name, run, colour=colour) for colour, (name, run) in enumerate(runs.items())]
    title = "tau by treatment of batch norm"
    write_figure(path, *charts, *([Chart("modes", title, "", Axis(""), Axis("tau"), modes)] if cells else []))


def _scatter(
    cells: Sequence[Mapping[str, Any]], source: str, run: str, *, mode: str, images: tuple[int, int]
) -> list[Series]:
    """Returns the dots of the cells of a source, and before them their bars."""
    if not cells:
        return []
    shared, truth = [cell["shared"][run][mode] for cell in cells], stand_alone(cells).tolist()
    x, y = list[float](), list[float]()
    for across, up in zip(shared, truth, strict=True):
        x += [*wilson_interval(across, images[0]), math.nan, across, across, math.nan]
        y += [up, up, math.nan, *wilson_interval(up, images[1]), math.nan]
    x, y, shared, truth = ([100 * value for value in values] for values in (x, y, shared, truth))
    name = f"{source} (n = {len(cells)})"
    return [Series(x=x, y=y, colour=GREY), Series(name=name, x=shared, y=truth, mark="dots", colour=SOURCES[source])]


def _modes(name: str, run: Mapping[str, Any], *, colour: int) -> Series:
    modes = {mode: entry["tau"] for mode, entry in run["modes"].items()}
    value, low, high = ([tau[key] for tau in modes.values()] for key in ("value", "low", "high"))
    return Series(name=name, x=[*modes], y=value, mark="dots", low=low, high=high, colour=colour)


def ordering_plot(truth: Array, scores: Mapping[str, Mapping[str, Array]], path: str | Path) -> None:
    """Draws for each run the truth of the cells, of at most `MAX_CELLS`, against the loss under its shared weights.

    Args:
        truth: (n,), as the table has it.
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
