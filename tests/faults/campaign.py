"""Kills searches and retrainings at random moments, lets them go on, and compares them with undisturbed ones.

    python -m tests.faults.campaign OUT [KILLS] [SEED]

Makes the folder OUT, works in it and writes OUT/campaign.json: every kill, where it struck, and whether the run that
went on ended equal to the bit. Jobs run in forked processes, so that the time goes into runs and not into imports.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from nas.compute.environment import environment
from nas.jobs import retrain, search
from nas.jobs.building.parts import build_runtime
from nas.jobs.building.run_folder import opened_run
from nas.runs.checkpoints import load_checkpoint, write_json
from nas.runs.comparison import compare_runs
from nas.runs.listing import read_json

SMALL = ("data.max_train=160", "data.max_test=60", "network.filters=4", "runtime.threads=1", "seed=3")
SEARCH = (
    *("search.epochs=6", "search.batch_size=32", "search.controller_samples=4", "search.samples_per_update=2"),
    *("search.final_samples=4", "search.random_cells=1", "search.checkpoint_seconds=0", "search_space.blocks=2"),
)
RETRAIN = (
    *("retrain.epochs=5", "retrain.batch_size=32", "retrain.seeds=[0,1]", "retrain.checkpoint_seconds=0"),
    "retrain.last_epochs=2",
)
Job = Callable[[Path], None]


def config(command: str, *overrides: str) -> DictConfig:
    with initialize_config_module("conf", version_base="1.3"):
        return compose(command, overrides=[*SMALL, *overrides])


def job_of(command: str, cfg: DictConfig) -> Job:
    def work(out: Path) -> None:
        with opened_run(cfg, out, runtime=build_runtime(cfg), command=command):
            {"search": search, "retrain": retrain}[command].run(cfg, out)

    return work


def started(job: Job, out: Path) -> int:
    """Starts a job in a process of its own, silent but for errors; returns the process's number."""
    if (child := os.fork()) != 0:
        return child
    status = 1
    try:
        with (out.parent / f"{out.name}.log").open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            job(out)
            status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def finished(job: Job, out: Path) -> int:
    """Runs a job to its end; returns its exit status."""
    return os.waitstatus_to_exitcode(os.waitpid(started(job, out), 0)[1])


def killed(job: Job, out: Path, *, after: float) -> bool:
    """Starts a job and kills it after so many seconds; returns whether it was still at work."""
    child = started(job, out)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def progress_of(out: Path) -> dict[str, Any]:
    """Returns what a killed run left."""
    checkpoints = [out / "checkpoint.pt", *sorted((out / "members").glob("*seed?.pt"))]
    return {
        "files": len(list(out.glob("*"))) if out.exists() else 0,
        "epochs_saved": [len(load_checkpoint(path)["rows"]) for path in checkpoints if path.exists()],
        "half_written": [path.name for path in out.rglob(".*.pt.*")],
    }


def trial(job: Job, whole: Path, out: Path, *, seconds: float, rng: random.Random) -> list[dict[str, Any]]:
    """Kills one run once or several times, lets it end, and compares it; returns an entry a kill."""
    kills: list[dict[str, Any]] = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        after = rng.uniform(0.02, 1.05) * seconds
        if not killed(job, out, after=after):
            break
        kills.append({"run": out.name, "after_seconds": round(after, 3), **progress_of(out)})
    status = finished(job, out)
    differences = [] if status else [f"{c.file}: {c.difference}" for c in compare_runs(whole, out) if c.difference]
    if status == 0 and read_json(whole / "digests.json") != read_json(out / "digests.json"):
        differences.append("digests.json")
    return [{**kill, "lost": status != 0, "differences": differences} for kill in kills]


def main(out: Path, *, num_kills: int, seed: int) -> dict[str, Any]:
    """Runs the campaign until so many kills have struck."""
    torch.set_num_threads(1)
    out.mkdir(parents=True)  # a new folder: runs of other settings must not be in the way
    begun, rng = time.monotonic(), random.Random(seed)
    cfg = config("search", *SEARCH)
    jobs = {"search": job_of("search", cfg)}
    wholes, seconds = {}, {}
    for command in ("search", "retrain"):
        wholes[command] = out / f"{command}-whole"
        if command == "retrain":
            inputs = (f"genotype={wholes['search']}", f"random_cells={wholes['search']}/random.json")
            jobs[command] = job_of(command, config(command, *RETRAIN, *inputs))
        jobs[command](wholes[command])  # in this process, so that all that a job imports is there before the forks
        started_at = time.monotonic()
        if finished(jobs[command], out / f"{command}-timed") != 0:
            raise RuntimeError(f"the undisturbed {command} failed: {out}/{command}-timed.log")
        seconds[command] = time.monotonic() - started_at
    kills: list[dict[str, Any]] = []
    number = 0
    while len(kills) < num_kills:
        command = ("search", "retrain")[number % 2]
        run = out / f"{command}-{number}"
        kills += trial(jobs[command], wholes[command], run, seconds=seconds[command], rng=rng)
        number += 1
        sys.stderr.write(f"{len(kills)} of {num_kills} kills after {time.monotonic() - begun:.0f} s\n")
        write_json(
            out / "campaign.json", summary(kills, seconds=seconds, elapsed=time.monotonic() - begun, runs=number)
        )
    return json.loads((out / "campaign.json").read_text())


def summary(kills: list[dict[str, Any]], *, seconds: dict[str, float], elapsed: float, runs: int) -> dict[str, Any]:
    """Puts the kills together."""
    cfg = config("search")
    return {
        "kills": len(kills),
        "runs_killed": len({kill["run"] for kill in kills}),
        "runs_started": runs,
        "lost": sum(kill["lost"] for kill in kills),
        "with_differences": sum(bool(kill["differences"]) for kill in kills),
        "while_writing_a_checkpoint": sum(bool(kill["half_written"]) for kill in kills),
        "seconds_of_a_whole_run": seconds,
        "seconds": elapsed,
        "settings": {"all": SMALL, "search": SEARCH, "retrain": RETRAIN},
        "environment": environment(build_runtime(cfg), seed=3),
        "each": kills,
    }


if __name__ == "__main__":
    arguments = sys.argv[1:]
    totals = main(
        Path(arguments[0]).resolve(),
        num_kills=int(arguments[1]) if len(arguments) > 1 else 50,
        seed=int(arguments[2]) if len(arguments) > 2 else 0,
    )
    sys.stdout.write(
        json.dumps({key: totals[key] for key in ("kills", "runs_killed", "lost", "with_differences")}) + "\n"
    )
    sys.exit(1 if totals["lost"] or totals["with_differences"] else 0)
