"""Compare: several controllers in one table, over many seeds, under the same budget."""

import statistics
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from nas.compute.worker_pool import num_processes, run_tasks
from nas.costs.pareto import Point, hypervolume, nondominated
from nas.costs.settings import FIELDS
from nas.jobs.building.config import build, merged, plain
from nas.jobs.building.costs import table_costs
from nas.jobs.building.parts import build_runtime
from nas.jobs.building.run_folder import keep_data, write_report
from nas.runs.checkpoints import load_json, write_csv
from nas.runs.configs import check_resumable
from nas.runs.console import header, note, progress, shown
from nas.runs.shards import JOIN, portion_of
from nas.searching.evaluators import RewardFunction, accuracy_reward
from nas.searching.reward_functions import CostReward
from nas.searching.table_lookup import TableLookup
from nas.studies.controller_comparison.figures import (
    accuracy_figures,
    by_controller,
    curves,
    front_figures,
    joined_rows,
)
from nas.studies.controller_comparison.plots import comparison_plot
from nas.studies.controller_comparison.settings import ComparisonSettings, FrontSettings
from nas.studies.controller_comparison.tables import print_figures
from nas.studies.controller_comparison.trials import (
    Part,
    Trial,
    TrialRunner,
    append_finished,
    drop_cut_off,
    read_finished,
)
from search_spaces.space import SearchSpace, size

TRIALS = "trials.jsonl"
PORTION_KEYS = ("compare.portion", "compare.portions", "compare.workers")
"""Settings in which portions may differ from the whole."""


def run(cfg: DictConfig, out: Path) -> dict[str, Any]:
    """Runs the trials that the folder `out` does not hold yet, then writes what all come to.

    Returns:
        What `compare.json` holds; of several tables, by their names, each in a folder of its own.

    Raises:
        ValueError: If a setting is out of range, or the table breaks a rule or lacks a column.
        FileNotFoundError: If the table is not there.
    """
    if cfg.tables:
        found = {}
        for name, changed in cfg.tables.items():
            folder = out / str(name)
            folder.mkdir(exist_ok=True)
            found[str(name)] = run(merged(cfg, {"table": changed, "tables": None}), folder)
        return found
    settings: ComparisonSettings = build(cfg.compare, "compare")
    front: FrontSettings = build(cfg.front, "front")
    runner = build_trial_runner(cfg, settings, front)
    front = replace(front, seeds=0 if runner.reference is None else front.num_seeds(settings.seeds))
    keep_data(out, runner.lookup.table.record)
    trials = _trials(settings, front)
    file = out / TRIALS
    drop_cut_off(file)
    _take_over(cfg, out, trials)
    finished = read_finished(file)
    left = [trial for trial in trials if trial not in finished]
    if settings.baseline is not None and settings.opponent is None:
        note(f"compare.baseline={settings.baseline} is not among the controllers: nothing is held against it")
    workers = num_processes(len(left), workers=settings.workers)
    _describe(runner, front, out, done=len(trials) - len(left), total=len(trials), workers=workers)
    with progress("comparing", total=len(trials), done=len(trials) - len(left)) as bar:
        for figures in run_tasks(runner, left, workers=workers):
            append_finished(file, figures)
            finished[Trial(figures["part"], figures["controller"], figures["seed"])] = figures
            bar.advance()
    return _conclude(cfg, out, runner, [finished[trial] for trial in trials], front)


def _trials(settings: ComparisonSettings, front: FrontSettings) -> list[Trial]:
    """Returns the trials of this portion, seed by seed, so that what is finished first covers all controllers.

    Raises:
        ValueError: If a portion would have no trials of a part.
    """
    num_front = front.num_seeds(settings.seeds)
    counts = sorted((settings.seeds, num_front or settings.seeds))  # there must be enough of the smaller part, too
    _, numbers = (portion_of(range(count), settings.portion, settings.portions) for count in counts)
    parts: dict[Part, tuple[Sequence[str], int]] = {
        "accuracy": (settings.controllers, settings.seeds),
        "front": (front.controllers, num_front),
    }
    return [
        Trial(part, name, settings.first_seed + number)
        for number in numbers
        for part, (names, count) in parts.items()
        for name in names
        if number < count
    ]


