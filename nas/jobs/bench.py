"""Bench: does a step on a sampled cell of the supernet cost what the same cell costs as a plain network?"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from controllers.uniform import Uniform
from nas.benchmark import median_ratio, time_in_turns, timing
from nas.checkpoint import write_json
from nas.config import build
from nas.console import header, progress, result, shown
from nas.derived import copy_shared_weights
from nas.jobs.parts import build_network, build_runtime
from nas.runtime import Runtime, derive_seed, environment, seed_everything
from nas.tracking import Tracker
from nas.training import WeightTrainer, make_sgd
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Genotype
from search_spaces.space import WeightSharingSpace


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """What is timed.

    Attributes:
        genotypes: Cells drawn at random.
        rounds: Steps timed for each cell.
        warmup: Steps before that.
        batch_size: Images in a step.
        image_shape: (C, H, W).
        num_classes: Of the head.
    """

    genotypes: int = 5
    rounds: int = 11
    warmup: int = 3
    batch_size: int = 144
    image_shape: tuple[int, ...] = (3, 32, 32)
    num_classes: int = 10

    def __post_init__(self) -> None:
        for name in ("genotypes", "rounds", "batch_size", "num_classes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if len(self.image_shape) != 3 or min(self.image_shape) < 1:
            raise ValueError(f"image_shape must be [channels, height, width], got {list(self.image_shape)}")


def run(cfg: DictConfig, out: Path, *, tracker: Tracker | None = None) -> dict[str, Any]:  # noqa: ARG001
    """Times training steps of the supernet's path and of the derived model in turns; writes `bench.json`.

    Returns:
        What `bench.json` holds: for each cell both times and the median of their ratio, and the worst ratio.

    Raises:
        ValueError: If a setting is out of range.
    """
    settings: BenchSettings = build(cfg.bench, "bench")
    space: WeightSharingSpace = build(cfg.search_space, "search_space")
    runtime = build_runtime(cfg)
    seed_everything(derive_seed(cfg.seed, "bench"))
    channels, height, width = settings.image_shape
    shape = {"image_shape": (channels, height, width), "num_classes": settings.num_classes}
    supernet = runtime.place(build_network(cfg, space.candidates(), **shape))  # type: ignore[arg-type]
    header("bench", {"run folder": shown(out), "device": str(runtime.device), "threads": torch.get_num_threads()})
    supernet_step = step_of(supernet, settings, runtime)
    cells: list[dict[str, Any]] = []
    with progress("timing", total=settings.genotypes) as bar:
        for actions in Uniform(space.decisions).sample(settings.genotypes).actions.tolist():
            genotype = space.decode(actions)
            plain = build_network(cfg, genotype_candidates(genotype), **shape)  # type: ignore[arg-type]
            copy_shared_weights(plain, supernet.state_dict())
            plain_step = step_of(runtime.place(plain), settings, runtime)
            times = time_in_turns(
                {"supernet": partial(supernet_step, genotype), "plain": partial(plain_step, genotype)},
                rounds=settings.rounds,
                warmup=settings.warmup,
                device=runtime.device,
            )
            cells.append(
                {
                    "genotype": genotype.to_dict(),
                    **{name: asdict(timing(values)) for name, values in times.items()},
                    "ratio": median_ratio(times["supernet"], times["plain"]),
                }
            )
            bar.advance()
    ratios = sorted(cell["ratio"] for cell in cells)
    figures = {
        "settings": asdict(settings),
        "median_ratio": ratios[len(ratios) // 2],
        "worst_ratio": ratios[-1],
        "cells": cells,
        "environment": environment(runtime, seed=cfg.seed),
    }
    write_json(out / "bench.json", figures)
    result(
        f"a supernet step costs {figures['median_ratio']:.3f} times the plain network's "
        f"(median of {len(cells)} cells, worst {figures['worst_ratio']:.3f})"
    )
    return figures


def step_of(network: nn.Module, settings: BenchSettings, runtime: Runtime) -> Callable[[Genotype], object]:
    """Returns a function that takes one training step of a network on random images."""
    trainer = WeightTrainer(
        network=network,
        optimizer=make_sgd(network, momentum=0.9, weight_decay=2e-4),
        learning_rate=lambda epoch: 0.01,  # noqa: ARG005
        drop_prob=lambda epoch: 0.0,  # noqa: ARG005
        autocast=runtime.autocast,
    )
    images = torch.randn((settings.batch_size, *settings.image_shape), device=runtime.device)
    if runtime.channels_last:
        images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(settings.num_classes, (settings.batch_size,), device=runtime.device)
    return lambda genotype: trainer.train_epoch([(images, labels)], iter([genotype]), epoch=0, num_batches=1)
