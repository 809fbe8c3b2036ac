"""A budget of time, `budget=2h`: the plan of a run that is to end in time, made once from measured steps, and kept.

The plan predicts the seconds of each part. Where they are more than the budget, all lengths (epochs, queries,
candidates, finalists) are shortened by one factor. A part that turns out slower than planned ends when its share of the
time is over, and later parts are cut again. Such decisions are kept with the plan: a run that is resumed or replayed
repeats them.
"""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from omegaconf import DictConfig, OmegaConf

from nas.compute.device import Runtime, busy_cores, threads_set
from nas.compute.distributed.ranks import ALONE, Ranks
from nas.compute.worker_pool import num_processes
from nas.data.named import ImageData
from nas.jobs.building.config import build, merged
from nas.jobs.building.derived_models import derived_network_config, initial_network
from nas.jobs.building.parts import build_data
from nas.jobs.building.search_parts import build_search
from nas.jobs.score import UNTRAINED_IMAGES, untrained_scores
from nas.runs.checkpoints import load_json, write_json
from nas.runs.console import header, note, shown
from nas.runs.listing import PLAN_FILE
from nas.runs.seeds import derive_seed
from nas.searching.random_cells import random_stream
from nas.searching.search import Search
from nas.searching.shared_weights import SharedWeights
from nas.searching.stand_alone import StandAlone, finals_data, finals_settings
from nas.searching.successive_halving import cost, parse_time, plan
from nas.training.member import Member, MemberTraining
from nas.training.settings import RetrainSettings
from search_spaces.genotype import Genotype

Made = TypeVar("Made")

MARGIN = 0.9
"""Share of the time that shortened parts are planned to take."""
START_SECONDS = 2.0
"""Of a process before its job begins."""
FIXED = {"figures": 4.0, "latency": 10.0}
"""Parts that cannot be shorter, with their seconds: what a search writes at its end; the latency and the report."""
TIMED_CELLS, COUNTED_CELLS = 3, 40
"""Cells whose training is timed; cells that are drawn for each random one of the found cell's size."""
clock = time.monotonic


class Part(NamedTuple):
    """A part of a job.

    Attributes:
        seconds: That it takes as it was asked for.
        least: The share of them below which it cannot be shortened; 1: it has one length.
    """

    seconds: float
    least: float = 1.0


@dataclass(slots=True, kw_only=True)
class Plan:
    """The plan of a run, and what was decided by the clock.

    Attributes:
        file: Where it is kept; None: there is no budget, and nothing is bounded.
        seconds: The budget; infinite where decisions are only repeated.
        parts: Seconds that each part is planned to take, in order.
        lengths: By dotted key, the settings that differ from those asked for.
        decided: By name, what was decided later.
        spent: Seconds of earlier starts.
        started: When this start began, by the clock.
        ranks: The processes that work together; the first one's clock counts.
        ends: By part that has begun, the second of the run at which it is to end.
    """

    file: Path | None = None
    seconds: float = math.inf
    parts: dict[str, float] = field(default_factory=dict)
    lengths: dict[str, Any] = field(default_factory=dict)
    decided: dict[str, Any] = field(default_factory=dict)
    spent: float = 0.0
    started: float = 0.0
    ranks: Ranks = ALONE
    ends: dict[str, float] = field(default_factory=dict)

    @property
    def elapsed(self) -> float:
        """Seconds of the run so far."""
        return self.spent + clock() - self.started

    def left(self, part: str) -> float:
        """Returns the seconds that a part has left: of the rest of the budget its share by the plan, when it began."""
        if part not in self.parts or math.isinf(self.seconds):
            return math.inf
        return self.ranks.from_first(lambda: self._left(part))

    def _left(self, part: str) -> float:
        now = self.elapsed
        if part not in self.ends:
            later = list(self.parts)[list(self.parts).index(part) :]
            fixed = sum(self.parts[name] for name in later if name in FIXED)
            share = self.parts[part] / sum(self.parts[name] for name in later if name not in FIXED)
            self.ends[part] = now + share * (self.seconds - now - fixed)
        self.keep()
        return self.ends[part] - now

    def decide(self, name: str, make: Callable[[], Made]) -> Made:
        """Returns what was decided under a name before, or else what is decided now, and kept."""
        if self.file is None:
            return make()
        if name not in self.decided:
            self.decided[name] = make()
            self.keep()
        found: Made = self.decided[name]
        return found

    def cut(self, part: str, settings: Any, seconds: Callable[[], float]) -> dict[str, Any]:
        """Returns the settings of a part that are to change because it turns out slower than planned.

        Args:
            part: About to begin.
            settings: Of the part, as planned.
            seconds: Measures how long it will take.
        """
        if math.isinf(left := self.left(part)):
            return {}
        measured = seconds()
        needed = self.ranks.from_first(lambda: measured)
        found = shorter(asdict(settings), 1 if needed <= left else MARGIN * max(0.0, left) / needed)
        if found:
            note(f"{part}: {needed:.0f} s as planned, {left:.0f} s are left: {_said(found, asdict(settings))}")
        return found

    def config(self, cfg: DictConfig) -> DictConfig:
        """Returns the config with the lengths of the plan."""
        changed = merged(cfg, {})
        for key, value in self.lengths.items():
            OmegaConf.update(changed, key, value)
        return changed

    def keep(self) -> None:
        """Writes the plan down, with the time that is spent."""
        if self.file is not None and self.ranks.first:
            known = {name: getattr(self, name) for name in ("seconds", "parts", "lengths", "decided")}
            write_json(self.file, {**known, "spent": self.elapsed})


