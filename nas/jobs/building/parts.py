"""The parts that several jobs build from the config: runtime, data, genotype, networks."""

import functools
import math
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from torch import nn

from nas.compute.device import Runtime, make_runtime
from nas.compute.distributed.joining import join, own_device
from nas.compute.distributed.launch import read_launch
from nas.compute.distributed.settings import DistributedSettings
from nas.data.image_data import ImageData, ImageKind
from nas.data.named import check_batches
from nas.jobs.building.config import build, import_extensions
from nas.jobs.multirun import is_multirun, runs_alone
from nas.models.derived import model_size
from nas.models.genotype_files import load_genotype
from nas.models.hardening import harden_mixers, outermost_mixers
from nas.runs.console import note, shown
from search_spaces.cells import CellCandidates, genotype_candidates
from search_spaces.genotype import Genotype
from search_spaces.published import published_names


def build_runtime(cfg: DictConfig) -> Runtime:
    """Chooses device and number format as `cfg.device` and `cfg.runtime` say; under torchrun, joins the other ranks.

    Raises:
        ValueError: If a setting is out of range, or there are fewer GPUs than ranks.
    """
    group = OmegaConf.select(cfg, "distributed")  # commands that are not data-parallel have none
    settings: DistributedSettings = DistributedSettings() if group is None else build(group, "distributed")
    device = own_device(member_device(cfg.device), read_launch())
    runtime: Runtime = make_runtime(build(cfg.runtime, "runtime"), device=device)
    ranks = join(settings, device=device)
    if ranks.normalizes_together and (runtime.graphs or runtime.compile is True):
        note("with distributed.batch_norm=sync, steps are neither recorded as CUDA graphs nor compiled")
    if ranks.normalizes_together:  # its messages are in the midst of what would be recorded
        runtime = replace(runtime, graphs=False, compile=False)
    return replace(runtime, ranks=ranks)


def member_device(device: str) -> str:
    """Returns the device of this process: with `auto`, members that run side by side take the GPUs in turns.

    A launcher that gives every member a GPU of its own (Slurm, Ray with `num_gpus`) shows it that one alone, and there
    is nothing to choose. joblib shows all of them to everyone.
    """
    if device != "auto" or not is_multirun() or runs_alone() or torch.cuda.device_count() < 2:
        return device
    return f"cuda:{HydraConfig.get().job.num % torch.cuda.device_count()}"


def process_runtime(cfg: DictConfig) -> Runtime:
    """Prepares a worker process that has not imported the extensions of its job; it computes with one thread."""
    import_extensions(cfg)
    runtime = build_runtime(cfg)
    torch.set_num_threads(1)
    return runtime


def build_data(cfg: DictConfig, runtime: Runtime) -> ImageData:
    """Loads the data set of `cfg.data` onto the device.

    Raises:
        ValueError: If what `cfg.search`, `cfg.evaluator.training` or `cfg.retrain` says of batches does not fit the
            images or the ranks.
        FileNotFoundError: If the data set is not there.
    """
    splits: dict[str, Literal["train", "full"]] = {"search": "train", "evaluator.training": "train", "retrain": "full"}
    # An experiment may set keys of other commands too, and not every search has batches.
    found: dict[str, Any] = {group: OmegaConf.select(cfg, group) or {} for group in splits}
    groups = {group: settings for group, settings in found.items() if {"_target_", "batch_size"} <= settings.keys()}
    for group, settings in groups.items():
        runtime.ranks.check_batch_size(settings.batch_size, where=group)
    data: ImageData = build(cfg.data, "data", device=runtime.device)
    for group, settings in groups.items():
        check_batches(data, split=splits[group], where=group, batch_size=settings.batch_size, cutout=settings.cutout)
    return data


def described_ranks(runtime: Runtime) -> str:
    """Returns what a header says of several ranks, before the device; nothing for one alone."""
    return "" if runtime.ranks.alone else f"{runtime.ranks.size} processes, the first on "


def takes_genotype(cfg: DictConfig) -> bool:
    """Whether the network of `cfg.network` is made of cells; ShuffleNet v1 and v2 are not."""
    return bool(getattr(get_object(cfg.network._target_), "takes_genotype", True))


