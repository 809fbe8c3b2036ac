"""Figures of the demonstration: images restored, accuracies, and matrices while they are learned.

Every function takes the figures that `run` returns and a path, and writes the same SVG for the same figures.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nas.reporting.figures.colours import BLUE, GREY, ORANGE
from nas.reporting.figures.drawing import write_figure
from nas.reporting.figures.figures import Axis, Chart, Images, Series

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
    pictures = {label: figures["pictures"][name] for name, label in LABELS.items() if name in figures["pictures"]}
    if not pictures:
        raise ValueError(f"nothing to draw in {path}: there are no pictures")
    stacked = {label: np.asarray(images, dtype=np.float64) for label, images in pictures.items()}
    largest = max(float(images.max()) for images in stacked.values()) or 1.0
    count = len(next(iter(stacked.values())))
    rows = {" " * i: [(label, images[i] / largest) for label, images in stacked.items()] for i in range(count)}
    write_figure(path, Images("pictures", "Test images", "", rows))


def accuracy_plot(figures: Figures, path: str | Path) -> None:
    """Draws the test accuracy behind every method: the mean as a dot, a small dot a trial, and the share regained.

    Raises:
        ValueError: If there are no rows.
    """
    summary = {name: figures["summary"][name] for name in LABELS if name in figures["summary"]}
    means: dict[int, dict[str, float]] = {BLUE: {}, GREY: {}}
    trials: list[tuple[str, float]] = []
    for name, row in summary.items():
        bound = name in ("none", "true_inverse")
        regained = "" if bound or row["regained"] is None else f", {100 * row['regained']:.0f} % regained"
        means[GREY if bound else BLUE][LABELS[name] + regained] = 100 * row["accuracy"]["mean"]
        trials += [(LABELS[name] + regained, 100 * value) for value in row["accuracy"]["values"]]
    x, y = [value for _, value in trials], [label for label, _ in trials]
    series = [Series(name="a trial", x=x, y=y, mark="dots", faint=True, colour=ORANGE)]
    for (colour, group), label in zip(means.items(), ("mean of a method", "mean of a bound"), strict=True):
        series.append(Series(name=label, x=[*group.values()], y=[*group], mark="dots", colour=colour))
    title = f"test accuracy (%), {figures['data']}"
    write_figure(path, Chart("accuracy", title, "", Axis("test accuracy (%)"), Axis(""), series))


def film_plot(figures: Figures, path: str | Path) -> None:
    """Draws the learned matrices on the way, a row for each layer; columns in the true order, each on its own scale.

    The true inverse would be the diagonal, its turned and mirrored forms are other regular patterns. AutoShuffle's row
    is the descent that found the permutation, which may start from a molten one of a descent before; kaleidoscope's
    are the products of the switch networks so far, each hardened.

    Raises:
        ValueError: If nothing was learned.
    """
    films = {label: figures["films"][name] for name, label in LABELS.items() if name in figures["films"]}
    if not films:
        raise ValueError(f"nothing to draw in {path}: nothing was learned")
    rows = {
        label: [(f"{100 * i // max(1, len(film) - 1)} % of the way", matrix) for i, matrix in enumerate(film)]
        for label, film in films.items()
    }
    write_figure(path, Images("film", "Learned matrices", "", rows))
