"""Commands as a user starts them, in processes of their own that need not load torch again.

A server process loads the libraries once and forks for each command. The child is a process like any other: it has its
own working directory, environment, streams and exit code, and can be killed. The README's lines, kills of sweeps and a
few others start Python afresh, so that nothing of the server can hide a fault.
"""

import ctypes
import functools
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": ""}
LOADED = ["tests.commands", "tests.loaded"]
TIMEOUT = 300  # seconds


@functools.cache
def start_server() -> None:
    """Starts the server, before anything else starts one that has loaded less."""
    forkserver.set_forkserver_preload(LOADED)
    forkserver.ensure_running()


class Command:
    """A command that runs in a process of its own.

    Args:
        arguments: What is typed behind `nas`.
        cwd: The working directory.
        environment: What differs from `ENVIRONMENT`.
        prepare: Called in its process before it begins.
        ranks: So many processes run it, which the agent of torchrun forks and watches; 0: its own.
        restarts: How often the agent starts them anew.
    """

    def __init__(
        self,
        *arguments: str,
        cwd: Path,
        environment: dict[str, str],
        prepare: Callable[[], None] | None = None,
        ranks: int = 0,
        restarts: int = 0,
    ) -> None:
        self.arguments = arguments
        start_server()
        context = multiprocessing.get_context("forkserver")
        self._folder = tempfile.TemporaryDirectory(prefix="nas-command-")
        self._streams = [Path(self._folder.name) / name for name in ("out", "err")]
        for stream in self._streams:
            stream.touch()
        env = {**ENVIRONMENT, **environment}
        self.process: ForkServerProcess = context.Process(
            target=_run,
            args=(list(arguments), str(cwd), env, [str(one) for one in self._streams], prepare, ranks, restarts),
        )
        self.process.start()

    @property
    def stderr(self) -> str:
        """What it has printed to stderr so far."""
        return self._streams[1].read_text(encoding="utf-8")

    def kill(self) -> None:
        """Ends it as `kill -9` does, if it has not ended."""
        self.process.kill()
        self.process.join()

    def wait(self, timeout: float = TIMEOUT) -> subprocess.CompletedProcess[str]:
        """Returns its exit code and what it printed, once it has ended."""
        self.process.join(timeout)
        if self.process.is_alive():
            self.kill()
            raise subprocess.TimeoutExpired(["nas", *self.arguments], timeout)
        out, err = (stream.read_text(encoding="utf-8") for stream in self._streams)
        return subprocess.CompletedProcess(["nas", *self.arguments], self.process.exitcode or 0, out, err)

    def close(self) -> None:
        """Ends it, if it has not ended, and removes what it printed."""
        self.kill()
        self.process.close()
        self._folder.cleanup()


@contextmanager
def started(
    *arguments: str,
    cwd: Path,
    prepare: Callable[[], None] | None = None,
    ranks: int = 0,
    restarts: int = 0,
    **environment: str,
) -> Iterator[Command]:
    """A command that runs while the context lasts, at most: it is killed when the context ends."""
    command = Command(*arguments, cwd=cwd, environment=environment, prepare=prepare, ranks=ranks, restarts=restarts)
    try:
        yield command
    finally:
        command.close()


def nas(*arguments: str, cwd: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; takes what `started` takes."""
    with started(*arguments, cwd=cwd, **more) as command:
        return command.wait()


def bound_by_permissions() -> None:
    """Has the permissions of files bind this process, even if it is root's."""
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, twice
    assert libc.capget(header, sets) == 0
    for number in range(3):
        sets[number] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    assert libc.capset(header, sets) == 0


def nas_afresh(*arguments: str, cwd: Path, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Runs a command in a Python that is started afresh.

    Args:
        arguments: What is typed behind `nas`.
        cwd: The working directory.
        options: Of Python.
    """
    return subprocess.run(
        [sys.executable, *options, "-m", "nas", *arguments],
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def _run(
    arguments: list[str],
    cwd: str,
    environment: dict[str, str],
    streams: list[str],
    prepare: Callable[[], None] | None,
    ranks: int,
    restarts: int,
) -> None:
    """Becomes the command: in the child process."""
    for number, path in enumerate(streams, start=1):
        stream = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(stream, number)
        os.close(stream)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False, buffering=1)
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    if prepare is not None:
        prepare()
    sys.path[:0] = [str(Path(one).resolve()) for one in environment.get("PYTHONPATH", "").split(os.pathsep) if one]
    sys.argv = ["nas", *arguments]
    import torch

    from nas.cli import main
    from tests.figures import render

    render(charts=False)
    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))  # the server has loaded torch with another environment

    if ranks:
        from torch.distributed.launcher.api import LaunchConfig, elastic_launch

        watched = LaunchConfig(
            **{"min_nodes": 1, "max_nodes": 1, "nproc_per_node": ranks, "max_restarts": restarts},
            **{"rdzv_backend": "c10d", "rdzv_endpoint": "localhost:0", "run_id": "test", "start_method": "fork"},
        )
        elastic_launch(watched, main)()
    else:
        main()
    sys.stdout.flush()
