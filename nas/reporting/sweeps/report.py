"""Results of a sweep: `sweep.json`, `sweep.csv`, `sweep.svg`, the report, the printed table and its conclusions."""

import json
import shlex
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.reporting.figures.colours import GREY
from nas.reporting.figures.drawing import write_figure
from nas.reporting.figures.figures import Axis, Chart, Series
from nas.reporting.figures.series import Rows, dots
from nas.reporting.page.report import write_report
from nas.reporting.sweeps.summary import (
    FIGURES,
    SEED,
    Record,
    accuracies,
    aggregate,
    common_environment,
    distinct,
    swept_keys,
)
from nas.runs.checkpoints import write_csv, write_json
from nas.runs.console import Column, Table, next_command, note, result, shown
from nas.runs.intervals import plus_minus, spread, verdict
from nas.runs.listing import read_json

OF_LATENCY = ("data", "device", "runtime", "experiment", "imports")
"""Prefixes of the keys that a measurement of the found models' latency has in common with the sweep."""
FILES = ("sweep.json", "sweep.csv", "sweep.svg", "report.html")
DECADES = 100.0
"""An axis is logarithmic if its ends are so many times apart."""


EQUAL_COST = Column("equal_cost_accuracy", "equal cost (%)", ".2f", 100)


def report(sweep: Path, members: Sequence[Record]) -> None:
    """Writes and prints what the members of a sweep come to.

    Args:
        sweep: Folder of the sweep.
        members: Records of `read_members`, of which at least one is finished.
    """
    members = distinct(members)
    keys, rows = swept_keys(members), aggregate(members)
    finished = [member for member in members if member["state"] == "finished"]
    _write(sweep, members, rows, keys, batch_size=finished[0]["latency_batch_size"])
    _print_table(rows, keys)
    _print_gains(rows, keys)
    if keys and sum(row["finished"] > 0 for row in rows) > 1:
        _print_best(finished, rows, keys)
    note(f"figures in {shown(sweep / FILES[0])}, {', '.join(FILES[1:])}")
    if len(firsts := _first_seeds(finished)) > 1:
        models = ",".join(shown(sweep / member["member"]) for member in firsts)
        kept = [f"{key}={value}" for key, value in finished[0]["fixed"].items() if key.startswith(OF_LATENCY)]
        next_command(shlex.join(["nas", "latency", f"models=[{models}]", *kept]))


def sweep_plot(rows: Rows, keys: Sequence[str], path: str | Path, *, batch_size: int) -> None:
    """Draws every figure against the first key, one colour for each combination of the others.

    Means have the standard deviation as error bar where there is one; the mean of the random cells is a dashed line.
    Numbers lie on an axis, which is logarithmic where they span decades; texts stand side by side.

    Args:
        rows: Rows of `aggregate`; those without a finished member are left out.
        keys: The keys that were swept, apart from the seed; without any there is one point.
        path: Where the SVG goes.
        batch_size: Images in a batch of the measured latency.

    Raises:
        ValueError: If no row has a finished member.
    """
    key, others = (keys[0] if keys else ""), keys[1:]
    drawn = [row for row in rows if row["finished"]]
    values: list[Any] = [row.get(key) for row in drawn]
    numeric = bool(values) and all(isinstance(value, int | float) for value in values)
    groups: defaultdict[str, list[Record]] = defaultdict(list)
    for row in drawn:
        place = row.get(key) if numeric else str(row.get(key, ""))
        groups[", ".join(f"{row.get(other)}" for other in others)].append({**row, "place": place})
    log = 10 if numeric and min(values) > 0 and max(values) / min(values) >= DECADES else 0
    few = numeric and not log and len(set(values)) <= 8
    axis = Axis(key, log=log, ticks=tuple(dict.fromkeys(values)) if few else ())
    charts = []
    for figure in FIGURES:
        title = f"latency (ms), batch {batch_size}" if figure.key == "latency_ms" else figure.title
        title += f" by {', '.join(others)}" if others else ""
        series: list[Series] = []
        for colour, (name, group) in enumerate(groups.items()):
            series += _series(figure, group, name, colour=colour, joined=numeric)
        charts.append(Chart(figure.key, title, "", axis, Axis(""), series))
    write_figure(path, *charts)


