"""Bench: how fast does this machine search and retrain, and how far is that from what it could do?"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from nas.compute.device import Runtime, make_runtime
from nas.compute.environment import environment
from nas.data.image_data import ImageKind
from nas.jobs.building.config import build, plain
from nas.jobs.building.parts import build_derived, build_network, build_runtime
from nas.jobs.building.search_parts import build_supernet_search
from nas.models.of_runs import network_config
from nas.reporting.trackers import Tracker
from nas.runs.checkpoints import write_json
from nas.runs.console import header, note, result, shown
from nas.runs.seeds import derive_seed, seed_everything
from nas.searching.search import Search
from nas.searching.shared_weights import SharedWeights
from nas.studies.benchmarks.communication.modelled import measure_communication
from nas.studies.benchmarks.controller import measure_controller
from nas.studies.benchmarks.loader import measure_loader
from nas.studies.benchmarks.memory import measure_memory
from nas.studies.benchmarks.roofline import measure_roofline
from nas.studies.benchmarks.scaling import measure_scaling
from nas.studies.benchmarks.settings import PARTS, BenchSettings
from nas.studies.benchmarks.shares import measure_shares
from nas.studies.benchmarks.supernet import measure_ratio
from nas.studies.benchmarks.switches import measure_switches
from nas.studies.benchmarks.tables import print_part
from nas.studies.benchmarks.targets import measure_targets
from nas.studies.benchmarks.throughput import EAGER, measure_throughput
from nas.studies.benchmarks.workbench import Workbench
from nas.training.settings import RetrainSettings
from search_spaces.cells import CellCandidates
from search_spaces.genotype import Genotype
from search_spaces.published import PUBLISHED
from search_spaces.space import WeightSharingSpace

REFERENCE = {"filters": 36, "cells_per_stage": 4, "merge_batch_norm": False}
"""Network settings of ShuffleNASNet-A with 236K parameters (arXiv:1812.02975, Table II)."""

GROUPS = ("search", "retrain", "network", "search_space", "data", "controller")
"""Settings of the work."""

Part = Callable[[Workbench, Mapping[str, Any]], dict[str, Any]]
"""Measures a part; takes what was measured before."""

MEASURES: Mapping[str, Part] = {
    "controller": lambda bench, _: measure_controller(bench),
    "shares": lambda bench, done: measure_shares(bench, throughput=done["throughput"], controller=done["controller"]),
    "ratio": lambda bench, _: measure_ratio(bench),
    "memory": lambda bench, _: measure_memory(bench),
    "scaling": lambda bench, _: measure_scaling(bench),
    "roofline": lambda bench, _: measure_roofline(bench),
    "communication": lambda bench, _: measure_communication(bench),
    "switches": lambda bench, _: measure_switches(bench),
    "targets": lambda bench, done: measure_targets(bench, throughput=done["throughput"], controller=done["controller"]),
    "loader": lambda bench, _: measure_loader(bench),
}
"""The parts but throughput and the eager loop, which take their turns together."""


def run(cfg: DictConfig, out: Path, *, tracker: Tracker | None = None) -> dict[str, Any]:  # noqa: ARG001
    """Measures the parts of `cfg.bench.parts` and writes `bench.json`, anew after each.

    Returns:
        What `bench.json` holds: the settings, the figures of each part by its name, and the machine.

    Raises:
        ValueError: If a setting is out of range.
    """
    settings: BenchSettings = build(cfg.bench, "bench")
    runtime = build_runtime(cfg)
    parts = settings.chosen_parts(cuda=runtime.device.type == "cuda")
    bench = build_bench(cfg, settings, runtime)
    describe(bench, parts, out)
    figures: dict[str, Any] = {
        "settings": {**asdict(settings), **{group: plain(cfg[group], group) for group in GROUPS}, "steps": bench.steps},
        "environment": environment(runtime, seed=cfg.seed),
    }
    lines: list[str] = []
    for part in parts:
        if part not in figures:
            note(f"\n{part}: {PARTS[part]}")
            measured = measure(bench, part, figures, eager="eager" in parts)
            for name in measured:
                lines += print_part(name, measured[name])
            figures |= measured
            write_json(out / "bench.json", figures)
    for line in lines:
        result(line)
    return figures


def measure(bench: Workbench, part: str, done: Mapping[str, Any], *, eager: bool) -> dict[str, Any]:
    """Measures a part, throughput together with the eager loop; returns figures by part."""
    seed_everything(derive_seed(bench.seed, "bench", part))
    if part in MEASURES:
        return {part: MEASURES[part](bench, done)}
    figures = measure_throughput(bench, eager=eager)
    baseline = {name: figures.pop(name) for name in (*EAGER.values(), "speedup") if name in figures}
    return {"throughput": figures, **({"eager": baseline} if eager else {})}


def build_bench(cfg: DictConfig, settings: BenchSettings, runtime: Runtime) -> Workbench:
    """Builds what the parts work on."""
    retraining: RetrainSettings = build(cfg.retrain, "retrain")
    search, _ = build_supernet_search(cfg, runtime)
    builders = ConfigBuilders(cfg, search.evaluator.data.kind)
    return Workbench(
        settings=settings,
        runtime=runtime,
        seed=cfg.seed,
        space=builders.space(),
        search=search,
        retraining=retraining,
        build=builders,
    )


class ConfigBuilders:
    """Makes variants of what a config describes; see `nas.studies.benchmarks.workbench.Builders`.

    Args:
        cfg: Of the command.
        images: For which it builds networks.
    """

    def __init__(self, cfg: DictConfig, images: ImageKind) -> None:
        self.cfg = cfg
        self.images = images

    def search(self, runtime: Runtime) -> Search[SharedWeights]:
        """Returns a search as `nas search` builds it."""
        return build_supernet_search(self.cfg, runtime)[0]

    def space(self, **changed: object) -> WeightSharingSpace:
        """Returns the search space with other settings."""
        space: WeightSharingSpace = build(OmegaConf.merge(self.cfg.search_space, changed), "search_space")  # type: ignore[arg-type]
        return space

    def network(self, candidates: Mapping[str, CellCandidates], **changed: object) -> nn.Module:
        """Returns the network with other settings."""
        return build_network(OmegaConf.merge(self.cfg, {"network": changed}), candidates, self.images)  # type: ignore[arg-type]

    def runtime(self, **changed: object) -> Runtime:
        """Returns the runtime with other values of its switches."""
        return make_runtime(build(self.cfg.runtime, "runtime", **changed), device=self.cfg.device)

    def reference(self) -> tuple[nn.Module, Genotype]:
        """Returns the model of 236K parameters."""
        genotype = PUBLISHED["shufflenasnet_a"].genotype
        return build_derived(network_config("shufflenasnet", REFERENCE), genotype, self.images), genotype


def describe(bench: Workbench, parts: list[str], out: Path) -> None:
    """Prints the header."""
    data, runtime = bench.search.evaluator.data, bench.runtime
    header(
        "bench",
        {
            "run folder": shown(out),
            "parts": ", ".join(parts),
            "images": f"{'x'.join(map(str, data.image_shape))}, batches of "
            f"{bench.search.evaluator.settings.batch_size} in a search, {bench.retraining.batch_size} in a retraining",
            "timed": f"{bench.settings.rounds} rounds of {bench.steps} steps, {bench.settings.genotypes} cells",
            "device": f"{runtime.device}, {torch.get_num_threads()} threads, {runtime.number_format}",
        },
    )
