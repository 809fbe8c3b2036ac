"""Mistakes that show without torch: unknown keys and options, values out of range, absent files. A line each."""

import contextlib
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nas.command_line.commands import COMMANDS
from nas.command_line.conf_files import CommandSettings, lacking_for, read_command
from nas.command_line.words import Words
from nas.jobs.building.config import build, chosen_names, plain
from nas.models.exporting.settings import FORMATS
from nas.runs.old_names import current_key
from nas.runs.trust import target_modules
from nas.searching.successive_halving import parse_time
from nas.studies.demonstrations import TASKS
from search_spaces.published import published_names

GENOTYPE = {"genotype": f"RUN, genotype=FILE.json or one of {published_names()}"}
REQUIRED: dict[str, tuple[Mapping[str, str], ...]] = {
    "predict": ({"run": "RUN"}, {"images": "FILE"}),
    "rank": ({"run": "RUN", "runs": "RUN"},),
    "replay": ({"run": "RUN"},),
    "report": ({"runs": "RUN"},),
    "compare": ({"table.path": "FILE.csv.gz"},),
    "export": ({"run": "RUN", "genotype": "FILE.json, with weights=random"},),
    "latency": ({**GENOTYPE, "models": "[RUN,RUN]"},),
    **dict.fromkeys(("retrain", "show"), (GENOTYPE,)),
}
"""By command, keys of which one must be set, and to what."""
MADE_OF_CELLS = (
    "nas.models.shufflenasnet.ShuffleNASNet",
    "nas.models.stacked_cells.StackedCells",
    "nas.models.nasbench201.NASBench201Network",
)
"""Networks of which it is known without torch that they need a genotype."""
REFUSED: dict[type, tuple[type, ...]] = {bool: (str, int, float, list), int: (str,), float: (str,)}
"""By the type of a default, types that no value of the key can have; of other defaults the job itself judges."""
CHOICES: dict[str, Mapping[str, Sequence[str]]] = {"export": {"format": FORMATS}, "permutations": {"tasks": TASKS}}
"""By command, keys of its own that name one or several of a few things."""
NAMES = {bool: "true or false", int: "a number", float: "a number"}
FILES = {
    **dict.fromkeys(("run", "runs"), "`nas runs` lists the runs there are"),
    "cells": "it is the run folder of an earlier nas rank",
    "random_cells": "`nas search` writes random.json into its run folder",
    "random_search": "`nas search search.random_search=true` writes random_search.json into its run folder",
    "retrain.warm_start": "it is the run folder of a search",
    "table.path": "it is the table's FILE.csv or FILE.csv.gz",
}
"""Keys that name a file or a folder, and what it should be."""


def explain(error: Exception, command: str, words: Words) -> str:
    """Returns in a line or two what is wrong with a command line that Hydra does not compose."""
    for folder in words.folders:
        if not Path(folder).is_dir():
            return f"no folder {folder}, which --config-dir names"
    with contextlib.suppress(OSError, ValueError):  # of configs that this simple reading does not follow
        if complaint := _complaint(command, words):
            return complaint
    if options := getattr(error, "options", None):  # Hydra's own groups, such as hydra/launcher
        group, _, value = str(getattr(error, "missing_cfg_file", "")).rpartition("/")
        return _no_option(group, value, options)
    first, *_ = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if "mbiguous value" in first or "multirun" in str(error):
        several = next((word for word in words.overrides if "," in word.partition("=")[2]), "a value with commas")
        return f"{several} gives several values: add -m for one run each; a list is written KEY=[A,B]"
    return first


def _complaint(command: str, words: Words) -> str | None:
    """Returns what is wrong with the first option of a group, or key, that the command does not have."""
    folders = words.folders
    found = read_command(command, folders=folders)
    for key, value in words.values.items():
        if complaint := _wrong_choice(command, key, value, found, folders=folders):
            return complaint
    single = {key: value for key, value in words.values.items() if "," not in value and "(" not in value}
    found = read_command(command, choices=single, folders=folders)
    return next(filter(None, (_wrong_key(command, word, found) for word in words.overrides)), None)


def check(command: str, cfg: DictConfig, words: Words) -> None:
    """Refuses a composed config that the job would refuse after it has loaded torch.

    Raises:
        ValueError: If a value, or what is missing, is at fault.
        FileNotFoundError: If a file or folder is not there.
    """
    _check_values(command, cfg, words)
    if (budget := OmegaConf.select(cfg, "budget")) is not None:
        parse_time(budget)
    _check_required(command, cfg)
    check_files(cfg, words)
    _check_settings(command, cfg)


def _check_settings(command: str, cfg: DictConfig) -> None:
    """Refuses a value that is out of range, or none of those that its key knows.

    It builds what is declared in modules named settings, which import no torch.
    """
    for key in cfg:
        node = None if OmegaConf.is_missing(cfg, key) else cfg._get_node(key)
        modules = target_modules(OmegaConf.to_container(node)) if OmegaConf.is_dict(node) else ()
        if modules and all(name.endswith("settings") for name in modules):
            build(cfg[key], str(key))
    for key, known in CHOICES.get(command, {}).items():
        chosen_names(key, plain(cfg, "the config")[key], known)


