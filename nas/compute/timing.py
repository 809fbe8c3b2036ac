"""Timing pieces of work side by side, in turns, so that a drifting machine hits all alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

STEADY_WARMUP = 3  # rounds


@dataclass(frozen=True, slots=True)
class Timing:
    """Times of one piece of work over the rounds, in milliseconds."""

    median_ms: float
    min_ms: float
    max_ms: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Began:
    """What a piece of work returns that is not to be timed from its start.

    Attributes:
        at_ns: `time.perf_counter_ns()` when the part to be timed began.
    """

    at_ns: int


def time_in_turns(
    work: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int,
    device: torch.device,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> dict[str, list[float]]:
    """Times each piece of work once a round, in turns.

    Args:
        work: What to time, by name. A piece that returns `Began` is timed from then on.
        rounds: Rounds timed, at least 1.
        warmup: Rounds before that.
        device: Waited for before and after each piece.
        clock: In nanoseconds.

    Returns:
        Milliseconds, one a round, by name.
    """
    times: dict[str, list[float]] = {name: [] for name in work}
    for number in range(warmup + rounds):
        for name, piece in work.items():
            taken = lasted(piece, device=device, clock=clock)
            if number >= warmup:
                times[name].append(taken / 1e6)
    return times


def lasted(piece: Callable[[], object], *, device: torch.device, clock: Callable[[], int]) -> int:
    """Runs a piece of work; returns the nanoseconds until the device was done, from its start or what it `Began` at."""
    synchronize(device)
    started = clock()
    outcome = piece()
    synchronize(device)
    return clock() - (outcome.at_ns if isinstance(outcome, Began) else started)


def steady_times(
    work: Mapping[str, Callable[[], object]], *, rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Times pieces of work in turns, after rounds for warming up, by the clock that other programs disturb least.

    On one CPU thread that is the processor's time for the thread: what a pass takes when the machine is idle, without
    waiting for a turn on a busy one. Several threads and GPUs need the clock on the wall.
    """
    own_time = device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.thread_time_ns if own_time else time.perf_counter_ns
    return time_in_turns(work, rounds=rounds, warmup=STEADY_WARMUP, device=device, clock=clock)


def time_once(work: Mapping[str, Callable[[], object]], *, device: torch.device) -> dict[str, float]:
    """Returns the milliseconds of each piece of work the first time it is done, by name."""
    return {name: times[0] for name, times in time_in_turns(work, rounds=1, warmup=0, device=device).items()}


def timing(times: list[float]) -> Timing:
    """Summarises times in milliseconds."""
    return Timing(median_ms=statistics.median(times), min_ms=min(times), max_ms=max(times), rounds=len(times))


def median_ratio(first: list[float], second: list[float]) -> float:
    """Returns the median over the rounds of first / second."""
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


def synchronize(device: torch.device) -> None:
    """Waits until a device is idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
