"""The pieces of a search's epoch, and how long a whole search and a whole retraining would take here.

Measured are the controller and a real epoch; an epoch at the size of CIFAR-10, the search of the settings, and a
retraining of the model of 236K parameters (ShuffleNASNet-A with F = 36 and four cells a stage, by the protocol of
arXiv:1812.02975, §IV-A) are extrapolated from the times of their pieces.
"""

import copy
import itertools
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any

import torch

from nas.compute.timing import synchronize, time_in_turns
from nas.models.derived import count_parameters
from nas.runs.seeds import derive_seed, seed_everything
from nas.studies.benchmarks.steps import REWARD, SEARCH
from nas.studies.benchmarks.workbench import Work, Workbench
from nas.training.evaluation import evaluate

WEIGHTS, REWARDS, SAMPLE, UPDATE, REST = "shared weights", "rewards", "controller sample", "controller update", "rest"
PASSES = (WEIGHTS, REWARDS)
"""The work that a search is for; the rest is overhead."""
CONTROLLER_ROUNDS = 20
"""Rounds of timing the controller, more than of other parts, since a round takes milliseconds."""


def measure_controller(bench: Workbench) -> dict[str, Any]:
    """Times sampling a batch of architectures, decoding it, and learning from its rewards, on a copy of the controller.

    Returns:
        `samples`, the architectures in a batch; for `sample`, `decode` and `update` `batch_ms`, median of the batch,
        and `ms`, an architecture's share of it.
    """
    controller, space = copy.deepcopy(bench.search.controller), bench.search.space
    count = bench.settings.samples
    seed_everything(derive_seed(bench.seed, "bench controller"))
    actions = controller.sample(count).actions
    rewards = torch.rand(count, dtype=torch.float64)
    work: dict[str, Work] = {
        "sample": lambda: controller.sample(count),
        "decode": lambda: [space.decode(row) for row in actions.tolist()],
        "update": lambda: controller.observe(actions, rewards),
    }
    times = time_in_turns(work, rounds=CONTROLLER_ROUNDS, warmup=2, device=bench.runtime.device)
    batches = {name: statistics.median(values) for name, values in times.items()}
    rows = {name: {"batch_ms": ms, "ms": ms / count} for name, ms in batches.items()}
    bench.results.append(
        f"controller: {(batches['sample'] + batches['decode']) / count:.3f} ms to sample an architecture, "
        f"{batches['update'] / count:.3f} ms to learn from it"
    )
    return {"samples": count, **rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopwatch:
    """A stand-in for an object that adds up the seconds which some of its methods take.

    Attributes:
        target: The object; all else is passed on to it.
        names: By method, the name under which its seconds are added.
        seconds: Seconds by name.
        wait: Waits for the device, before and after a method.
        clock: Returns seconds.
    """

    target: Any
    names: Mapping[str, str]
    seconds: dict[str, float]
    wait: Callable[[], object]
    clock: Callable[[], float] = perf_counter

    def __getattr__(self, method: str) -> Any:
        value = getattr(self.target, method)

        def timed(*arguments: Any, **keywords: Any) -> Any:
            self.wait()
            started = self.clock()
            result = value(*arguments, **keywords)
            self.wait()
            name = self.names[method]
            self.seconds[name] = self.seconds.get(name, 0.0) + self.clock() - started
            return result

        return timed if method in self.names else value


def measure_shares(bench: Workbench) -> dict[str, Any]:
    """Times an epoch of the search from within, and extrapolates one of full size.

    Returns:
        `measured` and `extrapolated`, each with `seconds` and `share` by name, `epoch_seconds`, and `passes`, the share
        of the shared-weight and reward passes together; and how many steps either epoch has.
    """
    evaluator = bench.search.evaluator
    steps = evaluator.data.train.num_batches(evaluator.settings.batch_size, drop_last=True)
    figures = {
        "measured": {"steps": steps, **shares(timed_epoch(bench))},
        "extrapolated": {"steps": bench.search_batches, **shares(extrapolated_epoch(bench))},
    }
    for kind, epoch in figures.items():
        passes = f"shared-weight and reward passes: {100 * epoch['passes']:.2f} %"
        bench.results.append(f"{passes} of an epoch of {epoch['steps']} steps ({kind})")
    return figures


def shares(seconds: Mapping[str, float]) -> dict[str, Any]:
    """Divides seconds by name into shares of their sum."""
    total = sum(seconds.values())
    share = {name: value / total for name, value in seconds.items()}
    passes = sum(share[name] for name in PASSES)
    return {"epoch_seconds": total, "seconds": dict(seconds), "share": share, "passes": passes}


def timed_epoch(bench: Workbench) -> dict[str, float]:
    """Takes an epoch of the search and returns its seconds by name; what no name stands for is `REST`."""
    search = bench.search
    seconds = dict.fromkeys((WEIGHTS, REWARDS, SAMPLE, UPDATE), 0.0)
    wait = partial(synchronize, bench.runtime.device)

    def watched(target: object, **names: str) -> Any:
        return Stopwatch(target=target, names=names, seconds=seconds, wait=wait)

    evaluator = replace(
        search.evaluator,
        trainer=watched(search.evaluator.trainer, train_epoch=WEIGHTS),
        scorer=watched(search.evaluator.scorer, batch_scores=REWARDS),
    )
    controller = watched(search.controller, sample=SAMPLE, observe=UPDATE)
    timed = replace(search, evaluator=evaluator, controller=controller, rows=[], scored=[])
    whole: dict[str, float] = {}
    Stopwatch(target=timed, names={"epoch": REST}, seconds=whole, wait=wait).epoch()
    return {**seconds, REST: max(0.0, whole[REST] - sum(seconds.values()))}


def extrapolated_epoch(bench: Workbench) -> dict[str, float]:
    """Returns the seconds of an epoch at the size of the settings, by name, from times of single pieces."""
    settings, steps = bench.search.evaluator.settings, bench.search_batches
    throughput, controller = bench.done["throughput"], bench.done["controller"]
    cells = 1 if settings.resample == "epoch" else steps
    rewarded = settings.controller_samples
    return {
        WEIGHTS: (steps * throughput[SEARCH]["ms"] + cells * throughput[SEARCH]["setup_ms"]) / 1000,
        REWARDS: rewarded * throughput[REWARD]["ms"] / 1000,
        SAMPLE: (cells + rewarded) * (controller["sample"]["ms"] + controller["decode"]["ms"]) / 1000,
        UPDATE: rewarded * controller["update"]["ms"] / 1000,
    }


def measure_targets(bench: Workbench) -> dict[str, Any]:
    """Times the model of 236K parameters, and extrapolates its retraining and the search.

    Returns:
        `search` and `retrain`, each with `minutes`, `epochs` and, by name, the minutes of its pieces.
    """
    network, genotype = bench.reference()
    trainer = bench.retrainer(bench.runtime.place(network))
    batch_size, test_split = bench.retraining.batch_size, bench.search.evaluator.data.test
    num_batches = min(bench.steps, test_split.num_batches(batch_size))

    def test() -> object:
        batches = itertools.islice(test_split.batches(batch_size), num_batches)
        network = trainer.network.eval()
        return evaluate(network, batches, genotype, autocast=trainer.autocast, recorder=trainer.recorder)

    times, setup = bench.time_with_setup({"step": bench.retrain_steps(genotype, trainer), "test": test})
    search = search_minutes(bench, extrapolated_epoch(bench), reward_ms=bench.done["throughput"][REWARD]["ms"])
    retrain = retrain_minutes(
        bench,
        step_ms=statistics.median(times["step"]) / bench.steps,
        setup_ms=setup["step"],
        test_ms=statistics.median(times["test"]) / num_batches,
        parameters=count_parameters(network),
    )
    bench.results.extend(
        [
            f"a search of {search['epochs']} epochs would take {search['minutes']:,.1f} minutes here",
            f"{retrain['epochs']} epochs of the model of {retrain['parameters']:,} parameters would take "
            f"{retrain['minutes']:,.1f} minutes here",
        ]
    )
    return {"search": search, "retrain": retrain}


def search_minutes(bench: Workbench, epoch: Mapping[str, float], *, reward_ms: float) -> dict[str, Any]:
    """Extrapolates the search.

    Args:
        bench: Has the settings.
        epoch: Seconds of an epoch by name.
        reward_ms: Time of scoring a batch; at the end every sampled cell is scored on all reward images.
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
        step_ms: Time of a training step.
        setup_ms: What the first steps take longer, once.
        test_ms: Time of a batch of test images.
        parameters: Number of weights of the model.
    """
    settings, every = bench.retraining, bench.retraining.evaluate_every
    looks = set(range(every - 1, settings.epochs, every)) if every else set()  # epochs that end with the test images
    looks |= set(range(max(0, settings.epochs - settings.last_epochs), settings.epochs))
    batches = -(-bench.settings.test_images // settings.batch_size)
    minutes = {
        "setup": setup_ms / 60_000,
        "training": settings.epochs * bench.retrain_batches * step_ms / 60_000,
        "test images": len(looks) * batches * test_ms / 60_000,
    }
    figures = {"epochs": settings.epochs, "parameters": parameters, "step_ms": step_ms}
    return {**figures, "minutes": sum(minutes.values()), "pieces": minutes}
