"""Mistakes that show without torch: unknown keys, options and types, files that are not there. A line each."""

import contextlib
import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.command_line.conf_files import CommandSettings, lacking_for, read_command
from nas.command_line.help import COMMANDS
from nas.command_line.words import Words

if TYPE_CHECKING:
    from omegaconf import DictConfig

REQUIRED: dict[str, tuple[tuple[str, ...], ...]] = {
    "predict": (("run",), ("images",)),
    "rank": (("run", "runs"),),
    "replay": (("run",),),
    "report": (("runs",),),
    "compare": (("table.path",),),
    "export": (("run", "genotype"),),
}
"""By command, keys of which one must be set."""
REQUIRED_AS = {
    **{"run": "RUN", "runs": "RUN", "images": "FILE", "table.path": "FILE.csv.gz"},
    "genotype": "FILE.json, with weights=random",
}
REFUSED: dict[type, tuple[type, ...]] = {bool: (str, int, float, list), int: (str,), float: (str,)}
"""By the type of a default, types that no value of the key can have; of other defaults the job itself judges."""
NAMES = {bool: "true or false", int: "a number", float: "a number"}
FILES = {
    **dict.fromkeys(("run", "runs"), "`nas runs` lists the runs there are"),
    "cells": "it is the run folder of an earlier nas rank",
    "random_cells": "`nas search` writes random.json into its run folder",
    "retrain.warm_start": "it is the run folder of a search",
    "table.path": "it is the table's FILE.csv or FILE.csv.gz",
}
"""Keys that name a file or a folder, and what it should be."""


def explain(error: Exception, command: str, words: Words) -> str:
    """Returns in a line or two what is wrong with a command line that Hydra does not compose."""
    folder = words.option("--config-dir", "-cd")
    if folder is not None and not Path(folder).is_dir():
        return f"no folder {folder}, which --config-dir names"
    with contextlib.suppress(OSError, ValueError):  # of configs that this simple reading does not follow
        if complaint := _complaint(command, words, folders=[folder] if folder else []):
            return complaint
    if options := getattr(error, "options", None):  # Hydra's own groups, such as hydra/launcher
        group, _, value = str(getattr(error, "missing_cfg_file", "")).rpartition("/")
        return _no_option(group, value, options)
    first, *_ = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if "mbiguous value" in first or "multirun" in str(error):
        return f"{_sweep(words)} gives several values: add -m for one run each; a list is written KEY=[A,B]"
    return first


def _complaint(command: str, words: Words, *, folders: Sequence[str]) -> str | None:
    """Returns what is wrong with the first option of a group, or key, that the command does not have."""
    found = read_command(command, folders=folders)
    for key, value in words.values.items():
        if complaint := _wrong_choice(command, key, value, found, folders=folders):
            return complaint
    single = {key: value for key, value in words.values.items() if "," not in value and "(" not in value}
    found = read_command(command, choices=single, folders=folders)
    return next(filter(None, (_wrong_key(command, word, found) for word in words.overrides)), None)


def check_values(command: str, cfg: "DictConfig", words: Words) -> None:
    """Refuses a typed value of a type that its key cannot have, and an experiment that is not for this command.

    Raises:
        ValueError: If there is one.
    """
    from omegaconf import OmegaConf

    folder = words.option("--config-dir", "-cd")
    folders = [folder] if folder else []
    experiment = words.values.get("experiment", "null")
    try:
        known = read_command(command, choices=words.values, folders=folders).settings
        unfit = None if experiment in ("null", "") else _unfit_experiment(command, experiment, folders=folders)
    except (OSError, ValueError):  # of configs that this simple reading does not follow
        return
    if unfit is not None:
        raise ValueError(unfit)
    for key in words.values:
        if key not in known or OmegaConf.is_missing(cfg, key) or OmegaConf.select(cfg, key) is None:
            continue
        value = OmegaConf.select(cfg, key)
        value = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        kind = type(known[key].value)
        if type(value) in REFUSED.get(kind, ()):
            raise ValueError(f"{key} must be {NAMES[kind]}, got {value!r}")


