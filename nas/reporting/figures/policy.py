"""What the controller came to prefer: entropy, choices over time, and the diagnostics that a search keeps."""

import math
from collections.abc import Sequence

from nas.reporting.figures.figures import Axis, Block, Chart, Figure, HeatMap, Paragraph, Series
from nas.reporting.figures.learning import TEMPO, single_chart, tempo
from nas.reporting.figures.series import MAX_CURVE, Rows, curve, smoothed, thinned
from nas.reporting.page.records import RunRecord, number

MAX_COLUMNS = 60  # of a heat map
KINDS = ("op", "mixer")
SHARES = {"entropy_share": "entropy", "repeats": "seen before", "weight_free": "ops without weights"}
SHARES_CAPTION = (
    "Entropy, in % of that of uniform choice; the share of an epoch's cells that had been sampled before; the "
    "probability of ops without weights. A policy that settles is unsure less and repeats itself more; where ops "
    "without weights take over, look at the reward."
)
ENTROPIES_CAPTION = (
    "A row a decision, in % of the entropy of uniform choice: yellow is undecided, dark blue is settled. A row that "
    "turns blue before the others is a choice that matters, or one that was made too soon."
)
CHOSEN_CAPTION = (
    "Share of each {kind} in the sampled cells, stacked to 100 %, as a running mean over {window} rows. A band that "
    "widens is what the controller has come to prefer; one that fills the figure is a policy that has settled."
)
PROBABILITIES_CAPTION = (
    "What the policy itself would choose, averaged over all decisions on {kind}s and stacked to 100 %, without the "
    "noise of sampling."
)
PERCENT = Axis("share (%)", limits=(0.0, 100.0))


def policy_figures(run: RunRecord) -> list[Chart]:
    """Draws the entropy of the policy and how often each op and mixer was chosen."""
    charts: list[Chart] = []
    with run.reading("search.csv"):
        rows = run.rows("search.csv")
        charts = [single_chart(rows, "entropy", run.key), *choice_charts(rows, run.key)]
    return [chart for chart in charts if not chart.empty]


def diagnostic_figures(run: RunRecord) -> list[Figure]:
    """Draws the diagnostics of a search."""
    with run.reading("diagnostics.csv"):
        return diagnostic_charts(run.rows("diagnostics.csv"), run.key)
    return []


def diagnostic_charts(rows: Rows, key: str = "", *, marks: Sequence[float] = ()) -> list[Figure]:
    """Draws how settled the policy is, the entropy of every decision and the probability of every choice.

    Args:
        rows: Of `nas.searching.diagnostics.watch`, one an epoch.
        key: The run's part of the keys.
        marks: Epochs in which something was found.
    """
    along = tempo(rows)
    series = [
        curve(rows, column, along=along, name=name, colour=colour, scale=100.0)
        for colour, (column, name) in enumerate(SHARES.items())
        if rows and column in rows[0]
    ]
    x = Axis(TEMPO[along], whole=True)
    shares = Chart(f"{key}--diagnostics", "How settled the policy is", SHARES_CAPTION, x, PERCENT, series, marks)
    charts = [shares, *choice_charts(rows, key, exact=True, marks=marks)]
    figures: list[Figure] = [chart for chart in charts if not chart.empty]
    figures[1:1] = _entropy_map(rows, key, marks)
    return figures


def warnings_of(run: RunRecord) -> list[Block]:
    """Returns what a search warned of."""
    sentences: list[Block] = []
    with run.reading("warnings.json"):
        for finding in run.record("warnings.json").get("findings", []):
            text = f"Epoch {finding['epoch']}: {finding['message']}."
            sentences.append(Paragraph(text, "said" if finding.get("action") == "none" else "loud"))
    return sentences


def choice_charts(rows: Rows, key: str = "", *, exact: bool = False, marks: Sequence[float] = ()) -> list[Chart]:
    """Stacks the shares of the choices of each kind, of ops and of mixers.

    Args:
        rows: With shares in 0 … 1 by `kind.choice`, as `op.identity`, or `probability.kind.choice`.
        key: The run's part of the keys.
        exact: Whether they are the policy's own probabilities, else as sampled: these are smoothed.
        marks: Epochs in which something was found.
    """
    prefix = "probability." if exact else ""
    charts = []
    for kind in KINDS:
        start = f"{prefix}{kind}."
        keys = [column for column in (rows[0] if rows else ()) if column.startswith(start) and column != start]
        if keys:
            title = f"Probability of each {kind}" if exact else f"{kind.capitalize()}s chosen"
            name = f"{key}--{kind}-probabilities" if exact else f"{key}--{kind}s"
            window = 1 if exact else max(1, min(10, len(rows) // 5))
            caption = (PROBABILITIES_CAPTION if exact else CHOSEN_CAPTION).format(kind=kind, window=window)
            x = Axis(TEMPO[tempo(rows)], whole=True)
            charts.append(Chart(name, title, caption, x, PERCENT, _stacked(rows, keys, window, start), marks))
    return charts


def _stacked(rows: Rows, keys: Sequence[str], window: int, start: str) -> list[Series]:
    along = tempo(rows)
    rows = [row for row in rows if all(math.isfinite(number(row.get(key))) for key in (along, *keys))]
    kept = thinned(range(len(rows)), MAX_CURVE // 2)
    below = [0.0] * len(kept)
    series = []
    for colour, key in enumerate(keys):
        shares = smoothed([100 * row[key] for row in rows], window)
        values = [shares[i] for i in kept]
        above = [min(100.0, low + value) for low, value in zip(below, values, strict=True)]
        x, name = [rows[i][along] for i in kept], key.removeprefix(start)
        band = Series(name=name, x=x, y=above, mark="area", low=below, high=above, values=values, colour=colour)
        series.append(band)
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
    x = Axis(TEMPO[along], whole=True)
    return [HeatMap(f"{key}--entropies", "Entropy of each decision", ENTROPIES_CAPTION, x, steps, names, values, marks)]
