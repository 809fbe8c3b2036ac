"""Figures of the demonstrations: success rates, errors and accuracies, and matrices and images as they are learned.

Every function takes figures that a demonstration returned and a path, and writes the same SVG for the same figures.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas.reporting.figures.colours import BLUE, GREEN, GREY, ORANGE, PURPLE
from nas.reporting.figures.drawing import write_figure
from nas.reporting.figures.figures import Axis, Chart, Images, Series
from nas.reporting.figures.series import curve, grouped

METHODS = {
    "penalty": ("penalty P(M)", BLUE),
    "relaxation": ("relaxation", ORANGE),
    "faq": ("FAQ (SciPy)", GREEN),
    "sinkhorn": ("annealed Sinkhorn", PURPLE),
}
AXES = {"noise": "noise (standard deviation)", "samples_per_unit": "examples per hidden unit"}
KINDS = {"relaxation": "relaxation (λ = 0)", "penalty": "penalty (λ grows)"}
LABELS = {
    "original": "original",
    "none": "scrambled",
    "auto_shuffle": "AutoShuffle",
    "kaleidoscope": "kaleidoscope",
    "faq": "FAQ (reference)",
    "true_inverse": "true inverse",
}
PERCENT = Axis("", limits=(0.0, 100.0))

Figures = Mapping[str, Any]
Rows = Sequence[Mapping[str, Any]]


def success_curves(
    rows: Rows,
    path: str | Path,
    *,
    along: str,
    where: Mapping[str, float],
    rate: str = "recovery",
    title: str = "planted permutation recovered, after rounding (%)",
) -> None:
    """Draws success rates against a setting, a line for each method and number of starts.

    Args:
        rows: Rows of a demonstration. Those whose `rate` is missing or None are left out.
        path: Where the SVG goes.
        along: Key of the setting, `n`, `noise` or `samples_per_unit`; sizes and samples are drawn logarithmically.
        where: Values of the other settings; only rows that have them are drawn.
        rate: Key of the success rate, in 0 … 1. With `recovery` and `success` goes a band, Wilson's 95 % interval.
        title: Title of the picture.

    Raises:
        ValueError: If no rows are left.
    """
    chosen = [row for row in rows if all(row.get(key) == value for key, value in where.items())]
    chosen = sorted((row for row in chosen if row.get(rate) is not None), key=lambda row: float(row[along]))
    curves: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in chosen:
        curves.setdefault((str(row["method"]), -int(row["starts"])), []).append(row)
    series = []
    for (method, starts), own in sorted(curves.items()):
        name, colour = METHODS[method]
        ends = (f"{rate}_low", f"{rate}_high") if f"{rate}_low" in own[0] else ("low", "high")
        low, high = ([100 * float(row[end]) for row in own] for end in ends)
        looks: dict[str, Any] = {"low": low, "high": high, "colour": colour, "dashed": starts == -1}
        name = f"{name}, {-starts} start{'s' if starts < -1 else ''}"
        series.append(curve(own, rate, along=along, name=name, scale=100, **looks))
    ticks = tuple(dict.fromkeys(float(row[along]) for row in chosen))
    x = Axis(AXES.get(along, along), log=0 if along == "noise" else 2, ticks=ticks)
    write_figure(path, Chart(along, title, "", x, PERCENT, series))


def matrices_over_time(figures: Figures, path: str | Path) -> None:
    """Draws M over time as images, the relaxation above the penalty, white for 0 and dark for 1."""
    snapshots = figures["snapshots"]
    steps = [f"step {step}" for step in snapshots["steps"]]
    rows = {label: [*zip(steps, snapshots[kind], strict=True)] for kind, label in KINDS.items()}
    write_figure(path, Images("matrices", "M over time", "", rows, 1.0))


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
    x = _sizes(learned)
    errors: list[Series] = []
    for colour, (transform, rows) in enumerate(grouped(learned, "transform").items()):
        best = [{"n": n, "rmse": min(row["best_rmse"] for row in rows if row["n"] == n)} for n in x.ticks]
        errors.append(curve(best, "rmse", along="n", name=transform, colour=colour))
    ends = [*x.ticks[:1], *x.ticks[-1:]]
    limit = figures["settings"]["success_rmse"]
    errors.append(Series(x=ends, y=[limit] * len(ends), colour=GREY, dashed=True))
    labels = {"recovered": "in any restart", "found": "in one descent"}
    shares = [
        curve(switches, key, along="n", name=name, colour=colour, scale=100.0)
        for colour, (key, name) in enumerate(labels.items())
    ]
    write_figure(
        path,
        Chart("errors", "learned: smallest RMSE; dashed: counts as found", "", x, Axis("", log=10), errors),
        Chart("shares", "planted permutations found (%)", "", Axis("n"), PERCENT, shares),
    )


def _sizes(rows: Rows) -> Axis:
    return Axis("n", log=2, ticks=tuple(sorted({row["n"] for row in rows})))


def descent_film(figures: Figures, path: str | Path) -> None:
    """Draws the matrices of one descent as images on one scale of colours, and the target behind them.

    Raises:
        ValueError: If no descent was kept.
    """
    if not (film := figures["film"]):
        raise ValueError(f"nothing to draw in {path}: no descent was kept")
    steps = [(f"step {step}", matrix) for step, matrix in zip(film["steps"], film["matrices"], strict=True)]
    title = f"{film['transform']}, n = {film['n']}"
    limit = float(np.abs(film["target"]).max())
    write_figure(path, Images("film", title, "", {"": [*steps, ("target", film["target"])]}, limit))


def pictures_plot(figures: Figures, path: str | Path) -> None:
    """Draws test images, a row each: the original, scrambled, and restored by every method of the first trial.

    What a method restores may be turned or mirrored as a whole, since its objective is the same for all 8 symmetries.

    Raises:
        ValueError: If there are no pictures.
    """
    known = {label: figures["pictures"][name] for name, label in LABELS.items() if name in figures["pictures"]}
    pictures = {label: np.asarray(images, dtype=np.float64) for label, images in known.items()}
    largest = max((float(images.max()) for images in pictures.values()), default=0.0) or 1.0
    columns = [[(label, image / largest) for image in images] for label, images in pictures.items()]
    rows = {" " * i: row for i, row in enumerate(zip(*columns, strict=True))}
    write_figure(path, *([Images("pictures", "Test images", "", rows)] if rows else []))


def accuracy_plot(figures: Figures, path: str | Path) -> None:
    """Draws the test accuracy behind every method: the mean as a dot, a small dot a trial, and the share regained.

    Raises:
        ValueError: If there are no rows.
    """
    means: dict[int, dict[str, float]] = {BLUE: {}, GREY: {}}
    trials: list[tuple[str, float]] = []
    for name in (name for name in LABELS if name in figures["summary"]):
        row, bound = figures["summary"][name], name in ("none", "true_inverse")
        regained = "" if bound or row["regained"] is None else f", {100 * row['regained']:.0f} % regained"
        means[GREY if bound else BLUE][LABELS[name] + regained] = 100 * row["accuracy"]["mean"]
        trials += [(LABELS[name] + regained, 100 * value) for value in row["accuracy"]["values"]]
    x, y = [value for _, value in trials], [label for label, _ in trials]
    series = [Series(name="a trial", x=x, y=y, mark="dots", faint=True, colour=ORANGE)]
    for (colour, group), label in zip(means.items(), ("mean of a method", "mean of a bound"), strict=True):
        series.append(Series(name=label, x=[*group.values()], y=[*group], mark="dots", colour=colour))
    title = f"test accuracy (%), {figures['data']}"
    write_figure(path, Chart("accuracy", title, "", Axis("test accuracy (%)"), Axis(""), series))


def permutation_film(figures: Figures, path: str | Path) -> None:
    """Draws the learned matrices on the way, a row for each layer; columns in the true order, each on its own scale.

    The true inverse would be the diagonal, its turned and mirrored forms are other regular patterns. AutoShuffle's row
    is the descent that found the permutation, which may start from a molten one of a descent before; kaleidoscope's
    are the products of the switch networks so far, each hardened.

    Raises:
        ValueError: If nothing was learned.
    """
    films = {label: figures["films"][name] for name, label in LABELS.items() if name in figures["films"]}
    rows = {
        label: [(f"{100 * i // max(1, len(film) - 1)} % of the way", matrix) for i, matrix in enumerate(film)]
        for label, film in films.items()
    }
    write_figure(path, *([Images("film", "Learned matrices", "", rows)] if rows else []))
