"""What a search writes down and prints at its end: the best cells, the Pareto front, the warnings of its watch."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf

from nas.compute.device import Runtime
from nas.compute.distributed.ranks import Ranks
from nas.costs.pareto import Point, hypervolume, nondominated
from nas.costs.settings import FIELDS
from nas.jobs import finals
from nas.jobs.budget import Plan
from nas.jobs.building.costs import SearchCosts
from nas.jobs.building.parts import command_line, merge_name
from nas.reporting.cells.drawing import genotype_svg
from nas.reporting.plots import choice_curves, diagnostics_plot, pareto_plot, search_curves
from nas.reporting.trackers import Tracker
from nas.runs.checkpoints import load_json, write_csv, write_json, write_text
from nas.runs.console import next_command, note, result, shown
from nas.searching.diagnostics.collapse import CONVERGED
from nas.searching.diagnostics.insight import Insight, find_insight
from nas.searching.diagnostics.watch import Watch
from nas.searching.search import Search
from nas.searching.shared_weights import SharedWeights
from nas.searching.table_lookup import TableEvaluator
from nas.studies.ranking.ordering import Truth, ordering
from search_spaces.genotype import Genotype

INSIGHT_FILE = "insight.json"
"""What the search has learned."""
ENOUGH_CELLS = 20
"""Finalists from which on a rank correlation is worth its name."""
RANDOM_SEARCH = "random_search.json"
"""Random cells that passed through the finals for the same core-seconds, the best first."""

Rows = Sequence[Mapping[str, Any]]


def conclude(
    search: Search[Any],
    cfg: DictConfig,
    out: Path,
    runtime: Runtime,
    *,
    costs: SearchCosts,
    tracker: Tracker,
    time_plan: Plan,
) -> dict[str, Any]:
    """Derives the best cells and writes them down, unless that is done; prints and returns the best."""
    ranks: Ranks = search.evaluator.ranks
    if not ranks.from_first((out / "candidates.json").exists):
        write_csv(out / "search.csv", search.rows)
        write_csv(out / "scored.csv", search.scored)
        settings = search.settings
        if settings.finalists:
            candidates = finals.run(search, cfg, out, runtime, tracker=tracker, time_plan=time_plan)
        else:
            candidates = search.candidates()
        if settings.random_search:
            opponents = finals.random_search(search, cfg, out, runtime, time_plan=time_plan)
            ranks.from_first(lambda: write_json(out / RANDOM_SEARCH, opponents))
        random_cells = search.random_cells(parameters=candidates[0].get("parameters", 0))
        if ranks.first:
            write_front(out, search, candidates=candidates, random_cells=random_cells, costs=costs)
            if settings.random_cells:
                write_json(out / "random.json", random_cells)
            kept = candidates[: max(settings.top_k, settings.finalists)]
            write_json(out / INSIGHT_FILE, _insight(search, kept).record())
            _write_down(search, kept, out, merge=merge_name(cfg))
    finals.remove_checkpoints(out)
    return ranks.from_first(lambda: report(search, cfg, out))


def _insight(search: Search[Any], candidates: Rows) -> Insight:
    """Returns what the search has learned; of shared weights a reward is of a batch, else of all reward images."""
    evaluator = search.evaluator
    images = evaluator.settings.batch_size if isinstance(evaluator, SharedWeights) else None
    return find_insight(search.space.decisions, search.scored, candidates, images=images, warned=search.watch.findings)


def _write_down(search: Search[Any], candidates: Rows, out: Path, *, merge: str) -> None:
    """Draws the curves of a search, writes the warnings of its watch, and the best cells last."""
    search_curves(search.rows, out / "search.svg")
    choice_curves(search.rows, out / "choices.svg")
    watch = search.watch
    write_csv(out / "diagnostics.csv", watch.rows)
    diagnostics_plot(watch.rows, out / "diagnostics.svg", marks=[finding.epoch for finding in watch.findings])
    write_warnings(watch, out)
    if count := sum(finding.kind != CONVERGED for finding in watch.findings):
        files = f"{shown(out / 'warnings.json')}, see {shown(out / 'diagnostics.svg')}"
        note(f"{count} warning{'s'[: count > 1]} in {files}")
    best = Genotype.from_dict(candidates[0]["genotype"])
    write_text(out / "cells.svg", genotype_svg(best, title=out.name, merge=merge))
    write_text(out / "genotype.json", best.to_json())
    write_json(out / "candidates.json", candidates)  # last: it says that the search is finished


def write_warnings(watch: Watch, out: Path) -> None:
    """Writes `warnings.json`: what was found, with the thresholds that it was found by."""
    findings = [asdict(finding) for finding in watch.findings]
    write_json(out / "warnings.json", {"settings": asdict(watch.settings), "findings": findings})


def write_front(out: Path, search: Search[Any], *, candidates: Rows, random_cells: Rows, costs: SearchCosts) -> None:
    """Writes `pareto.json` and `pareto.svg`, and adds to `cost.json` the area that the front dominates.

    Rewards that are exact make a front of all rewarded cells. With shared weights these are drawn, but do not count:
    each was scored on one batch, with the weights of its epoch, so that a front of them would be one of lucky scores.
    Nor do finals count: the front is one of shared accuracies. Without a cost there is no front.

    Args:
        out: The run folder.
        search: Its rewarded cells have `accuracy` and costs.
        candidates: Cells scored on all reward images, with `shared_accuracy` and costs.
        random_cells: The same of uniformly drawn ones.
        costs: Says which cost counts, and what the target is.
    """
    if costs.chosen is None:
        return
    field = FIELDS[costs.chosen]
    rewarded = _points(search.scored, field, "accuracy")
    if search.settings.final_samples:
        value, points = "shared_accuracy", _points(candidates, field, "shared_accuracy")
        front = [dict(candidates[number]) for number in nondominated(points)]
        groups = {
            "rewarded, on one batch each": rewarded,
            "random": _points(random_cells, field, "shared_accuracy"),
            "candidates": points,
        }
    else:
        points, front = rewarded, search.front(field)
        value = "accuracy" if "accuracy" in front[0] else "stand_alone_accuracy"
        groups = {"rewarded": rewarded, "random": _points(random_cells, field, value)}
    pareto_plot(
        groups,
        front=_points(front, field, value),
        axis="predicted latency (ms)" if costs.chosen == "latency" else field.replace("_", "-"),
        target=costs.record.get("target") if costs.record.get("reward_cost") == field else None,
        path=out / "pareto.svg",
    )
    write_json(out / "pareto.json", front)
    reference = (max(cost for cost, _ in [*points, *rewarded]), 0.0)
    area = {"hypervolume": hypervolume(points, reference=reference), "hypervolume_reference": list(reference)}
    write_json(out / "cost.json", {**costs.record, **area})


def _points(rows: Rows, cost: str, value: str) -> list[Point]:
    return [(float(row[cost]), float(row[value])) for row in rows]


def report(search: Search[Any], cfg: DictConfig, out: Path) -> dict[str, Any]:
    """Prints what a finished search found, and the next command; returns the best candidate."""
    candidates: list[dict[str, Any]] = load_json(out / "candidates.json")
    best = candidates[0]
    if isinstance(search.evaluator, TableEvaluator):
        result(f"found {best['key']}: {', '.join(_looked_up(best, search.evaluator, cfg))}")
        if "report" in best:
            optimum = search.evaluator.lookup.table.optimum
            result(f"regret {optimum - best['report']:.4g}: the best of the table has {optimum:.4g}")
    else:
        result(f"found {shown(out / 'genotype.json')}: {', '.join(_measured(best))}")
    if "shared_accuracy" in best:
        note(trust(candidates, out, warm=OmegaConf.select(cfg, "search.finals_start") == "shared"))
    if search.rows and "proposals" in search.rows[0]:  # rewards are exact
        own, proposals = (sum(int(row[key]) for row in search.rows) for key in ("own", "proposals"))
        note(f"{len(search.scored)} cells, each function once: {own} of {proposals} that the controller proposed")
    insight = load_json(out / INSIGHT_FILE) if (out / INSIGHT_FILE).exists() else {"findings": {}, "advice": []}
    for sentence in insight["findings"].values():
        note(f"insight: {sentence}")
    for sentence in insight["advice"]:
        note(f"advice: {sentence}")
    if len(candidates) > 1:
        note(f"{len(candidates)} candidates in {shown(out / 'candidates.json')}, the others as candidates.json#1 …")
    if isinstance(search.evaluator, TableEvaluator):
        next_command(shlex.join(["nas", "compare", f"table.path={cfg.table.path}"]))
        return best
    baseline = [f"random_cells={shown(out / 'random.json')}"] if cfg.search.random_cells else []
    next_command(command_line("retrain", f"genotype={shown(out)}", *baseline))
    return best


def trust(candidates: Sequence[Mapping[str, Any]], out: Path, *, warm: bool = False) -> str:
    """Returns how far shared scores can be trusted: whether they order the finalists as stand-alone training does.

    Args:
        candidates: Of the search.
        out: Its run folder.
        warm: Whether finalists started from the shared weights, so that they tell nothing of these.
    """
    trained = [entry for entry in candidates if "stand_alone_reward" in entry]
    if not trained or warm:
        return f"trust in shared scores: not measured; `nas rank run={shown(out)}` trains cells to measure it"
    compared = f"trust in shared scores, {len(trained)} finalists"
    if len(trained) < ENOUGH_CELLS:
        return f"{compared}: too few to tell, at least {ENOUGH_CELLS} are needed"
    shared = np.array([entry["reward"] for entry in trained])
    alone = np.array([(entry.get("rung_rewards") or [entry["stand_alone_reward"]])[0] for entry in trained])
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
