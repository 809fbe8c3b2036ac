"""Figures of the two demonstrations of the penalty: success rates with their intervals, and matrices over time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.reporting.figures.colours import BLUE, GREEN, GREY, ORANGE, PURPLE
from nas.reporting.figures.drawing import write_figure
from nas.reporting.figures.figures import Axis, Chart, Images, Series

METHODS = {
    "penalty": ("penalty P(M)", BLUE),
    "relaxation": ("relaxation", ORANGE),
    "faq": ("FAQ (SciPy)", GREEN),
    "sinkhorn": ("annealed Sinkhorn", PURPLE),
}
LABELS = {"noise": "noise (standard deviation)", "samples_per_unit": "examples per hidden unit"}
KINDS = {"relaxation": "relaxation (λ = 0)", "penalty": "penalty (λ grows)"}


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
    chosen = sorted((row for row in chosen if row.get(rate) is not None), key=lambda row: float(row[along]))
    curves: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in chosen:
        curves.setdefault((str(row["method"]), int(row["starts"])), []).append(row)
    series = []
    for (method, starts), curve in sorted(curves.items(), key=lambda curve: (curve[0][0], -curve[0][1])):
        name, colour = METHODS.get(method, (method, GREY))
        keys = _interval_keys(curve[0], rate)
        low, high = ([100 * float(row[key]) for row in curve] for key in keys) if keys else ((), ())
        series.append(
            Series(
                name=f"{name}, {starts} start{'s' if starts > 1 else ''}",
                x=[float(row[along]) for row in curve],
                y=[100 * float(row[rate]) for row in curve],
                low=low,
                high=high,
                colour=colour,
                dashed=starts == 1,
            )
        )
    ticks = tuple(dict.fromkeys(float(row[along]) for row in chosen))
    x = Axis(LABELS.get(along, along), log=0 if along == "noise" else 2, ticks=ticks)
    write_figure(path, Chart(along, title, "", x, Axis("", limits=(0.0, 100.0)), series))


def matrices_over_time(snapshots: Mapping[str, Any], path: str | Path) -> None:
    """Draws M over time as images, the relaxation above the penalty, white for 0 and dark for 1.

    Args:
        snapshots: As the demonstrations return them: `steps`, and for both a matrix at each of them.
        path: Where the SVG goes.

    Raises:
        ValueError: If there are no pictures, or not as many of either as steps, or a matrix is not finite.
    """
    steps = [f"step {step}" for step in snapshots["steps"]]
    if not steps or any(len(snapshots[kind]) != len(steps) for kind in KINDS):
        raise ValueError(f"nothing to draw in {path}: expected a matrix of each kind for every step")
    rows = {label: [*zip(steps, snapshots[kind], strict=True)] for kind, label in KINDS.items()}
    write_figure(path, Images("matrices", "M over time", "", rows, 1.0))


def _interval_keys(row: Mapping[str, Any], rate: str) -> tuple[str, str] | None:
    """Returns the keys of the interval of a rate: its own if there are such, else those of the row's main rate."""
    if f"{rate}_low" in row:
        return f"{rate}_low", f"{rate}_high"
    main = "success" if "success" in row else "recovery"
    return ("low", "high") if rate == main else None
