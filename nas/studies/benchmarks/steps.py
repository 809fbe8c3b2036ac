"""Training steps and rewards: images a second, compared with an eager loop, a plain network and each switch off."""

import itertools
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from nas.compute.device import Runtime, num_cores
from nas.compute.timing import median_ratio, timing
from nas.models.derived import copy_shared_weights
from nas.runs.console import progress
from nas.studies.benchmarks.eager import EagerProcess, EagerSettings
from nas.studies.benchmarks.workbench import Times, Work, Workbench
from nas.training.settings import TrainingSettings
from search_spaces.cells import CellCandidates, genotype_candidates
from search_spaces.genotype import Genotype

SEARCH, REWARD, RETRAIN = "search step", "reward", "retrain step"
EAGER = {SEARCH: "search step, eager loop", RETRAIN: "retrain step, eager loop"}
OFF: dict[str, object] = {"graphs": False, "autocast": "off", "channels_last": False, "compile": False}
"""By switch of the runtime, the value that turns it off."""
ALL_ON = "as configured"


def measure_throughput(bench: Workbench) -> dict[str, Any]:
    """Times steps of search and retraining and the reward of a cell, for several random cells.

    If the part `eager` is asked for, the straightforward loop takes its turns too, and its figures are entered in
    `bench.done`: those of its steps, and `speedup`, by name how many times longer it takes, see `speedup`.

    Returns:
        By name of the work `ms` of one unit (a step, a cell) with least and greatest; `images_per_second`; `setup_ms`,
        what the first piece of a cell takes longer, as it may be recorded or compiled.
    """
    evaluator, settings = bench.search.evaluator, bench.settings
    count = settings.rewards
    cells = bench.cells(count * (settings.warmup + settings.rounds))  # others for every piece, as a search has them
    rewards = itertools.cycle([cells[first : first + count] for first in range(0, len(cells), count)])

    def cell_work(genotype: Genotype) -> dict[str, Work]:
        """Returns the pieces of work on one cell; each baseline follows what it is compared with."""
        return {
            SEARCH: bench.search_steps(genotype),
            **_eager_steps(bench, SEARCH, bench.space.candidates(), genotype, evaluator.settings),
            REWARD: lambda: evaluator.scorer.batch_scores(next(rewards), seed=0),
            RETRAIN: bench.retrain_steps(genotype, bench.retrainer(bench.derived(genotype))),
            **_eager_steps(bench, RETRAIN, genotype_candidates(genotype), genotype, bench.retraining),
        }

    with progress("throughput", total=settings.genotypes) as bar:
        timed = []
        for genotype in bench.cells():
            timed.append(bench.time_with_setup(cell_work(genotype)))
            bar.advance()
    images = {REWARD: evaluator.scorer.reward_batch_size}
    images |= dict.fromkeys((RETRAIN, EAGER[RETRAIN]), bench.retraining.batch_size)
    figures: dict[str, Any] = {}
    for name in timed[0][0]:
        number = count if name == REWARD else bench.steps
        milliseconds = [ms / number for times, _ in timed for ms in times[name]]
        row = summary(milliseconds, images=images.get(name, evaluator.settings.batch_size))
        figures[name] = {**row, "setup_ms": statistics.median(setup[name] for _, setup in timed)}
        bench.results.append(f"{name}: {row['images_per_second']:,.0f} images/s ({row['ms']:.2f} ms)")
    if "eager" in bench.parts:
        speedups = {name: speedup(name, [times for times, _ in timed]) for name in EAGER}
        bench.done["eager"] = {**{name: figures.pop(name) for name in EAGER.values()}, "speedup": speedups}
        bench.results.extend(
            [
                f"{name}: {ratio['median']:.2f} times as fast as the eager loop (median; least of a cell "
                f"{ratio['worst']:.2f})"
                for name, ratio in speedups.items()
            ]
        )
    return figures


def summary(milliseconds: Sequence[float], *, images: int) -> dict[str, float]:
    """Returns median, least and greatest milliseconds of a unit of work, and the images a second at the median."""
    median = statistics.median(milliseconds)
    extremes = {"min_ms": min(milliseconds), "max_ms": max(milliseconds)}
    return {"ms": median, **extremes, "images_per_second": 1000 * images / median}


def speedup(name: str, cells: Sequence[Mapping[str, list[float]]]) -> dict[str, float]:
    """Returns how many times longer the straightforward loop takes for the same work.

    Args:
        name: Name of the work.
        cells: Milliseconds by name for each cell, one a round.

    Returns:
        `median` over all rounds of all cells, and `worst`, the least median of a cell.
    """
    ratios = [[a / b for a, b in zip(times[EAGER[name]], times[name], strict=True)] for times in cells]
    return {"median": statistics.median(itertools.chain(*ratios)), "worst": min(map(statistics.median, ratios))}


