"""Searches and retrainings of a run: rewards, losses and accuracies, preferences of the controller, diagnostics."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from nas.reporting.figures.colours import BLUE, GREEN, GREY, ORANGE
from nas.reporting.figures.costs import COSTS
from nas.reporting.figures.figures import Axis, Block, Chart, Figure, HeatMap, Paragraph, Series
from nas.reporting.figures.series import MAX_CURVE, TEMPO, Rows, curve, joined, search_axis, smoothed, tempo, thinned
from nas.reporting.page.records import RunRecord, number

MAX_DECISIONS = 12  # that a figure shows
INSIGHT = (
    "How much of the variance of an epoch's rewards the choices of a decision explain, chance taken off, the most "
    "important above; lines are 95 % intervals. One whose line begins at 0 is not shown to matter."
)
COLOURS = {"found cell": BLUE, "random cells": GREY, "random search": ORANGE}
KINDS = {"found": "found cell", "random": "random cells", "random_search": "random search"}
"""How the charts call the cells of a label."""
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
        kind = "random cells" if label.startswith("random-") else KINDS.get(label, label)
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


MAX_COLUMNS = 60  # of a heat map
SHARES = {"entropy_share": "entropy", "repeats": "seen before", "weight_free": "ops without weights"}
CAPTIONS = {
    "diagnostics": (
        "Entropy, in % of that of uniform choice; the share of an epoch's cells that had been sampled before; the "
        "probability of ops without weights. A policy that settles is unsure less and repeats itself more; where ops "
        "without weights take over, look at the reward."
    ),
    "entropies": (
        "A row a decision, in % of the entropy of uniform choice: yellow is undecided, dark blue is settled. A row "
        "that turns blue before the others is a choice that matters, or one that was made too soon."
    ),
    "chosen": (
        "Share of each {kind} in the sampled cells, stacked to 100 %, as a running mean over {window} rows. A band "
        "that widens is what the controller has come to prefer; one that fills the figure is a policy that has settled."
    ),
    "probabilities": (
        "What the policy itself would choose, averaged over all decisions on {kind}s and stacked to 100 %, without the "
        "noise of sampling."
    ),
}
PERCENT = Axis("share (%)", limits=(0.0, 100.0))


def policy_charts(run: RunRecord) -> list[Chart]:
    """Draws the entropy of the policy and how often each op and mixer was chosen."""
    rows = run.rows("search.csv")
    return [single_chart(rows, "entropy", run.key), *choice_charts(rows, run.key)]


def diagnostic_charts(rows: Rows, key: str = "", *, marks: Sequence[float] = ()) -> list[Figure]:
    """Draws how settled the policy is, the entropy of every decision and the probability of every choice.

    Args:
        rows: Rows of `nas.searching.diagnostics.watch`, one an epoch.
        key: The run's part of the keys.
        marks: Epochs in which something was found.
    """
    series = [
        curve(rows, column, along=tempo(rows), name=name, colour=colour, scale=100.0)
        for colour, (column, name) in enumerate(SHARES.items())
        if rows and column in rows[0]
    ]
    title, x = "How settled the policy is", search_axis(rows)
    shares = Chart(f"{key}--diagnostics", title, CAPTIONS["diagnostics"], x, PERCENT, series, marks)
    return [shares, *_entropy_map(rows, key, marks), *choice_charts(rows, key, exact=True, marks=marks)]


def warnings_of(run: RunRecord) -> Iterator[Block]:
    """Yields what a search warned of."""
    for finding in run.record("warnings.json").get("findings", []):
        text = f"Epoch {finding['epoch']}: {finding['message']}."
        yield Paragraph(text, "said" if finding.get("action") == "none" else "loud")


def insight_blocks(run: RunRecord) -> Iterator[Block]:
    """Yields what a search has learned: sentences, and which decisions explain its rewards."""
    insight = run.record("insight.json")
    sentences = [*insight.get("findings", {}).values(), *insight.get("advice", [])]
    if sentences:
        yield Paragraph(" ".join(f"{one[:1].upper()}{one[1:]}." for one in sentences))
    rows = insight.get("decisions", [])[:MAX_DECISIONS]
    known = {key: [100 * number(row[key]) for row in rows] for key in ("value", "low", "high")}
    names = [str(row["name"]) for row in rows]
    series = Series(x=known["value"], y=names, low=known["low"], high=known["high"], mark="dots", colour=BLUE)
    x, y = Axis("variance of rewards explained (%)"), Axis("decision")
    yield Chart(f"{run.key}-insight", "Which decisions mattered", INSIGHT, x, y, [series] if rows else [])


def choice_charts(rows: Rows, key: str = "", *, exact: bool = False, marks: Sequence[float] = ()) -> list[Chart]:
    """Stacks the shares of the choices of each kind, of ops and of mixers.

    Args:
        rows: With shares in 0 … 1 by `kind.choice`, as `op.identity`, or `probability.kind.choice`.
        key: The run's part of the keys.
        exact: Whether they are the policy's own probabilities, else as sampled: these are smoothed.
        marks: Epochs in which something was found.
    """
    charts = []
    for kind in ("op", "mixer"):
        start = f"probability.{kind}." if exact else f"{kind}."
        keys = [column for column in (rows[0] if rows else ()) if column.startswith(start) and column != start]
        title = f"Probability of each {kind}" if exact else f"{kind.capitalize()}s chosen"
        name = f"{key}--{kind}-probabilities" if exact else f"{key}--{kind}s"
        window = 1 if exact else max(1, min(10, len(rows) // 5))
        caption = (CAPTIONS["probabilities"] if exact else CAPTIONS["chosen"]).format(kind=kind, window=window)
        bands = _stacked(rows, keys, window, start)
        charts.append(Chart(name, title, caption, search_axis(rows), PERCENT, bands, marks))
    return charts


def _stacked(rows: Rows, keys: Sequence[str], window: int, start: str) -> list[Series]:
    along = tempo(rows)
    rows = [row for row in rows if all(math.isfinite(number(row.get(key))) for key in (along, *keys))]
    kept = thinned(range(len(rows)), MAX_CURVE // 2)
    x, below = [rows[i][along] for i in kept], [0.0] * len(kept)
    series = []
    for colour, key in enumerate(keys):
        shares = smoothed([100 * row[key] for row in rows], window)
        values = [shares[i] for i in kept]
        above = [min(100.0, low + value) for low, value in zip(below, values, strict=True)]
        name = key.removeprefix(start)
        series.append(Series(name=name, x=x, y=above, mark="area", low=below, high=above, values=values, colour=colour))
        below = above
    return series


def _entropy_map(rows: Rows, key: str, marks: Sequence[float]) -> list[HeatMap]:
    along = tempo(rows)
    keys = [column for column in (rows[0] if rows else ()) if column.startswith("entropy_share.")]
    at = {number(row.get(along)): row for row in rows if math.isfinite(number(row.get(along)))}
    columns = thinned([at[step] for step in sorted(at)], MAX_COLUMNS)
    if not keys or not columns:
        return []
    steps = [float(row[along]) for row in columns]
    names = [column.split(".", 1)[1] for column in keys]
    values = [[100 * number(row.get(column)) for row in columns] for column in keys]
    title, x = "Entropy of each decision", search_axis(rows)
    return [HeatMap(f"{key}--entropies", title, CAPTIONS["entropies"], x, steps, names, values, marks)]
