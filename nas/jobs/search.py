"""Search: let a controller propose cells and an evaluator reward them, then derive the best and write them down."""

import contextlib
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from controllers.largest_first import LargestFirst
from nas.compute.device import Runtime
from nas.compute.distributed.ranks import Ranks
from nas.jobs import finals
from nas.jobs.building.costs import SearchCosts
from nas.jobs.building.parts import build_runtime, command_line, described_ranks, merge_name
from nas.jobs.building.run_folder import keep_data
from nas.jobs.building.search_parts import build_search
from nas.jobs.front import write_front
from nas.jobs.watching import conclude_watch, tell
from nas.reporting.cells.drawing import genotype_svg
from nas.reporting.dashboard import dashboard
from nas.reporting.plots import choice_curves, search_curves
from nas.reporting.trackers import FilesOnly, Tracker
from nas.runs.checkpoints import load_checkpoint, write_csv, write_json, write_text
from nas.runs.console import Column, Table, header, next_command, note, result, shown
from nas.searching.search import Search
from nas.searching.stand_alone import StandAlone, check_accuracy_reward
from nas.searching.table_lookup import TableEvaluator
from nas.studies.ranking.ordering import Truth, ordering
from nas.training.autosave import Saves
from search_spaces.genotype import Genotype
from search_spaces.space import size

COLUMNS = (
    Column("epoch", "epoch", "d"),
    Column("loss", "loss", ".4f"),
    Column("train_accuracy", "train %", ".2f", 100),
    Column("reward", "reward", ".4f"),
    Column("best", "best", ".4f"),
    Column("report", "report", ".3f"),
    Column("latency_ms", "mean ms", ".3f"),
    Column("baseline", "baseline", ".4f"),
    Column("entropy", "entropy", ".3f"),
    Column("seconds", "seconds", ".2f"),
)
NOT_ALWAYS = {"loss", "train_accuracy", "report", "latency_ms", "seconds"}
"""Columns that are left out where the first epoch has none of them."""
ENOUGH_CELLS = 20
"""Finalists from which on a rank correlation is worth its name."""
ROWS_OF_A_TABLE_SEARCH = 20
"""Rows printed of a search in a table, whose epochs take milliseconds."""


def run(cfg: DictConfig, out: Path, *, tracker: Tracker | None = None) -> dict[str, Any]:
    """Searches, or goes on searching, in the run folder `out`.

    Returns:
        The best candidate: its genotype, score and reward, and its costs; of a table also its key and its report.

    Raises:
        ValueError: If a setting is out of range, or a table breaks a rule or lacks a cell of the space.
        FileNotFoundError: If the data set or the table is not there.
    """
    runtime = build_runtime(cfg)
    ranks = runtime.ranks
    tracker = tracker or FilesOnly()
    search, costs = build_search(cfg, runtime, out=out)
    if search.settings.finalists:
        check_accuracy_reward(search.evaluator.reward, search.space)
    ranks.from_first(lambda: keep_data(out, search.evaluator.record))
    state = ranks.from_first(lambda: load_checkpoint(out / "checkpoint.pt"))
    if state is not None:
        search.load_state_dict(state)
    describe(search, cfg, out, runtime, reward=costs.described())
    costs.write(out)
    with search.evaluator.pool if isinstance(search.evaluator, StandAlone) else contextlib.nullcontext():
        _run_epochs(search, cfg, out, tracker=tracker)
        return conclude(search, cfg, out, runtime, costs=costs, tracker=tracker)