def make_plan(
    cfg: DictConfig,
    out: Path,
    runtime: Runtime,
    *,
    measure: Callable[[], Mapping[str, Part]],
    started: float | None,
) -> Plan:
    """Makes the plan of a run, says it and keeps it in the run folder, or takes over the one that is there.

    Args:
        cfg: Config of the job.
        out: The run folder.
        runtime: Its ranks count.
        measure: Measures the parts, in their order.
        started: When the job began, by the clock; None: now.

    Raises:
        ValueError: If the budget is not a time, or the plan in the folder is damaged.
    """
    file, ranks, given = out / PLAN_FILE, runtime.ranks, OmegaConf.select(cfg, "budget")
    began = clock() if started is None else started - START_SECONDS
    budget = math.inf if given is None else parse_time(given)
    known = ranks.from_first(lambda: load_json(file) if file.exists() else None)
    if known is not None:
        seconds = math.inf if known["seconds"] is None else budget
        note(f"the plan is that of {shown(file)}; {known['spent']:.0f} s are spent")
        return Plan(file=file, started=began, ranks=ranks, **{**known, "seconds": seconds})
    made = Plan(file=None if given is None else file, seconds=budget, started=began, ranks=ranks)
    if given is None:
        return made
    measured = dict(measure())
    asked, elapsed, begun = ranks.from_first(
        lambda: (measured, made.elapsed, any((out / name).exists() for name in ("checkpoint.pt", "members")))
    )
    total = elapsed + sum(part.seconds for part in asked.values())
    factor = 1.0 if begun or total <= budget else factor_for(list(asked.values()), MARGIN * budget - elapsed)
    changed = {name: shorter(cfg[name], factor) for name in ("search", "retrain") if name in asked}
    made.lengths = {f"{group}.{key}": new for group, several in changed.items() for key, new in several.items()}
    made.parts = {name: part.seconds * max(part.least, factor) for name, part in asked.items()}
    made.keep()
    planned = elapsed + sum(made.parts.values())
    how = "as asked" if planned == total else f"{total:.0f} s as asked, every length times {factor:.2f}"
    fields: dict[str, str] = {
        "time": f"{given}: {planned:.0f} s planned, {how}",
        **{group: _said(several, cfg[group]) for group, several in changed.items() if several},
        "parts": ", ".join(f"{name} {seconds:.0f} s" for name, seconds in made.parts.items()),
    }
    header("budget", {**fields, "plan": shown(file)})
    if begun:
        note("the run was begun without a budget: what it has begun keeps its length")
    elif planned > budget:
        note(f"warning: the least plan takes about {planned:.0f} s, more than budget={given}")
    return made


def factor_for(parts: Sequence[Part], seconds: float) -> float:
    """Returns the factor by which parts are shortened to fit some seconds together, none below its least length."""
    factor = 1.0
    for _ in parts:
        at_least = sum(part.seconds * part.least for part in parts if part.least >= factor)
        free = sum(part.seconds for part in parts if part.least < factor)
        factor = min(factor, max(0.0, seconds - at_least) / free) if free else factor
    return factor