def _take_over(cfg: DictConfig, out: Path, trials: Sequence[Trial]) -> None:
    """Adds to a comparison's trials those that its portions, in the folders below, have finished.

    Raises:
        ValueError: If a portion has other settings, another table, or a damaged file.
    """
    known = set(read_finished(out / TRIALS))
    for file in sorted(out.glob(f"*/{TRIALS}")):
        check_resumable(file.with_name("config.yaml"), plain(cfg, "the config"), free=PORTION_KEYS)
        if load_json(file.with_name("data.json"))["sha256"] != load_json(out / "data.json")["sha256"]:
            raise ValueError(f"{shown(file.parent)} is of another table; remove it or choose another name")
        for trial, figures in read_finished(file).items():
            if trial in trials and trial not in known:
                append_finished(out / TRIALS, figures)
                known.add(trial)


def _describe(runner: TrialRunner, front: FrontSettings, out: Path, *, done: int, total: int, workers: int) -> None:
    settings, table = runner.settings, runner.lookup.table
    fields = {
        "run folder": shown(out),
        "table": f"{shown(table.path)}: {len(table)} rows, best {table.optimum:.4g}",
        "space": f"{runner.space.name}: {size(runner.space):.3g} genotypes",
        "controllers": ", ".join(settings.controllers),
        "seeds": f"{settings.first_seed} … {settings.first_seed + settings.seeds - 1}",
        "budget": f"{settings.budget} queries",
        "workers": workers,
    }
    if front.seeds:
        fields["with cost"] = f"{', '.join(front.controllers)} on {front.seeds} seeds"
    if done:
        fields["going on"] = f"{done} of {total} searches are done"
    header("compare", fields)


def _conclude(
    cfg: DictConfig, out: Path, runner: TrialRunner, trials: Sequence[Mapping[str, Any]], front: FrontSettings
) -> dict[str, Any]:
    """Writes and prints what the trials come to."""
    settings, reports = runner.settings, runner.lookup.table.column("report").values()
    bounds = min(reports), max(reports)
    groups = by_controller(trials, "accuracy", settings.controllers)
    rows = accuracy_figures(groups, settings=settings, bounds=bounds)
    front_groups = by_controller(trials, "front", front.controllers)
    report: dict[str, Any] = {
        "settings": {**plain(cfg.compare, "compare"), "front": {**plain(cfg.front, "front"), "seeds": front.seeds}},
        "table": plain(cfg.table, "table"),
        "optimum": bounds[1],
        "controllers": rows,
        "front": _front(runner, front_groups) if front_groups else None,
        "configs": {name: plain(controller_config(name, cfg.controller), name) for name in runner.controllers},
    }
    front_rows = report["front"]["controllers"] if front_groups else []
    points = curves(groups, part="accuracy", bounds=bounds)
    write_csv(out / "compare.csv", joined_rows(rows, front_rows))
    write_csv(out / "curves.csv", [*points, *curves(front_groups, part="front", bounds=bounds)])
    comparison_plot(
        points,
        front_rows,
        marks=settings.marks,
        optimum=bounds[1],
        names=list(runner.controllers),
        path=out / "compare.svg",
    )
    report = write_report(out / "compare.json", report, build_runtime(cfg), seed=settings.first_seed)
    print_figures(rows, front_rows, settings=settings)
    note(f"figures in {shown(out / 'compare.json')}, compare.csv, curves.csv and compare.svg")
    if settings.portions > 1:
        note(f"of portion {settings.portion} of {settings.portions} alone; {JOIN}")
    return report


