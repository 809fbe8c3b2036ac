"""A pool of worker processes for independent tasks: searches in a table, stand-alone trainings.

A task's result depends on the task alone, not on the process that runs it. A signal to the first process is passed on:
each task ends as it would in a process of its own, a training when its checkpoint is written. A second one ends them
all at once.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from types import FrameType
from typing import Any, Generic, Protocol, Self, TypeVar

import torch

from nas.compute import stopping
from nas.compute.device import num_cores, threads_set
from nas.compute.stopping import Stopped, say, signals_to, stop_at_once
from nas.runs.console import silence

Task = TypeVar("Task")
Task_contra = TypeVar("Task_contra", contravariant=True)


class Runner(Protocol[Task_contra]):
    """Runs tasks; it is pickled once for each process."""

    def run(self, task: Task_contra, /) -> dict[str, Any]:
        """Returns the result of a task."""


def num_processes(tasks: int, *, workers: int | None, device: str = "cpu") -> int:
    """Returns the number of processes for some tasks: at least 1, at most one per task.

    Args:
        tasks: Their number.
        workers: Processes asked for; None takes one per core on the CPU and one on an accelerator.
        device: Type of the device that the tasks use.
    """
    wanted = workers or (num_cores() if device == "cpu" else 1)
    return max(1, min(tasks, wanted))


class WorkerPool(Generic[Task]):
    """Runs tasks in processes that start with the first task, with one thread each, and end with the context.

    Args:
        runner: Runs them.
        workers: Number of processes, see `num_processes`; 1 runs the tasks in this process.
    """

    def __init__(self, runner: Runner[Task], workers: int) -> None:
        self.runner = runner
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def run(self, tasks: Sequence[Task]) -> Iterator[dict[str, Any]]:
        """Runs tasks, which can be pickled, and yields their results in the order in which they finish.

        Raises:
            OSError: If a process was killed.
            Stopped: If this process or one of them was asked to stop; no task is running any more then.
        """
        if self.workers == 1:
            with threads_set(1), signals_to(stop_at_once):
                yield from map(self.runner.run, tasks)
            return
        if self._pool is None:
            context = process_context()
            stops, self._stops = context.Pipe(duplex=False)
            lives, self._lives = context.Pipe(duplex=False)
            initial = (self.runner, stops, lives)
            self._pool = ProcessPoolExecutor(self.workers, context, initializer=_start, initargs=initial)
        asked: list[int] = []

        def stop(number: int) -> None:
            if asked:
                raise Stopped(number)
            say("stopping; once more stops at once")
            asked.append(number)
            self._stops.close()

        with signals_to(stop):
            try:
                for future in as_completed([self._pool.submit(_run, task) for task in tasks]):
                    if isinstance(stopped := future.exception(), Stopped):
                        if not asked:
                            stop(stopped.number)
                    elif result := future.result():  # empty: the task was not begun
                        yield result
            except BrokenProcessPool:
                if not asked:
                    raise OSError("a worker process was killed; the same command goes on with what is left") from None
        if asked:
            raise Stopped(asked[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._stops.close()  # the pool hands out a few tasks ahead of time, which can no longer be cancelled
            if error[0] is not None:
                self._lives.close()  # ends the processes at once: what they do has checkpoints of its own
            self._pool.shutdown(cancel_futures=True)
            self._lives.close()
            self._pool = None


def run_tasks(runner: Runner[Task], tasks: Sequence[Task], *, workers: int) -> Iterator[dict[str, Any]]:
    """Runs tasks in a pool of their own; see `WorkerPool`."""
    with WorkerPool(runner, workers) as pool:
        yield from pool.run(tasks)


def process_context() -> BaseContext:
    """Returns how worker processes are started.

    A fork of this process may hang in torch's thread pool. So a server that has computed nothing loads once what this
    process has loaded, and forks; where the system has no such server, every process starts afresh.
    """
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([name for name in sys.modules if name.partition(".")[0] == "nas"])
    return context


_runner: Runner[Any] | None = None
"""Of a worker process."""
_ended = False
"""Whether a worker process is to begin no more tasks."""


def _start(runner: Runner[Any], stops: Connection, lives: Connection) -> None:
    global _runner
    silence()  # the first process says it all
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C reaches all, and the first passes it on
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # but within a task
    signal.signal(signal.SIGUSR1, _answer)
    threading.Thread(target=_follow, args=(stops, lives), daemon=True).start()
    torch.set_num_threads(1)
    _runner = runner


def _answer(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    """Does what the task that is running does at SIGTERM, unless one has reached this process, as all of a group."""
    handler = signal.getsignal(signal.SIGTERM)
    if callable(handler) and not stopping.answered:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # that of the group may come later
        handler(signal.SIGTERM, frame)


def _follow(stops: Connection, lives: Connection) -> None:
    """Stops the task that is running when the first process closes `stops`, and ends this process with `lives`.

    If the first is killed, both are closed: else this process would wait for tasks forever.
    """
    global _ended
    with contextlib.suppress(EOFError, OSError):
        stops.recv()
    _ended = True
    os.kill(os.getpid(), signal.SIGUSR1)
    with contextlib.suppress(EOFError, OSError):
        lives.recv()
    os._exit(1)


def _run(task: Any) -> dict[str, Any]:
    assert _runner is not None
    with signals_to(stop_at_once):
        return {} if _ended else _runner.run(task)
