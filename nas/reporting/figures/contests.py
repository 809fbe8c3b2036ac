"""Controllers side by side in a table, from what `nas compare` leaves."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nas.reporting.figures.figures import Axis, Block, Chart, DataTable, Series, TableColumn
from nas.reporting.figures.series import MAX_CURVE, thinned
from nas.reporting.page.records import RunRecord, number
from nas.runs.intervals import plus_minus

CAPTION = (
    "Mean over seeds of what the best cell so far is worth, chosen by its reward, against the number of cells looked "
    "up; the band is the 95 % interval of the mean. A curve that rises early learns from few cells."
)
FRONT_CAPTION = "The same where accuracy and cost are rewarded."


def comparison_blocks(run: RunRecord) -> list[Block]:
    """Draws and lists a comparison of controllers; nothing if the run has none."""
    blocks: list[Block] = []
    record: Any = {}
    with run.reading("compare.json"):
        record = run.record("compare.json")
        blocks += _table(run, record.get("controllers") or [])
    with run.reading("curves.csv"):
        rows = run.rows("curves.csv")
        charts = [_curves(run, part, rows, record.get("optimum")) for part in ("accuracy", "front")]
        blocks[:0] = [chart for chart in charts if not chart.empty]
    return blocks


def _curves(run: RunRecord, part: str, rows: Sequence[Mapping[str, Any]], optimum: Any) -> Chart:
    rows = [row for row in rows if row["part"] == part]
    settled = [number(row["mean"]) for row in rows if number(row["queries"]) >= 20] or [0.0]
    series = []
    for colour, name in enumerate(dict.fromkeys(str(row["controller"]) for row in rows)):
        own = thinned([row for row in rows if row["controller"] == name], MAX_CURVE)
        series.append(
            Series(
                name=f"{name} (n = {own[0]['seeds']:g})",
                x=[number(row["queries"]) for row in own],
                y=[number(row["mean"]) for row in own],
                low=[max(number(row["low"]), min(settled)) for row in own],
                high=[number(row["high"]) for row in own],
                colour=colour,
            )
        )
    best, last = number(optimum), max((number(row["queries"]) for row in rows), default=math.nan)
    if part == "accuracy" and series and math.isfinite(best):
        series.append(Series(name="best of the table", x=[1, last], y=[best, best], colour=6, dashed=True))
    top = max([number(row["mean"]) for row in rows] + ([best] if math.isfinite(best) else []), default=1.0)
    return Chart(
        key=f"{run.key}--compare-{part}",
        title="Best cell by queries" if part == "accuracy" else "Best cell by queries, cost rewarded too",
        caption=CAPTION if part == "accuracy" else FRONT_CAPTION,
        x=Axis(title="cells looked up", whole=True),
        y=Axis(title="test accuracy (%)", limits=(min(settled), top + 0.05 * (top - min(settled)))),
        series=tuple(_above(one, min(settled)) for one in series),
    )


def _above(one: Series, least: float) -> Series:
    """Returns a series without its first points, which lie far below the others."""
    kept = [i for i, y in enumerate(one.y) if y >= least and not math.isnan(y)]
    x, y, low, high = ([column[i] for i in kept] if column else () for column in (one.x, one.y, one.low, one.high))
    return replace(one, x=x, y=y, low=low, high=high)


def _table(run: RunRecord, rows: Sequence[Mapping[str, Any]]) -> list[DataTable]:
    marks = [key.removeprefix("mean_at_") for key in (rows[0] if rows else {}) if key.startswith("mean_at_")]
    if not marks:
        return []

    def reached(mark: str) -> TableColumn:
        def show(row: Mapping[str, Any]) -> str:
            return plus_minus(row[f"mean_at_{mark}"], number(row.get(f"std_at_{mark}")))

        return TableColumn(key=f"mean_at_{mark}", title=f"at {mark}", show=show)

    last = marks[-1]
    columns = [
        TableColumn(key="controller", title="controller", show=lambda row: str(row["controller"]), numeric=False),
        TableColumn(key="seeds", title="seeds", show=lambda row: f"{row['seeds']:g}"),
        *(reached(mark) for mark in marks),
        TableColumn(
            key=f"median_regret_at_{last}",
            title=f"median regret at {last}",
            show=lambda row: f"{row[f'median_regret_at_{last}']:.3f}",
        ),
        TableColumn(key=f"p_at_{last}", title="p, baseline", show=lambda row: f"{row[f'p_at_{last}']:.2g}"),
    ]
    caption = (
        "Test accuracy in % of the best cell by reward after so many queries, mean ± standard deviation over seeds; "
        "p of a Mann-Whitney test against the baseline after the last."
    )
    plain = [{key: value for key, value in row.items() if not isinstance(value, list | dict)} for row in rows]
    return [DataTable(key=f"{run.key}--controllers", title="Controllers", caption=caption, columns=columns, rows=plain)]