def check_files(cfg: "DictConfig", words: Words) -> None:
    """Refuses a typed file or folder, or the place of a data set, that is not there.

    Raises:
        FileNotFoundError: If there is one.
    """
    from omegaconf import OmegaConf

    for key, hint in FILES.items():
        named = OmegaConf.select(cfg, key, throw_on_missing=False) if key in words.values else None
        several: list[Any] = [named] if not OmegaConf.is_list(named) else list(named or ())
        for one in (one for one in several if one is not None):
            if one != "search" and not Path(str(one)).exists():
                raise FileNotFoundError(f"{key}={one} is not there; {hint}")
    target, path = (OmegaConf.select(cfg, key, throw_on_missing=False) for key in ("data._target_", "data.path"))
    if target == "nas.data.torchvision_images" and not OmegaConf.select(cfg, "data.download", default=False):
        from nas.datasets import KNOWN_SETS, check_present

        name, root = (OmegaConf.select(cfg, f"data.{key}") for key in ("name", "root"))
        if name in KNOWN_SETS and isinstance(root, str):
            check_present(name, root=Path(root))
    if target == "nas.data.arrays" and isinstance(path, str) and not Path(path).exists():
        raise FileNotFoundError(f"data.path={path} is not there; it is the data set's FILE.npz")


def check_required(command: str, cfg: "DictConfig") -> None:
    """Refuses a config in which nothing says what a command is to work on.

    Raises:
        ValueError: If so.
    """
    from omegaconf import OmegaConf

    for keys in REQUIRED.get(command, ()):
        if all(OmegaConf.select(cfg, key, throw_on_missing=False) is None for key in keys):
            raise ValueError(f"{keys[0]} is not set; add {' or '.join(f'{key}={REQUIRED_AS[key]}' for key in keys)}")


def near_keys(key: str, keys: Sequence[str]) -> list[str]:
    """Returns the known keys that one may have been meant for: spelt alike, or of the same last part."""
    last = key.rpartition(".")[2]
    same = [one for one in keys if one.rpartition(".")[2] == last]
    return list(dict.fromkeys([*same, *difflib.get_close_matches(key, keys, n=2, cutoff=0.6)]))[:2]


def _wrong_choice(command: str, key: str, value: str, found: CommandSettings, *, folders: Sequence[str]) -> str | None:
    """Says that a config group has no such option, or that an experiment is not for this command."""
    if key == "experiment" and "experiment" not in found.groups:
        others = ", ".join(name for name in COMMANDS if "experiment" in read_command(name).groups)
        return f"nas {command} takes no experiment; {others} do"
    group = found.groups.get(key)
    if group is None or value in ("null", "") or "(" in value:
        return None
    for option in value.split(","):
        if option not in group.options:
            return _no_option(key, option, group.options)
    if key == "experiment" and "," not in value:
        return _unfit_experiment(command, value, folders=folders)
    return None


def _no_option(key: str, value: str, options: Sequence[str]) -> str:
    near = difflib.get_close_matches(value, options, n=1, cutoff=0.5)
    near = near or [name for name in options if name.startswith(value)][:1]
    hint = f"did you mean {near[0]}? " if near else ""
    return f"no {key}={value}; {hint}{'T' if near else 't'}here are {', '.join(options)}"


def _unfit_experiment(command: str, experiment: str, *, folders: Sequence[str]) -> str | None:
    """Says that an experiment sets what the command does not have."""
    lacking = lacking_for(command, experiment, folders=folders)
    if not lacking:
        return None
    takers = [name for name in COMMANDS if "experiment" in read_command(name).groups]
    others = [name for name in takers if not lacking_for(name, experiment, folders=folders)]
    named = ", ".join(group.rpartition("@")[2] for group in lacking)
    return f"experiment={experiment} sets {named}, which nas {command} does not have; it is for {', '.join(others)}"


def _wrong_key(command: str, word: str, found: CommandSettings) -> str | None:
    """Says that a command has no such key."""
    key = word.partition("=")[0].lstrip("+~")
    if word.startswith("+") or key.startswith("hydra"):
        return None
    keys = [*found.settings, *found.groups]
    if key in keys or any(one.startswith(f"{key}.") for one in keys):
        return None
    near = near_keys(key, keys)
    hint = f"did you mean {' or '.join(near)}?" if near else f"nas {command} --help lists the settings"
    return f"no setting {key!r}; {hint}"


def _sweep(words: Words) -> str:
    return next((word for word in words.overrides if "," in word.partition("=")[2]), "a value with commas")
