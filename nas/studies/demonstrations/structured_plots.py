"""Figures of the demonstration: what is written exactly, what is learned, and a descent in pictures.

Every function takes the figures that `run` returns and a path, and writes the same SVG for the same figures.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.reporting.plots import GREY, PALETTE, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Figures = Mapping[str, Any]


def constructed_plot(figures: Figures, path: str | Path) -> None:
    """Draws error and multiply-adds of the written matrices against n, both axes logarithmic.

    A transform without any error has no line on the left; the legend says that it is exact. On the right the dense
    matrices' counts are dashed, in the colour of the transform.

    Raises:
        ValueError: If nothing was constructed.
    """
    with _row_of_axes(figures["constructed"], path, size=(9.0, 3.2), panels=2) as (errors, products):
        for color, (transform, rows) in zip(PALETTE, _by_transform(figures["constructed"]), strict=False):
            known = [row for row in rows if row["max_error"] > 0]
            label = transform if known else f"{transform} (exact)"
            errors.plot(*_points(known, "max_error"), color=color, marker="o", markersize=3.5, label=label)
            products.plot(*_points(rows, "multiply_adds"), color=color, label=transform)
            products.plot(*_points(rows, "dense_multiply_adds"), "--", color=color, linewidth=1.0)
        products.plot([], [], "--", color=GREY, linewidth=1.0, label="dense")
        sizes = sorted({row["n"] for row in figures["constructed"]})
        for axes, title in ((errors, "largest error of an entry"), (products, "multiply-adds of a product")):
            _logarithmic(axes, sizes, title)
            axes.legend()


def learned_plot(figures: Figures, path: str | Path) -> None:
    """Draws the smallest RMSE over all restarts against n, and the share of descents of switch networks that succeed.

    Raises:
        ValueError: If nothing was learned.
    """
    learned, switches = figures["learned"], figures["switches"]
    with _row_of_axes([*learned, *switches], path, size=(9.0, 3.2), panels=2) as (errors, shares):
        for color, (transform, rows) in zip(PALETTE, _by_transform(learned), strict=False):
            sizes = sorted({row["n"] for row in rows})
            best = [min(row["best_rmse"] for row in rows if row["n"] == n) for n in sizes]
            errors.plot(sizes, best, color=color, marker="o", markersize=3.5, label=transform)
        if learned:
            errors.axhline(figures["settings"]["success_rmse"], color=GREY, linestyle="--", linewidth=1.0)
            _logarithmic(errors, sorted({row["n"] for row in learned}), "learned: smallest RMSE")
            errors.legend()
        labels = {"recovered": "in any restart", "found": "in one descent"}
        for color, (key, label) in zip(PALETTE, labels.items(), strict=False):
            shares.plot(*_points(switches, key, scale=100.0), color=color, marker="o", markersize=3.5, label=label)
        shares.set(title="planted permutations found (%)", xlabel="n", ylim=(-3, 103))
        shares.legend()


def film_plot(figures: Figures, path: str | Path) -> None:
    """Draws the matrices of one descent as images on one scale of colours, and the target behind them.

    Raises:
        ValueError: If no descent was kept.
    """
    film = figures["film"]
    titles = [f"step {step}" for step in film.get("steps", ())]
    pictures = [*zip(titles, film.get("matrices", ()), strict=True)]
    size = (1.35 * (len(pictures) + 1), 1.8)
    with _row_of_axes(pictures, path, size=size, panels=len(pictures) + 1) as all_axes:
        limit = max(abs(value) for row in film["target"] for value in row)
        for axes, (title, matrix) in zip(all_axes, [*pictures, ("target", film["target"])], strict=True):
            axes.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
            axes.set(title=title, xticks=[], yticks=[])
            axes.grid(visible=False)
        all_axes[0].set_ylabel(f"{film['transform']}, n = {film['n']}", fontsize=6)


@contextmanager
def _row_of_axes(
    rows: Sequence[object], path: str | Path, *, size: tuple[float, float], panels: int
) -> Iterator[Sequence["Axes"]]:
    """Gives axes side by side, on a figure of `size` in inches, and writes them to `path` when the caller is done."""
    if not rows:
        raise ValueError(f"nothing to draw in {path}: there are no rows")
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        yield figure.subplots(1, panels, squeeze=False)[0]
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _by_transform(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    names = dict.fromkeys(row["transform"] for row in rows)
    return [(name, [row for row in rows if row["transform"] == name]) for name in names]


def _points(rows: Sequence[Mapping[str, Any]], key: str, *, scale: float = 1.0) -> tuple[list[int], list[float]]:
    """Returns n and the scaled values, by n."""
    ordered = sorted(rows, key=lambda row: int(row["n"]))
    return [row["n"] for row in ordered], [scale * row[key] for row in ordered]


def _logarithmic(axes: "Axes", sizes: Sequence[int], title: str) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    shown = sizes[:: 1 + len(sizes) // 6]  # more labels would touch
    axes.set_xticks(shown, labels=[str(n) for n in shown])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set(title=title, xlabel="n")
