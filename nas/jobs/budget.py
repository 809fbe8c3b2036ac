"""A budget of time, `budget=2h`: the plan of a run that is to end in time, made once from measured steps, and kept.

The plan predicts the seconds of each part. Where they are more than the budget, all lengths (epochs, queries,
candidates, finalists) are shortened by one factor. A part that turns out slower than planned ends when its share of the
time is over, and later parts are cut again. Such decisions are kept with the plan: a run that is resumed or replayed
repeats them.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import monotonic as clock
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nas.compute.device import Runtime
from nas.compute.distributed.ranks import ALONE, Ranks
from nas.compute.worker_pool import num_processes
from nas.jobs.building.config import build, merged
from nas.jobs.building.derived_models import derived_network_config, epoch_seconds
from nas.jobs.building.parts import build_data
from nas.jobs.building.search_parts import build_search
from nas.jobs.score import UNTRAINED_IMAGES, untrained_scores
from nas.runs.checkpoints import load_json, write_json
from nas.runs.console import header, note, shown
from nas.runs.listing import PLAN_FILE
from nas.searching.random_cells import random_stream
from nas.searching.search import Search
from nas.searching.stand_alone import finals_data, finals_settings
from nas.searching.successive_halving import cost, parse_time, plan

MARGIN = 0.9  # share of the time that shortened parts are planned to take
FIXED = {"figures": 4.0, "latency": 12.0}  # seconds of what is never shorter; with the latency, report, start and end
TIMED_STEPS = 6  # of the shared weights
COUNTED_CELLS = 40  # that are drawn for each random one of the found cell's size
Part = tuple[float, float]  # seconds of a part as it was asked for; the share of them below which it is never shortened


@dataclass(slots=True, kw_only=True)
class Plan:
    """The plan of a run, and what was decided by the clock.

    Attributes:
        file: Where it is kept; None: there is no budget, and nothing is bounded.
        seconds: The budget; infinite where decisions are only repeated.
        parts: Seconds that each part is planned to take, in order.
        lengths: By dotted key, the settings that differ from those asked for.
        decided: By name, what was decided later.
        began: When the run began, by the clock, times at which it was stopped left out.
        ranks: The processes that work together; the first one's clock counts.
        ends: By part that has begun, the second of the run at which it is to end.
    """

    file: Path | None
    seconds: float
    began: float
    parts: dict[str, float] = field(default_factory=dict)
    lengths: dict[str, Any] = field(default_factory=dict)
    decided: dict[str, Any] = field(default_factory=dict)
    ranks: Ranks = ALONE
    ends: dict[str, float] = field(default_factory=dict)

    @property
    def elapsed(self) -> float:
        """Seconds of the run so far, the same for all ranks."""
        return self.ranks.from_first(lambda: clock() - self.began)

    def left(self, part: str) -> float:
        """Returns the seconds that a part has left: of the rest of the budget its share by the plan, when it began."""
        if part not in self.parts or math.isinf(self.seconds):
            return math.inf
        now = self.elapsed
        if part not in self.ends:
            later = dict(itertools.dropwhile(lambda one: one[0] != part, self.parts.items()))
            fixed = sum(later.pop(name, 0.0) for name in FIXED)
            self.ends[part] = now + (self.seconds - now - fixed) * later[part] / sum(later.values())
        self.keep()
        return self.ends[part] - now

    def decide(self, name: str, make: Callable[[], Any]) -> Any:
        """Returns what was decided under a name before, or else what is decided now, and kept."""
        if name not in self.decided:
            self.decided[name] = make()
            self.keep()
        return self.decided[name]

    def cut(self, part: str, settings: Any, seconds: Callable[[], float]) -> dict[str, Any]:
        """Returns the settings of a part that are to change since it turns out slower than planned.

        Args:
            part: About to begin.
            settings: Of the part, as planned.
            seconds: Measures how long it will take.
        """
        if math.isinf(left := self.left(part)):
            return {}
        needed = seconds()
        found = shorter(asdict(settings), 1 if needed <= left else MARGIN * max(0.0, left) / needed)
        self.lengths |= {f"{part}.{key}": value for key, value in found.items()}
        said = "".join(f", {part}.{key}={value:g}" for key, value in found.items())
        note(f"{part}: {needed:.0f} s, and {left:.0f} s are left{said}")
        self.keep()
        return found

    def config(self, cfg: DictConfig) -> DictConfig:
        """Returns the config with the lengths of the plan."""
        return merged(cfg, OmegaConf.from_dotlist([f"{key}={value}" for key, value in self.lengths.items()]))

    def keep(self) -> None:
        """Writes the plan down, with the time that is spent."""
        if self.file is not None and self.ranks.first:
            known = {name: getattr(self, name) for name in ("seconds", "parts", "lengths", "decided")}
            write_json(self.file, {**known, "spent": clock() - self.began})


def make_plan(
    cfg: DictConfig, out: Path, runtime: Runtime, measure: Callable[[], dict[str, Part]], *, started: float | None
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
    budget = math.inf if given is None else parse_time(given)
    known = ranks.from_first(lambda: load_json(file) if file.exists() else None)
    began = (clock() if started is None else started) - (known or {"spent": 0.0})["spent"]
    if known is not None:
        note(f"the plan is that of {shown(file)}; {known.pop('spent'):.0f} s are spent")
        seconds = math.inf if known.pop("seconds") is None else budget
        return Plan(file=file, seconds=seconds, began=began, ranks=ranks, **known)
    made = Plan(file=None if given is None else file, seconds=budget, began=began, ranks=ranks)
    if given is None:
        return made
    measured = measure()
    parts, elapsed = ranks.from_first(lambda: measured), made.elapsed
    total = elapsed + sum(seconds for seconds, _ in parts.values())
    begun = ranks.from_first(lambda: (out / "checkpoint.pt").exists() or (out / "members").exists())
    factor = 1.0 if begun or total <= budget else factor_for([*parts.values()], MARGIN * budget - elapsed)
    groups = [name for name in ("search", "retrain") if name in parts]
    made.lengths = {f"{group}.{key}": new for group in groups for key, new in shorter(cfg[group], factor).items()}
    made.parts = {name: seconds * max(least, factor) for name, (seconds, least) in parts.items()}
    planned = elapsed + sum(made.parts.values())
    header(
        "budget",
        {
            "time": f"{planned:.0f} s of {given} are planned; as asked it would take {total:.0f} s",
            "parts": ", ".join(f"{name} {seconds:.0f} s" for name, seconds in made.parts.items()),
            "lengths": " ".join(f"{key}={value:g}" for key, value in made.lengths.items()) or "as asked",
            "plan": shown(file),
        },
    )
    if planned > budget:
        note(f"warning: no plan is so short as budget={given}")
    made.keep()
    return made


def factor_for(parts: Sequence[Part], seconds: float) -> float:
    """Returns the largest factor, in steps of 1 %, by which parts fit some seconds together; 0 if there is none."""
    factors = (percent / 100 for percent in range(100, 0, -1))
    return next((one for one in factors if sum(asked * max(least, one) for asked, least in parts) <= seconds), 0.0)


def shorter(settings: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Returns the lengths of a search or a training times a factor, at least 1, as far as they change.

    Schedules that are told in epochs keep their share of them.
    """
    length = "epochs" if "epochs" in settings else "queries"
    count = max(1, math.floor(settings[length] * factor))
    share = count / settings[length]
    changed = {
        length: count,
        "first_cycle": (settings.get("first_cycle") or 0) * share,
        "harden_epoch": math.floor((settings.get("harden_epoch") or 0) * share),
        "keep_every": max(1, math.floor((settings.get("keep_every") or 0) * share)),
        "final_samples": max(2, math.floor((settings.get("final_samples") or 0) * factor)),
    }
    return {key: new for key, new in changed.items() if settings.get(key) and new < settings[key]}


