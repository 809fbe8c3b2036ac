"""The finals of a search: its best candidates trained stand-alone, in one rung or by successive halving.

Beside them, if asked for, random cells that pass through the same rungs for the same core-seconds.
"""

import itertools
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from nas.compute.device import Runtime, busy_cores
from nas.compute.distributed.ranks import Ranks
from nas.compute.worker_pool import WorkerPool, num_processes
from nas.data.named import ImageData
from nas.jobs.budget import Plan
from nas.jobs.building.config import plain
from nas.jobs.building.derived_models import epoch_seconds, training_pool
from nas.jobs.score import UNTRAINED_IMAGES, untrained_scores
from nas.reporting.trackers import Tracker
from nas.runs.checkpoints import load_json, write_csv, write_json
from nas.runs.console import Column, Table, header, note, progress
from nas.runs.listing import FINALS_FOLDER
from nas.runs.seeds import derive_seed, seed_everything
from nas.searching.accuracy_predictor import predicted_rewards
from nas.searching.random_cells import evenly_by_size, random_stream
from nas.searching.search import Search
from nas.searching.settings import SearchSettings
from nas.searching.shared_weights import SharedWeights
from nas.searching.stand_alone import (
    Protocol,
    Training,
    epochs_of,
    finals_data,
    finals_seed,
    finals_settings,
    outcome,
    read_results,
)
from nas.searching.successive_halving import Rung, cost, fitting, in_order, largest_plan, parse_budget, plan
from nas.searching.zero_cost import log_rank_sum
from nas.training.settings import RetrainSettings
from search_spaces.genotype import Genotype

PREDICTED_TOGETHER = 4  # finalists between two fits of their predictor
TIMED = 3  # candidates whose steps are timed for a plan
SHORTLISTS = {
    "shared": "shared reward",
    "zero_cost": "multiply-adds and jacob_cov",
    "both": "shared reward, multiply-adds and jacob_cov",
}
COLUMNS = (
    Column("label", "candidate", "s"),
    Column("epochs", "epochs", "d"),
    Column("parameters", "parameters", ",d"),
    Column("shared_accuracy", "shared %", ".2f", 100),
    Column("stand_alone_accuracy", "stand-alone %", ".2f", 100),
    Column("seconds", "seconds", ".2f"),
)


@dataclass(slots=True, kw_only=True)
class Trainer:
    """Trains the cells of entries in the rungs of finals, and keeps count of the time.

    Attributes:
        pool: Trains cells, several side by side.
        protocol: Names the files of results.
        folder: Holds them.
        search: Its seed and its reward count.
        seconds: Core-seconds of all trainings so far.
        epochs: Epochs of all trainings so far.
        rows: Their epochs, as `finals.csv` has them.
    """

    pool: WorkerPool[Training]
    protocol: Protocol
    folder: Path
    search: Search[SharedWeights]
    seconds: float = 0.0
    epochs: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)

    def train(self, entries: Sequence[dict[str, Any]], *, rung: int, epochs: int) -> Iterator[dict[str, Any]]:
        """Trains cells, each for some epochs, and adds to their entries what came of it; yields the results."""
        seed = finals_seed(self.search.seed, rung)
        trainings = [
            Training(
                Genotype.from_dict(entry["genotype"]),
                seed,
                self.folder / self.protocol.file_name([entry["genotype"], epochs], seed=seed),
                epochs,
            )
            for entry in entries
        ]
        for entry, result in zip(entries, _trained(self.pool, trainings, self.search.evaluator.ranks), strict=True):
            for key in ("stand_alone_accuracy", "stand_alone_reward"):
                entry.pop(key, None)
            entry |= {"rung": rung, **outcome(result, self.search.evaluator.reward)}
            if "stand_alone_reward" in entry:
                entry["rung_rewards"] = [*entry.get("rung_rewards", []), entry["stand_alone_reward"]]
            else:
                note(f"warning: {entry['label']} diverged, and counts as the last: {result['diverged']}")
            self.seconds += result["seconds"]
            self.epochs += epochs
            self.rows += [{**row, "rung": rung} for row in epochs_of(result, label=entry["label"])]
            yield result

    @property
    def each(self) -> float:
        """Seconds of an epoch, the mean so far."""
        return self.seconds / self.epochs


