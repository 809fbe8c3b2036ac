"""The finals of a search: its best candidates trained stand-alone, each resumable, then put in order by that."""

import itertools
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from nas.compute.device import Runtime
from nas.compute.distributed.ranks import Ranks
from nas.compute.worker_pool import WorkerPool, num_processes
from nas.jobs.building.config import plain
from nas.jobs.building.derived_models import training_pool
from nas.jobs.score import untrained_scores
from nas.reporting.trackers import Tracker
from nas.runs.checkpoints import load_json, write_csv, write_json
from nas.runs.console import Column, Table, header, note, progress
from nas.runs.listing import FINALS_FOLDER
from nas.runs.seeds import derive_seed
from nas.searching.search import Search
from nas.searching.shared_weights import SharedWeights
from nas.searching.stand_alone import (
    Protocol,
    Training,
    by_stand_alone_reward,
    epochs_of,
    finals_data,
    finals_seed,
    finals_settings,
    outcome,
    read_results,
)
from nas.searching.zero_cost import log_rank_sum
from search_spaces.genotype import Genotype

UNTRAINED_IMAGES = 64  # of a batch on which untrained networks are scored
COLUMNS = (
    Column("label", "candidate", "s"),
    Column("parameters", "parameters", ",d"),
    Column("shared_accuracy", "shared %", ".2f", 100),
    Column("stand_alone_accuracy", "stand-alone %", ".2f", 100),
    Column("seconds", "seconds", ".2f"),
)


def run(
    search: Search[SharedWeights], cfg: DictConfig, out: Path, runtime: Runtime, *, tracker: Tracker
) -> list[dict[str, Any]]:
    """Trains the finalists, several side by side, or resumes those not done; writes their epochs to `finals.csv`.

    Several ranks train one finalist after the other, each of them together.

    The candidates are scored once: a search that is resumed elsewhere has the same finalists, though another machine
    might have put them in another order.

    Returns:
        All candidates, the finalists first.
    """
    ranks, settings = search.evaluator.ranks, finals_settings(search.evaluator.settings)
    file = out / FINALS_FOLDER / "candidates.json"
    if not ranks.from_first(file.exists):
        found = search.candidates()  # scored by all ranks
        ranks.from_first(lambda: write_json(file, _shortlisted(found, search, cfg, runtime)))
    cure = ", remove its folder to begin the finals again"
    candidates: list[dict[str, Any]] = ranks.from_first(lambda: load_json(file, cure=cure))
    count = min(search.settings.finalists, len(candidates))
    if count < 2:
        note("the candidates are one and the same cell: there is nothing to choose in finals")
        return candidates
    data, seed = finals_data(search.evaluator.data), finals_seed(search.seed)
    header(
        "finals",
        {
            "cells": f"the best {count} of {len(candidates)} candidates, {settings.epochs} epochs each from scratch",
            "data": f"{data.name}: {len(data.full)} train, {len(data.test)} reward images",
        },
    )
    protocol = Protocol(network=plain(cfg.network, "network"), data=data.record, settings=settings)
    trainings = [
        Training(Genotype.from_dict(cell), seed, file.with_name(protocol.file_name(cell, seed=seed)))
        for cell in (candidate["genotype"] for candidate in candidates[:count])
    ]

    finished = ranks.from_first(lambda: len(read_results(trainings)))
    wanted = search.evaluator.settings.finals_workers if ranks.alone else 1
    workers = num_processes(count - finished, workers=wanted, device=runtime.device.type)
    epochs: list[dict[str, Any]] = []
    table = Table(COLUMNS)
    with (
        training_pool(cfg, settings, data, runtime, workers=workers) as pool,
        progress("training finalists", total=count) as bar,
    ):
        for number, result in enumerate(_trained(pool, trainings, ranks)):
            candidate = candidates[number]
            candidate |= {"label": f"candidate-{number}", **outcome(result, search.evaluator.reward)}
            rows = epochs_of(result, label=candidate["label"])
            for row in rows:
                tracker.log(row, step=number * settings.epochs + row["epoch"], section="finals")
            epochs += rows
            if epochs:
                write_csv(out / "finals.csv", epochs)
            table.row({**candidate, "seconds": result["seconds"]})
            if "diverged" in result:
                note(f"warning: {candidate['label']} diverged, and counts as the last: {result['diverged']}")
            bar.advance()
    return by_stand_alone_reward(candidates)


def _shortlisted(
    candidates: Sequence[dict[str, Any]], search: Search[SharedWeights], cfg: DictConfig, runtime: Runtime
) -> list[dict[str, Any]]:
    """Returns the candidates in the order of `search.shortlist`."""
    by, data = search.evaluator.settings.shortlist, search.evaluator.data
    if by == "shared":
        return list(candidates)
    images, _ = next(iter(data.train.batches(UNTRAINED_IMAGES, seed=derive_seed(cfg.seed, "images"))))
    cells = [Genotype.from_dict(candidate["genotype"]) for candidate in candidates]
    scores = [untrained_scores(cfg, cell, images, data.kind, runtime) for cell in cells]
    columns = [[score[name] for score in scores] for name in ("multiply_adds", "jacob_cov")]
    if by == "both":
        columns.append([candidate["reward"] for candidate in candidates])
    totals = log_rank_sum(*columns).tolist()
    ranked = [{**candidate, "zero_cost": total} for total, candidate in zip(totals, candidates, strict=True)]
    return sorted(ranked, key=lambda candidate: -float(candidate["zero_cost"]))  # stable


def _trained(pool: WorkerPool[Training], trainings: Sequence[Training], ranks: Ranks) -> Iterator[dict[str, Any]]:
    """Yields the results of trainings in their order, each as soon as those before it are there, too."""

    def results() -> list[dict[str, Any]]:
        found = read_results(trainings)
        return [found.get(training, {}) for training in trainings]

    left = [training for training, result in zip(trainings, ranks.from_first(results), strict=True) if not result]
    shown = 0
    for _ in itertools.chain([None], pool.run(left)):  # first what an earlier start has finished
        ready = list(itertools.takewhile(bool, ranks.from_first(results)[shown:]))
        yield from ready
        shown += len(ready)


def remove_checkpoints(out: Path) -> None:
    """Removes the finalists' checkpoints, of no more use where the search has written down what it found."""
    shutil.rmtree(out / FINALS_FOLDER, ignore_errors=True)
