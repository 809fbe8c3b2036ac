"""Search: train shared weights and controller in turns, then derive the best cells and write them down."""

import json
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from nas.compute.device import Runtime
from nas.jobs import finals, tabular_search
from nas.jobs.building.costs import SearchCosts
from nas.jobs.building.parts import build_runtime, command_line, described_ranks, merge_name
from nas.jobs.building.run_folder import keep_data
from nas.jobs.building.search_parts import build_search_with_costs
from nas.jobs.front import write_front
from nas.jobs.watching import conclude_watch, tell
from nas.reporting.cells.drawing import genotype_svg
from nas.reporting.dashboard import dashboard
from nas.reporting.plots import choice_curves, search_curves
from nas.reporting.trackers import FilesOnly, Tracker
from nas.runs.checkpoints import load_checkpoint, write_csv, write_json, write_text
from nas.runs.console import Column, Table, header, next_command, note, result, shown
from nas.searching.search import Search
from nas.training.autosave import Saves
from search_spaces.genotype import Genotype
from search_spaces.space import size

COLUMNS = (
    Column("epoch", "epoch", "d"),
    Column("loss", "loss", ".4f"),
    Column("train_accuracy", "train %", ".2f", 100),
    Column("reward", "reward", ".4f"),
    Column("best", "best", ".4f"),
    Column("baseline", "baseline", ".4f"),
    Column("entropy", "entropy", ".3f"),
    Column("seconds", "seconds", ".2f"),
)
LATENCY = Column("latency_ms", "mean ms", ".3f")


def run(cfg: DictConfig, out: Path, *, tracker: Tracker | None = None) -> dict[str, Any]:
    """Searches, or goes on searching, in the run folder `out`.

    Returns:
        The best candidate: its genotype, shared-weight score, reward, parameters and multiply-adds, perhaps latency.

    Raises:
        ValueError: If a setting is out of range.
        FileNotFoundError: If the data set is not there.
    """
    runtime = build_runtime(cfg)
    ranks = runtime.ranks
    if OmegaConf.select(cfg, "table") is not None:
        if not ranks.alone:
            raise ValueError("a search in a table trains nothing and has no use for torchrun; start it without")
        return tabular_search.run(cfg, out, tracker=tracker)
    tracker = tracker or FilesOnly()
    search, costs = build_search_with_costs(cfg, runtime, out=out)
    finals.check_reward(search)
    ranks.from_first(lambda: keep_data(out, search.data.record))
    ranks.copy_first(search.trainer.network)
    state = ranks.from_first(lambda: load_checkpoint(out / "checkpoint.pt"))
    if state is not None:
        search.load_state_dict(state)
    epochs = search.settings.epochs
    describe(search, cfg, out, runtime, reward=costs.described())
    costs.write(out)

    columns = [*COLUMNS, *([LATENCY] if "latency" in costs.costs else [])]
    table = Table(columns)
    with (
        dashboard("searching", search.rows, total=epochs, best=search.best_cell, merge=merge_name(cfg)) as bar,
        Saves(
            out / "checkpoint.pt", search.state_dict, seconds=search.settings.checkpoint_seconds, ranks=ranks
        ) as saves,
    ):
        while not search.finished:
            row = search.epoch()
            write_csv(out / "search.csv", search.rows)
            write_csv(out / "scored.csv", search.scored)
            tracker.log(row, step=int(row["epoch"]), section="search")
            table.row(row)
            tell(search.watch, out, tracker=tracker)
            bar.advance()
            saves.reached(last=search.finished)
    return conclude(search, cfg, out, runtime, costs=costs, tracker=tracker)


def describe(search: Search, cfg: DictConfig, out: Path, runtime: Runtime, *, reward: str) -> None:
    """Prints the header of a search."""
    data = search.data
    header(
        "search",
        {
            "run folder": shown(out),
            "data": f"{data.name}: {len(data.train)} train, {len(data.reward)} reward images of "
            f"{'x'.join(map(str, data.image_shape))}, {data.num_classes} classes",
            "space": f"{search.space.name}: {len(search.space.decisions)} decisions, "
            f"{size(search.space):.3g} genotypes",
            "reward": reward,
            "controller": OmegaConf.select(cfg, "controller.policy._target_") or cfg.controller._target_,
            "device": f"{described_ranks(runtime)}{runtime.device}, {torch.get_num_threads()} threads, "
            f"{'float32' if runtime.autocast is None else str(runtime.autocast).removeprefix('torch.')}",
            "seed": cfg.seed,
            "epochs": f"{search.settings.epochs}" + (f", going on after {len(search.rows)}" if search.rows else ""),
        },
    )


def conclude(
    search: Search, cfg: DictConfig, out: Path, runtime: Runtime, *, costs: SearchCosts, tracker: Tracker
) -> dict[str, Any]:
    """Derives the best cells and writes them down, unless that is done."""
    ranks = search.ranks
    if ranks.from_first(lambda: finished(out)):
        if ranks.first:
            finals.remove_checkpoints(out)  # unless that was done
        return ranks.from_first(lambda: report(cfg, out))
    write_csv(out / "search.csv", search.rows)
    write_csv(out / "scored.csv", search.scored)
    if search.settings.finalists:
        all_candidates = finals.run(search, cfg, out, runtime, tracker=tracker)
    else:
        all_candidates = search.candidates()
    random_cells = search.random_cells(parameters=all_candidates[0]["parameters"])
    if not ranks.first:
        return all_candidates[0]
    write_front(out, rewarded=search.scored, candidates=all_candidates, random_cells=random_cells, costs=costs)
    candidates = all_candidates[: max(search.settings.top_k, search.settings.finalists)]
    best = Genotype.from_dict(candidates[0]["genotype"])
    search_curves(search.rows, out / "search.svg")
    choice_curves(search.rows, out / "choices.svg")
    conclude_watch(search.watch, out)
    write_json(out / "random.json", random_cells)
    write_text(out / "cells.svg", genotype_svg(best, title=out.name, merge=merge_name(cfg)))
    write_text(out / "genotype.json", best.to_json())
    write_json(out / "candidates.json", candidates)  # last: it says that the search is finished
    finals.remove_checkpoints(out)
    return report(cfg, out)


def finished(out: Path) -> bool:
    """Whether the search of a run folder has written down what it found."""
    return (out / "candidates.json").exists()


def report(cfg: DictConfig, out: Path) -> dict[str, Any]:
    """Prints what a finished search found, and the next command; returns the best candidate."""
    candidates: list[dict[str, Any]] = json.loads((out / "candidates.json").read_text(encoding="utf-8"))
    alone = candidates[0].get("stand_alone_accuracy")
    result(
        f"found {shown(out / 'genotype.json')}: "
        + ("" if alone is None else f"stand-alone accuracy {100 * alone:.2f} % on reward images, ")
        + f"shared-weight accuracy {100 * candidates[0]['shared_accuracy']:.2f} %, "
        f"{candidates[0]['parameters']:,} parameters, {candidates[0]['multiply_adds'] / 1e6:.1f} M multiply-adds"
        + (f", predicted latency {candidates[0]['latency_ms']:.3f} ms" if "latency_ms" in candidates[0] else "")
    )
    if len(candidates) > 1:
        note(f"{len(candidates)} candidates in {shown(out / 'candidates.json')}, the others as candidates.json#1 …")
    baseline = [f"random_cells={shown(out / 'random.json')}"] if cfg.search.random_cells else []
    next_command(command_line("retrain", f"genotype={shown(out)}", *baseline))
    return candidates[0]