def _check_values(command: str, cfg: DictConfig, words: Words) -> None:
    """Refuses a typed value of a type that its key cannot have, and an experiment that is not for this command."""
    experiment = words.values.get("experiment", "null")
    try:
        known = read_command(command, choices=words.values, folders=words.folders).settings
        unfit = None if experiment in ("null", "") else _unfit_experiment(command, experiment, folders=words.folders)
    except (OSError, ValueError):  # of configs that this simple reading does not follow
        return
    if unfit is not None:
        raise ValueError(unfit)
    for key in [key for key in words.values if key in known]:
        value = OmegaConf.select(cfg, key, throw_on_missing=False)
        value = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        kind = type(known[key].value)
        if type(value) in REFUSED.get(kind, ()):
            raise ValueError(f"{key} must be {NAMES[kind]}, got {value!r}")


def check_files(cfg: DictConfig, words: Words) -> None:
    """Refuses a typed file or folder, or the place of a data set, that is not there.

    Raises:
        FileNotFoundError: If there is one.
    """
    awaited = ("runs",) if OmegaConf.select(cfg, "watch", throw_on_missing=False) is True else ()
    for key, hint in FILES.items():
        named = OmegaConf.select(cfg, key, throw_on_missing=False) if key in words.values else None
        several: list[Any] = [named] if not OmegaConf.is_list(named) else list(named or ())
        for one in (one for one in several if one is not None):
            if one != "search" and key not in awaited and not Path(str(one)).exists():
                raise FileNotFoundError(f"{key}={one} is not there; {hint}")
    target, root, path, name = (
        OmegaConf.select(cfg, f"data.{key}", throw_on_missing=False) for key in ("_target_", "root", "path", "name")
    )
    if target == "nas.data.named.image_folder" and isinstance(root, str) and not Path(root).is_dir():
        raise FileNotFoundError(f"data.root={root} is not there; it is the folder of the pictures, a folder a class")
    if target == "nas.data.named.torchvision_images" and not OmegaConf.select(cfg, "data.download", default=False):
        from nas.data.npz import KNOWN_SETS, check_present

        if name in KNOWN_SETS and isinstance(root, str):
            check_present(name, root=Path(root))
    if target == "nas.data.named.arrays" and isinstance(path, str) and not Path(path).exists():
        raise FileNotFoundError(f"data.path={path} is not there; it is the data set's FILE.npz")


def _check_required(command: str, cfg: DictConfig) -> None:
    """Refuses a config in which nothing says what a command is to work on."""
    has_cells = OmegaConf.select(cfg, "network._target_") in MADE_OF_CELLS
    for keys in REQUIRED.get(command, ()):
        if "genotype" in keys and "run" not in keys and not has_cells:
            continue
        if all(OmegaConf.select(cfg, key, throw_on_missing=False) is None for key in keys):
            raise ValueError(f"{next(iter(keys))} is not set; add {' or '.join(map('='.join, keys.items()))}")


def _wrong_choice(command: str, key: str, value: str, found: CommandSettings, *, folders: Sequence[str]) -> str | None:
    """Says that a config group has no such option, or that an experiment is not for this command."""
    if key == "experiment" and key not in found.groups:
        return f"nas {command} takes no experiment; {', '.join(_takers())} do"
    if key not in found.groups or value in ("null", "") or "(" in value:
        return None
    options = found.groups[key].options
    if unknown := [option for option in value.split(",") if option not in options]:
        return _no_option(key, unknown[0], options)
    return _unfit_experiment(command, value, folders=folders) if key == "experiment" and "," not in value else None


def _takers() -> list[str]:
    """Returns the commands that take an experiment."""
    return [name for name in COMMANDS if "experiment" in read_command(name).groups]


def _no_option(key: str, value: str, options: Sequence[str]) -> str:
    begin_alike = [name for name in options if name.startswith(value)]
    near = [*difflib.get_close_matches(value, options, n=1, cutoff=0.5), *begin_alike]
    hint = f"did you mean {near[0]}? There" if near else "there"
    return f"no {key}={value}; {hint} are {', '.join(options)}"


def _unfit_experiment(command: str, experiment: str, *, folders: Sequence[str]) -> str | None:
    """Says that an experiment sets what the command does not have."""
    lacking = lacking_for(command, experiment, folders=folders)
    if not lacking:
        return None
    others = [name for name in _takers() if not lacking_for(name, experiment, folders=folders)]
    named = ", ".join(group.rpartition("@")[2] for group in lacking)
    return f"experiment={experiment} sets {named}, which nas {command} does not have; it is for {', '.join(others)}"


def _wrong_key(command: str, word: str, found: CommandSettings) -> str | None:
    """Says that a command has no such key."""
    key, keys = word.partition("=")[0].lstrip("~"), [*found.settings, *found.groups]
    if key.startswith(("+", "hydra")) or any(f"{one}.".startswith(f"{key}.") for one in keys):
        return None
    moved = current_key(key)
    same_end = [one for one in keys if one.rpartition(".")[2] == key.rpartition(".")[2]]
    alike = dict.fromkeys([*same_end, *difflib.get_close_matches(key, keys, n=2)])
    near = [moved] if moved else list(alike)[:2]
    hint = f"did you mean {' or '.join(near)}?" if near else f"nas {command} --help lists the settings"
    return f"no setting {key!r}; {hint}"
