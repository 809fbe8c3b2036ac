"""Signals, and processes that want the same folder."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from nas.compute.device import make_runtime
from nas.compute.stopping import SIGNALS, Stopped, only_here
from nas.jobs import retrain
from nas.jobs.building.run_folder import opened_run
from nas.runs.checkpoints import load_checkpoint
from nas.runs.comparison import compare_runs
from nas.training.autosave import Saves
from nas.training.evaluation import DivergedError
from search_spaces.genotype import Genotype
from tests.conftest import make_cell
from tests.faults.campaign import RETRAIN, SMALL

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "WANDB_API_KEY": "5" * 39 + "7"}


def counting(path: Path, *, epochs: int, seconds: float = 1e9, at_epoch=None) -> list[int]:
    """A loop that saves how far it has come; `at_epoch` is called within every epoch."""
    state = load_checkpoint(path) or {"rows": []}
    with Saves(path, lambda: state, seconds=seconds) as saves:
        while len(state["rows"]) < epochs:
            if at_epoch is not None:
                at_epoch(len(state["rows"]))
            state["rows"].append(len(state["rows"]))
            saves.reached(last=len(state["rows"]) == epochs)
    return state["rows"]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_waits_for_the_boundary_and_nothing_is_lost(tmp_path, number, capfd):
    handlers = [signal.getsignal(each) for each in SIGNALS]
    path = tmp_path / "c.pt"
    with pytest.raises(Stopped) as stopped:
        counting(path, epochs=5, at_epoch=lambda epoch: epoch == 2 and signal.raise_signal(number))
    assert stopped.value.exit_code == 128 + number
    assert load_checkpoint(path) == {"rows": [0, 1, 2]}
    assert "stopping after this epoch" in capfd.readouterr().err
    assert [signal.getsignal(each) for each in SIGNALS] == handlers
    assert counting(path, epochs=5) == [0, 1, 2, 3, 4]


def test_a_second_signal_stops_at_once(tmp_path):
    def twice(epoch: int) -> None:
        if epoch == 1:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            pytest.fail("went on")

    with pytest.raises(Stopped):
        counting(tmp_path / "c.pt", epochs=3, seconds=0, at_epoch=twice)
    assert load_checkpoint(tmp_path / "c.pt") == {"rows": [0]}


def test_a_stop_in_a_worker_reaches_its_parent_as_one():
    sent = pickle.loads(pickle.dumps(Stopped(signal.SIGTERM)))
    assert (type(sent), sent.number, sent.exit_code) == (Stopped, signal.SIGTERM, 143)


def test_a_signal_in_the_last_epoch_is_heeded_when_all_is_saved(tmp_path):
    with pytest.raises(Stopped):
        counting(tmp_path / "c.pt", epochs=2, at_epoch=lambda epoch: epoch == 1 and signal.raise_signal(signal.SIGTERM))
    assert load_checkpoint(tmp_path / "c.pt") == {"rows": [0, 1]}


def test_checkpoints_are_written_when_they_are_due_and_at_the_end(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr("nas.training.autosave.save_checkpoint", lambda path, state: saved.append(len(state["rows"])))
    counting(tmp_path / "c.pt", epochs=4)
    counting(tmp_path / "c.pt", epochs=3, seconds=0)
    assert saved == [4, 1, 2, 3]


def test_loops_run_in_threads_as_well(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(counting, tmp_path / "c.pt", epochs=2).result() == [0, 1]


def test_a_training_that_diverges_leaves_its_state_beside_the_checkpoint(tmp_path):
    def diverging(epoch: int) -> None:
        if epoch == 2:
            raise DivergedError("step 7")

    with pytest.raises(DivergedError):
        counting(tmp_path / "c.pt", epochs=5, seconds=0, at_epoch=diverging)
    assert load_checkpoint(tmp_path / "c.diverged.pt") == {"rows": [0, 1]}
    assert load_checkpoint(tmp_path / "c.pt") == {"rows": [0, 1]}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0)])
def test_workers_leave_ctrl_c_to_their_parent_and_end_by_sigterm(number, status):
    answered = []
    handle = only_here(answered.append)
    child = os.fork()
    if child == 0:
        handle(number, None)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == status
    handle(number, None)
    assert answered == [number]


def config(**more):
    return OmegaConf.create({"name": "x", "seed": 0, "runtime": {}, "logger": {}, **more})


def test_of_many_that_want_one_folder_one_has_it_at_a_time(tmp_path):
    runtime, inside, worked, refused = make_runtime(device="cpu"), [], [], {}

    def member(number: int) -> None:
        try:
            with opened_run(config(), tmp_path / "run", runtime=runtime, command="search"):
                inside.append(number)
                assert len(inside) == 1
                time.sleep(0.02)
                inside.remove(number)
                worked.append(number)
        except ValueError as error:
            refused[number] = str(error)

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(member, range(20)))
    assert len(worked) + len(refused) == 20
    assert worked
    assert refused
    assert all("another process is at work" in message for message in refused.values())


def test_twenty_members_of_a_sweep_do_not_collide(tmp_path):
    runtime, barrier = make_runtime(device="cpu"), threading.Barrier(20)

    def member(number: int) -> None:
        barrier.wait()
        with opened_run(config(lr=number), tmp_path / "sweep" / f"lr={number}", runtime=runtime, command="search"):
            (tmp_path / "sweep" / f"lr={number}" / "result").write_text(str(number))

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(member, range(20)))
    for number in range(20):
        run = tmp_path / "sweep" / f"lr={number}"
        assert (run / "result").read_text() == str(number)
        assert OmegaConf.load(run / "config.yaml").lr == number


def test_a_folder_that_a_failed_run_removes_is_not_held_by_another_in_vain(tmp_path):
    """Whoever opens the lock of a folder that is then removed starts over with a folder that is there."""
    runtime = make_runtime(device="cpu")

    def member(number: int) -> str:
        try:
            with opened_run(config(), tmp_path / "run", runtime=runtime, command="search"):
                assert (tmp_path / "run" / ".lock").exists()
                raise ValueError("a mistake")
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(8) as pool:
        messages = set(pool.map(member, range(60)))
    assert "a mistake" in messages
    assert all(message == "a mistake" or "another process" in message for message in messages)
    assert not (tmp_path / "run").exists()


def test_a_mistake_in_the_folder_of_a_multirun_leaves_its_members_and_nothing_else(tmp_path):
    runtime, run = make_runtime(device="cpu"), tmp_path / "run"
    with opened_run(config(), run / "lr-1", runtime=runtime, command="search"):
        pass
    (run / "multirun.yaml").write_text("")
    with (
        pytest.raises(ValueError, match="a mistake"),
        opened_run(config(lr=7), run, runtime=runtime, command="search"),
    ):
        raise ValueError("a mistake")
    assert sorted(path.name for path in run.iterdir()) == ["lr-1", "multirun.yaml"]
    with opened_run(config(), run, runtime=runtime, command="search"):  # with settings of its own
        assert (run / "lr-1" / "config.yaml").exists()


def test_going_on_in_another_environment_is_said_and_the_first_one_kept(tmp_path, capsys, monkeypatch):
    runtime = make_runtime(device="cpu")
    for threads in (1, 1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        with opened_run(config(), tmp_path / "run", runtime=runtime, command="search"):
            pass
    assert capsys.readouterr().err.count("threads 1 → 2") == 1
    record = OmegaConf.load(tmp_path / "run" / "environment.json")
    assert (record.threads, record.begun_with.threads) == (2, 1)


@pytest.fixture(scope="module")
def terminated(tmp_path_factory) -> tuple[Path, list[str], int, str, int]:
    """A retraining that got SIGTERM in its third epoch: its folder, settings, exit status, what it printed, epochs."""
    folder = tmp_path_factory.mktemp("terminated")
    cell = make_cell((0, "sep_conv_3x3"), (1, "max_pool_3x3"))
    (folder / "cell.json").write_text(Genotype("shufflenas", cell, cell).to_json())
    settings = [*SMALL, *RETRAIN, "retrain.epochs=30", "retrain.checkpoint_seconds=1000", "retrain.seeds=[0]"]
    settings.append("genotype=cell.json")
    process = subprocess.Popen(
        [sys.executable, "-m", "nas", "retrain", *settings, "name=stopped"],
        cwd=folder,
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    with process:
        shown = ""
        for line in process.stderr or ():
            shown += line
            if line.split()[:3] == ["found", "3", "1"]:  # the row of epoch 1
                assert shown.count(line) == 1
                process.send_signal(signal.SIGTERM)
    checkpoint = folder / "results" / "runs" / "stopped" / "members" / "found-seed3.pt"
    return folder, settings, process.returncode, shown, len(load_checkpoint(checkpoint)["rows"])


def test_sigterm_saves_and_prints_how_to_go_on(terminated):
    _, _, status, shown, num_epochs = terminated
    assert status == 128 + signal.SIGTERM, shown
    assert "stopped; to go on: nas retrain name=stopped " in shown
    assert shown.rstrip().endswith("genotype=cell.json")
    assert "Traceback" not in shown
    assert 2 <= num_epochs < 30


def test_a_terminated_retraining_goes_on_and_ends_as_if_nothing_had_been(terminated, monkeypatch):
    folder, settings, *_ = terminated
    monkeypatch.chdir(folder)
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("retrain", overrides=settings)
    runs = [folder / "results" / "runs" / name for name in ("stopped", "whole")]
    for run in runs:
        with opened_run(cfg, run, runtime=make_runtime(device="cpu"), command="retrain"):
            retrain.run(cfg, run)
    assert [compared for compared in compare_runs(*runs) if compared.difference] == []


def test_no_key_in_the_environment_is_in_a_run_folder(terminated):
    run = terminated[0] / "results" / "runs" / "stopped"
    secret = ENVIRONMENT["WANDB_API_KEY"].encode()
    assert [path for path in run.rglob("*") if path.is_file() and secret in path.read_bytes()] == []
