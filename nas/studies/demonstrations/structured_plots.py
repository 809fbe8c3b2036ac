"""Figures of the demonstration: what is written exactly, what is learned, and a descent in pictures.

Every function takes the figures that `run` returns and a path, and writes the same SVG for the same figures.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.reporting.figures.colours import GREY
from nas.reporting.figures.drawing import write_figure
from nas.reporting.figures.figures import Axis, Chart, Images, Series
from nas.reporting.figures.series import curve, grouped

Figures = Mapping[str, Any]


def constructed_plot(figures: Figures, path: str | Path) -> None:
    """Draws error and multiply-adds of the written matrices against n, both axes logarithmic.

    A transform without any error has no line on the left; the legend says that it is exact. On the right the dense
    matrices' counts are dashed, in the colour of the transform.

    Raises:
        ValueError: If nothing was constructed.
    """
    rows, errors, products = figures["constructed"], list[Series](), list[Series]()
    for colour, (transform, own) in enumerate(grouped(rows, "transform").items()):
        known = [row for row in own if row["max_error"] > 0]
        name = transform if known else f"{transform} (exact)"
        errors.append(curve(known, "max_error", along="n", name=name, colour=colour))
        products.append(curve(own, "multiply_adds", along="n", name=transform, colour=colour))
        products.append(curve(own, "dense_multiply_adds", along="n", colour=colour, dashed=True))
    x, y = _sizes(rows), Axis("", log=10)
    write_figure(
        path,
        Chart("errors", "largest error of an entry", "", x, y, errors),
        Chart("products", "multiply-adds of a product; dashed: dense", "", x, y, products),
    )


def learned_plot(figures: Figures, path: str | Path) -> None:
    """Draws the smallest RMSE over all restarts against n, and the share of descents of switch networks that succeed.

    Raises:
        ValueError: If nothing was learned.
    """
    learned, switches = figures["learned"], figures["switches"]
    errors, x = list[Series](), _sizes(learned)
    for colour, (transform, rows) in enumerate(grouped(learned, "transform").items()):
        best = [{"n": n, "rmse": min(row["best_rmse"] for row in rows if row["n"] == n)} for n in x.ticks]
        errors.append(curve(best, "rmse", along="n", name=transform, colour=colour)) if best else None
    if learned:
        limit = figures["settings"]["success_rmse"]
        errors.append(Series(x=[x.ticks[0], x.ticks[-1]], y=[limit, limit], colour=GREY, dashed=True))
    labels = {"recovered": "in any restart", "found": "in one descent"}
    shares = [
        curve(switches, key, along="n", name=name, colour=colour, scale=100.0)
        for colour, (key, name) in enumerate(labels.items())
    ]
    percent = Axis("", limits=(0.0, 100.0))
    write_figure(
        path,
        Chart("errors", "learned: smallest RMSE; dashed: counts as found", "", x, Axis("", log=10), errors),
        Chart("shares", "planted permutations found (%)", "", Axis("n"), percent, shares),
    )


def film_plot(figures: Figures, path: str | Path) -> None:
    """Draws the matrices of one descent as images on one scale of colours, and the target behind them.

    Raises:
        ValueError: If no descent was kept.
    """
    film = figures["film"]
    if not film.get("matrices"):
        raise ValueError(f"nothing to draw in {path}: no descent was kept")
    steps = [(f"step {step}", matrix) for step, matrix in zip(film["steps"], film["matrices"], strict=True)]
    limit = max(abs(value) for row in film["target"] for value in row)
    title = f"{film['transform']}, n = {film['n']}"
    write_figure(path, Images("film", title, "", {"": [*steps, ("target", film["target"])]}, limit))


def _sizes(rows: Sequence[Mapping[str, Any]]) -> Axis:
    return Axis("n", log=2, ticks=tuple(sorted({row["n"] for row in rows})))
