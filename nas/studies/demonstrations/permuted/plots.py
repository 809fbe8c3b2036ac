"""Figures of the demonstration: images restored, accuracies, and matrices while they are learned.

Every function takes the figures that `run` returns and a path, and writes the same SVG for the same figures.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.reporting.plots import BLUE, GREY, PALETTE, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Figures = Mapping[str, Any]
LABELS = {
    "original": "original",
    "none": "scrambled",
    "auto_shuffle": "AutoShuffle",
    "kaleidoscope": "kaleidoscope",
    "faq": "FAQ (reference)",
    "true_inverse": "true inverse",
}


def pictures_plot(figures: Figures, path: str | Path) -> None:
    """Draws test images, a row each: the original, scrambled, and restored by every method of the first trial.

    What a method restores may be turned or mirrored as a whole, since its objective is the same for all 8 symmetries.

    Raises:
        ValueError: If there are no pictures.
    """
    pictures = [(name, figures["pictures"][name]) for name in LABELS if name in figures["pictures"]]
    count = len(pictures[0][1]) if pictures else 0
    with _axes(pictures, path, size=(1.3 * len(pictures), 1.25 * count + 0.3), grid=(count, len(pictures))) as rows:
        for number, row in enumerate(rows):
            for axes, (name, images) in zip(row, pictures, strict=True):
                _image(axes, images[number], title="" if number else LABELS[name])


def accuracy_plot(figures: Figures, path: str | Path) -> None:
    """Draws the test accuracy behind every method: the mean as a line, a dot a trial, and the share regained.

    Raises:
        ValueError: If there are no rows.
    """
    summary = figures["summary"]
    names = [name for name in LABELS if name in summary]
    with _axes(names, path, size=(5.6, 3.2), grid=(1, 1)) as ((axes,),):
        for place, name in enumerate(names):
            accuracy, regained = summary[name]["accuracy"], summary[name]["regained"]
            bound = name in ("none", "true_inverse")
            color = GREY if bound else BLUE
            axes.hlines(100 * accuracy["mean"], place - 0.3, place + 0.3, color=color, linewidth=3.0)
            axes.scatter([place] * accuracy["n"], [100 * value for value in accuracy["values"]], s=10, color=PALETTE[1])
            if regained is not None and not bound:
                top = 100 * max(accuracy["values"])
                axes.text(place, top + 0.6, f"{100 * regained:.0f} % regained", ha="center", fontsize=7)
        values = [100 * value for name in names for value in summary[name]["accuracy"]["values"]]
        axes.set_ylim(max(0.0, min(values) - 2), min(100.0, max(values) + 3))
        axes.set_xticks(range(len(names)), labels=[LABELS[name] for name in names], fontsize=7)
        axes.set(title=f"test accuracy (%), {figures['data']}")
        axes.grid(visible=False, axis="x")


def film_plot(figures: Figures, path: str | Path) -> None:
    """Draws the learned matrices on the way, a row for each layer; columns in the true order, each on its own scale.

    The true inverse would be the diagonal, its turned and mirrored forms are other regular patterns. AutoShuffle's row
    is the descent that found the permutation, which may start from a molten one of a descent before; kaleidoscope's
    are the products of the switch networks so far, each hardened.

    Raises:
        ValueError: If nothing was learned.
    """
    films = [(name, figures["films"][name]) for name in LABELS if name in figures["films"]]
    count = len(films[0][1]) if films else 0
    with _axes(films, path, size=(1.5 * count, 1.6 * len(films) + 0.2), grid=(len(films), count)) as rows:
        for row, (name, matrices) in zip(rows, films, strict=True):
            for number, (axes, matrix) in enumerate(zip(row, matrices, strict=True)):
                share = 100 * number // max(1, count - 1)
                _image(axes, matrix, title=f"{share} % of the way")
            row[0].set_ylabel(LABELS[name], fontsize=8)


def _image(axes: "Axes", values: Any, *, title: str) -> None:
    """Draws (H, W, 3), or (H, W, 1) and (H, W) in grey, dark for a matrix's large entries."""
    import numpy as np

    array = np.asarray(values)
    if array.ndim == 2:
        axes.imshow(array, cmap="Greys", interpolation="nearest", vmin=0)
    else:
        axes.imshow(array.squeeze(-1) if array.shape[-1] == 1 else array, cmap="gray", interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=7)
    axes.grid(visible=False)


@contextmanager
def _axes(
    rows: Sequence[object], path: str | Path, *, size: tuple[float, float], grid: tuple[int, int]
) -> Iterator[Sequence[Sequence["Axes"]]]:
    """Gives a grid of axes on a figure of `size` in inches, and writes them to `path` when the caller is done."""
    if not rows:
        raise ValueError(f"nothing to draw in {path}: there are no rows")
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        yield list(figure.subplots(*grid, squeeze=False))
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
