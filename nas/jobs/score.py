"""Score: judge cells by their untrained networks, on one batch of images."""

import csv
import itertools
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from nas.compute.device import Runtime
from nas.costs.counting import random_genotypes
from nas.data.image_data import ImageKind
from nas.jobs.building.config import build, merged, plain, recorded_config
from nas.jobs.building.parts import build_data, build_derived, build_runtime, measure_size
from nas.jobs.building.run_folder import keep_data, write_report
from nas.jobs.building.settings import ScoreSettings
from nas.models.genotype_files import load_genotype, load_genotypes
from nas.runs.checkpoints import write_csv
from nas.runs.console import Column, Table, header, note, progress, result, shown
from nas.runs.seeds import derive_seed, seed_everything
from nas.searching.random_cells import distinct
from nas.searching.zero_cost import log_rank_sum, zero_cost_scores
from search_spaces.genotype import Genotype, json_line
from search_spaces.space import WeightSharingSpace

SCORES = "scores.csv"
UNTRAINED_IMAGES = 64  # of the batch on which a search scores untrained networks
COLUMNS = (
    Column("number", "cell", "d"),
    Column("parameters", "parameters", ",d"),
    Column("multiply_adds", "multiply-adds", ",d"),
    Column("synflow", "synflow", ".2f"),
    Column("naswot", "naswot", ".2f"),
    Column("jacob_cov", "jacob_cov", ".2f"),
    Column("combined", "combined", ".3f"),
)
SHOWN = 10
PLACES = ("root", "path")
"""Settings of the data that the command replaces in those of a run: where the data are."""


def run(cfg: DictConfig, out: Path) -> dict[str, Any]:
    """Scores the cells that the folder `out` does not hold yet; `scores.csv` is written after each.

    Returns:
        What `score.json` holds: the cells, and the median of the seconds that one takes.

    Raises:
        ValueError: If a setting is out of range, or none or several of genotype, run and random are set.
        FileNotFoundError: If a genotype, a run or the data set is not there.
    """
    settings: ScoreSettings = build(cfg.score, "score")
    if sum(given is not None for given in (cfg.genotype, cfg.run, cfg.random)) != 1:
        raise ValueError("set one of genotype=RUN or FILE.json, run=RUN (its candidates), and random=1000")
    if cfg.random is not None and (type(cfg.random) is not int or cfg.random < 1):
        raise ValueError(f"random must be a number of cells above 0, got {cfg.random!r}")
    runtime = build_runtime(cfg)
    cfg = cfg if cfg.run is None else _config_of_run(cfg)
    data = build_data(cfg, runtime)
    keep_data(out, data.record)
    cells = _cells(cfg)
    images, _ = next(iter(data.train.batches(settings.batch_size, seed=derive_seed(cfg.seed, "images"))))
    header(
        "score",
        {
            "run folder": shown(out),
            "cells": len(cells),
            "images": f"{len(images)} train images of {data.name}, {'x'.join(map(str, data.kind.shape))}",
            "device": str(runtime.device),
        },
    )
    if cfg.run is not None:
        note(f"search space, network and data are those of {cfg.run}, whatever the command says of them")
    known = {row["cell"]: row for row in _read(out / SCORES)}
    rows = [known[json_line(cell)] for cell in itertools.takewhile(lambda cell: json_line(cell) in known, cells)]
    with progress("scoring cells", total=len(cells), done=len(rows)) as bar:
        for number in range(len(rows), len(cells)):
            started = time.perf_counter()
            scores = untrained_scores(cfg, cells[number], images, data.kind, runtime)
            rows.append({"cell": json_line(cells[number]), **scores, "seconds": time.perf_counter() - started})
            write_csv(out / SCORES, rows)
            bar.advance()
    write_csv(out / SCORES, rows)
    rows = _read(out / SCORES)  # as they are written, so that a later start ranks the same numbers
    combined = log_rank_sum([row["multiply_adds"] for row in rows], [row["jacob_cov"] for row in rows])
    rows = [{**row, "combined": value} for row, value in zip(rows, combined.tolist(), strict=True)]
    write_csv(out / SCORES, rows)
    report = {
        "cells": len(rows),
        "seconds_per_cell": statistics.median(row["seconds"] for row in rows),
        "settings": plain(cfg.score, "score"),
        "network": plain(cfg.network, "network"),
        "data": data.record,
    }
    report = write_report(out / "score.json", report, runtime, seed=cfg.seed)
    best = sorted(range(len(rows)), key=lambda number: -rows[number]["combined"])[:SHOWN]
    Table(COLUMNS).rows({"number": number, **rows[number]} for number in best)
    result(f"{len(rows)} cells, {report['seconds_per_cell']:.3f} seconds a cell, the best by combined ranks above")
    note(f"scores in {shown(out / SCORES)}; most lean to large networks: compare cells of one size")
    return report


def untrained_scores(
    cfg: DictConfig, genotype: Genotype, images: torch.Tensor, kind: ImageKind, runtime: Runtime
) -> dict[str, Any]:
    """Returns the size and the scores of a cell's untrained network; its weights are one draw for all cells."""
    seed_everything(derive_seed(cfg.seed, "weights"))
    network = runtime.place(build_derived(cfg, genotype, kind))
    return {**measure_size(cfg, genotype, kind), **zero_cost_scores(network, genotype, images)._asdict()}


def _config_of_run(cfg: DictConfig) -> DictConfig:
    """Returns the config with space, network and data of a run, the data where the command says that they are."""
    recorded = recorded_config(Path(str(cfg.run)), cfg, parts=("network", "search_space", "data"))
    others = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "data"])
    places = {key: cfg.data[key] for key in PLACES if key in cfg.data}
    return merged(merged(others, recorded), {"data": places})


def _cells(cfg: DictConfig) -> list[Genotype]:
    """Returns the cells that are named, or draws them, each function once."""
    if cfg.genotype is not None:
        return [load_genotype(cfg.genotype)]
    if cfg.run is not None:
        return load_genotypes(Path(str(cfg.run)) / "candidates.json")
    space: WeightSharingSpace = build(cfg.search_space, "search_space")
    return distinct(space, random_genotypes(space, cfg.random, stream="score", seed=cfg.seed))


def _read(file: Path) -> list[dict[str, Any]]:
    """Returns the rows of an earlier start, without their combined ranks."""
    if not file.exists():
        return []
    kinds = {"cell": str, "parameters": int, "multiply_adds": int}
    return [
        {key: kinds.get(key, float)(value) for key, value in row.items() if key != "combined"}
        for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    ]
