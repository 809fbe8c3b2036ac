"""Derived models as the config has them: settings, size, the weights they start with, and the pool that trains them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from nas.compute.device import Runtime
from nas.compute.distributed.ranks import ALONE, Ranks
from nas.compute.worker_pool import WorkerPool
from nas.data.named import ImageData
from nas.jobs.building.config import build
from nas.jobs.building.parts import build_data, build_derived, process_runtime
from nas.models.derived import copy_shared_weights
from nas.runs.checkpoints import load_checkpoint
from nas.runs.seeds import derive_seed, seed_everything
from nas.searching.stand_alone import CellTrainer, Training, finals_data
from nas.training.member import Member
from nas.training.settings import RetrainSettings


def read_settings(cfg: DictConfig) -> RetrainSettings:
    """Returns the settings under `cfg.retrain`; raises ValueError for one out of range."""
    settings: RetrainSettings = build(cfg.retrain, "retrain")
    return settings


def read_scratch_settings(cfg: DictConfig) -> RetrainSettings:
    """Returns the settings under `cfg.retrain` of trainings from scratch; raises ValueError for a warm start."""
    settings = read_settings(cfg)
    if settings.warm_start is not None:
        raise ValueError("retrain.warm_start must be null: a stand-alone training starts from scratch")
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


def search_data(cfg: DictConfig, runtime: Runtime) -> ImageData:
    """Loads the images of a search in the places where a training looks for them: its test images are out of reach."""
    return finals_data(build_data(cfg, runtime))


def training_pool(
    cfg: DictConfig,
    settings: RetrainSettings,
    data: ImageData,
    runtime: Runtime,
    *,
    workers: int,
    load_data: Callable[[DictConfig, Runtime], ImageData] = search_data,
) -> WorkerPool[Training]:
    """Returns what trains cells stand-alone, several side by side.

    Args:
        cfg: Config of the models and the data.
        settings: Of a training.
        data: What is trained and looked at if there is one worker: that is this process.
        runtime: Its device, number format and ranks.
        workers: Number of processes.
        load_data: Returns the same data in another process.
    """
    own = OmegaConf.merge(cfg, {"device": str(runtime.device)})  # that of this member of a multirun, for processes too
    assert isinstance(own, DictConfig)
    trainer = CellTrainer(
        settings=settings,
        make_runtime=(lambda: runtime) if workers == 1 else partial(process_runtime, own),
        load_data=(lambda _: data) if workers == 1 else partial(load_data, own),
        make_network=partial(initial_network, cfg=own, settings=settings),
    )
    return WorkerPool(trainer, workers)
