"""Figures of a run, from the rows it leaves behind to an SVG file that is the same whenever the rows are.

Every function takes values and a path. Matplotlib is loaded on first use, since most commands never draw, and only
its `Figure` objects are touched: no window, no backend and no current figure is shared with the caller.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.reporting.figures.series import smoothed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072b2", "#d55e00", "#009e73", "#b0578d", "#7d8590"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, "#b58900", "#56b4e9", GREY)  # Okabe and Ito's, safe for colour-blind readers
STYLE: Any = {  # matplotlib names every key in its types, and not the same ones in each version
    "svg.hashsalt": "shufflenas",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.parse_math": False,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#57606a",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e8eb",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}


def search_curves(rows: Sequence[Mapping[str, float]], path: str | Path) -> None:
    """Draws how a search went: the rewards and their baseline, the policy's entropy, the loss of the shared weights.

    Args:
        rows: One an epoch, with `epoch` and any of `reward` (mean of the sampled architectures), `best` (highest so
            far), `baseline`, `entropy` in nats, and `loss` in nats. What is missing, None or NaN is left out.
        path: Where the SVG goes.

    Raises:
        ValueError: If `rows` is empty.
    """
    panels = {
        "reward": {"best": ("best", GREEN), "reward": ("mean", BLUE), "baseline": ("baseline", GREY)},
        "policy entropy (nats)": {"entropy": ("", BLUE)},
        "shared-weight training loss (nats)": {"loss": ("", BLUE)},
    }
    with panels_in_file(rows, path, width=10.0, panels=len(panels)) as all_axes:
        for axes, (title, curves) in zip(all_axes, panels.items(), strict=True):
            known = [(key, *known_points(rows, key)) for key in curves if known_points(rows, key)[0]]
            for key, epochs, values in known:
                label, color = curves[key]
                dashes = "--" if key == "baseline" else "-"
                axes.plot(epochs, values, dashes, color=color, label=label, marker=point_marker(epochs))
            axes.set(title=title, xlabel="epoch")
            mark_whole_epochs(axes)
            if known and len(curves) > 1:
                axes.legend()
            if not known:
                axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color=GREY)
                axes.set(xticks=[], yticks=[])


def choice_curves(rows: Sequence[Mapping[str, float]], path: str | Path) -> None:
    """Draws how often each op, and each mixer, was chosen as the policy evolved, stacked to 100 %.

    Args:
        rows: One an epoch, with `epoch` and shares in 0 … 1 by `kind.choice`, as `op.identity`; those of a kind sum
            to 1. Each is drawn as its mean over up to ten epochs, since an epoch has few samples.
        path: Where the SVG goes.

    Raises:
        ValueError: If `rows` is empty or holds no shares.
    """
    kinds: dict[str, list[str]] = {}
    for key in rows[0] if rows else ():
        if "." in key:
            kinds.setdefault(key.split(".")[0], []).append(key)
    if not kinds:
        raise ValueError("there are no shares of choices to draw")
    window = max(1, min(10, len(rows) // 5))
    with panels_in_file(rows, path, width=5.6 * len(kinds), panels=len(kinds)) as all_axes:
        for axes, (kind, keys) in zip(all_axes, kinds.items(), strict=True):
            epochs = [row["epoch"] for row in rows]
            shares = [smoothed([100 * row[key] for row in rows], window) for key in keys]
            colors = [PALETTE[i % len(PALETTE)] for i in range(len(keys))]
            labels = [key.split(".", 1)[1] for key in keys]
            areas = axes.stackplot(epochs, shares, labels=labels, colors=colors, alpha=0.75, linewidth=0)
            for area, hatch in zip(areas[len(PALETTE) :], ("//", "..", "xx") * len(keys), strict=False):
                area.set_hatch(hatch)  # a colour's second use
            axes.set(title=f"{kind}s chosen (%)", xlabel="epoch", ylim=(0, 100))
            mark_whole_epochs(axes)
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1), reverse=True)


def training_curves(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draws the test accuracy of retrained architectures, a line each, in one colour per label.

    The legend gives the number of runs of each label; what they reached is for the report to state.

    Args:
        rows: One an epoch of each run, with `label` ("found", "random"), `seed`, `epoch` and `test_accuracy` in
            0 … 1. Epochs without a test accuracy (missing, None or NaN) are left out; other keys are not read.
        path: Where the SVG goes.

    Raises:
        ValueError: If `rows` is empty.
    """
    runs: dict[str, dict[Any, list[Mapping[str, Any]]]] = {}
    for row in rows:
        runs.setdefault(str(row["label"]), {}).setdefault(row.get("seed"), []).append(row)
    with panels_in_file(rows, path, width=5.6, panels=1) as (axes,):
        for index, (label, by_seed) in enumerate(runs.items()):
            color = PALETTE[index % len(PALETTE)]
            for run in by_seed.values():
                epochs, accuracies = known_points(run, "test_accuracy", scale=100.0)
                axes.plot(epochs, accuracies, color=color, alpha=0.75, linewidth=1.3, marker=point_marker(epochs))
            axes.plot([], [], color=color, label=f"{label} (n = {len(by_seed)})")
        axes.set(title="test accuracy (%)", xlabel="epoch")
        mark_whole_epochs(axes)
        axes.legend(loc="lower right")


@contextmanager
def panels_in_file(
    rows: Sequence[object], path: str | Path, *, width: float, panels: int
) -> Iterator[Sequence["Axes"]]:
    """Gives `panels` axes side by side, `width` inches in all, and writes them to `path` when the caller is done."""
    if not rows:
        raise ValueError(f"nothing to draw in {path}: there are no rows")
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, 3.2 if panels == 1 else 2.7), layout="constrained")
        yield figure.subplots(1, panels, squeeze=False)[0]
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def known_points(rows: Sequence[Mapping[str, Any]], key: str, *, scale: float = 1.0) -> tuple[list[float], list[float]]:
    """Returns the points whose two coordinates are known, from left to right."""
    points = sorted((_number(row, "epoch"), scale * _number(row, key)) for row in rows)
    points = [point for point in points if all(isfinite(value) for value in point)]
    return [x for x, _ in points], [y for _, y in points]


def _number(row: Mapping[str, Any], key: str) -> float:
    value = row.get(key)
    return nan if value is None else float(value)


def point_marker(epochs: Sequence[float]) -> str:
    """Returns the mark that makes a single point visible."""
    return "o" if len(epochs) == 1 else ""


def mark_whole_epochs(axes: "Axes") -> None:
    """Has the horizontal axis mark whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6, min_n_ticks=1))
