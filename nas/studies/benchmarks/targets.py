"""How long a whole search and a whole retraining would take here, from the times of their pieces.

The search is the one of the settings at the size of CIFAR-10; the retraining is that of the model of 236K parameters,
ShuffleNASNet-A with F = 36 and four cells a stage, by the paper's protocol (arXiv:1812.02975, §IV-A).
"""

import itertools
import statistics
from collections.abc import Mapping
from typing import Any

from nas.compute.timing import time_once
from nas.models.derived import count_parameters
from nas.studies.benchmarks.shares import extrapolated_epoch
from nas.studies.benchmarks.throughput import REWARD
from nas.studies.benchmarks.workbench import Workbench
from nas.training.evaluation import evaluate


def measure_targets(
    bench: Workbench, *, throughput: Mapping[str, Any], controller: Mapping[str, Any]
) -> dict[str, Any]:
    """Times the model of 236K parameters and extrapolates; `throughput` and `controller` as measured.

    Returns:
        `search` and `retrain`, each with `minutes`, `epochs` and, by name, the minutes of its pieces.
    """
    epoch = extrapolated_epoch(bench, throughput=throughput, controller=controller)
    return {
        "search": search_minutes(bench, epoch, reward_ms=throughput[REWARD]["ms"]),
        "retrain": retrain_minutes(bench, **_reference_times(bench)),
    }


def search_minutes(bench: Workbench, epoch: Mapping[str, float], *, reward_ms: float) -> dict[str, Any]:
    """Extrapolates the search.

    Args:
        bench: Has the settings.
        epoch: Seconds of an epoch by name.
        reward_ms: Of scoring a batch; at the end every sampled cell is scored on all reward images.
    """
    settings = bench.search.evaluator.settings
    batches = -(-bench.settings.reward_images // settings.batch_size)
    batches += settings.calibration_batches if settings.bn == "recalibrate" else 0
    cells = 1 + settings.final_samples + settings.random_cells
    minutes = {name: settings.epochs * seconds / 60 for name, seconds in epoch.items()}
    minutes["final scores"] = cells * batches * reward_ms / 60_000
    return {"epochs": settings.epochs, "minutes": sum(minutes.values()), "pieces": minutes}


def retrain_minutes(
    bench: Workbench, *, step_ms: float, setup_ms: float, test_ms: float, parameters: int
) -> dict[str, Any]:
    """Extrapolates the retraining.

    Args:
        bench: Has the settings.
        step_ms: Of a training step.
        setup_ms: What the first steps take longer, once.
        test_ms: Of a batch of test images.
        parameters: Of the model.
    """
    settings = bench.retraining
    looks = {epoch for epoch in range(settings.epochs) if epoch >= settings.epochs - settings.last_epochs}
    if settings.evaluate_every:
        looks |= set(range(settings.evaluate_every - 1, settings.epochs, settings.evaluate_every))
    batches = -(-bench.settings.test_images // settings.batch_size)
    minutes = {
        "setup": setup_ms / 60_000,
        "training": settings.epochs * bench.retrain_batches * step_ms / 60_000,
        "test images": len(looks) * batches * test_ms / 60_000,
    }
    return {
        "epochs": settings.epochs,
        "parameters": parameters,
        "step_ms": step_ms,
        "minutes": sum(minutes.values()),
        "pieces": minutes,
    }


def _reference_times(bench: Workbench) -> dict[str, Any]:
    """Times a training step of the reference model and a batch of test images."""
    network, genotype = bench.build.reference()
    trainer = bench.retrainer(bench.runtime.place(network))
    batch_size, test_split = bench.retraining.batch_size, bench.search.evaluator.data.test
    num_batches = min(bench.steps, test_split.num_batches(batch_size))

    def test() -> object:
        batches = itertools.islice(test_split.batches(batch_size), num_batches)
        network = trainer.network.eval()
        return evaluate(network, batches, genotype, autocast=trainer.autocast, recorder=trainer.recorder)

    work = {"step": bench.retrain_steps(trainer, genotype), "test": test}
    first = time_once(work, device=bench.runtime.device)
    times = bench.time(work)
    return {
        "step_ms": statistics.median(times["step"]) / bench.steps,
        "setup_ms": max(0.0, first["step"] - statistics.median(times["step"])),
        "test_ms": statistics.median(times["test"]) / num_batches,
        "parameters": count_parameters(network),
    }
