"""Studies of the method: how well shared weights rank cells, and controllers compared in a table."""

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from nas.reporting.figures.colours import GREY
from nas.reporting.figures.figures import Axis, Block, Chart, DataTable, Paragraph, Series, TableColumn
from nas.reporting.figures.series import MAX_CLOUD, MAX_CURVE, Rows, deviation, dots, grouped, thinned
from nas.reporting.page.records import RunRecord, number
from nas.runs.intervals import plus_minus

CAPTIONS = {
    "accuracy": (
        "Mean over seeds of what the best cell so far is worth, chosen by its reward, against the number of cells "
        "looked up; the band is the 95 % interval of the mean. A curve that rises early learns from few cells."
    ),
    "front": "The same where accuracy and cost are rewarded.",
    "scatter": (
        "A dot a cell: what the shared weights say of it against what it reaches trained alone{spread}. Dots that rise "
        "to the right mean that a search picks good cells; a cloud without direction means that it picks at random. "
        "The colours are ways of treating batch norm; a click on a name shows it."
    ),
    "policy": (
        "A dot a cell: how probable the controller finds it against what it reaches trained alone. A policy that has "
        "learned finds good cells probable."
    ),
    "correlations": (
        "With 95 % bootstrap intervals; a dash means that there are too few cells. A correlation whose interval holds "
        "0 shows no order."
    ),
    "ordering": (
        "With 95 % bootstrap intervals over cells and runs. Tau is Kendall's, over all cells and over the truly better "
        "half and best tenth; P@5 % is the share of the true best twentieth among the twentieth scored best; the equal "
        "columns compare only cells of one size. The lower rows train nothing: shared weights are worth their training "
        "where they are above them."
    ),
    "cloud": (
        "A dot a cell: its loss under shared weights, with each kept copy of them on other images, against its truth "
        "in the table. Dots that fall to the right mean that a low shared loss belongs to a good cell."
    ),
    "controllers": (
        "Test accuracy in % of the best cell by reward after so many queries, mean ± standard deviation over seeds; p "
        "of a Mann-Whitney test against the baseline after the last."
    ),
}


def ranking_blocks(run: RunRecord) -> Iterator[Block]:
    """Draws and lists the ranking of a run; nothing if it has none."""
    record = run.record("rank.json")
    cells: Rows = record.get("cells", [])
    if record.get("ordering"):
        yield _ordering(run, record["ordering"])
    elif cells:
        yield from (Paragraph(str(text)) for text in record.get("sentences", []))
        for index, name in enumerate(cells[0]["shared"]):
            yield from _scatters(run, cells, name, index)
        yield from _correlations(run, record.get("figures") or {})


def ranking_clouds(run: RunRecord) -> list[Chart]:
    """Draws the cells of a table by their shared losses, a chart for each ranked run."""
    cells = thinned(run.rows("scored_cells.csv"), MAX_CLOUD)
    names = dict.fromkeys(key.removesuffix(", loss") for key in (cells[0] if cells else {}) if key.endswith(", loss"))
    truth = [number(cell["truth"]) for cell in cells]
    charts = []
    for index, name in enumerate(names):
        losses = {kind: [-number(cell[f"{name}, {kind}"]) for cell in cells] for kind in ("loss", "calibrated loss")}
        series = [
            Series(name=kind, x=x, y=truth, mark="dots", colour=colour, hidden=colour > 0)
            for colour, (kind, x) in enumerate(losses.items())
        ]
        title, x_axis = f"Cells of the table by the shared weights of {name}", Axis("shared-weight loss (nats)")
        key, y_axis = f"{run.key}--cloud-{index}", Axis("truth in the table")
        charts.append(Chart(key, title, CAPTIONS["cloud"], x_axis, y_axis, series))
    return charts


