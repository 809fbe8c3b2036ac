"""Figures of the members of a sweep, and their mean and spread over seeds."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nas.reporting.sweeps.members import member_state, read_member
from nas.runs.console import Column
from nas.runs.intervals import paired_verdict, spread
from nas.runs.listing import FAILED_FILE, read_json

SEED = "seed"
Value = int | float | str
Record = dict[str, Any]


FIGURES = (
    Column("test_accuracy", "test accuracy (%)", ".2f", 100),
    Column("parameters", "parameters (thousand)", ".1f", 1e-3),
    Column("multiply_adds", "multiply-adds (M)", ".2f", 1e-6),
    Column("latency_ms", "latency (ms)", ".3f"),
    Column("search_seconds", "search (s)", ".1f"),
)
"""Of a member, with their units."""
FURTHER = (
    *("random_accuracy", "gain", "equal_cost_accuracy", "equal_cost_gain"),
    *("shared_accuracy", "stand_alone_accuracy", "retrain_seconds"),
)
"""Figures that tables of numbers have as well: `gain` is how much the found cell is above its search's random ones,
`equal_cost_gain` how much above the best of random cells that passed through the same finals at the same cost."""
OPPONENTS = {"": "the average random cell", "equal_cost_": "the cell of random search"}
"""By prefix of `gain` and `comparison`, what found cells are held against."""


def read_members(sweep: Path) -> list[Record]:
    """Returns a record for each member in a sweep's folder, in order of name.

    A record holds `member`, `state`, `settings` (swept values by key), `fixed`, and of a finished member the figures
    of `FIGURES` and `FURTHER`, `test_accuracies` (one a training) and `latency_batch_size`; of a failed one `error`.
    What any member swept is among the settings of all, also where a start of the sweep had fixed it.
    """
    records = [_record(file.parent) for file in sorted(sweep.glob("*/member.json"))]
    keys = dict.fromkeys(key for record in records for key in record["settings"])
    for record in records:
        fixed = {SEED: 0, **{key: number_or_text(value) for key, value in record["fixed"].items()}}
        record["settings"] = {key: record["settings"].get(key, fixed.get(key)) for key in keys}
    return records


def distinct(members: Sequence[Record]) -> list[Record]:
    """Returns the members without those that repeat another's settings under another name, finished ones first kept."""
    kept: dict[tuple[Value | None, ...], Record] = {}
    for member in sorted(members, key=lambda member: member["state"] != "finished"):
        kept.setdefault(tuple(member["settings"].values()), member)
    return [member for member in members if any(member is one for one in kept.values())]


def aggregate(members: Sequence[Record]) -> list[Record]:
    """Puts members together that differ in nothing but their seed, in ascending order of what was swept.

    Args:
        members: Records of `read_members`.

    Returns:
        For each combination the values by key, `members` and how many of them are `finished`, and for every figure
        its mean, `KEY_std` (None for a single value) and `KEY_n`. An accuracy is the mean over searches, of which each
        counts with the mean of its trainings. If only one search is finished its trainings are taken; `over` says
        which. `comparison` says whether found cells are shown to be better than the random ones of their searches:
        paired by search, or of a single search between its trainings and its random cells; `equal_cost_comparison`
        the same of the random cells that passed through the same finals.
    """
    keys = swept_keys(members)
    groups: dict[tuple[Value | None, ...], list[Record]] = {}
    for member in members:
        groups.setdefault(tuple(member["settings"].get(key) for key in keys), []).append(member)
    ordered = sorted(groups.items(), key=lambda group: tuple(_rank(value) for value in group[0]))
    return [{**dict(zip(keys, values, strict=True)), **_figures(group)} for values, group in ordered]


def swept_keys(members: Sequence[Record]) -> list[str]:
    """Returns the keys that were swept apart from the seed, in the order in which they were given."""
    return [key for key in dict.fromkeys(key for member in members for key in member["settings"]) if key != SEED]


def accuracies(members: Sequence[Record]) -> tuple[list[float], str]:
    """Returns the test accuracies that count, and what each is of: `searches` or `trainings`."""
    finished = [member for member in members if member["state"] == "finished"]
    if len(finished) == 1:
        return list(finished[0]["test_accuracies"]), "trainings"
    return [member["test_accuracy"] for member in finished], "searches"


