"""One job in its run folder, from the composed config on; a mistake of the user's becomes a few lines."""

import contextlib
import importlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from nas.command_line.mistakes import check
from nas.command_line.words import Words
from nas.compute.distributed.launch import read_launch
from nas.compute.stopping import only_here, stop_at_once
from nas.jobs.building.config import build, import_extensions, plain
from nas.jobs.failures import explained, kept_of
from nas.jobs.multirun import current_member, is_multirun, objective, runs_alone
from nas.searching.settings import QuerySettings, SearchSettings

TRACEBACKS = "NAS_TRACEBACKS"
"""Environment variable: what the user set HYDRA_FULL_ERROR to."""
WITHOUT_RUN_FOLDER = ("show", "report", "table", "runs", "sweep")
TRACKED = ("search", "retrain", "pipeline", "latency", "predictor")
"""Jobs that log their metrics."""
BUDGETED = ("search", "retrain", "pipeline")  # they plan by a budget, from the moment when they are started


class MistakeError(Exception):
    """A user's mistake, reported in a line or two without a traceback."""


@contextlib.contextmanager
def errors_raised() -> Iterator[None]:
    """Within the context Hydra raises errors instead of printing them, also in processes that its launchers start."""
    before = {name: os.environ.get(name) for name in (TRACEBACKS, "HYDRA_FULL_ERROR")}
    os.environ[TRACEBACKS] = before[TRACEBACKS] or before["HYDRA_FULL_ERROR"] or "0"
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def wants_traceback() -> bool:
    """Whether the user set HYDRA_FULL_ERROR=1, to see where an error comes from."""
    return os.environ.get(TRACEBACKS, os.environ.get("HYDRA_FULL_ERROR")) == "1"


def run_job(command: str, cfg: DictConfig, words: Words, *, failed: list[str]) -> Any:
    """Runs a job in its run folder; a mistake is reported once even if several processes make it.

    Args:
        command: The name of the job.
        cfg: Its config.
        words: The words of the command line.
        failed: Takes the names of members of a multirun that made a mistake, so that the next one runs.

    Raises:
        SystemExit: If a job that runs alone fails.
        MistakeError: If a member of a multirun makes one that its launcher or sweeper has to see.
    """
    try:
        launch = read_launch()
        if launch is None:
            return _run_alone(command, cfg, words)
        from nas.compute.distributed.joining import told_once  # imports torch

        with told_once(launch, mistakes=MistakeError):
            return _run_alone(command, cfg, words)
    except MistakeError as mistake:
        if not is_multirun():
            sys.stderr.write(f"error: {mistake}\n")
            sys.exit(1)
        if OmegaConf.select(cfg, "objective") or not runs_alone():
            raise
        failed.append(current_member().name)
        sys.stderr.write(f"error: {failed[-1]}: {mistake}\n")
        return None


def _run_alone(command: str, cfg: DictConfig, words: Words) -> Any:
    out = Path(HydraConfig.get().runtime.output_dir)
    if is_multirun() and command not in WITHOUT_RUN_FOLDER:
        out = out / current_member().name
    try:
        summary = run_composed(command, cfg, words, out)
        return objective(summary, figure) if (figure := OmegaConf.select(cfg, "objective")) else summary
    except KeyboardInterrupt as stopped:
        sys.stderr.write(f"\nstopped; to go on: {_again(command, cfg, words.overrides)}\n")
        sys.exit(getattr(stopped, "exit_code", 130))
    except (ValueError, OSError, OmegaConfBaseException, RuntimeError) as error:
        # OmegaConf's: of a group that is null, or a number. Of RuntimeErrors, only an OutOfMemoryError is a mistake.
        if wants_traceback() or (isinstance(error, RuntimeError) and type(error).__name__ != "OutOfMemoryError"):
            raise
        kept = partial(kept_of, command, out, again=_again(command, cfg, words.overrides))
        raise MistakeError(explained(error, kept=kept)) from error
    finally:
        if command not in WITHOUT_RUN_FOLDER:
            with contextlib.suppress(OSError):  # something is in it, or another process has just removed it
                out.rmdir()  # Hydra made it, and nothing came of it


def run_composed(command: str, cfg: DictConfig, words: Words, out: Path) -> Any:
    """Runs a job in the folder `out`, after a check of its config; returns what the job does.

    Raises:
        ValueError: If a setting or what it names is at fault.
        OSError: If a file is not there or cannot be written.
    """
    _leave_out_weights(cfg, words)
    check(command, cfg, words)
    return _run_job(command, cfg, out)


def _leave_out_weights(cfg: DictConfig, words: Words) -> None:
    """Removes what an experiment says of the training of shared weights from a search that has none.

    So an experiment serves every evaluator. What was typed stays, to be refused.
    """
    if OmegaConf.select(cfg, "search._target_") == "nas.searching.settings.QuerySettings":
        foreign = {field.name for field in fields(SearchSettings)} - {field.name for field in fields(QuerySettings)}
        typed = {key.lstrip("+").removeprefix("search.") for key in words.values}
        with open_dict(cfg):
            for key in (foreign - typed) & set(cfg.search):
                del cfg.search[key]


def _run_job(command: str, cfg: DictConfig, out: Path) -> Any:
    started = time.monotonic()
    import_extensions(cfg)
    job = importlib.import_module(f"nas.jobs.{command}")
    if command == "sweep":
        return job.run(cfg, out, pipeline=partial(_run_job, "pipeline"))
    if command in WITHOUT_RUN_FOLDER:
        return job.run(cfg, out)
    from nas.jobs.building.parts import build_runtime  # imports torch
    from nas.jobs.building.run_folder import joint_run
    from nas.reporting.trackers import FilesOnly
    from nas.runs.console import silence

    with contextlib.suppress(ValueError):  # a launcher may run jobs in threads, where signals cannot be handled
        signal.signal(signal.SIGTERM, only_here(stop_at_once))  # as Ctrl-C does
    if not isinstance(cfg.seed, int):
        raise ValueError(f"seed must be a whole number, got {cfg.seed!r}")
    tracker = build(cfg.logger, "logger")
    runtime = build_runtime(cfg)
    if not runtime.ranks.first:
        silence()
        tracker = FilesOnly()
    with joint_run(cfg, out, runtime=runtime, command=command):
        tracker.start(plain(cfg, "the config"), out=out)
        summary: dict[str, Any] | None = None
        try:
            given = {"tracker": tracker} if command in TRACKED else {}
            summary = job.run(cfg, out, **given, **({"started": started} if command in BUDGETED else {}))
        finally:
            tracker.finish(summary or {}, completed=summary is not None)
        return summary


def _again(command: str, cfg: DictConfig, overrides: Sequence[str]) -> str:
    """Returns the command that resumes a run, to be pasted into a shell."""
    kept = [override for override in overrides if not override.startswith(("name=", "hydra.job.config."))]
    name = OmegaConf.select(cfg, "name")  # that of the moment, where the command gave none
    return shlex.join(["nas", command, *([] if name is None else [f"name={name}"]), *kept])
