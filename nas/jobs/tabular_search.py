"""Search in a table: what `nas search` does where cells are looked up instead of trained."""

import json
import shlex
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nas.costs.counting import median_cost
from nas.costs.settings import FIELDS, UNITS
from nas.jobs.building.config import build
from nas.jobs.building.run_folder import keep_data
from nas.jobs.watching import build_controller, conclude_watch, tell
from nas.reporting.cells.drawing import genotype_svg
from nas.reporting.dashboard import dashboard
from nas.reporting.plots import choice_curves, search_curves
from nas.reporting.trackers import FilesOnly, Tracker
from nas.runs.checkpoints import load_checkpoint, write_csv, write_json, write_text
from nas.runs.console import Column, Table, header, next_command, note, result, shown
from nas.searching.evaluators import RewardFunction
from nas.searching.reward_functions import CostReward
from nas.searching.table_lookup import TabularCost
from nas.searching.tabular_search import TabularSearch
from nas.searching.tabular_settings import TabularSearchSettings
from nas.training.autosave import Saves
from search_spaces.genotype import Genotype
from search_spaces.space import SearchSpace, size

COLUMNS = (
    Column("queries", "queries", "d"),
    Column("reward", "reward", ".4f"),
    Column("best", "best", ".4f"),
    Column("report", "report", ".3f"),
    Column("baseline", "baseline", ".4f"),
    Column("entropy", "entropy", ".3f"),
)
SHOWN_ROWS = 20


def run(cfg: DictConfig, out: Path, *, tracker: Tracker | None = None) -> dict[str, Any]:
    """Searches the table of `cfg.table`, or goes on searching it, in the run folder `out`.

    Returns:
        The best candidate: its genotype, key, reward, accuracy, report and cost.

    Raises:
        ValueError: If a setting is out of range, the table breaks a rule or lacks a cell of the space.
        FileNotFoundError: If the table is not there.
    """
    tracker = tracker or FilesOnly()
    search = build_tabular_search(cfg)
    keep_data(out, search.evaluator.table.record)
    state = load_checkpoint(out / "checkpoint.pt")
    if state is not None:
        search.load_state_dict(state)
    queries = search.settings.queries
    _describe(search, cfg, out)
    table = Table(COLUMNS)
    with (
        dashboard("searching", search.rows, total=queries, done=len(search.scored), best=search.best_cell) as bar,
        Saves(out / "checkpoint.pt", search.state_dict, seconds=search.settings.checkpoint_seconds) as saves,
    ):
        while not search.finished:
            row = search.update()
            tracker.log(row, step=int(row["epoch"]), section="search")
            tell(search.watch, out, tracker=tracker)
            if _is_shown(search):
                table.row(row)
            bar.reach(len(search.scored))
            saves.reached(last=search.finished)
    return _conclude(search, cfg, out)


def build_tabular_search(cfg: DictConfig) -> TabularSearch:
    """Builds all parts of a tabular search from the config, cheap ones first so that mistakes show early."""
    settings = build(cfg.search, "search")
    if not isinstance(settings, TabularSearchSettings):
        raise ValueError("a table is searched with trainer@search=tabular; experiment=nasbench201 has that set")
    space: SearchSpace = build(cfg.search_space, "search_space")
    controller = build_controller(cfg, space)
    reward = build(cfg.reward, "reward")
    evaluator, cost = build(cfg.table, "table")
    return TabularSearch(
        settings=settings,
        seed=cfg.seed,
        space=space,
        controller=controller,
        evaluator=evaluator,
        reward=bound_reward(reward, cost, space=space),
        cost=cost,
        renew=partial(build_controller, cfg, space),
    )


def bound_reward(reward: RewardFunction, cost: TabularCost | None, *, space: SearchSpace) -> RewardFunction:
    """Gives a reward the cost of a table, if it asks for one; the target is what it names or the median.

    Raises:
        ValueError: If it asks for a cost that the table does not have.
    """
    if not isinstance(reward, CostReward):
        return reward
    if cost is None:
        raise ValueError(f"the reward asks for the cost {reward.cost}; name its column with table.cost=COLUMN")
    return reward.bind(cost, target=median_cost(cost, space) if reward.target is None else reward.target)


def _describe(search: TabularSearch, cfg: DictConfig, out: Path) -> None:
    table, reward = search.evaluator.table, search.reward
    rewarded = "accuracy"
    if isinstance(reward, CostReward):
        rewarded += f" and {FIELDS[reward.cost]}, target {reward.target:.4g} {UNITS[reward.cost]}"
    header(
        "search in a table",
        {
            "run folder": shown(out),
            "table": f"{shown(table.path)}: {len(table)} rows",
            "space": f"{search.space.name}: {len(search.space.decisions)} decisions, "
            f"{size(search.space):.3g} genotypes",
            "reward": rewarded,
            "controller": OmegaConf.select(cfg, "controller.policy._target_") or cfg.controller._target_,
            "seed": cfg.seed,
            "queries": f"{search.settings.queries}"
            + (f", going on after {len(search.scored)}" if search.scored else ""),
        },
    )


def _is_shown(search: TabularSearch) -> bool:
    """Whether the last update crossed one of some twenty marks."""
    before = len(search.scored) - search.settings.samples_per_update
    step = max(1, search.settings.queries // SHOWN_ROWS)
    return len(search.scored) // step > before // step


def _conclude(search: TabularSearch, cfg: DictConfig, out: Path) -> dict[str, Any]:
    """Writes down what was found, unless that is done, and prints it; returns the best candidate."""
    if not (out / "candidates.json").exists():
        write_csv(out / "search.csv", search.rows)
        write_csv(out / "scored.csv", search.scored)
        candidates = search.candidates()
        best = Genotype.from_dict(candidates[0]["genotype"])
        search_curves(search.rows, out / "search.svg")
        choice_curves(search.rows, out / "choices.svg")
        conclude_watch(search.watch, out)
        if search.cost is not None:
            write_json(out / "pareto.json", search.front())
        write_text(out / "cells.svg", genotype_svg(best, title=out.name, merge="sum"))
        write_text(out / "genotype.json", best.to_json())
        write_json(out / "candidates.json", candidates)  # last: it says that the search is finished
    found: list[dict[str, Any]] = json.loads((out / "candidates.json").read_text(encoding="utf-8"))
    best_found = found[0]
    figures = [f"{cfg.table.reward} {best_found['accuracy'] / search.evaluator.reward_scale:.4g}"]
    figures += [f"{cfg.table.report} {best_found['report']:.4g}"] if "report" in best_found else []
    if search.cost is not None:
        figures.append(f"{FIELDS[search.cost.name]} {best_found[FIELDS[search.cost.name]]:.4g}")
    result(f"found {best_found['key']}: {', '.join(figures)}")
    if "report" in best_found:
        optimum = search.evaluator.table.optimum
        result(f"regret {optimum - best_found['report']:.4g}: the best of the table has {optimum:.4g}")
    note(f"{len(found)} candidates in {shown(out / 'candidates.json')}, all cells in {shown(out / 'scored.csv')}")
    next_command(shlex.join(["nas", "compare", f"table.path={cfg.table.path}"]))
    return best_found