def _ordering(run: RunRecord, ordering: Mapping[str, Mapping[str, Mapping[str, float]]]) -> DataTable:
    """Lists how well each way of scoring orders the cells of a table."""
    ends = {"": "value", " low": "low", " high": "high"}
    rows = [
        {"scored by": name}
        | {f"{key}{end}": number(one[part]) for key, one in row.items() for end, part in ends.items()}
        for name, row in ordering.items()
    ]

    def with_interval(key: str) -> Callable[[Mapping[str, Any]], str]:
        return lambda row: f"{row[key]:.2f} ({row[f'{key} low']:.2f} … {row[f'{key} high']:.2f})"

    figures = list(next(iter(ordering.values())))
    columns = [TableColumn("scored by", "scored by"), *(TableColumn(key, key, with_interval(key)) for key in figures)]
    return DataTable(
        f"{run.key}--ordering", "How scores order the cells of the table", CAPTIONS["ordering"], columns, rows
    )


def _scatters(run: RunRecord, cells: Rows, name: str, index: int) -> Iterator[Chart]:
    truth = Axis("stand-alone test accuracy (%)")
    modes = []
    for colour, mode in enumerate(cells[0]["shared"][name]):
        places = [100 * number(cell["shared"][name].get(mode)) for cell in cells]
        modes.append(_dots(cells, places, name=mode, colour=colour, hidden=colour > 0))
    seeds = min(len(cell["stand_alone"]) for cell in cells)
    spread = f", the line through it one standard deviation of {seeds} seeds" if seeds > 1 else ", with one seed each"
    key, title, caption = (
        f"{run.key}--rank",
        f"Ranking by the {{}} of {name}",
        CAPTIONS["scatter"].format(spread=spread),
    )
    shared, policy = Axis("shared-weight accuracy (%)"), Axis("log-probability (nats)")
    yield Chart(f"{key}-{index}", title.format("shared weights"), caption, shared, truth, modes)
    found = [_dots(cells, [number((cell.get("log_prob") or {}).get(name)) for cell in cells])]
    yield Chart(f"{key}-policy-{index}", title.format("policy"), CAPTIONS["policy"], policy, truth, found)


def _dots(cells: Rows, places: Sequence[float], **looks: Any) -> Series:
    points = []
    for index, (cell, place) in enumerate(zip(cells, places, strict=True)):
        values = [100 * float(value) for value in cell["stand_alone"]]
        if math.isfinite(place) and values:
            size = f", {cell['parameters']:,} parameters" if isinstance(cell.get("parameters"), int) else ""
            points.append((place, statistics.fmean(values), deviation(values), f"cell #{index}{size}"))
    x, y, stds, notes = zip(*points, strict=True) if points else ((), (), (), ())
    return dots(x, y, stds, notes=notes, **looks)


def _correlations(run: RunRecord, figures: Any) -> list[DataTable]:
    """Lists every correlation among the figures, wherever it stands, with its interval."""
    rows = [{"figure": path, **estimate} for path, estimate in _estimates(figures, "")]
    columns = [
        TableColumn("figure", "figure"),
        TableColumn("value", "value", ".3f"),
        TableColumn("low", "95 % from", ".3f"),
        TableColumn("high", "to", ".3f"),
        TableColumn("cells", "cells", "g"),
    ]
    table = DataTable(f"{run.key}--correlations", "Figures of the ranking", CAPTIONS["correlations"], columns, rows)
    return [table] if rows else []


def _estimates(node: Any, path: str) -> Iterator[tuple[str, dict[str, float]]]:
    """Yields the figures with an interval below a node, each with the keys that lead to it."""
    if isinstance(node, list):
        for entry in (one for one in node if isinstance(one, Mapping)):
            said = [f"{key} {entry[key]}" for key in ("k", "run", "against") if key in entry]
            yield from _estimates(entry, f"{path} {' '.join(said)}")
    elif isinstance(node, Mapping) and {"value", "low", "high"} <= set(node):
        known = {key: number(node.get(key)) for key in ("value", "low", "high", "cells")}
        yield path, {key: value for key, value in known.items() if math.isfinite(value)}
    elif isinstance(node, Mapping):
        for key, value in node.items():  # some keys are of the file and not of the figure
            below = path if key in ("runs", "within", "modes") else f"{path}, {key}" if path else key
            yield from _estimates(value, below)


SETTLED = 20  # queries before which a curve lies far below the others and is not drawn
TITLES = {"accuracy": "Best cell by queries", "front": "Best cell by queries, cost rewarded too"}


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
    return [DataTable(f"{run.key}--controllers", "Controllers", CAPTIONS["controllers"], columns, rows)]


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
