"""The gradients that data-parallel training sends in each step, and how long links take for them.

A step sends the gradients of the weights that it touched, so that candidates off the path cost nothing. This machine's
processes are measured; for other links and more ranks there is a model with two constants, which is compared with
these measurements first.
"""

import math
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed

from nas.compute.timing import Began, synchronize, time_in_turns
from nas.costs.latency.peak_memory import held_bytes
from nas.studies.benchmarks.workbench import Workbench
from search_spaces.cells import genotype_candidates

MEASURED_RANKS = 2
FITTED_SIZES = (2**10, 2**14, 2**18, 2**22)
"""Bytes of the buffers to which the constants are fitted, which then predict the times of the gradients."""
NEGLIGIBLE = 0.05
"""Share of a step."""
VOLUMES = {"search": "a cell's path in the supernet", "reference": "ShuffleNASNet-A of 236K parameters"}
TIMEOUT = timedelta(seconds=120)
WARMUP = 3
LEAST = 1e-6  # seconds of a gigabyte, where noise hides what bytes cost


@dataclass(frozen=True, slots=True)
class Link:
    """A connection from each rank to the next.

    Attributes:
        gigabytes_per_second: That a rank sends at most, while it receives as much; 1 GB is 10⁹ bytes.
        latency_us: Time of a message, however small, in microseconds.
    """

    gigabytes_per_second: float
    latency_us: float

    def ring_ms(self, size: int, *, ranks: int) -> float:
        """Returns the milliseconds of an all-reduce of `size` bytes around a ring.

        Each rank sends 2 (n - 1) messages of size / n bytes: n - 1 that add up, n - 1 that spread the sums.
        """
        hops = 2 * (ranks - 1)
        return hops * (size / ranks / (self.gigabytes_per_second * 1e6) + self.latency_us / 1e3)

    def tree_ms(self, size: int, *, ranks: int) -> float:
        """Returns the milliseconds of one up and down a binary tree, in pieces that follow each other closely."""
        hops = 2 * math.ceil(math.log2(ranks))
        sent = 2 * size if ranks > 1 else 0
        return sent / (self.gigabytes_per_second * 1e6) + hops * self.latency_us / 1e3

    def least_ms(self, size: int, *, ranks: int) -> float:
        """Returns the milliseconds of the faster of the two, which NCCL chooses by size and ranks, too."""
        return min(self.ring_ms(size, ranks=ranks), self.tree_ms(size, ranks=ranks))


def measure_communication(bench: Workbench) -> dict[str, Any]:
    """Counts the gradients of a step, times all-reduces here, and models them elsewhere.

    Returns:
        `volumes`: bytes of float32 gradients by name: of `search` the median over cells, with `least` and `most` (the
        weights on a path of the supernet are those of the cell as a plain network), of all of the `supernet`, of the
        `reference` model; `measured`: backend, ranks, `ms` by bytes, and the `link` fitted to the sizes that are not
        gradients; `foretold`: by volume the bytes, `ms` measured and predicted (`foretold_ms`), and their ratio;
        `modelled`: a row for each link, volume and number of ranks with `ms`, and `step_ms`, the least step of which
        that is at most 5 %.
    """
    paths = [held_bytes(bench.make_network(genotype_candidates(genotype)).parameters()) for genotype in bench.cells()]
    volumes = {
        "search": statistics.median_low(paths),
        "least": min(paths),
        "most": max(paths),
        "supernet": held_bytes(bench.search.evaluator.trainer.network.parameters()),
        "reference": held_bytes(bench.reference()[0].parameters()),
    }
    sizes = {*FITTED_SIZES, *(volumes[name] for name in VOLUMES)}
    backend = _backend(MEASURED_RANKS)
    times = time_all_reduce(sorted(sizes), ranks=MEASURED_RANKS, rounds=5 * bench.settings.rounds)
    fitted = fit_link({size: times[size] for size in FITTED_SIZES}, ranks=MEASURED_RANKS)
    foretold: dict[str, Any] = {}
    for name, described in VOLUMES.items():
        size = volumes[name]
        ms = fitted.ring_ms(size, ranks=MEASURED_RANKS)
        foretold[name] = {"bytes": size, "ms": times[size], "foretold_ms": ms, "ratio": ms / times[size]}
        bench.results.append(
            f"{described}: {size / 1e6:.2f} MB of gradients a step, {times[size]:.2f} ms among {MEASURED_RANKS} "
            f"processes here ({backend}; the model predicted {ms:.2f} ms)"
        )
    modelled = []
    for (link, constants), name, ranks in product(bench.settings.links.items(), VOLUMES, bench.settings.ranks):
        ms = Link(*constants).least_ms(volumes[name], ranks=ranks)
        row = {"link": link, "volume": name, "ranks": ranks, "bytes": volumes[name]}
        modelled.append({**row, "ms": ms, "step_ms": ms / NEGLIGIBLE})
    by_size = {str(size): ms for size, ms in times.items()}
    measured = {"backend": backend, "ranks": MEASURED_RANKS, "ms": by_size, "link": asdict(fitted)}
    return {"volumes": volumes, "measured": measured, "foretold": foretold, "modelled": modelled}


