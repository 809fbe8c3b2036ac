"""Figures of the two demonstrations of the penalty: success rates with their intervals, and matrices over time."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from math import isfinite
from pathlib import Path
from typing import Any

from nas.reporting.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, STYLE

COLORS = {"penalty": BLUE, "relaxation": ORANGE, "faq": GREEN, "sinkhorn": PURPLE}
NAMES = {
    "penalty": "penalty P(M)",
    "relaxation": "relaxation",
    "faq": "FAQ (SciPy)",
    "sinkhorn": "annealed Sinkhorn",
}


def success_curves(
    rows: Sequence[Mapping[str, Any]],
    path: str | Path,
    *,
    along: str,
    where: Mapping[str, float],
    rate: str = "recovery",
    title: str = "planted permutation recovered, after rounding (%)",
) -> None:
    """Draws success rates against a setting, a line for each method and number of starts.

    Args:
        rows: Of a demonstration. Rows whose `rate` is missing or None are left out.
        path: Where the SVG goes.
        along: Key of the setting, `n`, `noise` or `samples_per_unit`; sizes and samples are drawn logarithmically.
        where: Values of the other settings; only rows that have them are drawn.
        rate: Key of the success rate, in 0 … 1. With `recovery` and `success` goes a band, Wilson's 95 % interval.
        title: Of the picture.

    Raises:
        ValueError: If no rows are left.
    """
    chosen = [row for row in rows if all(row.get(key) == value for key, value in where.items())]
    chosen = [row for row in chosen if row.get(rate) is not None]
    if not chosen:
        raise ValueError(f"nothing to draw in {path}: no row has {rate} and {dict(where)}")
    with _style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7.4, 3.2), layout="constrained")
        axes = figure.subplots()
        for (method, starts), curve in _curves(chosen, along=along).items():
            color, label = COLORS.get(method, GREY), f"{NAMES.get(method, method)}, {_starts(starts)}"
            places = [float(row[along]) for row in curve]
            dashes = "-" if starts > 1 else "--"
            rates = [100 * float(row[rate]) for row in curve]
            axes.plot(places, rates, dashes, color=color, label=label, marker="o", markersize=3)
            if low_high := _interval_keys(curve[0], rate):
                low, high = ([100 * float(row[key]) for row in curve] for key in low_high)
                axes.fill_between(places, low, high, color=color, alpha=0.12, lw=0)
        ticks = sorted({float(row[along]) for row in chosen})
        if along != "noise":
            axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, labels=[f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        labels = {"n": "n", "noise": "noise (standard deviation)", "samples_per_unit": "examples per hidden unit"}
        axes.set(title=title, xlabel=labels.get(along, along), ylim=(-3, 103))
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
        _write(figure, path)


def matrices_over_time(snapshots: Mapping[str, Any], path: str | Path) -> None:
    """Draws M over time as images, the relaxation above the penalty, white for 0 and dark for 1.

    Args:
        snapshots: As the demonstrations return them: `steps`, and for both a matrix at each of them.
        path: Where the SVG goes.

    Raises:
        ValueError: If there are no pictures, or not as many of either as steps.
    """
    kinds = {"relaxation": "relaxation\n(λ = 0)", "penalty": "penalty\n(λ grows)"}
    steps = list(snapshots["steps"])
    if not steps or any(len(snapshots[kind]) != len(steps) for kind in kinds):
        raise ValueError(f"nothing to draw in {path}: expected a matrix of each kind for every step")
    with _style():
        from matplotlib.figure import Figure

        figure = Figure(figsize=(1.35 * len(steps) + 1, 3.1), layout="constrained")
        grid = figure.subplots(len(kinds), len(steps), squeeze=False)
        for row, (kind, label) in zip(grid, kinds.items(), strict=True):
            for axes, step, matrix in zip(row, steps, snapshots[kind], strict=True):
                if not all(isfinite(value) for line in matrix for value in line):
                    raise ValueError(f"cannot draw {path}: the matrix of step {step} is not finite")
                axes.pcolormesh(matrix, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=0.2)
                axes.invert_yaxis()  # the first row on top, as matrices are written
                axes.set(xticks=[], yticks=[], aspect="equal")
                if kind == "relaxation":
                    axes.set_title(f"step {step}", fontweight="normal", loc="center")
            row[0].set_ylabel(label)
        _write(figure, path)


def _curves(rows: Sequence[Mapping[str, Any]], *, along: str) -> dict[tuple[str, int], list[Mapping[str, Any]]]:
    """Returns the rows of each method and number of starts, from left to right."""
    curves: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: float(row[along])):
        curves.setdefault((str(row["method"]), int(row["starts"])), []).append(row)
    return dict(sorted(curves.items(), key=lambda curve: (curve[0][0], -curve[0][1])))


def _interval_keys(row: Mapping[str, Any], rate: str) -> tuple[str, str] | None:
    """Returns the keys of the interval of a rate: its own if there are such, else those of the row's main rate."""
    if f"{rate}_low" in row:
        return f"{rate}_low", f"{rate}_high"
    main = "success" if "success" in row else "recovery"
    return ("low", "high") if rate == main else None


def _starts(starts: int) -> str:
    return "1 start" if starts == 1 else f"{starts} starts"


def _style() -> AbstractContextManager[None]:
    import matplotlib

    return matplotlib.rc_context(STYLE)


def _write(figure: Any, path: str | Path) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
