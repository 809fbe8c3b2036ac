"""Controllers side by side in a table, from what `nas compare` leaves."""

import math
from collections.abc import Mapping
from typing import Any

from nas.reporting.figures.colours import GREY
from nas.reporting.figures.figures import Axis, Chart, DataTable, Series, TableColumn
from nas.reporting.figures.series import MAX_CURVE, Rows, grouped, thinned
from nas.reporting.page.records import RunRecord, number
from nas.runs.intervals import plus_minus

SETTLED = 20  # queries before which a curve lies far below the others and is not drawn
TITLES = {"accuracy": "Best cell by queries", "front": "Best cell by queries, cost rewarded too"}
CAPTIONS = {
    "accuracy": "Mean over seeds of what the best cell so far is worth, chosen by its reward, against the number of "
    "cells looked up; the band is the 95 % interval of the mean. A curve that rises early learns from few cells.",
    "front": "The same where accuracy and cost are rewarded.",
}
TABLE_CAPTION = (
    "Test accuracy in % of the best cell by reward after so many queries, mean ± standard deviation over seeds; p of a "
    "Mann-Whitney test against the baseline after the last."
)


def comparison_charts(run: RunRecord) -> list[Chart]:
    """Draws a comparison of controllers."""
    rows, best = run.rows("curves.csv"), number(run.record("compare.json").get("optimum"))
    return [contest_chart(rows, part, best if part == "accuracy" else math.nan, run.key) for part in TITLES]


def comparison_tables(run: RunRecord) -> list[DataTable]:
    """Lists the controllers of a comparison; nothing if there was none."""
    rows: Rows = run.record("compare.json").get("controllers") or []
    marks = [key.removeprefix("mean_at_") for key in (rows[0] if rows else {}) if key.startswith("mean_at_")]
    if not marks:
        return []

    def reached(mark: str) -> TableColumn:
        def show(row: Mapping[str, Any]) -> str:
            return plus_minus(row[f"mean_at_{mark}"], number(row.get(f"std_at_{mark}")))

        return TableColumn(f"mean_at_{mark}", f"at {mark}", show)

    columns = [
        TableColumn("controller", "controller"),
        TableColumn("seeds", "seeds", "g"),
        *map(reached, marks),
        TableColumn(f"median_regret_at_{marks[-1]}", f"median regret at {marks[-1]}", ".3f"),
        TableColumn(f"p_at_{marks[-1]}", "p, baseline", ".2g"),
    ]
    return [DataTable(f"{run.key}--controllers", "Controllers", TABLE_CAPTION, columns, rows)]


def contest_chart(rows: Rows, part: str, optimum: float, key: str = "", *, settled: int = SETTLED) -> Chart:
    """Draws the means over seeds with their 95 % intervals, one colour a controller.

    Args:
        rows: With `part`, `controller`, `queries`, `mean`, `low`, `high` and `seeds`.
        part: Which rows are drawn, a key of `TITLES`.
        optimum: The highest report of the table, NaN where it is not to be drawn.
        key: The run's part of the chart's key.
        settled: Values below the least mean from so many queries on are not drawn.
    """
    rows = [row for row in rows if row["part"] == part]
    least = min([number(row["mean"]) for row in rows if number(row["queries"]) >= settled], default=0.0)
    series = [
        _curve(name, own, least, colour) for colour, (name, own) in enumerate(grouped(rows, "controller").items())
    ]
    if series and math.isfinite(optimum):
        last = max(number(row["queries"]) for row in rows)
        series.append(Series(name="best of the table", x=[1, last], y=[optimum] * 2, colour=GREY, dashed=True))
    title, caption = TITLES[part], CAPTIONS[part]
    return Chart(f"{key}--compare-{part}", title, caption, Axis("cells looked up"), Axis("test accuracy (%)"), series)


def _curve(name: str, rows: Rows, least: float, colour: int) -> Series:
    rows = thinned([row for row in rows if number(row["mean"]) >= least], MAX_CURVE)
    return Series(
        name=f"{name} (n = {rows[0]['seeds']:g})" if rows else name,
        x=[number(row["queries"]) for row in rows],
        y=[number(row["mean"]) for row in rows],
        low=[max(number(row["low"]), least) for row in rows],
        high=[number(row["high"]) for row in rows],
        colour=colour,
    )
