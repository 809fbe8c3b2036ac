"""Pipeline: search, retrain the found cell next to random ones, time it, and report, in one run folder."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from nas.compute.distributed.joining import leave
from nas.data.image_data import ImageKind
from nas.jobs import latency, retrain, search
from nas.jobs.budget import make_plan, pipeline_parts
from nas.jobs.building.config import build, merged
from nas.jobs.building.derived_models import derived_network_config, search_state
from nas.jobs.building.parts import build_network, build_runtime
from nas.jobs.search_results import RANDOM_SEARCH
from nas.reporting.page.report import write_report
from nas.reporting.trackers import FilesOnly, Tracker
from nas.runs.console import note, shown
from nas.training.settings import RetrainSettings

SAME_SIZE, SAME_COST = "random_same_size", "random_same_cost"
TOLERANCE = 0.05
"""Relative difference of parameters up to which cells are of the same size."""
ANY_IMAGES = ImageKind((3, 1024, 1024), 2)  # large enough for every network, where only settings are checked


def run(cfg: DictConfig, out: Path, *, tracker: Tracker | None = None, started: float | None = None) -> dict[str, Any]:
    """Runs the three jobs one after the other; one that is done is not done again.

    Args:
        cfg: Config of the job.
        out: The run folder.
        tracker: Logs metrics.
        started: When the job began, by the clock of the budget; None: now.

    Returns:
        What the jobs returned, by name.

    Raises:
        ValueError: If a setting is out of range.
        FileNotFoundError: If the data set is not there.
    """
    tracker = tracker or FilesOnly()
    cfg = with_baseline(cfg)
    settings = _checked_settings(cfg)
    runtime = build_runtime(cfg)
    plan = make_plan(cfg, out, runtime, lambda: pipeline_parts(cfg, out, runtime), started=started)
    found = search.run(cfg, out, tracker=tracker, time_plan=plan)
    joined = plan.config(_with_genotype(cfg, out))
    metrics = retrain.run(joined, out, tracker=tracker, time_plan=plan)
    first = runtime.ranks.first
    leave()  # what follows is not done by several
    if not first:
        return {"search": found, "retrain": metrics}
    figures = latency.run(derived_network_config(joined, settings), out, tracker=tracker)
    note(f"everything is in {shown(out)}; to look at: {shown(write_report([out], out).page)}")
    return {"search": found, "retrain": metrics, "latency": figures}


def _checked_settings(cfg: DictConfig) -> RetrainSettings:
    """Checks what the later jobs need, so that a mistake shows before the search; returns the retraining's settings.

    Raises:
        ValueError: If a setting is out of range, or the derived model cannot be built or started as asked.
        FileNotFoundError: If the weights to start from are not there.
    """
    settings: RetrainSettings = build(cfg.retrain, "retrain")
    build(cfg.latency, "latency")
    if OmegaConf.select(cfg, "table") is not None:
        raise ValueError("evaluator=table is for nas search; nas retrain genotype=RUN trains the cell that it found")
    if settings.warm_start == "search" and OmegaConf.select(cfg, "evaluator") is not None:
        raise ValueError("retrain.warm_start=search needs shared weights, evaluator=shared_weights")
    derived = derived_network_config(cfg, settings)
    if settings.warm_start == "search" and derived.network != cfg.network:
        raise ValueError(
            "retrain.warm_start=search needs a derived model of the supernet's filters and cells_per_stage"
        )
    if settings.warm_start not in (None, "search"):
        build_runtime(cfg).ranks.from_first(lambda: set(search_state(Path(str(settings.warm_start)))))
    with torch.device("meta"):
        space = build(cfg.search_space, "search_space")
        build_network(derived, space.candidates(), ANY_IMAGES)
    return settings


def with_baseline(cfg: DictConfig) -> DictConfig:
    """Returns the config with the settings of the search that `cfg.baseline` stands for.

    Raises:
        ValueError: If an entry is unknown or does not go with the search's evaluator.
    """
    given = OmegaConf.select(cfg, "baseline") or ()
    asked = {given} if isinstance(given, str) else set(given)
    if unknown := asked - {SAME_SIZE, SAME_COST}:
        raise ValueError(f"baseline has {SAME_SIZE} and {SAME_COST} to choose from, got {', '.join(sorted(unknown))}")
    changed: dict[str, Any] = {}
    if SAME_SIZE in asked:
        tolerance = cfg.search.random_parameters
        changed["random_parameters"] = TOLERANCE if tolerance is None else tolerance
    if SAME_COST in asked:
        if OmegaConf.select(cfg, "evaluator") is not None:
            raise ValueError(f"baseline={SAME_COST} needs evaluator=shared_weights")
        if not cfg.search.finalists:
            raise ValueError(f"baseline={SAME_COST} needs finals: search.finalists must be at least 2")
        changed["random_search"] = True
    return merged(cfg, {"search": changed})


def _with_genotype(cfg: DictConfig, out: Path) -> DictConfig:
    """Returns the config with the found genotype and the random cells as inputs of the next jobs."""
    found: dict[str, Any] = {"genotype": str(out / "genotype.json")}
    if OmegaConf.select(cfg, "search.random_search"):
        found["random_search"] = str(out / RANDOM_SEARCH)
    if cfg.search.random_cells:
        found["random_cells"] = str(out / "random.json")
    if cfg.retrain.warm_start == "search":
        found["retrain"] = {"warm_start": str(out)}
    return merged(cfg, found)