def number_or_text(text: str) -> Value:
    """Returns a swept value as the number that it is, if it is one."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip("'\"")


def common_environment(sweep: Path, members: Sequence[Record]) -> Record:
    """Returns in what the machines of all members agree; of what differs, every value met, under `differing`."""
    records = [read_json(sweep / member["member"] / "environment.json") or {} for member in members]
    met: dict[str, list[Any]] = {}
    for key, value in (item for record in records for item in record.items()):
        if key not in ("seed", "command") and value not in met.setdefault(key, []):
            met[key].append(value)
    same = {key: values[0] for key, values in met.items() if len(values) == 1}
    return {**same, "differing": {key: values for key, values in met.items() if len(values) > 1}}


def _record(folder: Path) -> Record:
    member = read_member(folder)
    record: Record = {
        "member": folder.name,
        "state": member_state(folder),
        "settings": {key: number_or_text(value) for key, value in member.swept.items()},
        "fixed": dict(member.fixed),
    }
    if record["state"] == "failed":
        record["error"] = (read_json(folder / FAILED_FILE) or {}).get("error", "unknown")
    if record["state"] == "finished":
        record |= _measured(folder)
    return record


def _measured(folder: Path) -> Record:
    metrics, latency = read_json(folder / "metrics.json"), read_json(folder / "latency.json")
    found = metrics["found"]
    reached = found["test_accuracy"]["mean"]
    others = {
        prefix: metrics[key]["test_accuracy"]["mean"] if key in metrics else None
        for prefix, key in (("random_", "random"), ("equal_cost_", "random_search"))
    }
    candidate = read_json(folder / "candidates.json")[0]
    return {
        "test_accuracy": reached,
        "test_accuracies": found["test_accuracy"]["values"],
        **{f"{prefix}accuracy": mean for prefix, mean in others.items()},
        **{
            f"{prefix.removeprefix('random_')}gain": None if mean is None else reached - mean
            for prefix, mean in others.items()
        },
        "comparison": metrics.get("comparison"),
        "equal_cost_comparison": metrics.get("comparison_at_equal_cost"),
        "shared_accuracy": candidate.get("shared_accuracy"),
        "stand_alone_accuracy": candidate.get("stand_alone_accuracy"),
        "parameters": found["parameters"],
        "multiply_adds": found["multiply_adds"],
        "latency_ms": latency["latency"][0]["median_ms"],
        "latency_batch_size": latency["latency"][0]["batch_size"],
        "search_seconds": _seconds(folder / "search.csv") + _seconds(folder / "finals.csv"),
        "retrain_seconds": _seconds(folder / "retrain.csv"),
    }


def _seconds(file: Path) -> float:
    """Returns the time that a table of epochs sums up to; none where there is no such table."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return sum(float(row.get("seconds") or 0) for row in csv.DictReader(lines))


def _figures(members: Sequence[Record]) -> Record:
    """Returns means and deviations over the finished members of a group."""
    finished = [member for member in members if member["state"] == "finished"]
    row: Record = {"members": len(members), "finished": len(finished)}
    if not finished:
        return row
    reached, row["over"] = accuracies(finished)
    for key in [*(figure.key for figure in FIGURES), *FURTHER]:
        values = reached if key == "test_accuracy" else [one[key] for one in finished if one.get(key) is not None]
        if values:
            summary = spread(values)
            row |= {key: summary.mean, f"{key}_std": summary.std if summary.n > 1 else None, f"{key}_n": summary.n}
    for prefix, other in OPPONENTS.items():
        compared = [one for one in finished if one.get(f"{prefix}gain") is not None]
        if compared:
            names, gains = ("the found cell", other), [one[f"{prefix}gain"] for one in compared]
            single = compared[0][f"{prefix}comparison"]
            row[f"{prefix}comparison"] = paired_verdict(gains, names=names) if len(gains) > 1 else single
    return row


def _rank(value: Value | None) -> tuple[int, float, str]:
    """Orders numbers before texts before what is not given."""
    if value is None:
        return 2, 0.0, ""
    return (1, 0.0, value) if isinstance(value, str) else (0, float(value), "")
