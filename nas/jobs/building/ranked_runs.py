"""The searches to be ranked, read back from their run folders, finished or not, and what they predict of cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from nas.compute.device import Runtime
from nas.jobs.building.config import import_extensions, merged, plain, recorded_config
from nas.jobs.building.derived_models import search_state
from nas.jobs.building.search_parts import build_search
from nas.runs.checkpoints import load_json
from nas.runs.console import shown
from nas.runs.seeds import derive_seed
from nas.searching.search import Search
from nas.searching.shared_weights import SharedWeights
from nas.studies.ranking.chosen_cells import ChosenCell, best_threshold, check_pool, choose_cells
from nas.studies.ranking.estimates import Array
from nas.studies.ranking.figures import FRACTIONS
from nas.studies.ranking.settings import RankSettings
from nas.studies.ranking.shared_scores import log_probs, own_mode, score_cells, scoring_modes, uniform_cells
from search_spaces.genotype import Genotype
from search_spaces.space import SearchSpace

PREDICTIONS = "predictions.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedRun:
    """A search with the shared weights and the policy of its last checkpoint.

    Attributes:
        name: In files and tables.
        path: The run folder.
        cfg: The config it was started with, the data's settings of this command in it.
        search: Its parts.
        epochs: How many it had searched at the checkpoint.
    """

    name: str
    path: Path
    cfg: DictConfig
    search: Search[SharedWeights]
    epochs: int

    def described(self) -> dict[str, Any]:
        """Returns what tells the run from others: its folder, its epochs, and the settings of search and network."""
        return {
            "path": str(self.path),
            "epochs": self.epochs,
            "seed": self.search.seed,
            "search": plain(self.cfg.search, "search"),
            "network": plain(self.cfg.network, "network"),
            "controller": plain(self.cfg.controller, "controller"),
        }


def run_folders(cfg: DictConfig) -> list[Path]:
    """Returns the folders that `cfg.run` or `cfg.runs` names.

    Raises:
        ValueError: If none are named, both are, or one is named twice.
    """
    if (cfg.run is None) == (cfg.runs is None):
        raise ValueError('set either run=RUN, the run folder of a search, or "runs=[RUN,RUN]" to compare several')
    given = [cfg.run] if cfg.runs is None else OmegaConf.to_container(cfg.runs)
    if not isinstance(given, list) or not given:
        raise ValueError(f"runs must list at least one run folder, got {given!r}")
    folders = [Path(str(one)).expanduser() for one in given]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError(f"runs names a folder twice: {', '.join(map(str, folders))}")
    return folders


def run_config(folder: Path, cfg: DictConfig) -> DictConfig:
    """Returns the config of a search, with the data's settings that `cfg.data` changes.

    Raises:
        FileNotFoundError: If the folder holds no run.
        ValueError: If the run is not a search with shared weights, or names modules of somebody's own that the command
            does not.
    """
    if not (folder / "config.yaml").is_file():
        run = Path("results/runs") / folder
        hint = f"did you mean run={run}?" if run.is_dir() else "`nas search` makes such folders"
        raise FileNotFoundError(f"no run at {folder}; {hint}")
    read = recorded_config(folder, cfg)
    needed = ("search", "search_space", "controller", "network", "data", "reward", "seed")
    if any(OmegaConf.select(read, key) is None for key in needed):
        raise ValueError(f"{shown(folder)} is not the run folder of `nas search` or `nas pipeline`")
    if any(OmegaConf.select(read, key) is not None for key in ("table", "evaluator")):
        raise ValueError(f"{shown(folder)} searched without shared weights; there is nothing to rank")
    import_extensions(read)
    return merged(read, {"data": plain(cfg.data, "data")})


def read_runs(cfg: DictConfig, runtime: Runtime) -> list[RankedRun]:
    """Reads the searches, and checks that their cells can be compared with the same stand-alone trainings.

    Raises:
        FileNotFoundError: If a folder holds no run, or no checkpoint.
        ValueError: If the runs differ in search space or data, or a folder holds something else.
    """
    folders = run_folders(cfg)
    alike = len({folder.resolve().name for folder in folders}) < len(folders)
    runs = [_read_run(str(one) if alike else one.resolve().name, one, cfg, runtime) for one in folders]
    first = runs[0].search
    for run in runs[1:]:
        if _meaning(run.search.space) != _meaning(first.space):
            raise ValueError(f"{run.name} searches another space than {runs[0].name}; rank them one by one")
        if run.search.evaluator.data.record != first.evaluator.data.record:
            raise ValueError(
                f"{run.name} has other images, or another split, than {runs[0].name}; rank them one by one"
            )
    return runs


def _meaning(space: SearchSpace) -> Sequence[object]:
    """Returns what tells spaces apart: what is asked, and what the first answers to all and the last describe."""
    last = [len(decision.choices) - 1 for decision in space.decisions]
    return space.name, space.decisions, space.decode([0] * len(last)), space.decode(last)


def _read_run(name: str, folder: Path, cfg: DictConfig, runtime: Runtime) -> RankedRun:
    own = run_config(folder, cfg)
    state = search_state(folder)
    search, _ = build_search(own, runtime, out=folder)
    try:
        search.evaluator.load_weights(state)
        search.controller.load_state_dict(state["controller"])
    except (RuntimeError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"the checkpoint of {shown(folder)} does not fit its config.yaml: {reason}") from error
    return RankedRun(name=name, path=folder, cfg=own, search=search, epochs=len(state["rows"]))


def predict(cfg: DictConfig, settings: RankSettings, runs: Sequence[RankedRun]) -> dict[str, Any]:
    """Chooses the cells, those of an earlier ranking if `cfg.cells` names one, and scores them with every run.

    Returns:
        What `predictions.json` holds.

    Raises:
        FileNotFoundError: If there is no such earlier ranking.
        ValueError: If the space has too few cells, or those of the earlier ranking are of another.
    """
    first = runs[0].search
    earlier = None if cfg.cells is None else _earlier_cells(Path(str(cfg.cells)), runs[0], settings)
    pool = uniform_cells(first.space, count=settings.pool, seed=derive_seed(cfg.seed, "pool"))
    if earlier is None:
        check_pool(len(pool), count=settings.architectures - settings.policy_architectures)
    pool_scores = [_own_scores(one, pool, title=f"scoring uniform draws, {one.name}") for one in runs]
    chosen = earlier or choose_cells([one.search for one in runs], pool, pool_scores, settings=settings, seed=cfg.seed)
    cells: list[dict[str, Any]] = [{**cell.to_dict(), "shared": {}, "log_prob": {}} for cell in chosen]
    genotypes = [cell.genotype for cell in chosen]
    described = {}
    for one, scores in zip(runs, pool_scores, strict=True):
        modes = scoring_modes(one.search, settings.calibration_batches)
        shared = score_cells(one.search, genotypes, modes, title=f"scoring cells, {one.name}")
        policy = log_probs(one.search.controller, one.search.space, genotypes)
        for place, cell in enumerate(cells):
            cell["shared"][one.name] = shared[place]
            if policy is not None:
                cell["log_prob"][one.name] = policy[place]
        thresholds = {
            name: best_threshold(scores, np.ones(len(pool)), fraction=part) for name, part in FRACTIONS.items()
        }
        described[one.name] = {**one.described(), "mode": modes[0].name, "thresholds": thresholds}
    data = first.evaluator.data
    images = {"reward_images": len(data.reward), "uniform_draws": len(pool)}
    return {"runs": described, **images, "data": data.record, "cells": cells}


def _own_scores(ranked: RankedRun, genotypes: Sequence[Genotype], *, title: str) -> Array:
    """Returns the accuracies, (n,), that a run itself would give cells."""
    mode = own_mode(ranked.search)
    return np.array([entry[mode.name] for entry in score_cells(ranked.search, genotypes, [mode], title=title)])


def _earlier_cells(folder: Path, ranked: RankedRun, settings: RankSettings) -> list[ChosenCell]:
    """Reads the cells of an earlier ranking.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If the file is no such list, they are of another space than the run's, or too few.
    """
    file = folder / PREDICTIONS
    if not file.is_file():
        raise FileNotFoundError(f"no ranked cells at {file}; cells=RUN takes the run folder of an earlier `nas rank`")
    try:
        cells = [ChosenCell.from_dict(entry) for entry in load_json(file)["cells"]]
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{file} holds no ranked cells: {error}") from error
    if len(cells) < min(settings.top):
        raise ValueError(f"rank.top must have a number up to {len(cells)}, the cells of {shown(folder)}")
    try:
        for cell in cells:
            ranked.search.space.encode(cell.genotype)
    except ValueError as error:
        raise ValueError(f"the cells of {shown(folder)} are not of the space of {ranked.name}: {error}") from error
    return cells
