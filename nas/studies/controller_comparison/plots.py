"""The picture of a comparison: curves of the incumbents, and the share of the true front that was found."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.reporting.figures.drawing import write_figure
from nas.reporting.figures.figures import Axis, Chart, Series
from nas.reporting.figures.studies import SETTLED, contest_chart

Rows = Sequence[Mapping[str, Any]]


def comparison_plot(
    curves: Rows, fronts: Rows, *, marks: Sequence[int], optimum: float, names: Sequence[str], path: str | Path
) -> None:
    """Draws means over seeds with their 95 % intervals, one colour a controller.

    Args:
        curves: Rows with `part`, `controller`, `queries`, `mean`, `low`, `high` and `seeds`.
        fronts: One a controller, with `ratio`, `low` and `high`, each as `ratio_at_MARK` in 0 … 1; may be empty.
        marks: Numbers of queries.
        optimum: The highest report of the table.
        names: Controllers in the order of their colours.
        path: Where the SVG goes.

    Raises:
        ValueError: If there are no curves.
    """
    ordered = sorted(curves, key=lambda row: names.index(row["controller"]))
    charts = [contest_chart(ordered, "accuracy", optimum, settled=min(SETTLED, marks[0]))]
    if fronts:
        charts.append(_front_chart(fronts, marks=marks, names=names))
    write_figure(path, *charts)


def _front_chart(fronts: Rows, *, marks: Sequence[int], names: Sequence[str]) -> Chart:
    series = []
    for row in fronts:
        mean, low, high = ([100 * row[f"{key}_at_{mark}"] for mark in marks] for key in ("ratio", "low", "high"))
        name, colour = f"{row['controller']} (n = {row['seeds']})", names.index(row["controller"])
        series.append(Series(name=name, x=marks, y=mean, low=low, high=high, colour=colour))
    title = "Area of the true front that was found"
    return Chart("front", title, "", Axis("cells looked up"), Axis("area (%)"), series)
