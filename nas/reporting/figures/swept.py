"""Settings in which runs differ: side by side in a table, and as the axis against which results are drawn."""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from nas.reporting.figures.figures import Axis, Block, Chart, DataTable, Series, TableColumn
from nas.reporting.figures.series import deviation, dots
from nas.reporting.page.records import RunRecord, number
from nas.runs.configs import flatten

MAX_DIFFERENCES = 12  # settings in the table of what differs
SWEPT = (
    ("test_accuracy", "Test accuracy", "test accuracy (%)", 100.0),
    ("shared_accuracy", "Shared-weight accuracy", "shared-weight accuracy (%)", 100.0),
    ("parameters", "Parameters", "parameters (k)", 1e-3),
    ("latency_ms", "Latency at batch size 1", "latency (ms)", 1.0),
    ("search_seconds", "Search time", "search time (s)", 1.0),
)
"""Key of each figure of the summary, its title, the title of its axis, and the scale to that unit."""


def swept_charts(runs: Sequence[RunRecord], rows: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Draws accuracy, parameters and latency against the only setting in which the runs differ, if it is numeric."""
    distinct = {  # a run counts once, though it may be there under two names
        json.dumps({**flatten(run.config), "name": None}, sort_keys=True, default=str): (run, row)
        for run, row in zip(runs, rows, strict=True)
        if run.config
    }
    varying = differing_settings([run for run, _ in distinct.values()])
    varying.pop("seed", None)
    if len(varying) != 1:
        return []
    ((key, values),) = varying.items()
    if not all(math.isfinite(number(value)) for value in values):
        return []
    ordered = sorted(zip(values, distinct.values(), strict=True), key=lambda pair: float(pair[0]))
    charts = []
    for column, title, unit, scale in SWEPT:
        groups: defaultdict[float, list[float]] = defaultdict(list)
        for value, (_, row) in ordered:
            if column in row:
                groups[float(value)].append(scale * row[column])
        means = [statistics.fmean(group) for group in groups.values()]
        notes = [f"n = {len(group)}" for group in groups.values()]
        spread = dots([*groups], means, [deviation(group) for group in groups.values()], notes=notes)
        caption = (
            f"Mean of the runs with the same {key}; the line through a dot is one standard deviation over them, where "
            "there are several."
        )
        if len(groups) > 1:
            x = Axis(key, whole=all(value.is_integer() for value in groups))
            series = (Series(x=[*groups], y=means), spread)
            name = f"swept-{column.replace('_', '-')}"
            charts.append(Chart(name, f"{title} by {key}", caption, x, Axis(unit), series))
    return charts


def differences_table(runs: Sequence[RunRecord]) -> list[Block]:
    """Lists the settings in which the runs differ."""
    runs = [run for run in runs if run.config]
    varying = differing_settings(runs)
    keys = list(varying)[:MAX_DIFFERENCES]
    rest = len(varying) - len(keys)
    rows = [{"run": run.name, **{key: varying[key][i] for key in keys}} for i, run in enumerate(runs)]
    caption = "The settings in which these runs differ." + (f" {rest} more are in their configs." if rest else "")
    columns = [TableColumn(key, key) for key in ("run", *keys)]
    return [DataTable("differences", "What differs", caption, columns, rows)] if keys else []


def differing_settings(runs: Sequence[RunRecord]) -> dict[str, list[Any]]:
    """Returns, by dotted key, the values of the runs where they are not all the same; None where a key is absent."""
    flat = [flatten(run.config) for run in runs]
    keys = dict.fromkeys(key for one in flat for key in one if key != "name" and not key.endswith("_partial_"))
    varying = {key: [one.get(key) for one in flat] for key in keys}
    return {key: values for key, values in varying.items() if any(value != values[0] for value in values)}