def fit_link(times: Mapping[int, float], *, ranks: int) -> Link:
    """Finds the link whose ring takes the measured times, with the least sum of squared relative errors.

    Args:
        times: Milliseconds by size in bytes, of at least two sizes.
        ranks: Number of ranks that took part, at least 2.
    """
    from scipy.optimize import nnls

    sizes, milliseconds = np.array(list(times)), np.array(list(times.values()))
    hops = 2 * (ranks - 1)
    columns = np.stack([hops * sizes / ranks / 1e6, np.full(len(sizes), hops / 1e3)], axis=1)
    per_gigabyte, latency = nnls(columns / milliseconds[:, None], np.ones(len(sizes)))[0]  # neither is below 0
    return Link(gigabytes_per_second=float(1 / max(per_gigabyte, LEAST)), latency_us=float(latency))


def time_all_reduce(sizes: Sequence[int], *, ranks: int, rounds: int) -> dict[int, float]:
    """Times all-reduces among processes of this machine: NCCL with a GPU for each rank, else gloo with a thread each.

    Args:
        sizes: Bytes of the float32 buffers, multiples of 4.
        ranks: Processes.
        rounds: Times that each size is timed, all sizes in turns.

    Returns:
        Median milliseconds by size, of rank 0, which waits for all others.

    Raises:
        OSError: If a process failed.
    """
    context = get_context("forkserver")  # a process forked from this one may hang in torch's thread pool
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(ranks, context) as pool:
        meeting = f"file://{Path(folder, 'meet')}"
        take_part = partial(_take_part, ranks=ranks, meeting=meeting, sizes=sizes, rounds=rounds)
        try:
            times, *_ = pool.map(take_part, range(ranks))
        except RuntimeError as error:
            raise OSError(f"a process of the all-reduce ended: {error}") from error
    return {int(size): statistics.median(values) for size, values in times.items()}


def _backend(ranks: int) -> str:
    """Returns the name of the library through which the ranks talk on this machine."""
    return "nccl" if torch.cuda.device_count() >= ranks else "gloo"


def _take_part(rank: int, *, ranks: int, meeting: str, sizes: Sequence[int], rounds: int) -> dict[str, list[float]]:
    """Is one rank; returns its milliseconds by size."""
    torch.set_num_threads(1)
    name = _backend(ranks)
    device = torch.device("cuda", rank) if name == "nccl" else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group(name, init_method=meeting, rank=rank, world_size=ranks, timeout=TIMEOUT)

    def reduce(buffer: Tensor) -> Began:
        distributed.barrier()
        synchronize(device)
        began = Began(time.perf_counter_ns())
        distributed.all_reduce(buffer)
        return began

    try:
        work = {str(size): partial(reduce, torch.zeros(size // 4, device=device)) for size in sizes}
        return time_in_turns(work, rounds=rounds, warmup=WARMUP, device=device)
    finally:
        distributed.destroy_process_group()
