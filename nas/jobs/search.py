"""Search: let a controller propose cells and an evaluator reward them."""

import contextlib
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from controllers.largest_first import LargestFirst
from nas.compute.device import Runtime
from nas.jobs.budget import Plan, make_plan, search_parts
from nas.jobs.building.parts import build_runtime, described_ranks, merge_name
from nas.jobs.building.run_folder import keep_data
from nas.jobs.building.search_parts import build_search
from nas.jobs.search_results import conclude, write_warnings
from nas.reporting.dashboard import dashboard
from nas.reporting.trackers import FilesOnly, Tracker
from nas.runs.checkpoints import load_checkpoint, write_csv
from nas.runs.console import Column, Table, header, note, shown
from nas.searching.diagnostics.collapse import CONVERGED
from nas.searching.diagnostics.watch import Watch
from nas.searching.search import Search
from nas.searching.stand_alone import StandAlone, check_accuracy_reward
from nas.searching.table_lookup import TableEvaluator
from nas.training.autosave import Saves
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
ROWS_OF_A_TABLE_SEARCH = 20
"""Rows printed of a search in a table, whose epochs take milliseconds."""
DONE = {"restart": "; the controller begins anew", "stop": "; the search ends here"}
"""By action of the guard, what follows from a finding."""


def run(
    cfg: DictConfig,
    out: Path,
    *,
    tracker: Tracker | None = None,
    started: float | None = None,
    time_plan: Plan | None = None,
) -> dict[str, Any]:
    """Searches, or resumes the search, in the run folder `out`.

    Args:
        cfg: Config of the job.
        out: The run folder.
        tracker: Logs metrics.
        started: When the job began, by the clock of the budget; None: now.
        time_plan: Of a job that the search is a part of.

    Returns:
        The best candidate: its genotype, score and reward, and its costs; of a table also its key and its report.

    Raises:
        ValueError: If a setting is out of range, or a table breaks a rule or lacks a cell of the space.
        FileNotFoundError: If the data set or the table is not there.
    """
    runtime = build_runtime(cfg)
    ranks = runtime.ranks
    tracker = tracker or FilesOnly()
    if time_plan is None:
        time_plan = make_plan(cfg, out, runtime, lambda: search_parts(cfg, out, runtime), started=started)
    cfg = time_plan.config(cfg)
    search, costs = build_search(cfg, runtime, out=out)
    if search.settings.finalists:
        check_accuracy_reward(search.evaluator.reward, search.space)
    ranks.from_first(lambda: keep_data(out, search.evaluator.record))
    state = ranks.from_first(lambda: load_checkpoint(out / "checkpoint.pt"))
    if state is not None:
        search.load_state_dict(state)
    _describe(search, cfg, out, runtime, reward=costs.described())
    costs.write(out)
    with search.evaluator.pool if isinstance(search.evaluator, StandAlone) else contextlib.nullcontext():
        _run_epochs(search, cfg, out, tracker=tracker, time_plan=time_plan)
        return conclude(search, cfg, out, runtime, costs=costs, tracker=tracker, time_plan=time_plan)


def _run_epochs(search: Search[Any], cfg: DictConfig, out: Path, *, tracker: Tracker, time_plan: Plan) -> None:
    """Runs the epochs that are left, and logs, shows and saves each."""
    settings, ranks = search.settings, search.evaluator.ranks
    every = max(1, settings.epochs // ROWS_OF_A_TABLE_SEARCH) if search.evaluator.is_instant else 1
    table: Table | None = None
    with (
        dashboard("searching", search.rows, total=settings.epochs, best=search.best_cell, merge=merge_name(cfg)) as bar,
        Saves(out / "checkpoint.pt", search.state_dict, seconds=settings.checkpoint_seconds, ranks=ranks) as saves,
    ):
        ended = _ended(search, time_plan)
        while not ended:
            row = search.epoch()
            ended = _ended(search, time_plan)
            tracker.log(row, step=int(row["epoch"]), section="search")
            if len(search.rows) % every == 0 or ended:
                write_csv(out / "search.csv", search.rows)
                write_csv(out / "scored.csv", search.scored)
                table = table or Table([one for one in COLUMNS if one.key in row or one.key not in NOT_ALWAYS])
                table.row(row)
            _report_watch(search.watch, out, tracker=tracker)
            bar.advance()
            saves.reached(last=ended)


def _ended(search: Search[Any], time_plan: Plan) -> bool:
    """Whether a search is finished, or another epoch would take more time than its share of the budget."""
    done = len(search.rows)
    last = search.evaluator.ranks.from_first(lambda: search.rows[-1].get("seconds", 0.0) if done else 0.0)
    if done and not search.finished and time_plan.left("search") < last:
        ended = time_plan.decide("search epochs", lambda: done)
        note(f"the search ends after {ended} of {search.settings.epochs} epochs: its share of the time is spent")
    return search.finished or done >= time_plan.decided.get("search epochs", done + 1)


def _describe(search: Search[Any], cfg: DictConfig, out: Path, runtime: Runtime, *, reward: str) -> None:
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
        settings, workers = evaluator.protocol.settings, evaluator.pool.workers
        return {"data": data, "trainings": f"of {settings.epochs} epochs from scratch, {workers} at a time"}
    return {"data": data}


def _report_watch(watch: Watch, out: Path, *, tracker: Tracker) -> None:
    """Logs the last epoch, and prints and writes down what it brought."""
    tracker.log(watch.rows[-1], step=len(watch.rows) - 1, section="diagnostics")
    for finding in watch.news:
        word = "note" if finding.kind == CONVERGED else "warning"
        note(f"{word}, epoch {finding.epoch}: {finding.message}{DONE.get(finding.action, '')}")
    if watch.news:
        write_warnings(watch, out)
