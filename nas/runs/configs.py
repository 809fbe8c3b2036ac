"""The config of a run: read from its folder, compared with another, and in what a resumed run may differ."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas.runs.old_names import with_current_names

FREE_TO_CHANGE = ("name", "logger", "runtime", "distributed", "imports", "objective", "budget")
"""Top-level keys in which a resumed run may differ from the one it continues."""
PLACES = ("device", "data.root", "data.path", "data.download", "table.path")
"""Keys that say where a machine has what a run needs, and may differ as well: the data are known by their digest."""
WORKERS = ("evaluator.workers", "search.finals_workers", "tabulate.workers")
"""Numbers of processes, on which no result depends."""

LATER = {
    "network.affine": True,
    "search.sampling": "strings",
    "search.calibrate": False,
    "search.common_images": False,
    "search.keep_every": 0,
    "search.scoring_images": None,
    "search.shortlist": "shared",
    "search.finals_budget": None,
    "search.finals_start": "scratch",
    "search.random_finalists": 0.0,
    "search.predicted_finalists": 0.0,
    "search.random_search": False,
    "baseline": [],
    "random_search": None,
    "search.warm_start": None,
    "search.warm_up.file": None,
    "search.warm_up.by": "combined",
    "search.warm_up.cells": 20,
    "search.warm_up.among": 200,
    "table.group": None,
}
"""Keys that runs of version 0.1.0 lack, and the values by which they ran."""


def read_config_file(file: Path) -> dict[str, Any]:
    """Reads a run's config, in which nothing is resolved or built yet.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged, or holds no keys.
    """
    try:
        found = OmegaConf.to_container(OmegaConf.load(file))
    except (OmegaConfBaseException, yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is damaged: {str(error).splitlines()[0]}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} is not a config")
    return {str(key): value for key, value in with_current_names(found).items()}


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the values of a nested config by dotted key, each with the prefix before it."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def differing_keys(old: Mapping[str, Any], new: Mapping[str, Any], *, fixed: Sequence[str] = ()) -> list[str]:
    """Returns the dotted keys whose values differ between two configs; of those that may change only the `fixed`."""
    before, after = {**LATER, **flatten(old)}, {**LATER, **flatten(new)}
    return [
        f"{key} (was {before.get(key, 'absent')}, is {after.get(key, 'absent')})"
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key) and (key in fixed or not may_change(key))
    ]


def may_change(key: str) -> bool:
    """Whether a resumed run may have another value of this dotted key, perhaps with Hydra's `+`, than before."""
    key = key.lstrip("+")
    return key.split(".")[0] in FREE_TO_CHANGE or key in PLACES + WORKERS


def check_resumable(
    old_config: Path, new: Mapping[str, Any], *, free: Sequence[str] = (), fixed: Sequence[str] = ()
) -> None:
    """Refuses to continue a run with another config, or to take over what another run has done.

    Args:
        old_config: The run's `config.yaml`.
        new: The config of now.
        free: Dotted keys that may differ, in addition to those that always may.
        fixed: Dotted keys that may not, though they always may.

    Raises:
        ValueError: If they differ in a key that matters; the message names the keys.
    """
    found = differing_keys(read_config_file(old_config), new, fixed=fixed)
    if differences := [one for one in found if one.split(" ")[0] not in free]:
        raise ValueError(
            f"the run {old_config.parent} was started with another config; choose another name, or set back:\n  "
            + "\n  ".join(differences)
        )