def _series(figure: Column, group: Sequence[Record], name: str, *, colour: int, joined: bool) -> list[Series]:
    places, means = [row["place"] for row in group], [figure.scale * row[figure.key] for row in group]
    stds = [figure.scale * (row[f"{figure.key}_std"] or 0.0) for row in group]
    series = [Series(x=places, y=means, colour=colour)] if joined else []
    series.append(dots(places, means, stds, name=name, colour=colour))
    random = [row for row in group if "random_accuracy" in row]
    if figure.key == "test_accuracy" and random:
        means = [figure.scale * row["random_accuracy"] for row in random]
        looks: dict[str, Any] = {"colour": colour if name else GREY, "dashed": True} if joined else {"mark": "dots"}
        places = [row["place"] for row in random]
        series.append(Series(name=f"{name} random cells".strip(), x=places, y=means, faint=True, **looks))
    return series


def _write(
    sweep: Path, members: Sequence[Record], rows: Sequence[Record], keys: Sequence[str], *, batch_size: int
) -> None:
    """Writes the files, unless they are there and say the same."""
    record = {
        "keys": list(keys),
        "accuracy": "fraction of test images; mean over searches, or over the trainings of the only one",
        "latency_batch_size": batch_size,
        "rows": list(rows),
        "members": list(members),
        "environment": common_environment(sweep, members),
    }
    if read_json(sweep / FILES[0]) == json.loads(json.dumps(record)):
        return
    write_csv(sweep / "sweep.csv", rows)
    sweep_plot(rows, keys, sweep / "sweep.svg", batch_size=batch_size)
    write_report([sweep], sweep)
    write_json(sweep / FILES[0], record)  # last: it says that the others are there


def _print_table(rows: Sequence[Record], keys: Sequence[str]) -> None:
    widths = {key: max(len(key), *(len(str(row.get(key))) for row in rows)) for key in keys}
    table = Table(
        [
            *(Column(key, f"{key:>{width}}", "") for key, width in widths.items()),
            Column("test", "test accuracy (%)", ""),
            Column("test_accuracy_n", "n", "d"),
            Column("random_accuracy", "random cells (%)", ".2f", 100),
            *([EQUAL_COST] if any("equal_cost_accuracy" in row for row in rows) else []),
            *FIGURES[1:],
        ]
    )
    for row in rows:
        texts = {key: str(row.get(key)) for key in keys}
        if row["finished"]:
            std = row["test_accuracy_std"]
            texts["test"] = plus_minus(100 * row["test_accuracy"], None if std is None else 100 * std)
        table.row({**row, **texts})
    note("n: searches, each the mean of its trainings; where there is one search, its trainings")


def _print_gains(rows: Sequence[Record], keys: Sequence[str]) -> None:
    """Says of every combination how much the found cells are above random ones, and whether that is shown."""
    for row in rows:
        where = " ".join(f"{key}={row[key]}" for key in keys)
        for prefix, other in (("", "random"), ("equal_cost_", "random search at equal cost")):
            if f"{prefix}gain" in row:
                number = row[f"{prefix}gain_n"]
                searches = f"{number} searches" if number > 1 else "1 search"
                gain = f"{100 * row[f'{prefix}gain']:+.2f} points, {searches}: {row[f'{prefix}comparison']}"
                result(f"found above {other}" + (f", {where}" if where else "") + f": {gain}")


def _print_best(finished: Sequence[Record], rows: Sequence[Record], keys: Sequence[str]) -> None:
    """Says which combination is the most accurate, and whether it is shown to differ from the next one."""

    def reached(row: Record) -> list[float]:
        return accuracies([one for one in finished if all(one["settings"].get(key) == row[key] for key in keys)])[0]

    ranked = sorted((row for row in rows if row["finished"]), key=lambda row: -row["test_accuracy"])
    first, second = (" ".join(f"{key}={row[key]}" for key in keys) for row in ranked[:2])
    result(f"best: {first}: test accuracy {spread(reached(ranked[0])).percent()}")
    result(f"beside {second}: {verdict(reached(ranked[0]), reached(ranked[1]), names=(first, second))}")


def _first_seeds(members: Sequence[Record]) -> list[Record]:
    """Returns of every combination the first member."""
    first: dict[tuple[Any, ...], Record] = {}
    for member in members:
        first.setdefault(tuple(value for key, value in member["settings"].items() if key != SEED), member)
    return list(first.values())
