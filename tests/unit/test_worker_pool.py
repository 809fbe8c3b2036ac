"""Tasks on worker processes."""

import os
import signal
import threading
from types import SimpleNamespace

import pytest

from nas.compute import worker_pool
from nas.compute.worker_pool import num_processes, run_tasks


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
    ended = threading.Event()
    monkeypatch.setattr(worker_pool, "_ended", ended)
    monkeypatch.setattr(worker_pool, "_runner", SimpleNamespace(run=lambda task: {"ran": task}))
    assert worker_pool._run(1) == {"ran": 1}
    ended.set()
    assert worker_pool._run(2) == {}