def _eager_steps(
    bench: Workbench,
    name: str,
    candidates: Mapping[str, CellCandidates],
    genotype: Genotype,
    training: TrainingSettings,
) -> dict[str, Work]:
    """Returns the straightforward loop's steps, in a process of its own, if that part is asked for."""
    if "eager" not in bench.parts:
        return {}
    data = bench.search.evaluator.data
    settings = EagerSettings(
        image_shape=data.image_shape,
        num_classes=data.num_classes,
        augmentation=data.augmentation,
        training=training,
        steps=bench.steps,
        workers=min(bench.settings.workers, num_cores()),
        device=bench.runtime.device,
    )
    network = bench.make_network(candidates)
    return {EAGER[name]: EagerProcess(network, genotype, settings=settings, threads=torch.get_num_threads()).epoch}


def measure_ratio(bench: Workbench) -> dict[str, Any]:
    """Times training steps of the supernet's path and of the derived model, both with the search's trainer, in turns.

    Returns:
        `cells`, for each its genotype, both times and the median of their ratio; `median_ratio` and `worst_ratio`.
    """
    cells: list[dict[str, Any]] = []
    with progress("supernet and plain network", total=bench.settings.genotypes) as bar:
        for genotype in bench.cells():
            plain = bench.derived(genotype)
            copy_shared_weights(plain, bench.search.evaluator.trainer.network.state_dict())
            own = bench.search_steps(genotype, bench.search_trainer(plain))
            times, _ = bench.time_with_setup({"supernet": bench.search_steps(genotype), "plain": own})
            rows = {name: asdict(timing([ms / bench.steps for ms in values])) for name, values in times.items()}
            ratio = median_ratio(times["supernet"], times["plain"])
            cells.append({"genotype": genotype.to_dict(), **rows, "ratio": ratio})
            bar.advance()
    ratios = [cell["ratio"] for cell in cells]
    median, worst = statistics.median(ratios), max(ratios)
    bench.results.append(
        f"a supernet step costs {median:.3f} times the plain network's "
        f"(median of {len(cells)} cells, worst {worst:.3f})"
    )
    return {"median_ratio": median, "worst_ratio": worst, "cells": cells}


def measure_switches(bench: Workbench) -> dict[str, Any]:
    """Times steps of search and retraining as configured and with each switch off, in turns, networks for each.

    Returns:
        By kind of step and switch `ms` a step, and `ratio`, the median over the rounds of the time without the switch
        divided by the time with it. Switches that are off already, or that this device lacks, are left out.
    """
    (genotype,) = bench.cells(1)
    variants = runtimes(bench)
    work: dict[str, Work] = {}
    for name, runtime in variants.items():
        retrainer = bench.retrainer(bench.derived(genotype, runtime=runtime), runtime=runtime)
        work[f"{SEARCH}, {name}"] = bench.search_steps(genotype, bench.make_search(runtime).evaluator.trainer)
        work[f"{RETRAIN}, {name}"] = bench.retrain_steps(genotype, retrainer)
    times = bench.time(work)
    figures: dict[str, Any] = {}
    for kind in (SEARCH, RETRAIN):
        own: Times = {name: times[f"{kind}, {name}"] for name in variants}
        figures[kind] = {
            name: {"ms": statistics.median(values) / bench.steps, "ratio": median_ratio(values, own[ALL_ON])}
            for name, values in own.items()
        }
        named = [(name, row["ratio"]) for name, row in figures[kind].items() if name != ALL_ON]
        bench.results.extend([f"{kind} {name}: {ratio:.2f} times the time" for name, ratio in named])
    return figures


def runtimes(bench: Workbench) -> dict[str, Runtime]:
    """Returns the runtime as configured and, by switch, that without it where steps are then taken in another way."""

    def way(runtime: Runtime) -> tuple[object, ...]:
        """Returns how steps are taken: switches at `auto` count as what they come to in a long training."""
        return runtime.autocast, runtime.channels_last, runtime.graphs, runtime.compiles(steps=sys.maxsize)

    made = {name: bench.make_runtime(**{name: value}) for name, value in OFF.items()}
    others = {f"without {name}": runtime for name, runtime in made.items() if way(runtime) != way(bench.runtime)}
    return {ALL_ON: bench.runtime, **others}
