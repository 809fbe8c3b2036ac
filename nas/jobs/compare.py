"""Compare: several controllers in one table, over many seeds, under the same budget."""

import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from nas.checkpoint import write_csv, write_json
from nas.config import build, check_resumable, plain
from nas.console import Column, Table, header, note, progress, result, shown
from nas.controller_comparison.figures import accuracy_figures, by_controller, curves, front_figures
from nas.controller_comparison.plots import comparison_plot
from nas.controller_comparison.settings import ComparisonSettings, FrontSettings
from nas.controller_comparison.trials import (
    Laboratory,
    Part,
    Trial,
    append_finished,
    drop_cut_off,
    num_cores,
    read_finished,
    run_trials,
)
from nas.costing.costs import FIELDS
from nas.costing.pareto import Point, hypervolume, nondominated
from nas.jobs.parts import build_runtime
from nas.jobs.tabular_search import bound_reward
from nas.portions import JOIN, portion_of
from nas.rewards import RewardFunction, accuracy_reward
from nas.run_listing import read_json
from nas.runs import keep_data
from nas.runtime import environment
from nas.tabular import TabularEvaluator
from nas.tabular_search import TabularCost
from nas.tracking import Tracker
from search_spaces.space import SearchSpace, size

TRIALS = "trials.jsonl"
PORTION_KEYS = ("compare.portion", "compare.portions", "compare.workers")
"""Settings in which portions may differ from the whole."""


def run(cfg: DictConfig, out: Path, *, tracker: Tracker | None = None) -> dict[str, Any]:  # noqa: ARG001
    """Runs the trials that the folder `out` does not hold yet, then writes what all come to.

    Returns:
        What `compare.json` holds.

    Raises:
        ValueError: If a setting is out of range, or the table breaks a rule or lacks a column.
        FileNotFoundError: If the table is not there.
    """
    settings: ComparisonSettings = build(cfg.compare, "compare")
    front: FrontSettings = build(cfg.front, "front")
    laboratory = _laboratory(cfg, settings, front)
    keep_data(out, laboratory.evaluator.table.record)
    trials = _trials(settings, front)
    file = out / TRIALS
    drop_cut_off(file)
    take_over(cfg, out, trials)
    finished = read_finished(file)
    left = [trial for trial in trials if trial not in finished]
    if settings.baseline is not None and settings.baseline not in settings.controllers:
        note(f"compare.baseline={settings.baseline} is not among the controllers: nothing is held against it")
    _describe(laboratory, front, out, done=len(trials) - len(left), total=len(trials))
    with progress("comparing", total=len(trials), done=len(trials) - len(left)) as bar:
        for figures in run_trials(laboratory, left, workers=settings.workers):
            append_finished(file, figures)
            finished[Trial(figures["part"], figures["controller"], figures["seed"])] = figures
            bar.advance()
    return _conclude(cfg, out, laboratory, [finished[trial] for trial in trials], front)


def _laboratory(cfg: DictConfig, settings: ComparisonSettings, front: FrontSettings) -> Laboratory:
    """Builds all that trials need, and each controller once so that mistakes show early."""
    space: SearchSpace = build(cfg.search_space, "search_space")
    names = dict.fromkeys([*settings.controllers, *(front.controllers if front.seeds else ())])
    nodes = {name: _controller_config(name, cfg.controller) for name in names}
    if unknown := set(cfg.controller) - set(names):
        raise ValueError(f"controller.{min(unknown)} is not compared; compare.controllers names {', '.join(names)}")
    for name, node in nodes.items():
        build(node, f"controller {name}", space.decisions)
        settings.batch(name)
    evaluator, cost = build(cfg.table, "table")
    reports = evaluator.table.column("report")
    rewards: dict[Part, RewardFunction] = {"accuracy": accuracy_reward}
    reference = None
    if front.seeds:
        rewards["front"] = bound_reward(front.reward, cost, space=space)
        reference = max(evaluator.table.column("cost").values()), statistics.median(reports.values())
        _check_front(evaluator, reference)
    return Laboratory(
        settings=settings,
        space=space,
        controllers={name: partial(build, node, f"controller {name}") for name, node in nodes.items()},
        evaluator=evaluator,
        rewards=rewards,
        cost=cost,
        reference=reference,
    )


def _check_front(evaluator: TabularEvaluator, reference: Point) -> None:
    """Raises ValueError if the table has a cost that is not above 0, or no front that could be found."""
    costs, reports = evaluator.table.column("cost"), evaluator.table.column("report")
    if min(costs.values()) <= 0:
        raise ValueError(f"{evaluator.table.path}: a cost must be above 0, got {min(costs.values())}")
    if hypervolume([(cost, reports[key]) for key, cost in costs.items()], reference=reference) == 0:
        raise ValueError(
            f"{evaluator.table.path}: no cell is both cheaper than the dearest and better than the median, so that "
            "there is no front to compare; front.seeds=0 leaves it out"
        )


