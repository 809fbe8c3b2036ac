"""The members of a sweep: what tells them apart, the folder of each, and the run of one that never stops the others.

A member's folder is a run folder of the pipeline with three files more: `member.json` (its settings), `output.txt`
(what it printed) and, as long as it has failed, `failed.json`.
"""

import hashlib
import io
import json
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from nas.runs.checkpoints import write_json
from nas.runs.console import note, shown
from nas.runs.listing import FAILED_FILE, PLAN_FILE, State, is_held, read_json, state_of

MEMBER_FILE, OUTPUT_FILE = "member.json", "output.txt"
LONGEST_NAME = 100
SETUP_FILES = ("config.yaml", "environment.json", "data.json", PLAN_FILE)


@dataclass(frozen=True, slots=True)
class Member:
    """One combination of settings.

    Attributes:
        swept: Value by key, as text, of what tells it from other members, in the order of the command.
        fixed: Value by key of what the command set for all members.
    """

    swept: Mapping[str, str]
    fixed: Mapping[str, str]

    @property
    def name(self) -> str:
        """Name of the folder: `search_space.blocks-2+seed-0`.

        It has no character that a shell or Hydra would take amiss, so that it can be typed as part of a value. Where
        characters had to be replaced or the name cut, a digest keeps different members apart.
        """
        text = "+".join(f"{_safe(key.lstrip('+'))}-{_safe(value)}" for key, value in self.swept.items())
        changed = any(_safe(part.lstrip("+")) != part.lstrip("+") for item in self.swept.items() for part in item)
        if not changed and len(text) <= LONGEST_NAME:
            return text
        digest = hashlib.sha256(json.dumps(list(self.swept.items())).encode()).hexdigest()[:8]
        return f"{text[: LONGEST_NAME - 9]}-{digest}"


def member_state(folder: Path) -> State | None:
    """Returns the state of a member's folder; None if it was never started."""
    return state_of(folder) if (folder / MEMBER_FILE).exists() else None


def run_member(member: Member, folder: Path, work: Callable[[], object], *, echo: bool) -> State:
    """Does the work of a member that is not finished; an error ends in `failed.json` instead of the sweep.

    Args:
        member: What is run.
        folder: Folder of the member, made if it is not there.
        work: Runs the pipeline in the folder.
        echo: Whether what the member prints is shown as well as kept: not where several run at the same time.

    Returns:
        How the member stands then.
    """
    failed = folder / FAILED_FILE
    write_json(folder / MEMBER_FILE, {"swept": member.swept, "fixed": member.fixed})
    note(f"member {member.name}" + ("" if echo else f": prints into {shown(folder / OUTPUT_FILE)}"))
    failed.unlink(missing_ok=True)  # of an earlier start: the member's report is not to tell of it
    begun = time.monotonic()
    try:
        with kept_output(folder / OUTPUT_FILE, echo=echo):
            work()
    except Exception as error:  # of any kind: the other members are to run
        note(f"member {member.name} failed: {in_a_line(error)}")
        if not is_held(folder):  # else it is another process's member, and not for us to call it failed
            lines = traceback.format_exception(error)
            write_json(failed, {"error": in_a_line(error), "traceback": "".join(lines).splitlines()})
            _forget_setup(folder)
    else:
        note(f"member {member.name} finished after {time.monotonic() - begun:.0f} s")
    return state_of(folder)


def check_fixed(folder: Path, members: Sequence[Member], *, free: Callable[[str], bool]) -> None:
    """Refuses to mix members of different settings in one sweep.

    A key that is swept now may have been fixed before, and the other way round: its value is among the member's own.

    Args:
        folder: Folder of the sweep.
        members: About to be started.
        free: Whether a dotted key may differ.

    Raises:
        ValueError: If a member that is there has results of other settings; the message names them.
    """
    if not members:
        return
    swept, fixed = members[0].swept, members[0].fixed
    begun = [file.parent for file in folder.glob(f"*/{MEMBER_FILE}") if (file.parent / "config.yaml").exists()]
    for path in sorted(begun):
        before = read_member(path)
        keys = [key for key in dict.fromkeys([*before.fixed, *fixed]) if key not in swept and key not in before.swept]
        if differing := [
            f"{key} (was {before.fixed.get(key, 'not given')}, is {fixed.get(key, 'not given')})"
            for key in keys
            if before.fixed.get(key) != fixed.get(key) and not free(key)
        ]:
            raise ValueError(
                f"{shown(path)} was started with other settings; choose another name, or set back: "
                + ", ".join(differing)
            )


def in_a_line(error: BaseException) -> str:
    """Returns all that a user's mistake is said to be, and of any other error the kind and the first line."""
    if isinstance(error, ValueError | OSError) and str(error):
        return " ".join(str(error).split())
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


@contextmanager
def kept_output(file: Path, *, echo: bool) -> Iterator[None]:
    """Writes what is printed while the context lasts to the end of a file, and with `echo` where it would go too."""
    with file.open("a", encoding="utf-8", buffering=1) as kept:
        kept.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')}\n")
        out, err = (_Tee(kept, stream) if echo else kept for stream in (sys.stdout, sys.stderr))
        with redirect_stdout(out), redirect_stderr(err):
            yield


class _Tee(io.TextIOBase):
    """Text that goes to two places; not a terminal, so that no progress bar is drawn into the file."""

    encoding = "utf-8"

    def __init__(self, *streams: TextIO) -> None:
        self._streams = streams

    def write(self, text: str) -> int:
        for stream in self._streams:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        for stream in self._streams:
            stream.flush()


def _forget_setup(folder: Path) -> None:
    """Lets a member that failed before its first epoch start again with other settings."""
    if not any((folder / name).exists() for name in ("search.csv", "checkpoint.pt")):
        for name in SETUP_FILES:
            (folder / name).unlink(missing_ok=True)


def _safe(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", text)


def read_member(folder: Path) -> Member:
    """Reads what a member's folder says of its settings."""
    record: dict[str, Any] = read_json(folder / MEMBER_FILE) or {}
    return Member(swept=record.get("swept", {}), fixed=record.get("fixed", {}))
