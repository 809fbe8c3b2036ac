"""What takes the time of a search's epoch: measured on a real one, and extrapolated to the epoch of CIFAR-10."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import Any

from nas.compute.timing import synchronize
from nas.studies.benchmarks.throughput import REWARD, SEARCH
from nas.studies.benchmarks.workbench import Workbench

WEIGHTS, REWARDS, SAMPLE, UPDATE, REST = "shared weights", "rewards", "controller sample", "controller update", "rest"
PASSES = (WEIGHTS, REWARDS)
"""The work that a search is for; the rest is overhead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopwatch:
    """Stands in the place of an object and adds up the seconds that some of its methods take.

    Attributes:
        target: The object; all else is passed on to it.
        names: By method, the name under which its seconds are added.
        seconds: By name, added to.
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
        if method not in self.names:
            return value

        def timed(*arguments: Any, **keywords: Any) -> Any:
            self.wait()
            started = self.clock()
            result = value(*arguments, **keywords)
            self.wait()
            name = self.names[method]
            self.seconds[name] = self.seconds.get(name, 0.0) + self.clock() - started
            return result

        return timed


def measure_shares(bench: Workbench, *, throughput: Mapping[str, Any], controller: Mapping[str, Any]) -> dict[str, Any]:
    """Times an epoch of the search from within, and extrapolates one of full size.

    Args:
        bench: What to measure with; its search takes an epoch.
        throughput: What `measure_throughput` returned.
        controller: What `measure_controller` returned.

    Returns:
        `measured` and `extrapolated`, each with `seconds` and `share` by name, `epoch_seconds`, and `passes`, the share
        of the shared-weight and reward passes together; and how many steps either epoch has.
    """
    search = bench.search
    batch_size = search.evaluator.settings.batch_size
    return {
        "measured": {
            "steps": search.evaluator.data.train.num_batches(batch_size, drop_last=True),
            **shares(timed_epoch(bench)),
        },
        "extrapolated": {
            "steps": bench.search_batches,
            **shares(extrapolated_epoch(bench, throughput=throughput, controller=controller)),
        },
    }


def shares(seconds: Mapping[str, float]) -> dict[str, Any]:
    """Divides seconds by name into shares of their sum."""
    total = sum(seconds.values())
    share = {name: value / total for name, value in seconds.items()}
    return {
        "epoch_seconds": total,
        "seconds": dict(seconds),
        "share": share,
        "passes": sum(share[name] for name in PASSES),
    }


def timed_epoch(bench: Workbench) -> dict[str, float]:
    """Takes an epoch of the search and returns its seconds by name; what no name stands for is `REST`."""
    search, device = bench.search, bench.runtime.device
    seconds = dict.fromkeys((WEIGHTS, REWARDS, SAMPLE, UPDATE), 0.0)
    wait = partial(synchronize, device)

    def watched(target: object, **names: str) -> Any:
        return Stopwatch(target=target, names=names, seconds=seconds, wait=wait)

    timed = replace(
        search,
        evaluator=replace(
            search.evaluator,
            trainer=watched(search.evaluator.trainer, train_epoch=WEIGHTS),
            scorer=watched(search.evaluator.scorer, batch_scores=REWARDS),
        ),
        controller=watched(search.controller, sample=SAMPLE, observe=UPDATE),
        rows=[],
        scored=[],
    )
    wait()
    started = perf_counter()
    timed.epoch()
    wait()
    return {**seconds, REST: max(0.0, perf_counter() - started - sum(seconds.values()))}


def extrapolated_epoch(
    bench: Workbench, *, throughput: Mapping[str, Any], controller: Mapping[str, Any]
) -> dict[str, float]:
    """Returns the seconds of an epoch at the size of the settings, by name, from times of single pieces."""
    settings = bench.search.evaluator.settings
    steps = bench.search_batches
    cells = 1 if settings.resample == "epoch" else steps
    rewarded = settings.controller_samples
    return {
        WEIGHTS: (steps * throughput[SEARCH]["ms"] + cells * throughput[SEARCH]["setup_ms"]) / 1000,
        REWARDS: rewarded * throughput[REWARD]["ms"] / 1000,
        SAMPLE: (cells + rewarded) * (controller["sample"]["ms"] + controller["decode"]["ms"]) / 1000,
        UPDATE: rewarded * controller["update"]["ms"] / 1000,
    }
