"""Runs: what runs there are, how far they are and what they found; or in what two of them differ."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nas.runs.configs import differing_keys
from nas.runs.console import in_columns, note, result, shown
from nas.runs.listing import STATES, RunSummary, find_runs, job_of, read_config, read_json, read_run

WHERE = (Path(), Path("results/runs"), Path("results/sweeps"))
TEXTS = ("run", "job", "state", "progress")
"""Titles of the columns that are texts, set to the left."""
NUMBERS = {
    "reward": ("best_reward", 1, ".4f"),
    "shared %": ("shared_accuracy", 100, ".2f"),
    "test %": ("test_accuracy", 100, ".2f"),
    "parameters": ("parameters", 1, ","),
    "ms": ("latency_ms", 1, ".3f"),
}
"""By title, which number of a run a column shows, its scale and its format."""
MAX_LINES = 4
"""Settings of a group that are listed one by one where runs are of two commands."""
NO_MACHINE = ("command", "begun_with")
"""Keys of the record of a machine that are not compared: the settings say more."""
UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def run(cfg: DictConfig, out: Path) -> list[dict[str, Any]]:  # noqa: ARG001
    """Prints the runs of `cfg.root`, last changed last, or what distinguishes the two of `cfg.compare`.

    Returns:
        A record of each run; of a comparison, one with the differences.

    Raises:
        ValueError: If a setting is not of its kind.
        FileNotFoundError: If no root is there, or no run of a name.
    """
    if cfg.compare is not None:
        pair = OmegaConf.to_container(cfg.compare) if OmegaConf.is_list(cfg.compare) else cfg.compare
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError(f"compare takes two runs, compare=[a,b], got {pair!r}")
        return [{"differences": print_differences(*(find_run(str(name)) for name in pair))}]
    if cfg.state not in (None, *STATES):
        raise ValueError(f"state must be one of {', '.join(STATES)}, got {cfg.state!r}")
    roots = [cfg.root] if isinstance(cfg.root, str) else list(cfg.root)
    runs = sorted(map(read_run, find_runs(map(Path, roots))), key=lambda found: found.changed)
    chosen = [found for found in runs if cfg.state in (None, found.state)]
    print_runs(chosen, now=time.time())
    return [{"run": str(found.folder), "job": found.job, "state": found.state} for found in chosen]


def find_run(name: str) -> Path:
    """Returns the folder of a run, given as a path or by its name in results/runs or results/sweeps.

    Raises:
        FileNotFoundError: If there is none.
    """
    for place in WHERE:
        if (place / name / "config.yaml").exists():
            return place / name
    raise FileNotFoundError(f"no run {name}; `nas runs` lists them")


def print_differences(first: Path, second: Path) -> list[str]:
    """Prints, and returns, in what the settings, then the machines and versions, of two runs differ.

    A group of settings that only one of them has is a line, and so is, in runs of two commands, one in which more than
    `MAX_LINES` settings differ. Of a group of another kind in each, only the settings that both have are compared.
    """
    before, after = read_config(first), read_config(second)
    records = [read_json(run / "environment.json") or {} for run in (first, second)]
    machines = [{"environment": {key: one[key] for key in one if key not in NO_MACHINE}} for one in records]
    most = math.inf if job_of(first) == job_of(second) else MAX_LINES
    differences = []
    for group in dict.fromkeys([*before, *after]):
        pair = [{group: config[group]} if group in config else {} for config in (before, after)]
        differences += _group_differences(group, *pair, most=most)
    differences += _group_differences("environment", *machines, most=math.inf)
    note(f"from {shown(first)} to {shown(second)}")
    for line in differences or ["no difference"]:
        result(line)
    return differences


def _group_differences(group: str, first: dict[str, Any], second: dict[str, Any], *, most: float) -> list[str]:
    """Returns a line for each setting of a group that differs, or one for all of them.

    Args:
        group: Its key.
        first: The group by its key; empty if the run has none.
        second: The same of the other run.
        most: Lines that are not too many.
    """
    before, after = first.get(group), second.get(group)
    if isinstance(before, dict) and isinstance(after, dict) and before.get("_target_") != after.get("_target_"):
        common = before.keys() & after.keys()
        first, second = ({group: {k: v for k, v in one.items() if k in common}} for one in (before, after))
    elif not (first and second) and isinstance(whole := before or after, dict) and whole:
        counts = [f"a group of {len(whole)}" if one else "absent" for one in (first, second)]
        return [f"{group} (was {counts[0]}, is {counts[1]})"]
    lines = [line.removeprefix("run.") for line in differing_keys({"run": first}, {"run": second})]
    if len(lines) <= most:
        return lines
    names = [line.split(" ")[0].removeprefix(f"{group}.") for line in lines]
    return [f"{group} ({len(lines)} settings differ: {', '.join(names[:MAX_LINES])}, …)"]


def print_runs(runs: Sequence[RunSummary], *, now: float) -> None:
    """Prints a line for each run, and below it why it failed if it did."""
    lines = in_columns([[*TEXTS, *NUMBERS, "changed"], *(_cells(one, now=now) for one in runs)], left=range(len(TEXTS)))
    for line, found in zip(lines, [None, *runs], strict=True):
        result(line)
        if found is not None and found.error is not None:
            result(f"  {found.error}")
    counts = [(state, sum(found.state == state for found in runs)) for state in STATES]
    note(", ".join(f"{count} {state}" for state, count in counts if count) or "no runs")


def age(seconds: float) -> str:
    """Returns a time span in its largest whole unit, such as `3 h`."""
    unit, size = next((unit for unit in UNITS if seconds >= unit[1]), UNITS[-1])
    return f"{max(0, int(seconds // size))} {unit}"


def _cells(found: RunSummary, *, now: float) -> list[str]:
    numbers = [(getattr(found, name), scale, form) for name, scale, form in NUMBERS.values()]
    return [
        *(shown(found.folder), found.job, found.state, found.progress),
        *("" if value is None else format(scale * value, form) for value, scale, form in numbers),
        f"{age(now - found.changed)} ago",
    ]
