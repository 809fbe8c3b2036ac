"""Bench: the speed at which this machine searches and retrains, and how far that is from what it could reach."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from nas.compute.device import Runtime, make_runtime
from nas.compute.environment import environment
from nas.jobs.building.config import build, plain
from nas.jobs.building.parts import build_derived, build_network, build_runtime
from nas.jobs.building.search_parts import build_search
from nas.models.of_runs import network_config
from nas.runs.checkpoints import write_json
from nas.runs.console import header, note, result, shown
from nas.runs.seeds import derive_seed, seed_everything
from nas.studies.benchmarks import communication, epochs, loader, roofline, scaling, steps
from nas.studies.benchmarks.settings import PARTS, BenchSettings
from nas.studies.benchmarks.tables import print_tables
from nas.studies.benchmarks.workbench import Workbench
from search_spaces.cells import CellCandidates
from search_spaces.genotype import Genotype
from search_spaces.published import PUBLISHED
from search_spaces.space import WeightSharingSpace

REFERENCE = {"filters": 36, "cells_per_stage": 4, "merge_batch_norm": False}
"""Network settings of ShuffleNASNet-A with 236K parameters (arXiv:1812.02975, Table II)."""

GROUPS = ("search", "retrain", "network", "search_space", "data", "controller")
"""Settings of the work."""

MEASURES: Mapping[str, Callable[[Workbench], dict[str, Any]]] = {
    "throughput": steps.measure_throughput,
    "controller": epochs.measure_controller,
    "shares": epochs.measure_shares,
    "ratio": steps.measure_ratio,
    "memory": scaling.measure_memory,
    "scaling": scaling.measure_scaling,
    "roofline": roofline.measure_roofline,
    "communication": communication.measure_communication,
    "switches": steps.measure_switches,
    "targets": epochs.measure_targets,
    "loader": loader.measure_loader,
}
"""The parts but the eager loop, which takes turns with throughput."""


def run(cfg: DictConfig, out: Path) -> dict[str, Any]:
    """Measures the parts of `cfg.bench.parts` and writes `bench.json` after each of them.

    Returns:
        What `bench.json` holds: the settings, the figures of each part by its name, and the machine.

    Raises:
        ValueError: If a setting is out of range.
    """
    bench = build_bench(cfg)
    header(
        "bench",
        {
            "run folder": shown(out),
            "parts": ", ".join(bench.parts),
            "images": f"{'x'.join(map(str, bench.search.evaluator.data.image_shape))}, batches of "
            f"{bench.search.evaluator.settings.batch_size} in a search, {bench.retraining.batch_size} in a retraining",
            "timed": f"{bench.settings.rounds} rounds of {bench.steps} steps, {bench.settings.genotypes} cells",
            "device": f"{bench.runtime.device}, {torch.get_num_threads()} threads, {bench.runtime.number_format}",
        },
    )
    groups = {group: plain(cfg[group], group) for group in GROUPS}
    about = {
        "settings": {**asdict(bench.settings), **groups, "steps": bench.steps},
        "environment": environment(bench.runtime, seed=cfg.seed),
    }
    for part in bench.parts:
        note(f"\n{part}: {PARTS[part]}")
        if part not in bench.done:
            seed_everything(derive_seed(bench.seed, "bench", part))
            bench.done[part] = MEASURES[part](bench)
        print_tables(part, bench.done[part])
        write_json(out / "bench.json", about | bench.done)
    for line in bench.results:
        result(line)
    return about | bench.done


def build_bench(cfg: DictConfig) -> Workbench:
    """Builds what the parts work on, and what builds variants of what the config describes."""
    settings: BenchSettings = build(cfg.bench, "bench")
    runtime = build_runtime(cfg)
    search, _ = build_search(cfg, runtime)
    images = search.evaluator.data.kind

    def make_space(**changed: object) -> WeightSharingSpace:
        space: WeightSharingSpace = build(OmegaConf.merge(cfg.search_space, changed), "search_space")  # type: ignore[arg-type]
        return space

    def make_network(candidates: Mapping[str, CellCandidates], **changed: object) -> nn.Module:
        return build_network(OmegaConf.merge(cfg, {"network": changed}), candidates, images)  # type: ignore[arg-type]

    def runtime_with(**changed: object) -> Runtime:
        return make_runtime(build(cfg.runtime, "runtime", **changed), device=cfg.device)

    def reference() -> tuple[nn.Module, Genotype]:
        genotype = PUBLISHED["shufflenasnet_a"].genotype
        return build_derived(network_config("shufflenasnet", REFERENCE), genotype, images), genotype

    return Workbench(
        settings=settings,
        parts=settings.chosen_parts(cuda=runtime.device.type == "cuda"),
        runtime=runtime,
        seed=cfg.seed,
        space=make_space(),
        search=search,
        retraining=build(cfg.retrain, "retrain"),
        make_search=lambda runtime: build_search(cfg, runtime)[0],
        make_space=make_space,
        make_network=make_network,
        make_runtime=runtime_with,
        reference=reference,
    )