def run(
    search: Search[SharedWeights], cfg: DictConfig, out: Path, runtime: Runtime, *, tracker: Tracker, time_plan: Plan
) -> list[dict[str, Any]]:
    """Trains the finalists, several side by side, or resumes those not done; writes their epochs to `finals.csv`.

    Several ranks train one finalist after the other, each of them together. The candidates are scored, and the rungs
    planned, once: a search that is resumed elsewhere has the same finalists, though another machine might have put them
    in another order.

    Returns:
        All candidates, the finalists first.
    """
    ranks, settings = search.evaluator.ranks, search.evaluator.settings
    folder = out / FINALS_FOLDER
    scored, effort = folder / "candidates.json", out / "effort.json"
    if not ranks.from_first(lambda: scored.exists() and effort.exists()):
        started = time.perf_counter()
        found = _shortlisted(search.candidates(), search, cfg, runtime)  # scored by all ranks
        cores = busy_cores(runtime.device)
        known: dict[str, Any] = {
            "search_seconds": cores * sum(row["seconds"] for row in search.rows),
            "scoring_seconds": cores * (time.perf_counter() - started),
        }
        ranks.from_first(lambda: write_json(effort, known))
        ranks.from_first(lambda: write_json(scored, found))
    cure = ", remove its folder to begin the finals again"
    candidates: list[dict[str, Any]] = ranks.from_first(lambda: load_json(scored, cure=cure))
    if min(settings.finalists, len(candidates)) < 2:
        note("the candidates are one and the same cell: there is nothing to choose in finals")
        return candidates
    data = finals_data(search.evaluator.data)
    training = finals_settings(settings, run=out if settings.finals_start == "shared" else None)
    wanted = settings.finals_workers if ranks.alone else 1
    workers = num_processes(min(settings.finalists, len(candidates)), workers=wanted, device=runtime.device.type)
    known = ranks.from_first(lambda: load_json(effort, cure=cure))
    if "rungs" not in known:
        seconds = time_plan.left("finals")
        known |= time_plan.decide(
            "finals", lambda: planned(candidates, search, cfg, training, data, runtime, workers=workers, within=seconds)
        )
        ranks.from_first(lambda: write_json(effort, known))
    rungs = [Rung(*rung) for rung in known["rungs"]]
    _describe(rungs, candidates, data, settings)
    protocol = Protocol(network=plain(cfg.network, "network"), data=data.record, settings=training)
    table = Table(COLUMNS)
    with (
        training_pool(cfg, training, data, runtime, workers=workers) as pool,
        progress("training finalists", total=sum(rung.cells for rung in rungs)) as bar,
    ):
        trainer = Trainer(pool=pool, protocol=protocol, folder=folder, search=search)
        entering = candidates[: rungs[0].cells]
        for number, rung in enumerate(rungs):
            reason = "the time for them is up" if entering else "all finalists diverged"
            seconds = min(_seconds(settings) - trainer.seconds / workers, time_plan.left("finals"))
            allowed = partial(_allowed, rungs, number, trainer, seconds, workers=workers)
            entering = entering[: time_plan.decide(f"cells of rung {number}", allowed)]
            if not entering:
                note(f"the finals end with the rung of {epochs_text(rungs[number - 1].epochs)}: {reason}")
                break
            batches = [entering] if number else first_rung(candidates, rung.cells, settings.predicted_finalists)
            entered: list[dict[str, Any]] = []
            for batch in batches:
                entered += batch
                results = trainer.train(batch, rung=number, epochs=rung.epochs)
                for entry, result in zip(batch, results, strict=True):
                    for row in trainer.rows[len(trainer.rows) - len(result["rows"]) :]:
                        tracker.log(row, step=trainer.epochs - rung.epochs + row["epoch"], section="finals")
                    if trainer.rows:
                        write_csv(out / "finals.csv", trainer.rows)
                    taken = {"epochs": rung.epochs, "seconds": result["seconds"]}
                    table.row({"stand_alone_accuracy": float("nan"), **entry, **taken})
                    bar.advance()
                    time_plan.keep()
            entering = [entry for entry in _reordered(entered) if "diverged" not in entry]
    ranks.from_first(lambda: write_json(effort, {**known, "finals_seconds": trainer.seconds}))
    return in_order(candidates)


