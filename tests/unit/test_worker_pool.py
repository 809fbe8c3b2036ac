"""Tasks on worker processes."""

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from nas.compute import worker_pool
from nas.compute.stopping import Stopped
from nas.compute.worker_pool import WorkerPool, num_processes, run_tasks
from nas.runs.checkpoints import load_checkpoint
from nas.training.autosave import Saves


class Squares:
    def run(self, task):
        if task == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        if task < 0:
            raise ValueError("no root")
        return {"task": task, "square": task**2, "process": os.getpid()}


def test_processes_are_no_more_than_tasks_and_one_on_an_accelerator():
    assert num_processes(3, workers=8) == 3
    assert num_processes(30, workers=None, device="cuda") == 1
    assert num_processes(30, workers=4, device="cuda") == 4
    assert num_processes(0, workers=2) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_has_its_result(workers):
    results = list(run_tasks(Squares(), [2, 3, 5, 7], workers=workers))
    assert {one["task"]: one["square"] for one in results} == {2: 4, 3: 9, 5: 25, 7: 49}
    assert (os.getpid() in {one["process"] for one in results}) == (workers == 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_task_is_that_of_the_caller(workers):
    with pytest.raises(ValueError, match="no root"):
        list(run_tasks(Squares(), [-1, 2, 3], workers=workers))


def test_a_killed_worker_is_told_of():
    with pytest.raises(OSError, match="a worker process was killed"):
        list(run_tasks(Squares(), [13, 2, 3], workers=2))


def test_a_worker_that_was_told_so_begins_no_more_tasks(monkeypatch):
    monkeypatch.setattr(worker_pool, "_runner", SimpleNamespace(run=lambda task: {"ran": task}))
    assert worker_pool._run(1) == {"ran": 1}
    monkeypatch.setattr(worker_pool, "_ended", True)
    assert worker_pool._run(2) == {}


class Loops:
    """Runs loops without end that save when they are stopped, at boundaries so many seconds apart."""

    def __init__(self, folder: Path, *, seconds: float) -> None:
        self.folder = folder
        self.seconds = seconds

    def run(self, task: int) -> dict[str, int]:
        rows: list[int] = []
        with Saves(self.folder / f"{task}.pt", lambda: {"rows": rows}, seconds=1e9) as saves:
            (self.folder / f"{task}.begun").write_text(str(os.getpid()))
            while True:
                time.sleep(self.seconds)
                rows.append(len(rows))
                saves.reached()


def signalled(folder: Path, *numbers: int, seconds: float) -> tuple[Stopped, list[int]]:
    """Sends signals to this process once two loops of four run; returns what came of it, and the processes."""

    def send() -> None:
        deadline = time.monotonic() + 60
        while len(list(folder.glob("*.begun"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(0.3)

    sender = threading.Thread(target=send)
    sender.start()
    with pytest.raises(Stopped) as stopped, WorkerPool(Loops(folder, seconds=seconds), 2) as pool:
        list(pool.run([0, 1, 2, 3]))
    sender.join()
    return stopped.value, [int(file.read_text()) for file in folder.glob("*.begun")]


def ended(process: int) -> bool:
    with suppress(FileNotFoundError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_every_task_at_its_next_boundary_and_no_other_begins(number, tmp_path, capfd):
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    stopped, processes = signalled(tmp_path, number, seconds=0.05)
    assert stopped.exit_code == 128 + number
    assert len(processes) == 2
    assert all(load_checkpoint(tmp_path / f"{task}.pt")["rows"] for task in (0, 1))
    assert capfd.readouterr().err.split("\n") == ["", "stopping; once more stops at once", ""]
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_signal_ends_tasks_that_reach_no_boundary(tmp_path):
    begun = time.monotonic()
    stopped, processes = signalled(tmp_path, signal.SIGINT, signal.SIGTERM, seconds=100)
    assert stopped.exit_code == 128 + signal.SIGTERM
    assert time.monotonic() - begun < 60
    assert all(ended(process) for process in processes)
    assert not list(tmp_path.glob("*.pt"))


def test_a_signal_to_all_processes_counts_once_in_each(tmp_path):
    """A scheduler signals the whole group: workers hear it themselves, and once more from the first process."""
    told = []

    def tell() -> None:
        deadline = time.monotonic() + 60
        while len(told) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
            told[:] = [int(text) for text in (file.read_text() for file in tmp_path.glob("*.begun")) if text]
        for process in (*told, os.getpid()):
            os.kill(process, signal.SIGTERM)

    teller = threading.Thread(target=tell)
    teller.start()
    with pytest.raises(Stopped, match="SIGTERM"), WorkerPool(Loops(tmp_path, seconds=0.5), 2) as pool:
        list(pool.run([0, 1, 2, 3]))
    teller.join()
    assert len(told) == 2
    assert all(load_checkpoint(tmp_path / f"{task}.pt")["rows"] for task in (0, 1))


class Signals:
    def run(self, task):
        os.kill(os.getpid(), task)
        time.sleep(0.1)
        return {"task": task}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_is_asked_to_stop_stops_all(workers):
    with pytest.raises(Stopped, match="SIGTERM"):
        list(run_tasks(Signals(), [signal.SIGTERM] * 3, workers=workers))


def test_ctrl_c_of_a_terminal_is_left_to_the_first_process():
    assert len(list(run_tasks(Signals(), [signal.SIGINT] * 3, workers=2))) == 3