def _run_epochs(search: Search[Any], cfg: DictConfig, out: Path, *, tracker: Tracker) -> None:
    """Runs the epochs that are left, and logs, shows and saves each."""
    settings, checkpoint = search.settings, out / "checkpoint.pt"
    every = max(1, settings.epochs // ROWS_OF_A_TABLE_SEARCH) if search.evaluator.is_instant else 1
    table: Table | None = None
    with (
        dashboard("searching", search.rows, total=settings.epochs, best=search.best_cell, merge=merge_name(cfg)) as bar,
        Saves(
            checkpoint, search.state_dict, seconds=settings.checkpoint_seconds, ranks=search.evaluator.ranks
        ) as saves,
    ):
        while not search.finished:
            row = search.epoch()
            tracker.log(row, step=int(row["epoch"]), section="search")
            if len(search.rows) % every == 0 or search.finished:
                write_csv(out / "search.csv", search.rows)
                write_csv(out / "scored.csv", search.scored)
                table = table or Table([one for one in COLUMNS if one.key in row or one.key not in NOT_ALWAYS])
                table.row(row)
            tell(search.watch, out, tracker=tracker)
            bar.advance()
            saves.reached(last=search.finished)


def describe(search: Search[Any], cfg: DictConfig, out: Path, runtime: Runtime, *, reward: str) -> None:
    """Prints the header of a search."""
    done = f", going on after {len(search.rows)}" if search.rows else ""
    header(
        "search",
        {
            "run folder": shown(out),
            **_source(search),
            "space": f"{search.space.name}: {len(search.space.decisions)} decisions, "
            f"{size(search.space):.3g} genotypes",
            "reward": reward,
            "controller": OmegaConf.select(cfg, "controller.policy._target_") or cfg.controller._target_,
            "device": f"{described_ranks(runtime)}{runtime.device}, {torch.get_num_threads()} threads, "
            f"{runtime.number_format}",
            "seed": cfg.seed,
            "epochs": f"{search.settings.epochs}, {search.settings.queries} cells in all{done}",
        },
    )

    if isinstance(search.controller, LargestFirst):
        note("warning: largest_first looks at no reward; it shows how far size alone goes")


def _source(search: Search[Any]) -> dict[str, str]:
    """Returns what the header says of the evaluator."""
    evaluator = search.evaluator
    if isinstance(evaluator, TableEvaluator):
        table = evaluator.lookup.table
        return {"table": f"{shown(table.path)}: {len(table)} rows"}
    record = evaluator.record
    data = (
        f"{record['name']}: {record['num_train']} train, {record['num_reward']} reward images of "
        f"{'x'.join(map(str, record['image_shape']))}, {len(record['class_names'])} classes"
    )
    if isinstance(evaluator, StandAlone):
        epochs = evaluator.protocol.settings.epochs
        return {"data": data, "trainings": f"of {epochs} epochs from scratch, {evaluator.pool.workers} at a time"}
    return {"data": data}


def conclude(
    search: Search[Any], cfg: DictConfig, out: Path, runtime: Runtime, *, costs: SearchCosts, tracker: Tracker
) -> dict[str, Any]:
    """Derives the best cells and writes them down, unless that is done."""
    ranks: Ranks = search.evaluator.ranks
    if ranks.from_first(lambda: finished(out)):
        if ranks.first:
            finals.remove_checkpoints(out)  # unless that was done
        return ranks.from_first(lambda: report(search, cfg, out))
    write_csv(out / "search.csv", search.rows)
    write_csv(out / "scored.csv", search.scored)
    if search.settings.finalists:
        all_candidates = finals.run(search, cfg, out, runtime, tracker=tracker)
    else:
        all_candidates = search.candidates()
    random_cells = search.random_cells(parameters=all_candidates[0].get("parameters", 0))
    if not ranks.first:
        return all_candidates[0]
    write_front(out, search, candidates=all_candidates, random_cells=random_cells, costs=costs)
    candidates = all_candidates[: max(search.settings.top_k, search.settings.finalists)]
    best = Genotype.from_dict(candidates[0]["genotype"])
    search_curves(search.rows, out / "search.svg")
    choice_curves(search.rows, out / "choices.svg")
    conclude_watch(search.watch, out)
    if search.settings.random_cells:
        write_json(out / "random.json", random_cells)
    write_text(out / "cells.svg", genotype_svg(best, title=out.name, merge=merge_name(cfg)))
    write_text(out / "genotype.json", best.to_json())
    write_json(out / "candidates.json", candidates)  # last: it says that the search is finished
    finals.remove_checkpoints(out)
    return report(search, cfg, out)


def finished(out: Path) -> bool:
    """Whether the search of a run folder has written down what it found."""
    return (out / "candidates.json").exists()


def report(search: Search[Any], cfg: DictConfig, out: Path) -> dict[str, Any]:
    """Prints what a finished search found, and the next command; returns the best candidate."""
    candidates: list[dict[str, Any]] = json.loads((out / "candidates.json").read_text(encoding="utf-8"))
    best = candidates[0]
    if isinstance(search.evaluator, TableEvaluator):
        result(f"found {best['key']}: {', '.join(_looked_up(best, search.evaluator, cfg))}")
        if "report" in best:
            optimum = search.evaluator.lookup.table.optimum
            result(f"regret {optimum - best['report']:.4g}: the best of the table has {optimum:.4g}")
    else:
        result(f"found {shown(out / 'genotype.json')}: {', '.join(_measured(best))}")
    if "shared_accuracy" in best:
        note(trust(candidates, out))
    if search.rows and "proposals" in search.rows[0]:  # rewards are exact
        own, proposals = (sum(int(row[key]) for row in search.rows) for key in ("own", "proposals"))
        note(f"{len(search.scored)} cells, each function once: {own} of {proposals} that the controller proposed")
    if len(candidates) > 1:
        note(f"{len(candidates)} candidates in {shown(out / 'candidates.json')}, the others as candidates.json#1 …")
    if isinstance(search.evaluator, TableEvaluator):
        next_command(shlex.join(["nas", "compare", f"table.path={cfg.table.path}"]))
        return best
    baseline = [f"random_cells={shown(out / 'random.json')}"] if cfg.search.random_cells else []
    next_command(command_line("retrain", f"genotype={shown(out)}", *baseline))
    return best


def trust(candidates: Sequence[Mapping[str, Any]], out: Path) -> str:
    """Returns how far shared scores can be trusted: whether they order the finalists as stand-alone training does."""
    trained = [entry for entry in candidates if "stand_alone_reward" in entry]
    if not trained:
        return f"trust in shared scores: not measured; `nas rank run={shown(out)}` trains cells to measure it"
    compared = f"trust in shared scores, {len(trained)} finalists"
    if len(trained) < ENOUGH_CELLS:
        return f"{compared}: too few to tell, at least {ENOUGH_CELLS} are needed"
    shared, alone = (np.array([entry[key] for entry in trained]) for key in ("reward", "stand_alone_reward"))
    tau = ordering(shared, Truth(values=alone, groups={}, classes=np.arange(len(alone))), resamples=1000)["tau"]
    verdict = "they order cells" if tau["low"] > 0 else "they are not shown to order cells"
    return f"{compared}: Kendall's tau {tau['value']:.2f} ({tau['low']:.2f} … {tau['high']:.2f}), {verdict}"


def _looked_up(best: Mapping[str, Any], evaluator: TableEvaluator, cfg: DictConfig) -> list[str]:
    figures = [f"{cfg.table.reward} {best['accuracy'] / evaluator.lookup.reward_scale:.4g}"]
    if "report" in best:
        figures.append(f"{cfg.table.report} {best['report']:.4g}")
    return figures + [
        f"{name} {best[name]:.4g}" for name in ("latency_ms", "parameters", "multiply_adds") if name in best
    ]


def _measured(best: Mapping[str, Any]) -> list[str]:
    alone = best.get("stand_alone_accuracy")
    figures = [] if alone is None else [f"stand-alone accuracy {100 * alone:.2f} % on reward images"]
    if "shared_accuracy" in best:
        figures.append(f"shared-weight accuracy {100 * best['shared_accuracy']:.2f} %")
    figures += [f"{best['parameters']:,} parameters", f"{best['multiply_adds'] / 1e6:.1f} M multiply-adds"]
    return figures + ([f"predicted latency {best['latency_ms']:.3f} ms"] if "latency_ms" in best else [])