def first_rung(candidates: Sequence[dict[str, Any]], cells: int, share: float) -> Iterator[list[dict[str, Any]]]:
    """Yields the cells that enter the first rung, labelled: some in their order, then those that are predicted best.

    Each batch is to be trained before the next is asked for, which is predicted from all before it.

    Args:
        candidates: In the order of the shortlist.
        cells: How many enter.
        share: Of them, those that are predicted; two at least are not.
    """
    count = max(2, cells - round(share * cells))
    left, entered = list(candidates), list[dict[str, Any]]()
    while left and len(entered) < cells:
        chosen = left[: min(count, cells - len(entered))]
        trained = [entry for entry in entered if "stand_alone_reward" in entry]
        if len(trained) > 1:
            predictions = predicted_rewards(trained, left)
            best = sorted(range(len(left)), key=lambda place: -predictions[place])
            chosen = [left[place] for place in best[: min(PREDICTED_TOGETHER, cells - len(entered))]]
        for number, entry in enumerate(chosen, start=len(entered)):
            entry["label"] = f"candidate-{number}"
        entered += chosen
        left = [entry for entry in left if "label" not in entry]
        yield chosen


def _reordered(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the same entries, not copies, in the order of `in_order`."""
    by_label = {entry["label"]: entry for entry in entries}
    return [by_label[entry["label"]] for entry in in_order(entries)]


def _seconds(settings: SearchSettings) -> float:
    """Returns the time that finals may take by a budget of their own; infinite without one."""
    own = None if settings.finals_budget is None else parse_budget(settings.finals_budget).seconds
    return math.inf if own is None else own


def _allowed(rungs: Sequence[Rung], number: int, trainer: Trainer, seconds: float, *, workers: int) -> int:
    """Returns how many cells enter a rung: those that were planned, fewer where the time left would not do."""
    if math.isinf(seconds) or number == 0:
        return rungs[number].cells
    return fitting(rungs[number], seconds=seconds / (len(rungs) - number), each=trainer.each, workers=workers)


def planned(
    candidates: Sequence[dict[str, Any]],
    search: Search[SharedWeights],
    cfg: DictConfig,
    training: RetrainSettings,
    data: ImageData,
    runtime: Runtime,
    *,
    workers: int,
    within: float,
) -> dict[str, Any]:
    """Plans the rungs: as many cells as the budget and the seconds `within` allow, and two at least.

    Returns:
        `rungs`, cells and epochs of each, and `epoch_seconds`, of an epoch if they were measured for it.
    """
    settings = search.evaluator.settings
    most = min(settings.finalists, len(candidates))
    seconds = max(0.0, min(_seconds(settings), within))
    own = None if settings.finals_budget is None else parse_budget(settings.finals_budget).epochs
    budget_epochs, each = math.inf if own is None else own, None
    if not math.isinf(seconds):
        by_size = sorted(candidates[:most], key=lambda entry: float(entry.get("parameters", 0)))
        timed = [by_size[round(place * (most - 1) / (TIMED - 1))] for place in range(TIMED)]
        genotypes = [Genotype.from_dict(entry["genotype"]) for entry in timed]
        each = epoch_seconds(genotypes, cfg, training, data, runtime, threads=1)  # as in the pool
        budget_epochs = min(budget_epochs, seconds * workers / each)
    try:
        rungs = largest_plan(most, settings.rungs, budget=budget_epochs)
    except ValueError:  # the search is done, and not to be lost for that
        rungs = plan(2, settings.rungs)
        note(
            f"warning: {budget_epochs:.3g} epochs fit into the time, and the finals of two cells take {cost(rungs)}; "
            "those two are trained, as far as the time allows"
        )
    return {"rungs": [[rung.cells, rung.epochs] for rung in rungs], "epoch_seconds": each}


def epochs_text(count: int) -> str:
    """Returns `1 epoch` or `2 epochs`."""
    return f"{count} epoch{'s'[: count != 1]}"


def _describe(
    rungs: Sequence[Rung], candidates: Sequence[dict[str, Any]], data: ImageData, settings: SearchSettings
) -> None:
    budget = settings.finals_budget
    where = "from scratch" if settings.finals_start == "scratch" else "from the shared weights"
    length = f"{epochs_text(rungs[0].epochs)} each {where}"
    drawn = sum("drawn" in entry for entry in candidates[: rungs[0].cells])
    total = sum("drawn" not in entry for entry in candidates)
    guided = rungs[0].cells - max(2, rungs[0].cells - round(settings.predicted_finalists * rungs[0].cells))
    first = f"the best {rungs[0].cells - drawn - guided} of {total} candidates by {SHORTLISTS[settings.shortlist]}"
    first += f", {guided} that are predicted best from the trainings before them" if guided else ""
    first += f" and {drawn} drawn ones, {length}" if drawn else f", {length}"
    header(
        "finals",
        {
            "cells": "; ".join([first, *(f"the best {rung.cells} of them for {rung.epochs}" for rung in rungs[1:])]),
            "cost": epochs_text(cost(rungs)) + (f", of {budget}" if budget else ""),
            "data": f"{data.name}: {len(data.full)} train, {len(data.test)} reward images",
        },
    )


def _shortlisted(
    candidates: Sequence[dict[str, Any]], search: Search[SharedWeights], cfg: DictConfig, runtime: Runtime
) -> list[dict[str, Any]]:
    """Returns the candidates in the order of `search.shortlist`, and among the first `search.random_finalists`."""
    settings = search.evaluator.settings
    ranked = _ranked(candidates, search, cfg, runtime)
    count = round(settings.random_finalists * settings.finalists)
    if not count:
        return ranked
    seed_everything(derive_seed(search.seed, "random finalists"))
    drawn = evenly_by_size(search.space, count, parameters=search.evaluator.costs["parameters"])
    known = {search.space.canonical(Genotype.from_dict(entry["genotype"])) for entry in ranked}
    drawn = [genotype for genotype in drawn if search.space.canonical(genotype) not in known]
    entries = [{**entry, "drawn": True} for entry in search.evaluator.score(drawn)]
    every = settings.finalists / max(1, len(entries))
    for number, entry in enumerate(entries):  # spread, so that fewer finalists have as large a share of them
        ranked.insert(min(len(ranked), round((number + 1) * every) - 1), entry)
    return ranked


def _ranked(
    candidates: Sequence[dict[str, Any]], search: Search[SharedWeights], cfg: DictConfig, runtime: Runtime
) -> list[dict[str, Any]]:
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


def random_search(
    search: Search[SharedWeights], cfg: DictConfig, out: Path, runtime: Runtime, *, time_plan: Plan
) -> list[dict[str, Any]]:
    """Lets random cells pass through the rungs of the finals for the core-seconds of search, scoring and finals.

    Every rung gets the same share of them: new cells enter the first, and the best of a rung the next, until its time
    is spent. Which cells it ends with depends on the machine's speed; a resumed run repeats what was measured.

    Returns:
        The entries of all cells, the best first.
    """
    settings, ranks = search.evaluator.settings, search.evaluator.ranks
    effort = ranks.from_first(lambda: load_json(out / "effort.json"))
    total = sum(effort.get(f"{part}_seconds", 0.0) for part in ("search", "scoring", "finals"))
    data, training = finals_data(search.evaluator.data), finals_settings(settings)
    protocol = Protocol(network=plain(cfg.network, "network"), data=data.record, settings=training)
    workers = num_processes(2**20, workers=settings.finals_workers if ranks.alone else 1, device=runtime.device.type)
    total = time_plan.decide("random_search", lambda: min(total, workers * time_plan.left("random_search")))
    header("random cells through the same finals", {"core-seconds": f"{total:.1f}, as search and finals"})
    entries: list[dict[str, Any]] = []
    with training_pool(cfg, training, data, runtime, workers=workers) as pool:
        trainer = Trainer(pool=pool, protocol=protocol, folder=out / FINALS_FOLDER, search=search)
        cells: Iterator[dict[str, Any]] = (
            {"label": f"drawn-{number}", "genotype": cell.to_dict()}
            for number, cell in enumerate(random_stream(search.space, seed=derive_seed(search.seed, "random search")))
        )
        counts = []
        for number, epochs in enumerate(settings.rungs):
            share = trainer.seconds + (total - trainer.seconds) / (len(settings.rungs) - number)
            entered: list[dict[str, Any]] = []
            while not entered or trainer.seconds + trainer.each * epochs / 2 < share:
                several = list(itertools.islice(cells, workers if entered else 1))
                if not several:
                    break
                entered += several
                for _ in trainer.train(several, rung=number, epochs=epochs):
                    pass
            entries += entered if number == 0 else []
            counts.append(len(entered))
            cells = iter([entry for entry in _reordered(entered) if "diverged" not in entry])
    note(f"{' → '.join(map(str, counts))} random cells in {trainer.seconds:.1f} core-seconds")
    known = {**effort, "random_search_seconds": trainer.seconds, "random_search_cells": counts}
    ranks.from_first(lambda: write_json(out / "effort.json", known))
    return in_order(entries)


def remove_checkpoints(out: Path) -> None:
    """Removes the finalists' checkpoints, of no more use where the search has written down what it found."""
    shutil.rmtree(out / FINALS_FOLDER, ignore_errors=True)
