"""The models that `nas latency` compares: made from run folders, files, published names, torchvision's and timm's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from nas.costs.latency.model_entries import ModelEntry
from nas.costs.latency.timm_models import PREFIX, build_timm
from nas.costs.latency.torchvision_models import PlainModel, build_torchvision, torchvision_names
from nas.data.image_data import ImageKind
from nas.jobs.building.config import named_modules, plain
from nas.jobs.building.parts import build_derived, measure_size
from nas.models.derived import model_size
from nas.models.genotype_files import is_genotype_itself, load_genotype, near_references, network_group
from nas.models.hardening import harden_mixers
from nas.models.of_runs import network_config, network_of_run, run_of, trained_network
from nas.runs.checkpoints import load_weights, read_metadata
from nas.runs.console import shown
from nas.training.evaluation import recalibrate_batch_norm
from search_spaces.auto_shuffle import AutoShuffle
from search_spaces.genotype import Genotype
from search_spaces.kaleidoscope import SwitchShuffle
from search_spaces.mixers import Permutation
from search_spaces.published import PUBLISHED, PublishedModel, published_names

WITHOUT_CELLS = ("shufflenet_v1", "shufflenet_v2")
CALIBRATION_IMAGES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedModel:
    """A model as trained, or as it would be trained, and what is known of it.

    Attributes:
        name: In tables and figures.
        network: In evaluation mode; maps (images, genotype) to logits.
        genotype: None of a network without choices.
        facts: JSON-ready: where the weights are from, the network's settings, parameters, multiply-adds.
    """

    name: str
    network: nn.Module
    genotype: Genotype | None
    facts: dict[str, Any]


def build_compared(entry: ModelEntry, cfg: DictConfig, images: ImageKind) -> ComparedModel:
    """Makes the model of an entry, with trained weights where a run has them and random ones elsewhere.

    Raises:
        ValueError: If it cannot be built for these images or with these settings.
        FileNotFoundError: If there is no such model; the message has near names.
    """
    is_name = not is_genotype_itself(entry.reference) and not Path(entry.reference).exists()
    if is_name and entry.reference not in (*PUBLISHED, *WITHOUT_CELLS):
        if entry.reference.startswith(PREFIX):
            return _plain_model(entry, images, source="timm", build=build_timm)
        if entry.reference in torchvision_names():
            return _plain_model(entry, images, source="torchvision", build=build_torchvision)
        _check_known(entry.reference)
    genotype = None if is_name and entry.reference in WITHOUT_CELLS else load_genotype(entry.reference)
    try:
        return compared_network(entry, _network_of_entry(entry, cfg, genotype), genotype, images)
    except ValueError as error:
        raise ValueError(f"models: {entry.name}: {error}") from None


def compared_network(entry: ModelEntry, cfg: DictConfig, genotype: Genotype | None, images: ImageKind) -> ComparedModel:
    """Makes the network of `cfg.network` as a model to be compared."""
    network = build_derived(cfg, genotype, images)
    weights = give_weights(network, cfg, genotype, reference=entry.reference, image_shape=images.shape)
    facts = {
        "name": entry.name,
        "reference": entry.reference,
        "genotype": None if genotype is None else genotype.to_dict(),
        "weights": weights,
        "network": OmegaConf.to_container(cfg.network),
        **measure_size(cfg, genotype, images),
    }
    return ComparedModel(name=entry.name, network=network.eval(), genotype=genotype, facts=facts)


@torch.no_grad()
def give_weights(
    network: nn.Module,
    cfg: DictConfig,
    genotype: Genotype | None,
    *,
    reference: str,
    image_shape: tuple[int, int, int],
) -> str:
    """Hardens the network and loads what the run of `reference` trained, if it is of this model.

    Otherwise the weights stay random, permutations that would be learned are drawn at random (as they start they would
    be those that move least), and batch norm gets the statistics of random images, without which activations would
    grow out of the range of float16.

    Returns:
        Where the weights are from.

    Raises:
        ValueError: If the run's weights cannot be read.
    """
    for name, mixer in list(network.named_modules()):
        if isinstance(mixer, AutoShuffle | SwitchShuffle):
            network.set_submodule(name, Permutation(torch.randperm(mixer.channels)))
    harden_mixers(network)
    file = run_of(reference) / "weights.safetensors"
    read_metadata(file)  # a damaged file is no reason for random weights
    trained = trained_network(file.parent, genotype)
    if trained is not None and trained.items() <= plain(cfg.network, "network").items():  # what it lacks is newer
        try:
            network.load_state_dict(load_weights(file))
        except RuntimeError:  # of images or classes other than asked for
            pass
        else:
            return f"trained, {shown(file)}"
    _calibrate(network, genotype, image_shape=image_shape)
    return "random"


def _check_known(reference: str) -> None:
    """Raises FileNotFoundError for a text that looks like a name and is none, with the names near to it."""
    if any(sign in reference for sign in "/\\.#({ ") or not reference:
        return
    near = near_references(reference, [*PUBLISHED, *WITHOUT_CELLS, *torchvision_names()], most=4)
    known = f"known: {published_names()}, {', '.join(WITHOUT_CELLS)}, torchvision's"
    hint = f"near it: {', '.join(near)}" if near else known
    raise FileNotFoundError(f"models: no run folder, file or model {reference!r}; {hint}")


def _network_of_entry(entry: ModelEntry, cfg: DictConfig, genotype: Genotype | None) -> DictConfig:
    """Finds the network: as asked for, as published, as the run has it, or else as `cfg.network`."""
    if genotype is None:
        return network_config(entry.reference, entry.settings)
    if entry.network is not None:
        return network_config(entry.network, entry.settings)
    if entry.reference in PUBLISHED and not Path(entry.reference).exists():
        published = published_model(entry.reference, entry.settings)
        return network_config(published.network, {**published.settings, **entry.settings})
    used = network_of_run(run_of(entry.reference), genotype, modules=named_modules(cfg))
    if used is None:
        group = network_config(network_group(entry.reference) or "shufflenasnet", {}).network
        same = (cfg.network._target_, cfg.network.get("macro")) == (group._target_, group.get("macro"))
        used = plain(cfg.network if same else group, "network")
    return OmegaConf.create({"network": {**used, **entry.settings}})


def published_model(name: str, settings: Mapping[str, Any]) -> PublishedModel:
    """Returns the published size with as many filters as the settings ask for, or else the first."""
    models = PUBLISHED[name].models
    return next((model for model in models if model.settings["filters"] == settings.get("filters")), models[0])


def _calibrate(network: nn.Module, genotype: Genotype | None, *, image_shape: tuple[int, int, int]) -> None:
    """Sets the running statistics of batch norm to those of random images, and leaves evaluation mode on."""
    images = torch.randn((CALIBRATION_IMAGES, *image_shape))
    recalibrate_batch_norm(network.eval(), [(images, torch.empty(0))], genotype)


def _plain_model(
    entry: ModelEntry, images: ImageKind, *, source: str, build: Callable[..., PlainModel]
) -> ComparedModel:
    """Makes a model of another package, with random weights."""
    name = entry.reference.removeprefix(PREFIX)
    network = build(name, image_shape=images.shape, num_classes=images.num_classes, settings=entry.settings)
    _calibrate(network, None, image_shape=images.shape)
    facts = {
        "name": entry.name,
        "reference": f"{source} {name}",
        "genotype": None,
        "weights": "random",
        "network": dict(entry.settings),
        **model_size(network, None, image_shape=images.shape),
    }
    return ComparedModel(name=entry.name, network=network, genotype=None, facts=facts)
