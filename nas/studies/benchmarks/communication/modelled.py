"""What data-parallel training sends: the gradients of the path, each step, and how long links take for them.

A step sends the gradients of the weights that it touched, so that candidates off the path cost nothing. Measured is
what this machine's processes take; what other links and more ranks would take is a model
(`nas.studies.benchmarks.communication.all_reduce`) that is held against these measurements first.
"""

import statistics
from typing import Any

from nas.costs.latency.peak_memory import held_bytes
from nas.studies.benchmarks.communication.all_reduce import Link, backend, fit_link, time_all_reduce
from nas.studies.benchmarks.workbench import Workbench
from search_spaces.cells import genotype_candidates

MEASURED_RANKS = 2
FITTED_SIZES = (2**10, 2**14, 2**18, 2**22)
"""Bytes of the buffers to which the constants are fitted; those of the gradients are then foretold."""
NEGLIGIBLE = 0.05
"""Share of a step."""
VOLUMES = {"search": "a cell's path in the supernet", "reference": "ShuffleNASNet-A of 236K parameters"}


def measure_communication(bench: Workbench) -> dict[str, Any]:
    """Counts the gradients of a step, times all-reduces here, and models them elsewhere.

    Returns:
        `volumes`: bytes of gradients by name, of `search` the median over cells, with `least` and `most`, and beside
        them `supernet`, all its weights; `measured`: backend, ranks, `ms` by bytes, and the `link` fitted to the sizes
        that are not gradients; `foretold`: by volume the bytes, `ms` measured and foretold, and their ratio;
        `modelled`: a row for each link, volume and number of ranks with `ms`, and `step_ms`, the least step of which
        that is no more than 5 %.
    """
    volumes = gradient_bytes(bench)
    gradients = {name: volumes[name] for name in VOLUMES}
    rounds = 5 * bench.settings.rounds
    times = time_all_reduce([*FITTED_SIZES, *set(gradients.values())], ranks=MEASURED_RANKS, rounds=rounds)
    fitted = fit_link({size: times[size] for size in FITTED_SIZES}, ranks=MEASURED_RANKS)
    return {
        "volumes": volumes,
        "measured": {
            "backend": backend(MEASURED_RANKS),
            "ranks": MEASURED_RANKS,
            "ms": {str(size): ms for size, ms in sorted(times.items())},
            "link": {"gigabytes_per_second": fitted.gigabytes_per_second, "latency_us": fitted.latency_us},
        },
        "foretold": {name: _foretold(fitted, size, ms=times[size]) for name, size in gradients.items()},
        "modelled": [
            _modelled(link, Link(*constants), volume, size, ranks=ranks)
            for link, constants in bench.settings.links.items()
            for volume, size in gradients.items()
            for ranks in bench.settings.ranks
        ],
    }


def gradient_bytes(bench: Workbench) -> dict[str, int]:
    """Returns the bytes of a step's gradients, float32; see `measure_communication`.

    The weights on a cell's path in the supernet are those of the same cell as a plain network.
    """
    paths = [held_bytes(bench.build.network(genotype_candidates(genotype)).parameters()) for genotype in bench.cells()]
    return {
        "search": statistics.median_low(paths),
        "least": min(paths),
        "most": max(paths),
        "supernet": held_bytes(bench.search.evaluator.trainer.network.parameters()),
        "reference": held_bytes(bench.build.reference()[0].parameters()),
    }


def _foretold(link: Link, size: int, *, ms: float) -> dict[str, float]:
    foretold = link.ring_ms(size, ranks=MEASURED_RANKS)
    return {"bytes": size, "ms": ms, "foretold_ms": foretold, "ratio": foretold / ms}


def _modelled(name: str, link: Link, volume: str, size: int, *, ranks: int) -> dict[str, Any]:
    ms = link.least_ms(size, ranks=ranks)
    return {"link": name, "volume": volume, "ranks": ranks, "bytes": size, "ms": ms, "step_ms": ms / NEGLIGIBLE}
