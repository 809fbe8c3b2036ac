"""Rewards, losses and accuracies of searches and retrainings, from `search.csv` and `retrain.csv`."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from nas.reporting.figures.colours import BLUE, GREEN, GREY, ORANGE
from nas.reporting.figures.figures import Axis, Chart, Series
from nas.reporting.figures.series import TEMPO, Rows, curve, joined, search_axis, tempo
from nas.reporting.page.records import RunRecord

COLOURS = {"found cell": BLUE, "random cells": GREY}
JUMPS = (
    "On the training images, an epoch of one sampled cell (or one a batch) each: cells differ, so it jumps from epoch "
    "to epoch."
)
SINGLE = {
    "entropy": (
        *("Entropy of the policy", "entropy (nats)", 1.0),
        "Of all decisions together: how undecided the controller still is. It starts at that of uniform choice and "
        "falls as the controller settles.",
    ),
    "loss": ("Training loss of the shared weights", "cross-entropy (nats)", 1.0, JUMPS),
    "train_accuracy": ("Training accuracy of the shared weights", "accuracy (%)", 100.0, JUMPS),
}
"""Title of each column, title of its axis, the scale to that unit, and a caption."""
RETRAINING = {
    "test_accuracy": (
        *("Test accuracy in retraining", "test accuracy (%)", 100.0),
        "Trained from scratch, one line a seed or cell. Accuracy is taken every few epochs; what counts is the mean of "
        "the last ones.",
    ),
    "loss": ("Loss in retraining", "cross-entropy (nats)", 1.0, "Training loss, one line a seed or cell."),
}
COSTS = {
    "latency_ms": ("latency", "latency (ms)", 1.0),
    "multiply_adds": ("multiply-adds", "multiply-adds (M)", 1e-6),
    "parameters": ("parameters", "parameters (k)", 1e-3),
}
"""Name of each cost, the title of its axis, and the scale to that unit."""
OVERLAID = {
    "best": ("Best reward so far", "reward", "The highest reward that a sampled cell has got."),
    "reward": ("Mean reward", "reward", "The mean of the cells sampled in an epoch."),
    "entropy": (*SINGLE["entropy"][:2], SINGLE["entropy"][3]),
    "loss": (*SINGLE["loss"][:2], "Cells differ in how well they train, so the loss jumps between epochs."),
}


def search_charts(run: RunRecord) -> list[Chart]:
    """Draws the search of a run: rewards, loss and accuracy of the shared weights, cost of the sampled cells."""
    rows = run.rows("search.csv")
    charts = [reward_chart(rows, run.key), *(single_chart(rows, key, run.key) for key in ("loss", "train_accuracy"))]
    return charts if "table" in run.config else [*charts, *_cost_charts(rows, run.key)]


def reward_chart(rows: Rows, key: str = "") -> Chart:
    """Draws the rewards of a search and their baseline; `key` is the run's part of the chart's key."""
    along = tempo(rows)
    series = (
        curve(rows, "best", along=along, name="best so far", colour=GREEN),
        curve(rows, "reward", along=along, name="mean", colour=BLUE),
        curve(rows, "baseline", along=along, name="baseline", colour=GREY, dashed=True),
    )
    caption = (
        "The best cell so far, the mean of the cells sampled in an epoch, and the baseline that the controller's "
        "advantage is measured from. A mean that rises towards the best shows a policy that learns."
    )
    known = [one for one in series if one.x]
    return Chart(f"{key}--reward", "Reward", caption, search_axis(rows), Axis("reward"), known)


def single_chart(rows: Rows, column: str, key: str = "") -> Chart:
    """Draws one of the columns of `SINGLE`; `key` is the run's part of the chart's key."""
    title, unit, scale, caption = SINGLE[column]
    series = [curve(rows, column, along=tempo(rows), scale=scale)]
    return Chart(f"{key}--{column.replace('_', '-')}", title, caption, search_axis(rows), Axis(unit), series)


def retrain_charts(run: RunRecord) -> list[Chart]:
    """Draws the retraining of a run: test accuracy and loss, of the found cell and of random ones."""
    return [retrain_chart(run.rows("retrain.csv"), column, run.key) for column in RETRAINING]


def retrain_chart(rows: Rows, column: str, key: str = "") -> Chart:
    """Draws one of the columns of `RETRAINING`, a line for each training and a colour for each kind of cell.

    Args:
        rows: With `label` ("found", "random-0"), `seed` and `epoch`.
        column: Key of the values.
        key: The run's part of the chart's key.
    """
    title, unit, scale, caption = RETRAINING[column]
    groups: defaultdict[str, defaultdict[Any, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        label = str(row["label"])
        kind = "random cells" if label.startswith("random") else "found cell" if label == "found" else label
        groups[kind][label, row.get("seed")].append(row)
    series: list[Series] = []
    for label, pieces in groups.items():
        lines = [curve(piece, column, along="epoch", scale=scale) for piece in pieces.values()]
        colour = COLOURS.get(label, len(series) + 1)
        series.append(joined([line for line in lines if line.x], name=f"{label} (n = {len(pieces)})", colour=colour))
    name = f"{key}--retrain-{column.replace('_', '-')}"
    return Chart(name, title, caption, Axis("epoch of the retraining", whole=True), Axis(unit), series)


def overlaid_charts(runs: Sequence[RunRecord]) -> list[Chart]:
    """Draws the searches of several runs over each other, one colour a run."""
    charts = []
    for key, (title, unit, caption) in OVERLAID.items():
        found: list[tuple[str, Series]] = []
        for colour, run in enumerate(runs):
            with run.reading("search.csv"):
                rows = run.rows("search.csv")
                found.append((tempo(rows), curve(rows, key, along=tempo(rows), name=run.name, colour=colour)))
        known = [(along, one) for along, one in found if one.x]
        x = Axis(" or ".join(TEMPO[along] for along in sorted({along for along, _ in known})), whole=True)
        caption = f"{caption} One line a run; a click on a name hides it."
        charts.append(Chart(f"all-{key}", title, caption, x, Axis(unit), [one for _, one in known]))
    return charts


def _cost_charts(rows: Rows, key: str) -> list[Chart]:
    """Draws the first cost of the sampled cells that is recorded."""
    for cost, (name, unit, scale) in COSTS.items():
        one = curve(rows, cost, along=tempo(rows), scale=scale, colour=ORANGE)
        if one.x:
            title = f"{name.capitalize()} of the sampled cells"
            caption = (
                f"The mean {name} of the cells sampled in an epoch: whether the policy drifts to larger or to faster "
                "cells."
            )
            return [Chart(f"{key}--sampled-cost", title, caption, search_axis(rows), Axis(unit), [one])]
    return []