def read_genotype(cfg: DictConfig) -> Genotype | None:
    """Loads `cfg.genotype`; None for a network without choices.

    Raises:
        ValueError: If the genotype is not set or not valid, or is given to a network that takes none.
        FileNotFoundError: If there is no such genotype.
    """
    given = None if OmegaConf.is_missing(cfg, "genotype") else cfg.genotype
    if takes_genotype(cfg):
        if given is None:
            raise ValueError(f"genotype is not set; add genotype=RUN, genotype=FILE.json or one of {published_names()}")
        return load_genotype(given)
    if given is not None:
        raise ValueError(f"{cfg.network._target_} has no cells to choose; leave genotype={given} out")
    return None


def image_kind(settings: Any, cfg: DictConfig, runtime: Runtime) -> ImageKind:
    """Returns for which images networks are built: as `image_shape` and `num_classes` say, or else the data set's."""
    if settings.image_shape is not None and settings.num_classes is not None:
        channels, height, width = settings.image_shape
        return ImageKind((channels, height, width), settings.num_classes)
    return build_data(cfg, runtime).kind


def build_network(cfg: DictConfig, candidates: Mapping[str, CellCandidates] | None, images: ImageKind) -> nn.Module:
    """Makes the network of `cfg.network` for images of a kind.

    Raises:
        ValueError: If the network has no cells and candidates are given, or the images are too small for it.
    """
    if candidates is not None and not takes_genotype(cfg):
        raise ValueError(
            f"{cfg.network._target_} has no cells to choose; take network=shufflenasnet, enas, darts or nasbench201"
        )
    chosen = [] if candidates is None else [candidates]
    (channels, height, width), num_classes = images
    network: nn.Module = build(cfg.network, "network", *chosen, in_channels=channels, num_classes=num_classes)
    smallest = getattr(network, "smallest_image", 1)
    if min(height, width) < smallest:
        raise ValueError(
            f"the network halves the image {int(math.log2(smallest))} times; that needs at least {smallest} pixels "
            f"a side, the images have {height}x{width}; set data.image_size, or network.stem, "
            "network.macro or network.stages"
        )
    return network


def build_derived(cfg: DictConfig, genotype: Genotype | None, images: ImageKind) -> nn.Module:
    """Makes the network of `cfg.network` with a genotype's ops, or, without one, a network that has no choices."""
    return build_network(cfg, None if genotype is None else genotype_candidates(genotype), images)


def counted_network(cfg: DictConfig, genotype: Genotype | None, images: ImageKind) -> nn.Module:
    """Makes the derived model as inference has it, learned mixers hardened, on the CPU; no random stream is touched."""
    with torch.random.fork_rng(devices=[]):  # not on the device "meta", whose operations are slow and load a compiler
        network = build_derived(cfg, genotype, images)
        if any(not mixer.decays and list(mixer.parameters()) for mixer in outermost_mixers(network)):
            harden_mixers(network, linear_maps=True)
    return network


def measure_size(cfg: DictConfig, genotype: Genotype | None, images: ImageKind) -> dict[str, Any]:
    """Returns `parameters` and `multiply_adds` of the derived model at inference; each model is counted once."""
    return dict(_counted(OmegaConf.to_yaml(cfg.network), genotype, images))


@functools.lru_cache(maxsize=1024)
def _counted(network: str, genotype: Genotype | None, images: ImageKind) -> dict[str, Any]:
    cfg = OmegaConf.create({"network": OmegaConf.create(network)})
    return model_size(counted_network(cfg, genotype, images), genotype, image_shape=images.shape)


def merge_name(cfg: DictConfig) -> str:
    """Returns what drawings write where a cell's outputs are merged, `sum` or `concat`."""
    return str(cfg.network.get("merge", "sum")).partition("_")[0]


def command_line(command: str, *overrides: str) -> str:
    """Returns a command to suggest: `overrides`, and those of this run that concern data, network and device."""
    if not HydraConfig.initialized():
        return shlex.join(["nas", command, *overrides])
    hydra = HydraConfig.get()
    of_machine_and_network = ("data", "network", "device", "runtime", "experiment=", "imports=")
    kept = [override for override in hydra.overrides.task if override.startswith(of_machine_and_network)]
    network = hydra.runtime.choices.get("network")
    if network not in (None, "shufflenasnet") and f"network={network}" not in kept:
        kept.append(f"network={network}")  # chosen by the search space or by the genotype
    folders = [source.path for source in hydra.runtime.config_sources if source.provider == "command-line"]
    options = [word for folder in folders for word in ("--config-dir", shown(Path(folder)))]
    return shlex.join(["nas", command, *options, *overrides, *kept])
