"""Signals that ask a process to stop: Ctrl-C, and SIGTERM from a scheduler."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Self

from nas.runs import console

SIGNALS = (signal.SIGINT, signal.SIGTERM)
answered = False
"""Whether a signal was answered in this process."""


class Stopped(KeyboardInterrupt):
    """The process was asked to stop.

    Args:
        number: The number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.exit_code = 128 + number

    def __reduce__(self) -> tuple[type[Self], tuple[int]]:
        return type(self), (self.number,)  # made afresh from its number where it comes from another process


def stop_at_once(number: int) -> None:
    """Answers a signal where nothing has to be saved first."""
    raise Stopped(number)


@contextlib.contextmanager
def signals_to(answer: Callable[[int], None]) -> Iterator[None]:
    """Within the context, signals call `answer` with their number; only the main thread can handle signals."""
    here = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.signal(number, only_here(answer)) for number in SIGNALS} if here else {}
    try:
        yield
    finally:
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, handlers)  # so that none comes when one is put back
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)


def only_here(answer: Callable[[int], None]) -> Callable[[int, FrameType | None], None]:
    """Makes a handler of signals that workers, which inherit it, do not answer: Ctrl-C is for their parent alone."""
    process = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if os.getpid() == process:
            global answered
            answered = True
            answer(number)
        elif number != signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    return handle


def say(text: str) -> None:
    """Prints a line from a handler, not through the console, which the signal may have interrupted while it wrote."""
    if not console.stderr.quiet:
        os.write(2, f"\n{text}\n".encode())