def shorter(settings: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Returns the lengths of a search or a training times a factor, at least 1, as far as they change.

    Schedules that are told in epochs keep their share of them.
    """
    length = "epochs" if "epochs" in settings else "queries"
    count = max(1, math.floor(settings[length] * factor))
    share = count / settings[length]
    changed = {length: count, "first_cycle": settings.get("first_cycle", 0) * share}
    changed |= {key: math.floor((settings.get(key) or 0) * share) for key in ("harden_epoch", "keep_every")}
    changed["final_samples"] = max(2, math.floor(settings.get("final_samples", 0) * factor))
    return {key: new for key, new in changed.items() if settings.get(key) and new < settings[key]}


def _said(changed: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """Returns the lengths that changed, such as `10 of 15 epochs`."""
    names = {"epochs": "epochs", "queries": "queries", "final_samples": "candidates"}
    return ", ".join(f"{changed[key]} of {before[key]} {name}" for key, name in names.items() if key in changed)


def search_parts(cfg: DictConfig, out: Path, runtime: Runtime) -> dict[str, Part]:
    """Measures the parts of a search, on one of its own that is thrown away."""
    search, _ = build_search(cfg, runtime, out=out)
    evaluator, figures = search.evaluator, {"figures": Part(FIXED["figures"])}
    drawn = list(itertools.islice(random_stream(search.space, seed=derive_seed(cfg.seed, "timed cells")), 32))
    if isinstance(evaluator, SharedWeights):
        return _shared_parts(search, cfg, runtime, itertools.cycle(drawn))
    if isinstance(evaluator, StandAlone):
        training, queries = evaluator.protocol.settings, search.settings.queries
        derived, data = derived_network_config(cfg, training), finals_data(build_data(cfg, runtime))
        each = epoch_seconds(drawn, derived, training, data, runtime, threads=1) / evaluator.pool.workers
        return {"search": Part(queries * training.epochs * each, 1 / queries), **figures}
    return figures  # a search in a table takes no time


def _shared_parts(
    search: Search[SharedWeights], cfg: DictConfig, runtime: Runtime, cells: Iterator[Genotype]
) -> dict[str, Part]:
    evaluator, settings = search.evaluator, search.evaluator.settings
    batch = settings.samples_per_update
    rewarded = _timed(lambda: evaluator.evaluate(list(itertools.islice(cells, batch)), seed=0)) / batch
    epoch = evaluator.epoch_seconds(lambda count: list(itertools.islice(cells, count)))
    epoch += settings.controller_samples * rewarded
    copies = settings.epochs // settings.keep_every if settings.keep_every else 0
    scored = max(1, copies) * _timed(lambda: evaluator.score([next(cells)]))
    counted = _timed(lambda: evaluator.costs["parameters"](next(cells)))
    images, _ = next(iter(evaluator.data.train.batches(UNTRAINED_IMAGES, seed=0)))
    untrained = _timed(lambda: untrained_scores(cfg, next(cells), images, evaluator.data.kind, runtime))
    candidates = settings.final_samples
    listed = scored + (untrained if settings.finalists and settings.shortlist != "shared" else 0)
    parts = {
        "search": Part(settings.epochs * epoch, 1 / settings.epochs),
        "scoring": Part(candidates * listed, min(1, 2 / candidates)),
    }
    if settings.finalists:
        workers = num_processes(
            settings.finalists,
            workers=settings.finals_workers if runtime.ranks.alone else 1,
            device=runtime.device.type,
        )
        data, training = finals_data(evaluator.data), finals_settings(settings)
        each = epoch_seconds(list(itertools.islice(cells, TIMED_CELLS)), cfg, training, data, runtime, threads=1)
        most, least = (cost(plan(count, settings.rungs)) for count in (min(settings.finalists, candidates + 1), 2))
        parts["finals"] = Part(most * each / workers, least / most)
        if settings.random_search:  # for the same core-seconds
            alone = busy_cores(runtime.device) / workers
            same = alone * (parts["search"].seconds + parts["scoring"].seconds) + parts["finals"].seconds
            parts["random_search"] = Part(same, least / most)
    sized = 0.0 if settings.random_parameters is None else COUNTED_CELLS * counted
    return {**parts, "figures": Part(FIXED["figures"] + settings.random_cells * (scored + sized))}


def pipeline_parts(cfg: DictConfig, out: Path, runtime: Runtime) -> dict[str, Part]:
    """Measures the parts of a pipeline: of its search, and of retrainings of cells drawn at random."""
    parts = search_parts(cfg, out, runtime)
    settings: RetrainSettings = replace(build(cfg.retrain, "retrain"), warm_start=None)
    space = build(cfg.search_space, "search_space")
    drawn = list(itertools.islice(random_stream(space, seed=derive_seed(cfg.seed, "timed cells")), TIMED_CELLS))
    each = epoch_seconds(drawn, derived_network_config(cfg, settings), settings, build_data(cfg, runtime), runtime)
    trainings = (2 if "random_search" in parts else 1) * len(settings.seeds)
    trainings += sum(len(settings.seeds_of_random(cell)) for cell in range(cfg.search.random_cells))
    retrain = Part(trainings * settings.epochs * each, 1 / settings.epochs)
    return {**parts, "retrain": retrain, "latency": Part(FIXED["latency"])}


def epoch_seconds(
    cells: Sequence[Genotype | None],
    cfg: DictConfig,
    settings: RetrainSettings,
    data: ImageData,
    runtime: Runtime,
    *,
    threads: int | None = None,
) -> float:
    """Returns the mean seconds that an epoch of a training takes, from the time of some steps of up to three cells.

    Args:
        cells: What is trained, from scratch or as the settings say.
        cfg: Config of the networks.
        settings: Of a training.
        data: Trained on `full`.
        runtime: Where and how.
        threads: Of a training on a CPU; None: as many as torch has.
    """
    found = []
    with threads_set(threads if runtime.device.type == "cpu" else None):
        for cell in cells[:: math.ceil(len(cells) / TIMED_CELLS)]:
            member = Member(label="timed", seed=0, genotype=cell)
            network = runtime.place(initial_network(member, cfg, data, settings, ranks=runtime.ranks))
            training = MemberTraining(member=member, network=network, data=data, settings=settings, runtime=runtime)
            found.append(training.epoch_seconds())
    return statistics.fmean(found)


def _timed(work: Callable[[], object]) -> float:
    """Returns the seconds of the second of two calls: the first warms up."""
    work()
    started = clock()
    work()
    return clock() - started
