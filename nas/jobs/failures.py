"""Messages for a job that cannot continue: what is wrong, what was kept, and the cure, in a few lines."""

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nas.runs.console import shown

FULL = (errno.ENOSPC, errno.EDQUOT)
CURES = {
    **dict.fromkeys(
        (errno.ENOTDIR, errno.EEXIST), "a file is where a folder is needed; move it or choose another place"
    ),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "get access to it or choose another place"),
    errno.EISDIR: "a folder is where a file is needed; choose another place",
    errno.ENAMETOOLONG: "choose a shorter name, most file systems take 255 bytes",
    errno.EROFS: "choose a place that can be written",
    errno.ELOOP: "a link leads to itself; choose another place",
}
TRAINING = ("search", "retrain", "pipeline")
PIECEWISE = {"rank": "trainings", "compare": "trials", "sweep": "members"}
"""Jobs that keep what they finished of these."""
OUT_OF_MEMORY = (
    "out of memory on the device; end what else uses it, or take a smaller batch_size or fewer network.filters with "
    "another name"
)


def explained(error: Exception, *, kept: Callable[[], str] | None = None) -> str:
    """Returns what an error of the user's or the system's is said to be, and the cure.

    Args:
        error: What was raised; of a job, a RuntimeError means that the device is out of memory.
        kept: Says, if the disk or the device is full, what is kept of the job and how to resume it.
    """
    code = getattr(error, "errno", None)
    if kept is not None and isinstance(error, RuntimeError):
        return f"{str(error).splitlines()[0]}\n{OUT_OF_MEMORY}. {kept()}"
    if kept is not None and code in FULL:
        return f"{error}; free some space. {kept()}"
    if not isinstance(error, OSError) or error.filename is None or code not in CURES:
        return str(error) if isinstance(error, ValueError | OSError) else str(error).partition("\n")[0]
    return f"{shown_place(error.filename)}: {str(error.strerror).lower()}: {CURES[code]}"


def shown_place(file: object) -> str:
    """Returns a path for a message; the middle of one that is too long is left out."""
    text = str(file)
    with suppress(OSError):
        text = shown(Path(text))
    return text if len(text) <= 160 else f"{text[:80]}…{text[-40:]}"


def kept_of(command: str, out: Path, *, again: str) -> str:
    """Says what is kept of a job that failed half-way, and how to go on.

    Args:
        command: The job.
        out: Its run folder.
        again: The command that resumes it.
    """
    files = [out / "checkpoint.pt", *out.glob("members/*.pt"), *out.glob("*/*-seed*.pt")]
    written = [file for file in files if file.is_file() and not file.stem.endswith((".previous", ".diverged"))]
    results = len(list(out.glob("*/*-seed*.json")))  # of stand-alone trainings, whose checkpoints are gone
    trainings = f"{results} finished training{'s'[: results != 1]}"
    if written:
        last = max(written, key=lambda file: file.stat().st_mtime_ns)
        kept = f"is kept, {trainings} too" if results else "is kept"
        return f"The last checkpoint, {shown(last)}{_progress(last)}, {kept}; to go on: {again}"
    if results:
        return f"There is no checkpoint, but {trainings}; to go on: {again}"
    if command in TRAINING:
        return f"There is no checkpoint yet, the run starts at its beginning again: {again}"
    if command in PIECEWISE:
        return f"Finished {PIECEWISE[command]} are kept; to go on: {again}"
    return f"nas {command} keeps no checkpoints and starts at its beginning again: {again}"


def _progress(checkpoint: Path) -> str:
    """Returns how far a checkpoint is, where it tells."""
    from nas.runs.checkpoints import load_checkpoint  # imports torch

    with suppress(ValueError, OSError, MemoryError, TypeError, KeyError):
        rows = (load_checkpoint(checkpoint) or {})["rows"]
        return f" after {len(rows)} epochs" if rows and "epoch" in rows[0] else f" after {len(rows)} updates"
    return ""