def _controller_config(name: str, changed: DictConfig) -> DictConfig:
    """Composes a file of the group `controller`, those of `--config-dir` included.

    Args:
        name: Of the file.
        changed: By name, what is to differ from the files.

    Raises:
        ValueError: If there is no such file.
    """
    try:
        if GlobalHydra.instance().is_initialized():
            composed = compose(f"controller/{name}")
        else:
            with initialize_config_module("conf", version_base="1.3"):
                composed = compose(f"controller/{name}")
    except HydraException:
        raise ValueError(f"there is no controller {name!r}; `nas search --help` lists them") from None
    node = OmegaConf.merge(composed.controller, changed.get(name, {}))
    assert isinstance(node, DictConfig)
    return node


def _trials(settings: ComparisonSettings, front: FrontSettings) -> list[Trial]:
    """Returns the trials of this portion, seed by seed, so that what is finished first covers all controllers.

    Raises:
        ValueError: If a portion would have no trials of a part.
    """
    least, most = sorted((settings.seeds, front.seeds or settings.seeds))
    seeds = portion_of(range(settings.first_seed, settings.first_seed + most), settings.portion, settings.portions)
    portion_of(range(least), settings.portion, settings.portions)  # there must be enough of the smaller part, too
    parts: list[tuple[Part, Sequence[str], int]] = [
        ("accuracy", settings.controllers, settings.seeds),
        ("front", front.controllers, front.seeds),
    ]
    return [
        Trial(part, name, seed)
        for seed in seeds
        for part, names, count in parts
        for name in names
        if seed < settings.first_seed + count
    ]


def take_over(cfg: DictConfig, out: Path, trials: Sequence[Trial]) -> None:
    """Adds to a comparison's trials those that its portions, in the folders below, have finished.

    Raises:
        ValueError: If a portion has other settings, another table, or a damaged file.
    """
    known = set(read_finished(out / TRIALS))
    for file in sorted(out.glob(f"*/{TRIALS}")):
        folder = file.parent
        check_resumable(folder / "config.yaml", plain(cfg, "the config"), free=PORTION_KEYS)
        if read_json(folder / "data.json")["sha256"] != read_json(out / "data.json")["sha256"]:
            raise ValueError(f"{shown(folder)} is of another table; remove it or choose another name")
        for trial, figures in read_finished(file).items():
            if trial in trials and trial not in known:
                append_finished(out / TRIALS, figures)
                known.add(trial)


def _describe(laboratory: Laboratory, front: FrontSettings, out: Path, *, done: int, total: int) -> None:
    settings, table = laboratory.settings, laboratory.evaluator.table
    fields = {
        "run folder": shown(out),
        "table": f"{shown(table.path)}: {len(table)} rows, best {table.optimum:.4g}",
        "space": f"{laboratory.space.name}: {size(laboratory.space):.3g} genotypes",
        "controllers": ", ".join(settings.controllers),
        "seeds": f"{settings.first_seed} … {settings.first_seed + settings.seeds - 1}",
        "budget": f"{settings.budget} queries",
        "workers": min(max(1, total - done), settings.workers or num_cores()),
    }
    if front.seeds:
        fields["with cost"] = f"{', '.join(front.controllers)} on {front.seeds} seeds"
    if done:
        fields["going on"] = f"{done} of {total} searches are done"
    header("compare", fields)


def _conclude(
    cfg: DictConfig, out: Path, laboratory: Laboratory, trials: Sequence[Mapping[str, Any]], front: FrontSettings
) -> dict[str, Any]:
    """Writes and prints what the trials come to."""
    settings, optimum = laboratory.settings, laboratory.evaluator.table.optimum
    groups = by_controller(trials, "accuracy", settings.controllers)
    rows = accuracy_figures(groups, settings=settings, optimum=optimum)
    front_groups = by_controller(trials, "front", front.controllers)
    report: dict[str, Any] = {
        "settings": {**plain(cfg.compare, "compare"), "front": plain(cfg.front, "front")},
        "table": plain(cfg.table, "table"),
        "optimum": optimum,
        "controllers": rows,
        "front": _front(laboratory, front_groups) if front_groups else None,
        "configs": {name: plain(_controller_config(name, cfg.controller), name) for name in laboratory.controllers},
        "environment": environment(build_runtime(cfg), seed=settings.first_seed),
    }
    front_rows = report["front"]["controllers"] if front_groups else []
    points = curves(groups, part="accuracy")
    write_csv(out / "compare.csv", _joined(rows, front_rows))
    write_csv(out / "curves.csv", [*points, *curves(front_groups, part="front")])
    comparison_plot(
        points,
        front_rows,
        marks=settings.marks,
        optimum=optimum,
        names=list(laboratory.controllers),
        path=out / "compare.svg",
    )
    write_json(out / "compare.json", report)
    _print(settings, rows, front_rows)
    note(f"figures in {shown(out / 'compare.json')}, compare.csv, curves.csv and compare.svg")
    if settings.portions > 1:
        note(f"of portion {settings.portion} of {settings.portions} alone; {JOIN}")
    return report


