"""A run is a folder: opened once, by one process at a time, with the config and the machine written down."""

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from omegaconf import DictConfig, OmegaConf

from nas.compute.device import Runtime
from nas.compute.environment import environment, environment_differences
from nas.jobs.building.config import plain
from nas.jobs.building.extension import extend, longer_keys
from nas.models.genotype_files import is_genotype_itself, split_reference
from nas.runs.checkpoints import file_digest, write_json, write_text
from nas.runs.configs import check_resumable
from nas.runs.console import note
from nas.runs.listing import DONE_FILE, PLAN_FILE, read_json

SETUP_FILES = {".lock", "config.yaml", "environment.json", "data.json", "genotype.json", "cells.svg", PLAN_FILE}
OF_A_DEVICE = ("latency", "bench", "predictor", "permutations")
"""Jobs that measure a device, so that they do not go on with another."""
RESULTS = ("genotype.json", "candidates.json", "weights.safetensors")


@contextmanager
def opened_run(cfg: DictConfig, out: Path, *, runtime: Runtime, command: str) -> Iterator[None]:
    """Holds a run folder while the context lasts; writes `config.yaml` and `environment.json` into it.

    Where a run is resumed in another environment than it began in, a note names the differences.

    Args:
        cfg: Config of the job.
        out: The folder.
        runtime: How tensors are placed and computed.
        command: The job's name, such as `search`.

    Raises:
        ValueError: If another process holds the folder, it was started with another config, or it is not one below
            that of all runs.
    """
    name = str(OmegaConf.select(cfg, "name"))
    *_, last = parts = name.split("/")
    if not last or {".", ".."} & set(parts):  # the files would be among those of other runs, or outside of all
        raise ValueError(f"name must be that of a folder below results/runs, got {name!r}")
    with _locked(out):
        config = out / "config.yaml"
        begun = config.exists()
        try:
            if begun:
                new, fixed = plain(cfg, "the config"), ("device",) if command in OF_A_DEVICE else ()
                longer = longer_keys(config, new, command)
                check_resumable(config, new, free=longer, fixed=fixed)
                if longer:
                    extend(out, cfg, command, keys=longer)
            else:
                write_text(config, OmegaConf.to_yaml(cfg, resolve=True))
            found = {"job": command, **environment(runtime, seed=cfg.seed), "inputs": _input_digests(cfg)}
            _write_environment(out / "environment.json", found)
            yield
            _write_digests(out)
        except Exception:
            if not begun:
                _remove_if_bare(out)
            raise


@contextmanager
def joint_run(cfg: DictConfig, out: Path, *, runtime: Runtime, command: str) -> Iterator[None]:
    """Does for several ranks what `opened_run` does for one: the first holds the folder, and all fail if it cannot.

    The other ranks' `out` is a folder of their own that nobody reads.
    """
    with ExitStack() as stack:
        run = opened_run(cfg, out, runtime=runtime, command=command)
        runtime.ranks.from_first(lambda: stack.enter_context(run))
        yield


def keep_data(out: Path, record: Mapping[str, Any]) -> None:
    """Writes `data.json`, what is known of the data; a run that is resumed, perhaps elsewhere, must find the same.

    Raises:
        ValueError: If the run was begun with other data.
    """
    file = out / "data.json"
    before = read_json(file)
    if isinstance(before, dict) and _data_digest(before) != _data_digest(record):
        raise ValueError(
            f"the run {out} was begun with other data than are here now ({file}); "
            "set data.root, data.path or table.path back, or choose another name"
        )
    write_json(file, record)


def write_report(file: Path, figures: Mapping[str, Any], runtime: Runtime, *, seed: int) -> dict[str, Any]:
    """Writes what a job came to as JSON, with the machine and the versions by which it did; returns all of it."""
    report = {**figures, "environment": environment(runtime, seed=seed)}
    write_json(file, report)
    return report


def _data_digest(record: Mapping[str, Any]) -> Any:
    return record.get("data_sha256", record.get("files_sha256", record.get("sha256")))


def _write_environment(file: Path, found: dict[str, object]) -> None:
    """Writes the environment down; that of the first start is kept as well if it differs."""
    known = read_json(file)
    before = known.get("begun_with", known) if isinstance(known, dict) else {}
    if before and (differences := environment_differences(before, found)):
        note("warning: this run began in another environment, its results may differ: " + "; ".join(differences))
        found = {**found, "begun_with": before}
    write_json(file, found)


def _input_digests(cfg: DictConfig) -> dict[str, str]:
    """Returns digests of the files that a config names as genotypes."""
    digests: dict[str, str] = {}
    for key in ("genotype", "random_cells", "random_search"):
        given = OmegaConf.select(cfg, key)
        if isinstance(given, str) and not is_genotype_itself(given):
            path = split_reference(given)[0]
            path = path / "genotype.json" if path.is_dir() else path
            digests |= {key: file_digest(path)} if path.is_file() else {}
    return digests


def _write_digests(out: Path) -> None:
    """Writes digests of what a run used and made, once it is done."""
    data = read_json(out / "data.json")
    made = {name: file_digest(out / name) for name in RESULTS if (out / name).is_file()}
    write_json(out / DONE_FILE, {"data": _data_digest(data), **made} if data else made)


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Holds the folder's lock, making the folder; raises ValueError if another process has it."""
    while True:
        try:
            out.mkdir(parents=True, exist_ok=True)
            lock = (out / ".lock").open("w")
        except (FileExistsError, FileNotFoundError):
            if not out.is_dir() and (out.is_symlink() or out.exists()):
                raise
            continue  # somebody has just removed the folder, which was there a moment ago
        with lock:
            if not _taken(lock):
                raise ValueError(f"another process is at work in {out}; wait for it or choose another name")
            if _is_at(lock, out / ".lock"):  # else its holder has removed the folder meanwhile
                yield
                return


def _taken(lock: IO[str]) -> bool:
    """Takes a lock, unless another process holds it for longer than it takes to look whether it is held."""
    for wait in (0.01, 0.1, 0.0):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(wait)
    return False


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _remove_if_bare(out: Path) -> None:
    """Removes what a mistake of the user's left where it is nothing but the setup; members of a multirun stay.

    The lock goes last: as soon as it is gone, the folder may be another process's, which must find it empty, and keep
    what it writes.
    """
    kept = [path for path in out.iterdir() if path.name == "multirun.yaml" or (path / "config.yaml").is_file()]
    setup = [path for path in out.iterdir() if path not in kept]
    if {path.name for path in setup} <= SETUP_FILES:
        for path in sorted(setup, key=lambda path: path.name == ".lock"):
            path.unlink()
        if not kept:
            with suppress(OSError):  # another process has just opened the lock
                out.rmdir()
