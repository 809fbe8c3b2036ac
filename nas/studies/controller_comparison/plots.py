"""Figures of a comparison: the way of the incumbents, and the share of the true front that was found."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.reporting.plots import GREY, PALETTE, panels_in_file

Rows = Sequence[Mapping[str, Any]]


def comparison_plot(
    curves: Rows, fronts: Rows, *, marks: Sequence[int], optimum: float, names: Sequence[str], path: str | Path
) -> None:
    """Draws means over seeds with their 95 % intervals, one colour a controller.

    Args:
        curves: With `controller`, `queries`, `mean`, `low`, `high` and `seeds`.
        fronts: One a controller, with `ratio`, `low` and `high`, each as `ratio_at_MARK` in 0 … 1; may be empty.
        marks: Numbers of queries.
        optimum: The highest report of the table.
        names: Controllers in the order of their colours.
        path: Where the SVG goes.

    Raises:
        ValueError: If there are no curves.
    """
    colors = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}
    with panels_in_file(curves, path, width=12.0 if fronts else 7.0, panels=2 if fronts else 1) as all_axes:
        axes = all_axes[0]
        for name in dict.fromkeys(row["controller"] for row in curves):
            rows = [row for row in curves if row["controller"] == name]
            queries = [row["queries"] for row in rows]
            axes.plot(
                queries, [row["mean"] for row in rows], color=colors[name], label=f"{name} (n = {rows[0]['seeds']})"
            )
            axes.fill_between(
                queries,
                [row["low"] for row in rows],
                [row["high"] for row in rows],
                color=colors[name],
                alpha=0.2,
                lw=0,
            )
        axes.axhline(optimum, color=GREY, linestyle="--", linewidth=1.0, label="best of the table")
        settled = [row["mean"] for row in curves if row["queries"] >= min(20, marks[0])]
        axes.set_ylim(min(settled), optimum + 0.05 * (optimum - min(settled)) + 1e-9)
        axes.set(title="test accuracy of the best by reward (%)", xlabel="queries")
        _legend(axes)
        if fronts:
            _draw_fronts(all_axes[1], fronts, marks=marks, colors=colors)


def _draw_fronts(axes: Any, fronts: Rows, *, marks: Sequence[int], colors: Mapping[str, str]) -> None:
    for row in fronts:
        name = row["controller"]
        mean, low, high = ([100 * row[f"{key}_at_{mark}"] for mark in marks] for key in ("ratio", "low", "high"))
        axes.plot(marks, mean, color=colors[name], marker="o", markersize=3.5, label=f"{name} (n = {row['seeds']})")
        axes.fill_between(marks, low, high, color=colors[name], alpha=0.2, lw=0)
    axes.set(title="area of the true front that was found (%)", xlabel="queries")
    _legend(axes)


def _legend(axes: Any) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