def _front(laboratory: Laboratory, groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    cost, table, reference = laboratory.cost, laboratory.evaluator.table, laboratory.reference
    assert isinstance(cost, TabularCost)
    assert reference is not None
    costs, reports = table.column("cost"), table.column("report")
    points = [(costs[key], reports[key]) for key in reports]
    area = hypervolume(points, reference=reference)
    return {
        "cost": FIELDS[cost.name],
        "target": getattr(laboratory.rewards["front"], "target", None),
        "reference": list(reference),  # the largest cost and the median report of the table
        "true_area": area,
        "true_front": [list(points[number]) for number in nondominated(points)],
        "controllers": front_figures(groups, settings=laboratory.settings, true_area=area),
    }


def _joined(rows: Sequence[Mapping[str, Any]], fronts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns a row a controller for `compare.csv`, the figures of its fronts with the prefix `front_`."""
    joined: dict[str, dict[str, Any]] = {}
    for row in rows:
        mean, std = row["published"] or (None, None)
        figures = {key: value for key, value in row.items() if key != "published"}
        joined[row["controller"]] = {**figures, "published_mean": mean, "published_std": std}
    for row in fronts:
        figures = {f"front_{key}": value for key, value in row.items() if key != "controller"}
        joined.setdefault(row["controller"], {"controller": row["controller"]}).update(figures)
    return list(joined.values())


def _print(
    settings: ComparisonSettings, rows: Sequence[Mapping[str, Any]], fronts: Sequence[Mapping[str, Any]]
) -> None:
    """Prints the tables, and in words what was shown."""
    width = max(len(name) for name in [*settings.controllers, *(row["controller"] for row in fronts)])
    first = Column("controller", f"{'controller':>{width}}", "")
    marks, budget = settings.marks, settings.budget
    near = [mark for mark in marks if mark < budget][-1:]  # regret is shown there and at the end
    table = Table(
        [
            first,
            *(Column(f"at_{mark}", f"{f'at {mark}':>11}", "") for mark in marks),
            *(Column(f"median_regret_at_{mark}", f"regret {mark}", ".3f") for mark in [*near, budget]),
            Column("last_worst", f"worst last {settings.last}", ".2f"),
            Column("seconds_per_query", "ms/query", ".2f", 1000),
            Column(f"p_at_{budget}", f"p {settings.baseline}", ".2g"),
            Column("shown_published", "  published", ""),
        ]
    )
    note("test accuracy of the best by reward, % (mean ± standard deviation); median regret, points")
    for row in rows:
        cells = {f"at_{mark}": _spread(row[f"mean_at_{mark}"], row[f"std_at_{mark}"]) for mark in marks}
        table.row({**row, **cells, "shown_published": _spread(*row["published"]) if row["published"] else None})
    if fronts:
        note("accuracy and cost rewarded: area of the true front that was found, % (mean ± standard deviation)")
        front_table = Table(
            [
                first,
                *(Column(f"at_{mark}", f"{f'at {mark}':>11}", "") for mark in marks),
                Column("ratio_worst", "worst", ".2f", 100),
                Column(f"p_at_{budget}", f"p {settings.baseline}", ".2g"),
            ]
        )
        for row in fronts:
            ratios = {mark: (100 * row[f"ratio_at_{mark}"], 100 * row[f"std_at_{mark}"]) for mark in marks}
            front_table.row({**row, **{f"at_{mark}": _spread(*values) for mark, values in ratios.items()}})
    for row in rows:
        if f"p_at_{budget}" in row:
            result(_sentence(row, baseline=str(settings.baseline), budget=budget))


def _spread(mean: float, std: float) -> str:
    return f"{mean:.2f} ±{std:.2f}" if std == std else f"{mean:.2f}"  # the deviation of one value is NaN


def _sentence(row: Mapping[str, Any], *, baseline: str, budget: int) -> str:
    """Says whether a controller differs from the baseline after the whole budget."""
    low, high, p = (row[f"{key}_at_{budget}"] for key in ("gain_low", "gain_high", "p"))
    if low is None:
        return f"{row['controller']}: one seed shows no difference from {baseline}"
    verdict = "no difference shown from"
    if p < 0.05 and (low > 0 or high < 0):
        verdict = "better than" if low > 0 else "worse than"
    return (
        f"{row['controller']}: {verdict} {baseline} after {budget} queries "
        f"(95 % interval of the difference {low:+.3f} … {high:+.3f} points, Mann-Whitney p = {p:.2g})"
    )