def search_parts(cfg: DictConfig, out: Path, runtime: Runtime) -> dict[str, Part]:
    """Measures the parts of a search, on one of its own that is thrown away."""
    search, _ = build_search(cfg, runtime, out=out)
    if search.evaluator.is_instant:
        return {"figures": (FIXED["figures"], 1.0)}
    if not search.evaluator.is_exact:
        return _shared_parts(search, cfg, runtime)
    training, queries = search.evaluator.protocol.settings, search.settings.queries
    derived, data = derived_network_config(cfg, training), finals_data(build_data(cfg, runtime))
    each = epoch_seconds(_drawn(search.space, cfg), derived, training, data, runtime, threads=1)
    seconds = queries * training.epochs * each / search.evaluator.pool.workers
    return {"search": (seconds, 1 / queries), "figures": (FIXED["figures"], 1.0)}


def _shared_parts(search: Search[Any], cfg: DictConfig, runtime: Runtime) -> dict[str, Part]:
    """Measures the parts of a search with shared weights."""
    evaluator, settings = search.evaluator, search.evaluator.settings
    drawn, data, batch = _drawn(search.space, cfg), finals_data(evaluator.data), settings.samples_per_update
    cells = itertools.cycle(drawn)
    batches = data.train.num_batches(settings.batch_size, drop_last=True)
    steps, images = min(TIMED_STEPS, batches), next(iter(data.train.batches(UNTRAINED_IMAGES, seed=0)))[0]
    step = _timed(lambda: evaluator.train(0, lambda count: [*itertools.islice(cells, count)], steps=steps)) / steps
    rewarded = _timed(lambda: evaluator.evaluate([*itertools.islice(cells, batch)], seed=0)) / batch
    copies = max(1, settings.epochs // settings.keep_every if settings.keep_every else 1)
    scored = copies * _timed(lambda: evaluator.score([next(cells)]))
    listed = scored
    if settings.finalists and settings.shortlist != "shared":
        listed += _timed(lambda: untrained_scores(cfg, next(cells), images, data.kind, runtime))
    epoch = batches * step + settings.controller_samples * rewarded
    parts = {
        "search": (settings.epochs * epoch, 1 / settings.epochs),
        "scoring": (settings.final_samples * listed, min(1.0, 2 / settings.final_samples)),
    }
    if settings.finalists:
        wanted = settings.finals_workers if runtime.ranks.alone else 1
        workers = num_processes(settings.finalists, workers=wanted, device=runtime.device.type)
        each = epoch_seconds(drawn, cfg, finals_settings(settings), data, runtime, threads=1)
        whole, least = (cost(plan(count, settings.rungs)) for count in (settings.finalists, 2))
        parts["finals"] = (whole * each / workers, least / whole)
    if settings.random_search:  # for the same core-seconds
        parts["random_search"] = (sum(seconds for seconds, _ in parts.values()), parts["finals"][1])
    counted = COUNTED_CELLS * _timed(lambda: evaluator.costs["parameters"](next(cells)))
    sized = scored + (0.0 if settings.random_parameters is None else counted)
    return {**parts, "figures": (FIXED["figures"] + settings.random_cells * sized, 1.0)}


def pipeline_parts(cfg: DictConfig, out: Path, runtime: Runtime) -> dict[str, Part]:
    """Measures the parts of a pipeline: of its search, and of retrainings of cells drawn at random."""
    parts = search_parts(cfg, out, runtime)
    settings = replace(build(cfg.retrain, "retrain"), warm_start=None)
    drawn, data = _drawn(build(cfg.search_space, "search_space"), cfg), build_data(cfg, runtime)
    each = epoch_seconds(drawn, derived_network_config(cfg, settings), settings, data, runtime)
    trainings = (2 if "random_search" in parts else 1) * len(settings.seeds)
    trainings += sum(len(settings.seeds_of_random(cell)) for cell in range(cfg.search.random_cells))
    retrain = (trainings * settings.epochs * each, 1 / settings.epochs)
    return {**parts, "retrain": retrain, "latency": (FIXED["latency"], 1.0)}


def _drawn(space: Any, cfg: DictConfig) -> list[Any]:
    """Returns cells drawn at random."""
    return [*itertools.islice(random_stream(space, seed=cfg.seed), 32)]


def _timed(work: Callable[[], object]) -> float:
    """Returns the seconds of the second of two calls: the first warms up."""
    work()
    started = clock()
    work()
    return clock() - started
