"""Images a second of the three passes that searching and retraining are made of, beside a straightforward loop."""

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from nas.compute.device import num_cores
from nas.compute.timing import median_ratio
from nas.studies.benchmarks.eager.loop import EagerSettings
from nas.studies.benchmarks.eager.process import EagerProcess
from nas.studies.benchmarks.workbench import Work, Workbench
from nas.training.settings import TrainingSettings
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Genotype

SEARCH, REWARD, RETRAIN = "search step", "reward", "retrain step"
EAGER = {SEARCH: "search step, eager loop", RETRAIN: "retrain step, eager loop"}


def measure_throughput(bench: Workbench, *, eager: bool) -> dict[str, Any]:
    """Times steps of search and retraining and the reward of a cell, for several random cells.

    Args:
        bench: What to measure with.
        eager: Whether the straightforward loop takes its turns too.

    Returns:
        By name of the work `ms` of one unit (a step, a cell) with least and greatest; `images_per_second`; `setup_ms`,
        what the first piece of a cell takes longer, as it may be recorded or compiled. With `eager` also `speedup`, by
        name: how many times longer the straightforward loop takes, see `speedup`.
    """
    timed = bench.time_cells("throughput", partial(_cell_work, bench, eager=eager))
    units = {REWARD: bench.settings.rewards}
    images = {REWARD: bench.search.evaluator.scorer.reward_batch_size}
    images |= dict.fromkeys((RETRAIN, EAGER[RETRAIN]), bench.retraining.batch_size)
    figures: dict[str, Any] = {}
    for name in timed[0].times:
        number = units.get(name, bench.steps)
        milliseconds = [ms / number for cell in timed for ms in cell.times[name]]
        first = [max(0.0, cell.first[name] - statistics.median(cell.times[name])) for cell in timed]
        figures[name] = {
            **summary(milliseconds, images=images.get(name, bench.search.evaluator.settings.batch_size)),
            "setup_ms": statistics.median(first),
        }
    if eager:
        figures["speedup"] = {ours: speedup(ours, [cell.times for cell in timed]) for ours in EAGER}
    return figures


def summary(milliseconds: Sequence[float], *, images: int) -> dict[str, float]:
    """Returns median, least and greatest milliseconds of a unit of work, and the images a second at the median."""
    median = statistics.median(milliseconds)
    return {
        "ms": median,
        "min_ms": min(milliseconds),
        "max_ms": max(milliseconds),
        "images_per_second": 1000 * images / median,
    }


def speedup(name: str, cells: Sequence[Mapping[str, list[float]]]) -> dict[str, float]:
    """Returns how many times longer the straightforward loop takes for the same work.

    Args:
        name: Of the work.
        cells: For each cell its milliseconds by name, one a round.

    Returns:
        `median` over all rounds of all cells, and `worst`, the least median of a cell.
    """
    eager = [value for times in cells for value in times[EAGER[name]]]
    ours = [value for times in cells for value in times[name]]
    worst = min(median_ratio(times[EAGER[name]], times[name]) for times in cells)
    return {"median": median_ratio(eager, ours), "worst": worst}


def _cell_work(bench: Workbench, genotype: Genotype, *, eager: bool) -> Mapping[str, Work]:
    """Returns the pieces of work for one cell; each baseline follows what it is compared with."""
    search = bench.search
    rewarded = reward_batches(bench)
    work: dict[str, Work] = {SEARCH: bench.search_steps(search.evaluator.trainer, genotype)}
    if eager:
        supernet = bench.build.network(bench.space.candidates())
        work[EAGER[SEARCH]] = eager_epoch(bench, supernet, genotype, settings=search.evaluator.settings)
    work[REWARD] = lambda: search.evaluator.scorer.batch_scores(next(rewarded), seed=0)
    work[RETRAIN] = bench.retrain_steps(bench.retrainer(bench.derived(genotype)), genotype)
    if eager:
        derived = bench.build.network(genotype_candidates(genotype))
        work[EAGER[RETRAIN]] = eager_epoch(bench, derived, genotype, settings=bench.retraining)
    return work


def reward_batches(bench: Workbench) -> Iterator[list[Genotype]]:
    """Returns cells to reward, others for every timed piece, as a search has them."""
    count, pieces = bench.settings.rewards, bench.settings.warmup + bench.settings.rounds
    cells = bench.cells(count * pieces)
    return itertools.cycle([cells[first : first + count] for first in range(0, len(cells), count)])


def eager_epoch(bench: Workbench, network: nn.Module, genotype: Genotype, *, settings: TrainingSettings) -> Work:
    """Returns work: the straightforward loop's steps of a search or of a retraining, in a process of its own."""
    threads = torch.get_num_threads()
    return EagerProcess(network, genotype, settings=eager_settings(bench, settings), threads=threads).epoch


def eager_settings(bench: Workbench, settings: TrainingSettings) -> EagerSettings:
    """Returns what the straightforward loop needs to take the steps of a search or of a retraining."""
    data, middle = bench.search.evaluator.data, settings.epochs // 2
    return EagerSettings(
        image_shape=data.image_shape,
        num_classes=data.num_classes,
        crop_padding=data.augmentation.crop_padding,
        flip=data.augmentation.flip,
        batch_size=settings.batch_size,
        steps=bench.steps,
        workers=min(bench.settings.workers, num_cores()),
        learning_rate=settings.annealing.learning_rate(middle),
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        drop_prob=settings.drop_prob(middle),
        device=bench.runtime.device,
    )
