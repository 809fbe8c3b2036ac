"""The variables that torchrun gives the processes it starts. Nothing heavy is imported: every command reads them."""

import contextlib
import io
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

DATA_PARALLEL = ("search", "retrain", "pipeline")
PATIENCE = 5  # seconds for the first process to tell of a mistake


@dataclass(frozen=True, slots=True)
class Launch:
    """A process among those that torchrun started.

    Attributes:
        rank: Among all processes.
        size: How many these are.
        local_rank: Among those of this machine.
        local_size: How many those are.
        restarts: How often all of them have been restarted.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    restarts: int = 0


def read_launch() -> Launch | None:
    """Returns what torchrun said; None in a process that it did not start."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    rank, size, local_rank, local_size = (
        int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    )
    return Launch(rank, size, local_rank, local_size, int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")))


def check_command(command: str, several: bool, *, named: bool) -> None:
    """Checks that a command can be run by several processes.

    Args:
        command: The job.
        several: Whether one run for each value is asked for.
        named: Whether the run is given a name.

    Raises:
        ValueError: If it cannot, or not so.
    """
    if command not in DATA_PARALLEL:
        raise ValueError(
            f"nas {command} is not data-parallel; start it without torchrun, which is for {', '.join(DATA_PARALLEL)}"
        )
    if several:
        raise ValueError("torchrun starts one run; for several, start torchrun several times")
    if int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0 and not named:
        raise ValueError("torchrun --max-restarts needs name=RUN, or what is restarted would be another run")


def let_first_speak() -> None:
    """Waits, in a process with nothing to say of a mistake, for torchrun to end it after the one that tells it.

    Were this one to end before, torchrun would end that one, perhaps in the middle of its sentence.
    """
    launch = read_launch()
    if launch is not None and launch.local_rank > 0:
        time.sleep(PATIENCE)


@contextlib.contextmanager
def own_place(launch: Launch | None) -> Iterator[list[str]]:
    """Gives every process but the first a run folder of its own, which vanishes; one a machine speaks.

    So a job is the same on all ranks, what it writes included, and only what the first writes stays.

    Args:
        launch: Which process this is; None for one alone.

    Yields:
        Overrides that put the run folder there; none for the first rank.
    """
    with contextlib.ExitStack() as stack:
        if launch is not None and launch.local_rank > 0:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
            stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        if launch is None or launch.rank == 0:
            yield []
        else:
            yield [f"hydra.run.dir={stack.enter_context(tempfile.TemporaryDirectory(prefix='nas-rank-'))}"]
