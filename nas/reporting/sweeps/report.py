"""What a sweep comes to: `sweep.json`, `sweep.csv`, `sweep.svg`, the report, the table, and what it shows."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.reporting.sweeps.plots import sweep_plot
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
from nas.runs.console import Column, Table, next_command, note, result, shown
from nas.runs.intervals import plus_minus, spread, verdict
from nas.runs.listing import read_json

OF_LATENCY = ("data", "device", "runtime", "experiment", "imports")
"""How the keys begin that a measurement of the found models' latency has in common with the sweep."""
FILES = ("sweep.json", "sweep.csv", "sweep.svg", "report.html")


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
    from nas.reporting.page.report import write_report
    from nas.runs.checkpoints import (  # imports torch, which a summary that is there can do without
        write_csv,
        write_json,
    )

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
            *FIGURES[1:],
        ]
    )
    for row in rows:
        texts = {key: str(row.get(key)) for key in keys}
        table.row({**row, **texts, "test": _percent(row)})
    note("n: searches, each the mean of its trainings; where there is one search, its trainings")


def _print_gains(rows: Sequence[Record], keys: Sequence[str]) -> None:
    """Says of every combination how much the found cells are above random ones, and whether that is shown."""
    for row in rows:
        if "gain" in row:
            where = " ".join(f"{key}={row[key]}" for key in keys)
            searches = f"{row['gain_n']} searches" if row["gain_n"] > 1 else "1 search"
            told = f"{100 * row['gain']:+.2f} points, {searches}: {row['comparison']}"
            result("found above random" + (f", {where}" if where else "") + f": {told}")


def _percent(row: Record) -> str | None:
    mean, std = row.get("test_accuracy"), row.get("test_accuracy_std")
    if mean is None:
        return None
    return plus_minus(100 * mean, None if std is None else 100 * std)


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
