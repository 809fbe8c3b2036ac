"""Derived models as the config has them: settings, size, the weights they start with, and the pool that trains them."""

import math
import statistics
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from nas.compute.device import Runtime, threads_set
from nas.compute.distributed.ranks import ALONE, Ranks
from nas.compute.worker_pool import WorkerPool, num_processes
from nas.data.named import ImageData
from nas.jobs.building.config import build, merged
from nas.jobs.building.parts import build_data, build_derived, process_runtime
from nas.models.derived import copy_shared_weights
from nas.runs.checkpoints import load_checkpoint
from nas.runs.console import note, progress, shown
from nas.runs.seeds import derive_seed, seed_everything
from nas.searching.stand_alone import CellTrainer, Training, finals_data, read_results
from nas.training.member import Member, MemberTraining
from nas.training.settings import RetrainSettings
from search_spaces.genotype import Genotype

TIMED_CELLS = 3


def read_scratch_settings(cfg: DictConfig) -> RetrainSettings:
    """Returns the settings under `cfg.retrain` of trainings from scratch; raises ValueError for a warm start."""
    settings: RetrainSettings = build(cfg.retrain, "retrain")
    if settings.warm_start is not None:
        raise ValueError("retrain.warm_start must be null: a stand-alone training starts from scratch")
    return settings


def derived_sizes(settings: RetrainSettings) -> dict[str, Any]:
    """Returns the settings of the network in which the derived model differs from the supernet."""
    sizes = {"filters": settings.filters, "cells_per_stage": settings.cells_per_stage}
    return {name: value for name, value in sizes.items() if value is not None}


def derived_network_config(cfg: DictConfig, settings: RetrainSettings) -> DictConfig:
    """Returns the config with the derived model's filters and cells where the settings name them."""
    return merged(cfg, {"network": derived_sizes(settings)})


def initial_network(
    member: Member, cfg: DictConfig, data: ImageData, settings: RetrainSettings, *, ranks: Ranks = ALONE
) -> Any:
    """Makes a member's model with its initial weights, from scratch or from a supernet's."""
    seed_everything(derive_seed(member.seed, "retrain weights"))
    network = build_derived(cfg, member.genotype, data.kind)
    if settings.auxiliary_weight > 0 and getattr(network, "auxiliary", None) is None:
        raise ValueError("auxiliary_weight needs network=enas or darts with network.auxiliary=true")
    if settings.warm_start is not None:
        state = partial(search_state, Path(settings.warm_start))
        copy_shared_weights(network, ranks.from_first(lambda: state()["network"]))
    return network


def epoch_seconds(
    cells: Sequence[Genotype | None],
    cfg: DictConfig,
    settings: RetrainSettings,
    data: ImageData,
    runtime: Runtime,
    *,
    threads: int | None = None,
) -> float:
    """Returns the mean seconds that an epoch of a training takes, from the time of some steps of up to three cells.

    Args:
        cells: What is trained.
        cfg: Config of the networks.
        settings: Of a training.
        data: Trained on `full`.
        runtime: Where and how; the first rank's time counts.
        threads: Of a training on a CPU; None: as many as torch has.
    """
    found = []
    with threads_set(threads if runtime.device.type == "cpu" else None):
        for cell in cells[:: math.ceil(len(cells) / TIMED_CELLS)]:
            member = Member(label="timed", seed=0, genotype=cell)
            network = runtime.place(initial_network(member, cfg, data, settings, ranks=runtime.ranks))
            training = MemberTraining(member=member, network=network, data=data, settings=settings, runtime=runtime)
            found.append(training.epoch_seconds())
    return runtime.ranks.from_first(lambda: statistics.fmean(found))


def search_state(run: Path) -> dict[str, Any]:
    """Returns the last checkpoint of a search with shared weights, which are its `network`.

    Raises:
        FileNotFoundError: If the folder holds none.
    """
    state = load_checkpoint(run / "checkpoint.pt")
    if state is None or not {"network", "controller", "rows"} <= set(state):
        raise FileNotFoundError(f"no shared weights at {shown(run / 'checkpoint.pt')}; `nas search` writes them")
    return state


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
        settings: Settings of a training.
        data: The images that are trained on and looked at if there is one worker: that is this process.
        runtime: Its device, number format and ranks.
        workers: Number of processes.
        load_data: Returns the same data in another process.
    """
    own = merged(cfg, {"device": str(runtime.device)})  # that of this member of a multirun, for processes too
    trainer = CellTrainer(
        settings=settings,
        make_runtime=(lambda: runtime) if workers == 1 else partial(process_runtime, own),
        load_data=(lambda _: data) if workers == 1 else partial(load_data, own),
        make_network=partial(initial_network, cfg=own, settings=settings),
    )
    return WorkerPool(trainer, workers)


def train_cells(
    trainings: Collection[Training],
    cfg: DictConfig,
    settings: RetrainSettings,
    data: ImageData,
    runtime: Runtime,
    *,
    workers: int | None,
) -> Iterator[dict[str, Any]]:
    """Trains cells stand-alone, with a progress bar; yields each result, first those of earlier starts.

    Args:
        trainings: All that is to be done, in order.
        cfg: Config of the models and the data.
        settings: Settings of a training.
        data: The images on which cells are trained and measured.
        runtime: Device, number format and ranks.
        workers: Processes that are asked for; None: one per core on the CPU, one on a GPU.
    """
    finished = read_results(trainings)
    left = [one for one in trainings if one not in finished]
    number = num_processes(len(left), workers=workers, device=runtime.device.type)
    note(f"{len(finished)} of {len(trainings)} trainings are done; {number} at a time")
    with (
        training_pool(cfg, settings, data, runtime, workers=number, load_data=build_data) as pool,
        progress("training cells", total=len(trainings), done=len(finished)) as bar,
    ):
        yield from finished.values()
        for result in pool.run(left):
            bar.advance()
            yield result
