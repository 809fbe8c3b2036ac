"""Networks of the cells of a run, as its files describe them: settings, and the images and classes they are for."""

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nas.models.genotype_files import is_genotype_itself, load_genotype, network_group, split_reference
from nas.runs.checkpoints import read_metadata
from nas.runs.console import note
from nas.runs.listing import read_config, read_json
from nas.runs.old_names import with_current_names
from nas.runs.trust import check_recorded
from search_spaces.genotype import Genotype

RETRAINED = ("filters", "cells_per_stage")
"""Settings of the network that those of the retraining replace, where they are set."""


def run_of(reference: str) -> Path:
    """Returns the run folder that a reference is or lies in."""
    if is_genotype_itself(reference):
        return Path()
    path, _ = split_reference(reference)
    return path if path.is_dir() else path.parent


def network_of_run(run: Path, genotype: Genotype, *, modules: Collection[str] = ()) -> dict[str, Any] | None:
    """Returns the network's settings with which a run trained this genotype, or else would; None if no run's.

    Args:
        run: Folder of the run.
        genotype: Genotype of the cells.
        modules: Modules, apart from this package's own, that may define the network.

    Raises:
        ValueError: If they name something else to be called than a network: what a run's files say is not trusted.
    """
    from nas.models.loading import network_class  # imports torch

    settings = _recorded_network(run, genotype)
    if settings is not None:
        network_class(str(settings.get("_target_")), modules=modules)
        if nested := [key for key, value in settings.items() if _holds_mapping(value)]:
            raise ValueError(f"network.{nested[0]} of the run {run} is a group of keys, which no network has")
        check_recorded(settings, "network", source=run, modules=modules)
    return settings


def _recorded_network(run: Path, genotype: Genotype) -> dict[str, Any] | None:
    """Returns what the files of a run say, which is not trusted."""
    return trained_network(run, genotype) or _configured_network(run)


def trained_network(run: Path, genotype: Genotype | None) -> dict[str, Any] | None:
    """Returns the network's settings with which a run trained this genotype; None if it did not."""
    with suppress(ValueError, LookupError, TypeError):  # nothing was trained, or what it was is not said
        trained = json.loads(read_metadata(run / "weights.safetensors")["model"])
        if trained["genotype"] == (None if genotype is None else genotype.to_dict()):
            return dict(with_current_names(trained["network"]))
    return None


def _configured_network(run: Path) -> dict[str, Any] | None:
    config = read_config(run)
    network, retrain = config.get("network"), config.get("retrain")
    if not isinstance(network, dict):
        return None
    sizes = {key: retrain.get(key) for key in RETRAINED} if isinstance(retrain, dict) else {}
    return {**network, **{key: value for key, value in sizes.items() if value is not None}}


def _holds_mapping(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(_holds_mapping(one) for one in value))


def overrides_of_run(reference: str) -> dict[str, str]:
    """Returns by override key the network, `image_shape` and `num_classes` that a run or a file in one has.

    Of the network it is the plain settings that its config group knows. What the run does not tell is absent.
    """
    try:
        genotype = load_genotype(reference)
    except (ValueError, OSError):  # the job itself will say what is wrong
        return {}
    run, group, found = run_of(reference), network_group(reference), {}
    used = _recorded_network(run, genotype)
    if group is not None and used is not None:
        known = network_config(group, {}).network
        if used.get("_target_") == known["_target_"]:
            found = {f"network.{key}": used[key] for key in known if key in used and _is_plain(used[key])}
    if not found and Path(reference).is_dir():
        note(f"the run {reference} does not tell its network: its cell is taken at the size of the network given")
    data = read_json(run / "data.json")
    if isinstance(data, dict):
        shape, names = data.get("image_shape"), data.get("class_names")
        found |= {"image_shape": shape} if isinstance(shape, list) and _is_plain(shape) else {}
        found |= {"num_classes": len(names)} if isinstance(names, list) and names else {}
    return {key: json.dumps(value) for key, value in found.items()}


def _is_plain(value: Any) -> bool:
    """Whether a value means in an override what it means in a file."""
    if isinstance(value, list):
        return all(isinstance(one, int) for one in value)
    return value.isidentifier() if isinstance(value, str) else value is None or isinstance(value, int | float)


def network_config(group: str, settings: Mapping[str, Any]) -> DictConfig:
    """Returns a config whose `network` is a config group with other settings.

    Raises:
        ValueError: If there is no such group.
    """
    file = resources.files("conf") / "network" / f"{group}.yaml"
    if not file.is_file():
        raise ValueError(f"unknown network {group!r}")
    network = OmegaConf.merge(OmegaConf.create(file.read_text(encoding="utf-8")), dict(settings))
    return OmegaConf.create({"network": network})
