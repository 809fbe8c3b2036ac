"""How runs learned, from `search.csv` and `retrain.csv`: rewards, losses, accuracies."""

from collections.abc import Sequence
from typing import Any

from nas.reporting.figures.figures import Axis, Chart, Series
from nas.reporting.figures.series import curve, joined
from nas.reporting.page.records import Row, RunRecord

TEMPO = {"epoch": "epoch of the search", "queries": "cells rewarded"}
COLOURS = {"found cell": 0, "random cells": 6}
SINGLE = {
    "loss": ("Training loss of the shared weights", "cross-entropy (nats)", 1.0),
    "train_accuracy": ("Training accuracy of the shared weights", "accuracy (%)", 100.0),
}
ENTROPY_CAPTION = (
    "Of all decisions together: how undecided the controller still is. It starts at that of uniform choice and falls "
    "as the controller settles."
)
COSTS = {
    "latency_ms": ("latency", "latency (ms)", 1.0),
    "multiply_adds": ("multiply-adds", "multiply-adds (M)", 1e-6),
    "parameters": ("parameters", "parameters (k)", 1e-3),
}
"""Of each cost its name, the title of an axis of it, and the scale to that unit."""


def search_charts(run: RunRecord) -> list[Chart]:
    """Draws the search of a run: rewards, loss and accuracy of the shared weights, cost of the sampled cells."""
    charts: list[Chart] = []
    with run.reading("search.csv"):
        rows = run.rows("search.csv")
        along = tempo(rows)
        axis = Axis(title=TEMPO[along], whole=True)
        reward = Chart(
            key=f"{run.key}--reward",
            title="Reward",
            caption="The best cell so far, the mean of the cells sampled in an epoch, and the baseline that the "
            "controller's advantage is measured from. A mean that rises towards the best shows a policy that learns.",
            x=axis,
            y=Axis(title="reward"),
            series=(
                curve(rows, "best", along=along, name="best so far", colour=2),
                curve(rows, "reward", along=along, name="mean", colour=0),
                curve(rows, "baseline", along=along, name="baseline", colour=6, dashed=True),
            ),
        )
        charts.append(reward)
        for key, (title, unit, scale) in SINGLE.items():
            charts.append(
                Chart(
                    key=f"{run.key}--{key.replace('_', '-')}",
                    title=title,
                    caption="On the training images, an epoch of one sampled cell (or one a batch) each: cells differ, "
                    "so it jumps from epoch to epoch.",
                    x=axis,
                    y=Axis(title=unit),
                    series=(curve(rows, key, along=along, name="", scale=scale),),
                )
            )
        charts += [] if "table" in run.config else _cost_charts(run, rows, along, axis)
    return [chart for chart in charts if not chart.empty]


def retrain_charts(run: RunRecord) -> list[Chart]:
    """Draws the retraining of a run: test accuracy and loss, found cell beside random ones."""
    charts: list[Chart] = []
    with run.reading("retrain.csv"):
        groups = _by_seed(run.rows("retrain.csv"))
        for key, title, unit, scale, caption in (
            (
                "test_accuracy",
                "Test accuracy in retraining",
                "test accuracy (%)",
                100.0,
                "Trained from scratch, one line a seed or cell. Accuracy is taken every few epochs; what counts is the "
                "mean of the last ones.",
            ),
            ("loss", "Loss in retraining", "cross-entropy (nats)", 1.0, "Training loss, one line a seed or cell."),
        ):
            series: list[Series] = []
            for label, pieces in groups.items():
                colour = COLOURS.get(label, len(series) + 1)
                lines = [curve(rows, key, along="epoch", name="", scale=scale) for rows in pieces]
                name = f"{label} (n = {len(pieces)})"
                series.append(joined([line for line in lines if line.x], name=name, colour=colour))
            charts.append(
                Chart(
                    key=f"{run.key}--retrain-{key.replace('_', '-')}",
                    title=title,
                    caption=caption,
                    x=Axis(title="epoch of the retraining", whole=True),
                    y=Axis(title=unit),
                    series=tuple(series),
                )
            )
    return [chart for chart in charts if not chart.empty]


def overlaid_charts(runs: Sequence[RunRecord]) -> list[Chart]:
    """Draws the searches of several runs over each other, one colour a run."""
    panels = {
        "best": ("Best reward so far", "reward", "The highest reward that a sampled cell has got."),
        "reward": ("Mean reward", "reward", "The mean of the cells sampled in an epoch."),
        "entropy": ("Entropy of the policy", "entropy (nats)", ENTROPY_CAPTION),
        "loss": (*SINGLE["loss"][:2], "Cells differ in how well they train, so the loss jumps between epochs."),
    }
    charts = []
    for key, (title, unit, caption) in panels.items():
        series, alongs = [], set()
        for colour, run in enumerate(runs):
            with run.reading("search.csv"):
                rows = run.rows("search.csv")
                one = curve(rows, key, along=tempo(rows), name=run.name, colour=colour)
                if one.x:
                    series.append(one)
                    alongs.add(tempo(rows))
        axis = Axis(title=" or ".join(TEMPO[along] for along in sorted(alongs)), whole=True)
        charts.append(
            Chart(
                key=f"all-{key}",
                title=title,
                caption=f"{caption} One line a run; a click on a name hides it.",
                x=axis,
                y=Axis(title=unit),
                series=tuple(series),
            )
        )
    return [chart for chart in charts if not chart.empty]


def tempo(rows: Sequence[Row]) -> str:
    """Returns the column that counts the steps of a search."""
    return next((key for key in TEMPO if rows and key in rows[0]), "epoch")


def _cost_charts(run: RunRecord, rows: Sequence[Row], along: str, axis: Axis) -> list[Chart]:
    """Draws the first cost of the sampled cells that is recorded."""
    for key, (name, unit, scale) in COSTS.items():
        one = curve(rows, key, along=along, name="", scale=scale, colour=1)
        if one.x:
            return [
                Chart(
                    key=f"{run.key}--sampled-cost",
                    title=f"{name.capitalize()} of the sampled cells",
                    caption=f"The mean {name} of the cells sampled in an epoch: whether the policy drifts to larger or "
                    "to faster cells.",
                    x=axis,
                    y=Axis(title=unit),
                    series=(one,),
                )
            ]
    return []


def _by_seed(rows: Sequence[Row]) -> dict[str, list[list[Row]]]:
    """Returns the rows by kind of cell, found or random, and within it by cell and seed."""
    groups: dict[str, dict[Any, list[Row]]] = {}
    for row in rows:
        label = str(row["label"])
        kind = "random cells" if label.startswith("random") else "found cell" if label == "found" else label
        groups.setdefault(kind, {}).setdefault((label, row.get("seed")), []).append(row)
    return {kind: list(pieces.values()) for kind, pieces in groups.items()}
