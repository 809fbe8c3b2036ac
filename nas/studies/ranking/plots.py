"""What a ranking looks like: predictions against stand-alone accuracies, and what batch norm's treatment changes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.reporting.plots import BLUE, GREY, ORANGE, PALETTE, panels_in_file
from nas.runs.intervals import wilson_interval
from nas.studies.ranking.correlations import Array
from nas.studies.ranking.figures import stand_alone

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SOURCES = {"uniform": BLUE, "policy": ORANGE}


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
    panels = len(runs) + 1
    with panels_in_file(cells, path, width=4.0 * panels, panels=panels) as all_axes:
        for axes, (name, run) in zip(all_axes, runs.items(), strict=False):
            _scatter(axes, cells, name, mode=run["mode"], images=(reward_images, test_images))
            tau = run["within"]["all"]["tau"]
            axes.set_title(f"{name}: tau {tau['value']:.2f} ({tau['low']:.2f} … {tau['high']:.2f})")
        _modes(all_axes[-1], runs)


def _scatter(axes: "Axes", cells: Sequence[Mapping[str, Any]], run: str, *, mode: str, images: tuple[int, int]) -> None:
    for source, color in SOURCES.items():
        chosen = [cell for cell in cells if cell["source"] == source]
        if not chosen:
            continue
        shared = [cell["shared"][run][mode] for cell in chosen]
        truth = stand_alone(chosen).tolist()
        axes.errorbar(
            [100 * value for value in shared],
            [100 * value for value in truth],
            xerr=_bars(shared, images=images[0]),
            yerr=_bars(truth, images=images[1]),
            fmt="o",
            markersize=4,
            color=color,
            ecolor=GREY,
            elinewidth=0.6,
            alpha=0.9,
            label=f"{source} (n = {len(chosen)})",
        )
    axes.set(xlabel=f"accuracy with shared weights, {mode} (%)", ylabel="stand-alone test accuracy (%)")
    axes.legend(fontsize=8)


def _bars(accuracies: Sequence[float], *, images: int) -> list[list[float]]:
    """Returns how far the intervals reach below and above, in points."""
    intervals = [wilson_interval(accuracy, images) for accuracy in accuracies]
    return [
        [100 * max(0.0, value - low) for value, (low, _) in zip(accuracies, intervals, strict=True)],
        [100 * max(0.0, high - value) for value, (_, high) in zip(accuracies, intervals, strict=True)],
    ]


def _modes(axes: "Axes", runs: Mapping[str, Mapping[str, Any]]) -> None:
    names = list(dict.fromkeys(mode for run in runs.values() for mode in run["modes"]))
    for index, (run, figures) in enumerate(runs.items()):
        shift = 0.6 * ((index + 0.5) / len(runs) - 0.5)
        known = [(names.index(mode) + shift, entry["tau"]) for mode, entry in figures["modes"].items()]
        axes.errorbar(
            [place for place, _ in known],
            [tau["value"] for _, tau in known],
            yerr=[
                [max(0.0, tau["value"] - tau["low"]) for _, tau in known],
                [max(0.0, tau["high"] - tau["value"]) for _, tau in known],
            ],
            fmt="o",
            markersize=4,
            color=PALETTE[index % len(PALETTE)],
            label=run,
        )
    axes.axhline(0, color=GREY, linestyle="--", linewidth=1.0)
    axes.set_xticks(range(len(names)), labels=names, rotation=20, ha="right")
    axes.set(title="tau by treatment of batch norm")
    if len(runs) > 1:
        axes.legend(fontsize=8)


def ordering_plot(truth: Array, scores: Mapping[str, Mapping[str, Array]], path: str | Path) -> None:
    """Draws for each run the truth of all cells against minus the loss under its shared weights.

    Args:
        truth: (n,) in percent, as the table has it.
        scores: By run, `loss`, (n,), higher is better.
        path: Where the SVG goes.
    """
    with panels_in_file(truth.tolist(), path, width=4.0 * len(scores), panels=len(scores)) as all_axes:
        for axes, (name, found) in zip(all_axes, scores.items(), strict=True):
            axes.scatter(-found["loss"], truth, s=2, color=BLUE, alpha=0.3, rasterized=True)
            axes.set_title(name)
            axes.set_xlabel("shared-weight loss (nats)")
            axes.set_ylabel("accuracy in the table (%)")
