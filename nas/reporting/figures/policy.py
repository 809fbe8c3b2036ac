"""What the controller came to prefer: entropy, choices over time, and the diagnostics that a search keeps."""

import math
from collections.abc import Sequence

from nas.reporting.figures.figures import Axis, Block, Chart, HeatMap, Paragraph, Series
from nas.reporting.figures.learning import ENTROPY_CAPTION, TEMPO, tempo
from nas.reporting.figures.series import MAX_CURVE, curve, smoothed, thinned
from nas.reporting.page.records import Row, RunRecord, number

MAX_COLUMNS = 60  # of a heat map
KINDS = ("op", "mixer")
SHARES = {"entropy_share": "entropy", "repeats": "seen before", "weight_free": "ops without weights"}
CHOSEN_CAPTION = (
    "Share of each {kind} in the sampled cells, stacked to 100 %, as a running mean over {window} rows. A band that "
    "widens is what the controller has come to prefer; one that fills the figure is a policy that has settled."
)
PROBABILITIES_CAPTION = (
    "What the policy itself would choose, averaged over all decisions on {kind}s and stacked to 100 %, without the "
    "noise of sampling."
)


def policy_figures(run: RunRecord) -> list[Block]:
    """Draws the entropy of the policy and how often each op and mixer was chosen."""
    blocks: list[Block] = []
    with run.reading("search.csv"):
        rows = run.rows("search.csv")
        along = tempo(rows)
        axis = Axis(title=TEMPO[along], whole=True)
        entropy = Chart(
            key=f"{run.key}--entropy",
            title="Entropy of the policy",
            caption=ENTROPY_CAPTION,
            x=axis,
            y=Axis(title="entropy (nats)"),
            series=(curve(rows, "entropy", along=along, name=""),),
        )
        blocks += [] if entropy.empty else [entropy]
        for kind, keys in _kinds(rows, prefix="").items():
            stacked = _stacked(run, kind, keys, rows=rows, along=along, exact=False)
            blocks += [] if stacked.empty else [stacked]
    return blocks


def diagnostic_figures(run: RunRecord) -> list[Block]:
    """Draws the diagnostics of a search."""
    blocks: list[Block] = []
    with run.reading("diagnostics.csv"):
        rows = run.rows("diagnostics.csv")
        along = tempo(rows)
        shares = Chart(
            key=f"{run.key}--diagnostics",
            title="How settled the policy is",
            caption="Entropy, in % of that of uniform choice; the share of an epoch's cells that had been sampled "
            "before; the probability of ops without weights. A policy that settles is unsure less and repeats itself "
            "more; where ops without weights take over, look at the reward.",
            x=Axis(title=TEMPO[along], whole=True),
            y=Axis(title="share (%)", limits=(0.0, 100.0)),
            series=tuple(
                curve(rows, key, along=along, name=name, colour=colour, scale=100.0)
                for colour, (key, name) in enumerate(SHARES.items())
                if rows and key in rows[0]
            ),
        )
        blocks += [] if shares.empty else [shares]
        blocks += _entropy_map(run, rows, along)
        for kind, keys in _kinds(rows, prefix="probability.").items():
            stacked = _stacked(run, kind, keys, rows=rows, along=along, exact=True)
            blocks += [] if stacked.empty else [stacked]
    return blocks


def warnings_of(run: RunRecord) -> list[Paragraph]:
    """Returns what a search warned of."""
    sentences = []
    with run.reading("warnings.json"):
        for finding in run.record("warnings.json").get("findings", []):
            text = f"Epoch {finding['epoch']}: {finding['message']}."
            sentences.append(Paragraph(text, loud=finding.get("action") != "none"))
    return sentences


def _kinds(rows: Sequence[Row], *, prefix: str) -> dict[str, list[str]]:
    """Returns the columns of choices by kind, `op` and `mixer`, whatever stands before it."""
    kinds: dict[str, list[str]] = {}
    for key in rows[0] if rows else ():
        kind, point, choice = key.removeprefix(prefix).partition(".")
        if key.startswith(prefix) and point and choice and kind in KINDS:
            kinds.setdefault(kind, []).append(key)
    return kinds


def _entropy_map(run: RunRecord, rows: Sequence[Row], along: str) -> list[HeatMap]:
    keys = [key for key in (rows[0] if rows else ()) if key.startswith("entropy_share.")]
    at = {number(row.get(along)): row for row in rows if math.isfinite(number(row.get(along)))}
    columns = thinned([at[step] for step in sorted(at)], MAX_COLUMNS)
    if not keys or not columns:
        return []
    return [
        HeatMap(
            key=f"{run.key}--entropies",
            title="Entropy of each decision",
            caption="A row a decision, in % of the entropy of uniform choice: dark is undecided, pale is settled. A "
            "row that pales before the others is a choice that matters, or one that was made too soon.",
            x=Axis(title=TEMPO[along], whole=True),
            columns=[float(row[along]) for row in columns],
            rows=[key.split(".", 1)[1] for key in keys],
            values=[[number(row.get(key)) for row in columns] for key in keys],
        )
    ]


def _stacked(run: RunRecord, kind: str, keys: Sequence[str], *, rows: Sequence[Row], along: str, exact: bool) -> Chart:
    """Stacks the shares of the choices of a kind: as sampled, or the policy's own probabilities."""
    rows = [row for row in rows if all(math.isfinite(number(row.get(key))) for key in (along, *keys))]
    window = 1 if exact else max(1, min(10, len(rows) // 5))
    shares = {key: smoothed([100 * row[key] for row in rows], window) for key in keys}
    kept = thinned(range(len(rows)), MAX_CURVE // 2)
    below = [0.0] * len(kept)
    series = []
    for colour, key in enumerate(keys):
        values = [shares[key][i] for i in kept]
        above = [min(100.0, low + value) for low, value in zip(below, values, strict=True)]
        series.append(
            Series(
                name=key.rpartition(f"{kind}.")[2],
                x=[rows[i][along] for i in kept],
                y=above,
                mark="area",
                low=below,
                high=above,
                values=values,
                colour=colour,
            )
        )
        below = above
    return Chart(
        key=f"{run.key}--{kind}-probabilities" if exact else f"{run.key}--{kind}s",
        title=f"Probability of each {kind}" if exact else f"{kind.capitalize()}s chosen",
        caption=PROBABILITIES_CAPTION.format(kind=kind) if exact else CHOSEN_CAPTION.format(kind=kind, window=window),
        x=Axis(title=TEMPO[along], whole=True),
        y=Axis(title="share (%)", limits=(0.0, 100.0)),
        series=tuple(series),
    )
