"""Timing forward passes side by side, and statistics of the times.

A machine drifts: it heats up, other programs come and go. Passes timed one after the other, a model at a time, would
take the drift for a difference. Here every round runs each pass once, in an order of its own, and a comparison looks at
the two times of the same round.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial

import torch

from nas.compute.timing import lasted

LEAST_ROUNDS = 3
SETTLED_NS = 50_000_000
"""A pass that takes less is run once untimed before it is timed: the caches hold what other models left there."""


def time_interleaved(
    passes: Sequence[Callable[[], object]],
    *,
    rounds: int,
    warmup: int,
    seconds: float,
    seed: int,
    device: torch.device,
    clock: Callable[[], int] = time.perf_counter_ns,
    advance: Callable[[], None] = lambda: None,
) -> list[list[float]]:
    """Times passes in rounds, each once a round, in a random order that is drawn afresh for every round.

    A pass leaves the rounds when its time is used up, but not before `LEAST_ROUNDS`; the others continue.

    Args:
        passes: At least one.
        rounds: At most, at least 1.
        warmup: Untimed runs of each pass before the first round, at most; they end with a tenth of `seconds`.
        seconds: For each pass, warm-up apart, above 0.
        seed: Seed of the orders.
        device: Waited for before and after each pass.
        clock: In nanoseconds.
        advance: Called after every round.

    Returns:
        For each pass its times in milliseconds, one for each round from the first.
    """
    timed = [partial(lasted, run, device=device, clock=clock) for run in passes]
    quick = [_warm_up(run, warmup, 1e8 * seconds) < SETTLED_NS for run in timed]
    generator = torch.Generator().manual_seed(seed)
    times: list[list[float]] = [[] for _ in passes]
    spent = [0] * len(passes)
    for _ in range(rounds):
        for i in torch.randperm(len(passes), generator=generator).tolist():
            if len(times[i]) >= LEAST_ROUNDS and spent[i] >= 1e9 * seconds:
                continue
            settling = timed[i]() if quick[i] else 0
            taken = timed[i]()
            times[i].append(taken / 1e6)
            spent[i] += settling + taken
        advance()
    return times


def _warm_up(run: Callable[[], int], warmup: int, budget_ns: float) -> float:
    """Runs a pass up to `warmup` times; returns the nanoseconds of the last one, infinity without any."""
    taken, spent = float("inf"), 0.0
    for _ in range(warmup):
        taken = run()
        spent += taken
        if spent >= budget_ns:
            break
    return taken


def summarise(times_ms: Sequence[float], *, batch_size: int) -> dict[str, float]:
    """Summarises the times of one pass.

    Returns:
        `batch_size`; `median_ms` and `p95_ms`, the 95th percentile; `images_per_second` at the median; `repeats`.
    """
    times = torch.tensor(times_ms, dtype=torch.float64)
    median_ms, p95_ms = times.quantile(0.5).item(), times.quantile(0.95).item()
    return {
        "batch_size": batch_size,
        "median_ms": median_ms,
        "p95_ms": p95_ms,
        "images_per_second": 1000 * batch_size / median_ms,
        "repeats": len(times_ms),
    }


def speedup(
    times_ms: Sequence[float],
    reference_ms: Sequence[float],
    *,
    seed: int,
    resamples: int = 1000,
    confidence: float = 0.95,
) -> dict[str, float]:
    """Compares the times of a model with those of a reference, round by round.

    A factor that slows a whole round cancels. The interval is a percentile bootstrap: rounds are drawn with
    replacement and their median ratio taken, `resamples` times.

    Args:
        times_ms: Times of the model, one a round, at least one.
        reference_ms: Times of the reference; the rounds that only one of the two has are left out.
        seed: Seed of the resampling.
        resamples: Number of resamples.
        confidence: Level of the interval, in (0, 1).

    Returns:
        `ratio`, the median over the rounds of the reference's time by the model's; `low` and `high`, the ends of its
        interval; `rounds`, those in which both ran.
    """
    common = min(len(times_ms), len(reference_ms))
    reference = torch.tensor(reference_ms[:common], dtype=torch.float64)
    ratios = reference / torch.tensor(times_ms[:common], dtype=torch.float64)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(common, (resamples, common), generator=generator)
    medians = ratios[drawn].quantile(0.5, dim=1)  # (resamples,)
    return {
        "ratio": ratios.quantile(0.5).item(),
        "low": medians.quantile((1 - confidence) / 2).item(),
        "high": medians.quantile((1 + confidence) / 2).item(),
        "rounds": common,
    }
