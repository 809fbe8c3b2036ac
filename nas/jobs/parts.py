"""What jobs build from the config: space, data, networks."""

import shlex
from collections.abc import Mapping
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from torch import nn

from nas.config import build
from nas.data import ImageData
from nas.derived import count_multiply_adds, count_parameters
from nas.networks import ShuffleNASNet
from nas.runtime import Runtime
from search_spaces.cells import CellCandidates, genotype_candidates
from search_spaces.genotype import Genotype


def build_runtime(cfg: DictConfig) -> Runtime:
    """Chooses device and number format as `cfg.device` and `cfg.runtime` say."""
    runtime: Runtime = build(cfg.runtime, "runtime", device=cfg.device)
    return runtime


def build_data(cfg: DictConfig, runtime: Runtime) -> ImageData:
    """Loads the data set of `cfg.data` onto the device."""
    data: ImageData = build(cfg.data, "data", device=runtime.device)
    return data


def build_network(
    cfg: DictConfig, candidates: Mapping[str, CellCandidates], *, image_shape: tuple[int, int, int], num_classes: int
) -> nn.Module:
    """Makes the network of `cfg.network` for images of shape (C, H, W).

    Raises:
        ValueError: If the images are too small for the network's reductions.
    """
    network: nn.Module = build(cfg.network, "network", candidates, in_channels=image_shape[0], num_classes=num_classes)
    if isinstance(network, ShuffleNASNet):
        smallest = 2 ** (cfg.network.stages - 1)
        if min(image_shape[1:]) < smallest:
            raise ValueError(
                f"network.stages={cfg.network.stages} halves the image {cfg.network.stages - 1} times; that needs at "
                f"least {smallest} pixels a side, the images have {image_shape[1]}x{image_shape[2]}"
            )
    return network


def measure_size(
    cfg: DictConfig, genotype: Genotype, *, image_shape: tuple[int, int, int], num_classes: int
) -> dict[str, Any]:
    """Returns `parameters` and `multiply_adds` of the derived model, without allocating it."""
    with torch.device("meta"):
        network = build_network(cfg, genotype_candidates(genotype), image_shape=image_shape, num_classes=num_classes)
    return {
        "parameters": count_parameters(network),
        "multiply_adds": count_multiply_adds(network, genotype, image_shape=image_shape),
    }


def command_line(command: str, *overrides: str) -> str:
    """Returns a command to suggest: `overrides`, and those of this run that concern data, network and device."""
    given = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    kept = [
        override for override in given if override.startswith(("data", "network", "device", "runtime", "experiment="))
    ]
    return shlex.join(["nas", command, *overrides, *kept])
