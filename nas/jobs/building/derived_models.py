"""Derived models as the config has them: their settings, their size, and the weights that they start with."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from nas.compute.distributed.ranks import ALONE, Ranks
from nas.data.named import ImageData
from nas.jobs.building.config import build
from nas.jobs.building.parts import build_derived
from nas.models.derived import copy_shared_weights
from nas.runs.checkpoints import load_checkpoint
from nas.runs.seeds import derive_seed, seed_everything
from nas.training.member import Member
from nas.training.retrain_settings import RetrainSettings


def read_settings(cfg: DictConfig) -> RetrainSettings:
    """Returns the settings under `cfg.retrain`; raises ValueError for one out of range."""
    settings: RetrainSettings = build(cfg.retrain, "retrain")
    return settings


def derived_network_config(cfg: DictConfig, settings: RetrainSettings) -> DictConfig:
    """Returns the config with the derived model's filters and cells where the settings name them."""
    sizes = {"filters": settings.filters, "cells_per_stage": settings.cells_per_stage}
    changed = {name: value for name, value in sizes.items() if value is not None}
    merged = OmegaConf.merge(cfg, {"network": changed})
    assert isinstance(merged, DictConfig)
    return merged


def initial_network(
    member: Member, cfg: DictConfig, data: ImageData, settings: RetrainSettings, *, ranks: Ranks = ALONE
) -> Any:
    """Makes a member's model with its initial weights, from scratch or from a supernet's."""
    seed_everything(derive_seed(member.seed, "retrain weights"))
    network = build_derived(cfg, member.genotype, data.kind)
    if settings.auxiliary_weight > 0 and getattr(network, "auxiliary", None) is None:
        raise ValueError("auxiliary_weight needs network=enas or darts with network.auxiliary=true")
    if settings.warm_start is not None:
        run = Path(settings.warm_start)
        copy_shared_weights(network, ranks.from_first(lambda: shared_weights(run)))
    return network


def shared_weights(run: Path) -> dict[str, torch.Tensor]:
    """Returns the supernet's weights of a search run.

    Raises:
        FileNotFoundError: If the folder holds no checkpoint of a search.
    """
    state = load_checkpoint(run / "checkpoint.pt")
    if state is None or "network" not in state:
        raise FileNotFoundError(f"no shared weights at {run / 'checkpoint.pt'}; `nas search` writes them")
    weights: dict[str, torch.Tensor] = state["network"]
    return weights
