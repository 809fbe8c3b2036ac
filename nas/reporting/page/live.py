"""Keeps the page of runs up to date while they are at work."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from nas.compute.stopping import signals_to, stop_at_once
from nas.reporting.page.records import runs_in
from nas.reporting.page.report import Report
from nas.runs.console import note, shown
from nas.runs.listing import read_run, state_of

POLL_SECONDS = 3.0
IDLE_SECONDS = 10.0
"""How long no process may be at work before the watch ends: there is none between two members of a sweep."""
SHARE = 0.3
"""Of the time, at most, that writing pages takes, which the runs may need."""
READ = (".json", ".csv", ".yaml", ".safetensors")
"""Suffixes of the files that a page is made of."""


class Watch:
    """Writes a page of runs that loads itself, again and again.

    Args:
        folders: Of runs, or with runs below them; where no run has begun yet, it is waited for.
        write: Writes the page of these folders, with this text on how far the runs are.

    Attributes:
        begun: The folders in which a run has begun.
        runs: The runs in them.
    """

    def __init__(self, folders: Sequence[Path], write: Callable[[Sequence[Path], str], Report]) -> None:
        self.folders, self.begun, self.runs = list(folders), list[Path](), list[Path]()
        self._write, self._idle_since = write, math.inf
        self._shown: object = None

    def follow(self) -> list[Path]:
        """Writes the page whenever files of the runs change, until no process is at work on them, or Ctrl-C.

        Returns:
            The folders in which a run has begun.

        Raises:
            KeyboardInterrupt: If Ctrl-C comes before any run has begun.
        """
        if waiting := [shown(folder) for folder in self.folders if not runs_in(folder)]:
            note(f"waiting for a run to begin in {', '.join(waiting)}; `nas runs` lists those that there are")
        try:
            with signals_to(stop_at_once):  # also SIGTERM, and in the background of a script, where Ctrl-C is ignored
                while not self._ended():
                    before = time.monotonic()
                    with suppress(FileNotFoundError):  # of a file or folder that has just been replaced or removed
                        self._update()
                    time.sleep(max(POLL_SECONDS, (time.monotonic() - before) / SHARE))
        except KeyboardInterrupt:
            if not self.begun:
                raise
            note("\nno longer watched; the page is of this moment")
            return self.begun
        for run in map(read_run, self.runs):
            if run.state != "finished":
                note(f"{shown(run.folder)} is not finished, {run.state}: {run.error or 'no process is at work on it'}")
        return self.begun

    def _ended(self) -> bool:
        self.begun = [folder for folder in self.folders if runs_in(folder)]
        self.runs = [run for folder in self.begun for run in runs_in(folder)]
        states, now = set(map(state_of, self.runs)), time.monotonic()
        expected = "running" in states or self.begun != self.folders
        self._idle_since = math.inf if expected else min(self._idle_since, now)
        all_done = states == {"finished"} and self.runs == self.folders  # else another member may come
        return all_done or now - self._idle_since > IDLE_SECONDS

    def _update(self) -> None:
        working = [read_run(run) for run in self.runs if state_of(run) == "running"]
        status = ", ".join(f"{run.folder.name} {run.progress}".strip() for run in working) or "no process"
        now = status, _stamps(self.runs)
        if self.runs and now != self._shown:
            report = self._write(self.begun, status)
            if self._shown is None:
                note(f"{shown(report.page)} follows the runs until they end, or Ctrl-C")
            self._shown = now


def _stamps(runs: Iterable[Path]) -> list[tuple[Path, int, int]]:
    """Returns size and time of every file that a page may show."""
    files = [file for run in runs for file in sorted(run.iterdir()) if file.suffix in READ]
    return [(file, stat.st_mtime_ns, stat.st_size) for file in files for stat in [file.stat()]]
