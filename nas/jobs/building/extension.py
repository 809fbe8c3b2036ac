"""More of a run: a search or a retraining of more epochs goes on from the checkpoint of a shorter one."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nas.jobs.building.config import build, merged, plain
from nas.runs.checkpoints import write_json, write_text
from nas.runs.configs import flatten, read_config_file
from nas.runs.console import note
from nas.runs.listing import DONE_FILE, FINALS_FOLDER, PLAN_FILE, count_rows, read_json
from nas.searching.settings import SearchSettings
from nas.training.settings import RetrainSettings

EXTENDED_FILE = "extended.json"
"""By how much a run was extended, and which schedules differ from those of a run that was as long from the start."""
LENGTHS = {"search": ("search.epochs", "search.queries"), "retrain": ("retrain.epochs",)}
"""By command, the keys that may grow."""
LOGS = {"search": "search.csv", "retrain": "retrain.csv"}
RESULTS = {
    "search": (
        *("candidates.json", "genotype.json", "cells.svg", "random.json", "random_search.json", "pareto.json"),
        *("pareto.svg", "insight.json", "effort.json", "finals.csv", PLAN_FILE, DONE_FILE),
    ),
    "retrain": ("metrics.json", PLAN_FILE, DONE_FILE),
}
"""By command, what a longer run makes anew; the first file says that the run is finished."""
MIXERS, FIXED_MIXERS = ("mixer", "mixers"), ("channel_shuffle", "identity", "conv1x1")


def longer_keys(config: Path, new: Mapping[str, Any], command: str) -> list[str]:
    """Returns the keys of a run's length that are larger now than in its `config.yaml`."""
    before, after = flatten(read_config_file(config)), flatten(new)
    return [key for key in LENGTHS.get(command, ()) if _is_larger(after.get(key), before.get(key))]


def _is_larger(after: object, before: object) -> bool:
    return isinstance(after, int) and isinstance(before, int) and after > before


def extend(out: Path, cfg: DictConfig, command: str, *, keys: list[str]) -> None:
    """Removes the results of a run that becomes longer, writes its new config, and says what differs in the schedules.

    Args:
        out: The run folder.
        cfg: The new config, that of the run but for the keys.
        command: `search` or `retrain`.
        keys: Of its length, larger than before.

    Raises:
        ValueError: If the learning rate of the epochs that are done would have been another.
    """
    old = OmegaConf.create(read_config_file(out / "config.yaml"))
    planned = (read_json(out / PLAN_FILE) or {"lengths": {}})["lengths"]  # of a run that a budget shortened
    ran = merged(old, OmegaConf.from_dotlist([f"{key}={value}" for key, value in planned.items()]))
    before, after = (build(config[command], command) for config in (ran, cfg))
    done = count_rows(out / LOGS[command]) if command == "search" else before.epochs
    lengths = ", ".join(f"{key} from {OmegaConf.select(old, key)} to {OmegaConf.select(cfg, key)}" for key in keys)
    if any(_at(before, "learning_rate", epoch) != _at(after, "learning_rate", epoch) for epoch in range(done)):
        raise ValueError(
            f"{lengths}: the learning rate of the epochs that are done would have been another; begin anew"
        )
    differences = _differences(before, after, done, learned=_learns_mixers(old, out / LOGS[command]))
    for name in RESULTS[command]:
        (out / name).unlink(missing_ok=True)
    shutil.rmtree(out / FINALS_FOLDER, ignore_errors=True)
    known = read_json(out / EXTENDED_FILE) or []
    write_json(out / EXTENDED_FILE, [*known, {"after": done, "lengths": lengths, "differences": differences}])
    write_text(out / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
    note(f"the run goes on: {lengths}")
    for difference in differences:
        note(f"unlike a run of that length from the start: {difference}")


def _at(settings: Any, schedule: str, epoch: int) -> float:
    return float(getattr(settings, schedule)(epoch)) if hasattr(settings, schedule) else 0.0


def _differences(before: Any, after: Any, done: int, *, learned: bool) -> list[str]:
    """Returns, in words, which schedules of the epochs that are done the longer run would have had otherwise."""
    said = []
    schedules = {
        "drop_prob": "drop-path",
        **({"penalty_weight": "the weight of the mixers' penalty"} if learned else {}),
    }
    for schedule, name in schedules.items():
        last = done - 1
        old, new = (_at(settings, schedule, last) for settings in (before, after))
        if any(_at(before, schedule, epoch) != _at(after, schedule, epoch) for epoch in range(done)):
            said.append(f"{name} had reached {old:.3g} in epoch {last} and would have been {new:.3g}")
    if isinstance(before, SearchSettings) and before.warmup_epochs != after.warmup_epochs:
        said.append(f"the warm-up had {before.warmup_epochs} epochs, and would have had {after.warmup_epochs}")
    if isinstance(before, RetrainSettings) and learned and before.hardening != after.hardening:
        said.append(
            f"mixers were hardened before epoch {before.hardening}, and would have been before {after.hardening}"
        )
    return said


def _learns_mixers(config: DictConfig, log: Path) -> bool:
    """Whether a config names a mixer that is learned, or the log of a retraining tells of one."""
    if log.is_file() and "mixer_distance" in log.read_text(encoding="utf-8").partition("\n")[0]:
        return True
    named = [value for key, value in flatten(plain(config, "config")).items() if key.split(".")[-1] in MIXERS]
    names = [name for value in named for name in (value if isinstance(value, list) else [value])]
    return any(isinstance(name, str) and name not in FIXED_MIXERS for name in names)
