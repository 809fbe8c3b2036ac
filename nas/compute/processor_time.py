"""Timing in turns by the clock that other programs disturb least.

On one CPU thread the processor's time for that thread is the time a pass takes when the machine is idle, and waiting
for a turn on a busy machine does not count. Several threads and GPUs need the clock on the wall.
"""

import time
from collections.abc import Callable, Mapping

import torch

from nas.compute.timing import time_in_turns

WARMUP = 3  # rounds


class ProcessorTimed:
    """A piece of work that notes the processor's time of every run, in ms.

    Args:
        work: What to run, in this thread alone.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        self.work = work
        self.times: list[float] = []

    def __call__(self) -> None:
        """Runs the work once."""
        started = time.thread_time_ns()
        self.work()
        self.times.append((time.thread_time_ns() - started) / 1e6)


def steady_times(
    work: Mapping[str, Callable[[], object]], *, rounds: int, device: torch.device
) -> dict[str, list[float]]:
    """Times pieces of work in turns, after rounds for warming up.

    Args:
        work: What to time, by name.
        rounds: Rounds timed, at least 1.
        device: Where the work is done.

    Returns:
        Milliseconds, one a round, by name: the processor's on one CPU thread, else those that passed.
    """
    timed = {name: ProcessorTimed(piece) for name, piece in work.items()}
    passed = time_in_turns(timed, rounds=rounds, warmup=WARMUP, device=device)
    if device.type != "cpu" or torch.get_num_threads() > 1:
        return passed
    return {name: piece.times[-rounds:] for name, piece in timed.items()}
