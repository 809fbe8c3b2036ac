"""Checkpoints of a loop: now and then, at its end, and before it stops because somebody asked it to.

A signal (Ctrl-C, or SIGTERM from a scheduler) does not interrupt a step: the loop continues to its next boundary, saves
there, and stops. A second signal stops it at once, and the run resumes from the checkpoint before.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nas.compute.distributed.ranks import ALONE, Ranks
from nas.compute.stopping import Stopped, say, signals_to
from nas.runs.checkpoints import save_checkpoint
from nas.training.evaluation import DivergedError


class Saves:
    """The checkpoints of a loop; a context, within which signals wait for the loop's next boundary.

    A training that diverges leaves its state next to the checkpoint, as `NAME.diverged.pt`, to be looked at.

    Args:
        path: The checkpoint.
        state: Returns what it is to hold.
        seconds: Least time between two checkpoints.
        ranks: Who go through the loop together. They stop at the same boundary, whichever was asked to, and the first
            saves for all. As torchrun hands a signal on to them, a second one is the same once more.
    """

    def __init__(
        self, path: Path, state: Callable[[], Mapping[str, Any]], *, seconds: float, ranks: Ranks = ALONE
    ) -> None:
        self.ranks = ranks
        self.path = path
        self.state = state
        self.seconds = seconds
        self._saved = time.monotonic()
        self._asked: int | None = None
        self._signals = signals_to(self._on_signal)

    def reached(self, *, last: bool = False) -> None:
        """Tells that the loop is at a boundary, where its state is whole; saves if it is time to.

        Args:
            last: Whether the loop is done.

        Raises:
            Stopped: If a signal came; the state is saved then.
        """
        asked = self._agreed()
        if last or asked is not None or time.monotonic() - self._saved >= self.seconds:
            if self.ranks.first:
                save_checkpoint(self.path, self.state())
            self._saved = time.monotonic()
        if asked is not None:
            raise Stopped(asked)

    def _agreed(self) -> int | None:
        """Returns the signal that came, to this rank or to another; None if none did."""
        return self.ranks.largest(self._asked or 0) or None

    def __enter__(self) -> Self:
        self._signals.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._signals.__exit__(None, None, None)
        if isinstance(error, DivergedError) and self.ranks.first:
            save_checkpoint(self.path.with_name(f"{self.path.stem}.diverged{self.path.suffix}"), self.state())
        if error is None and (asked := self._agreed()) is not None:  # the signal came after the last boundary
            raise Stopped(asked)

    def _on_signal(self, number: int) -> None:
        if self._asked is not None and self.ranks.alone:
            raise Stopped(number)
        if self._asked is None and self.ranks.first:
            say(f"stopping after this epoch{'; once more stops at once' if self.ranks.alone else ''}")
        self._asked = number