def _front(runner: TrialRunner, groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    table, reference = runner.lookup.table, runner.reference
    assert runner.cost is not None and reference is not None  # noqa: PT018
    costs, reports = table.column("cost"), table.column("report")
    points = [(costs[key], reports[key]) for key in reports]
    area = hypervolume(points, reference=reference)
    return {
        "cost": FIELDS[runner.cost.name],
        "target": getattr(runner.rewards["front"], "target", None),
        "reference": list(reference),  # the largest cost and the median report of the table
        "true_area": area,
        "true_front": [list(points[number]) for number in nondominated(points)],
        "controllers": front_figures(groups, settings=runner.settings, true_area=area),
    }


def build_trial_runner(cfg: DictConfig, settings: ComparisonSettings, front: FrontSettings) -> TrialRunner:
    """Builds all that trials need, and each controller once so that mistakes show early.

    Raises:
        ValueError: If there is no such controller, a setting is out of range, or the table has no front to compare.
        FileNotFoundError: If the table is not there.
    """
    if not isinstance(front.reward, CostReward):
        raise ValueError("front.reward must ask for a cost, as latency_aware does")
    space: SearchSpace = build(cfg.search_space, "search_space")
    lookup, cost = build(cfg.table, "table")
    rewards: dict[Part, RewardFunction] = {"accuracy": accuracy_reward}
    reference = _reference(front, lookup, seeds=front.num_seeds(settings.seeds))
    if reference is not None:
        rewards["front"] = table_costs(front.reward, cost, space=space).reward
    names = dict.fromkeys([*settings.controllers, *(front.controllers if reference is not None else ())])
    nodes = {name: controller_config(name, cfg.controller) for name in names}
    if unknown := set(cfg.controller) - set(names):
        raise ValueError(f"controller.{min(unknown)} is not compared; compare.controllers names {', '.join(names)}")
    for name, node in nodes.items():
        build(node, f"controller.{name}", space.decisions)
        settings.batch(name)
    return TrialRunner(
        settings=settings,
        space=space,
        controllers={name: partial(build, node, f"controller.{name}") for name, node in nodes.items()},
        lookup=lookup,
        rewards=rewards,
        cost=cost,
        reference=reference,
    )


def _reference(front: FrontSettings, lookup: TableLookup, *, seeds: int) -> Point | None:
    """Returns the largest cost and the median report, from which the area of a front is measured.

    None if the part with cost is not wanted, or nobody asked for it and the table has no costs or no front.

    Raises:
        ValueError: If a cost is not above 0, or the part was asked for by its number of seeds and cannot be.
    """
    table, reports = lookup.table, lookup.table.column("report")
    if not seeds:
        return None
    reason = "no cost column is known, name its column with table.cost=COLUMN"
    if table.cost is not None:
        if min(table.cost.values()) <= 0:
            raise ValueError(f"{table.path}: a cost must be above 0, got {min(table.cost.values())}")
        reference = max(table.cost.values()), statistics.median(reports.values())
        if hypervolume([(cost, reports[key]) for key, cost in table.cost.items()], reference=reference) > 0:
            return reference
        reason = "no cell is both cheaper than the dearest and better than the median"
    if front.seeds is not None:
        raise ValueError(f"{table.path}: there is no front to compare: {reason}; front.seeds=0 leaves it out")
    note(f"the part with cost is left out: {reason}")
    return None


def controller_config(name: str, changed: DictConfig) -> DictConfig:
    """Composes a file of the group `controller`, those of `--config-dir` included.

    Args:
        name: The name of the file.
        changed: By name, the settings that differ from the files.

    Raises:
        ValueError: If there is no such file.
    """
    ready = GlobalHydra.instance().is_initialized()
    try:
        with nullcontext() if ready else initialize_config_module("conf", version_base="1.3"):
            composed = compose(f"controller/{name}")
    except HydraException:
        raise ValueError(f"there is no controller {name!r}; `nas search --help` lists them") from None
    OmegaConf.set_struct(composed, False)  # an unknown key is for `build` to answer
    return merged(composed.controller, changed.get(name, {}))
