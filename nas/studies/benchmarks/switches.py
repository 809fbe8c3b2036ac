"""What each switch of the runtime gains: the same training steps with one switched off at a time."""

import statistics
import sys
from typing import Any

from nas.compute.device import Runtime
from nas.compute.timing import median_ratio
from nas.studies.benchmarks.throughput import RETRAIN, SEARCH
from nas.studies.benchmarks.workbench import Work, Workbench
from search_spaces.cells import genotype_candidates

OFF: dict[str, object] = {"graphs": False, "autocast": "off", "channels_last": False, "compile": False}
"""By switch, the value that turns it off."""
ALL_ON = "as configured"


def measure_switches(bench: Workbench) -> dict[str, Any]:
    """Times steps of search and retraining as configured and with each switch off, in turns, networks for each.

    Returns:
        By kind of step and switch `ms` a step, and `ratio`, the median over the rounds of the time without it beside
        that with it. Switches that are off already, or that this device has not, are left out.
    """
    genotype = bench.cells(1)[0]
    variants = runtimes(bench)
    work: dict[str, Work] = {}
    for name, runtime in variants.items():
        derived = runtime.place(bench.build.network(genotype_candidates(genotype)))
        work[f"{SEARCH}, {name}"] = bench.search_steps(bench.build.search(runtime).evaluator.trainer, genotype)
        work[f"{RETRAIN}, {name}"] = bench.retrain_steps(bench.retrainer(derived, runtime=runtime), genotype)
    times = bench.time(work)
    return {
        kind: {
            name: {
                "ms": statistics.median(times[f"{kind}, {name}"]) / bench.steps,
                "ratio": median_ratio(times[f"{kind}, {name}"], times[f"{kind}, {ALL_ON}"]),
            }
            for name in variants
        }
        for kind in (SEARCH, RETRAIN)
    }


def runtimes(bench: Workbench) -> dict[str, Runtime]:
    """Returns the runtime as configured and, by switch, that without it where steps are then taken in another way."""
    made = {name: bench.build.runtime(**{name: value}) for name, value in OFF.items()}
    usual = _way(bench.runtime)
    without = {f"without {name}": runtime for name, runtime in made.items() if _way(runtime) != usual}
    return {ALL_ON: bench.runtime, **without}


def _way(runtime: Runtime) -> tuple[object, ...]:
    """Returns how steps are taken: switches at `auto` count as what they come to in a long training."""
    return runtime.autocast, runtime.channels_last, runtime.graphs, runtime.compiles(steps=sys.maxsize)
