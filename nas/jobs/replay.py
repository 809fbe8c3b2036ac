"""Replay: repeat a finished run from the record in its folder, and compare the results to the bit."""

import importlib
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nas.compute.environment import environment, environment_differences
from nas.jobs.building.config import import_extensions, plain, recorded_config
from nas.jobs.building.parts import build_runtime
from nas.jobs.building.run_folder import opened_run, write_report
from nas.models.genotype_files import split_reference
from nas.runs.checkpoints import write_json
from nas.runs.comparison import FileComparison, compare_runs
from nas.runs.configs import PLACES
from nas.runs.console import header, note, result, shown, without_next
from nas.runs.listing import DONE_FILE, PLAN_FILE, read_json

REPEATABLE = ("search", "retrain", "pipeline")
"""Jobs whose results follow from config, data and seed; the others measure times."""


def run(cfg: DictConfig, out: Path) -> dict[str, Any]:
    """Repeats the run of `cfg.run` in `out/again` and compares; a replay that was stopped resumes.

    Returns:
        What `replay.json` holds: whether all is equal, where each file differs first, and what differs in the
        environment.

    Raises:
        FileNotFoundError: If there is no such run.
        ValueError: If the run is not finished, of a job that cannot be repeated, or names modules of somebody's own
            that the command does not.
    """
    if cfg.run is None:
        raise ValueError("run is not set; add run=RUN, the folder of a finished search, retrain or pipeline")
    source, again = Path(cfg.run), out / "again"
    command, recorded = read_record(source)
    repeated = repeated_config(source, recorded, cfg=cfg)
    for key in PLACES:
        if (here := OmegaConf.select(cfg, key)) not in (None, "auto"):
            OmegaConf.update(repeated, key, here)
    import_extensions(repeated)
    runtime = build_runtime(repeated)
    differences = environment_differences(recorded, environment(runtime, seed=repeated.seed))
    header(
        "replay",
        {"run": shown(source), "job": command, "in": shown(again), "environment": "; ".join(differences) or "the same"},
    )
    with opened_run(repeated, again, runtime=runtime, command=command), without_next():
        if (plan := read_json(source / PLAN_FILE)) is not None:  # what it decided by the clock is repeated
            write_json(again / PLAN_FILE, {**plan, "seconds": None})
        importlib.import_module(f"nas.jobs.{command}").run(repeated, again)
    compared = compare_runs(source, again)
    report = {
        "settings": plain(cfg, "the config"),
        "job": command,
        "equal": all(file.difference is None for file in compared),
        "files": {file.file: "equal" if file.difference is None else file.difference for file in compared},
        "environment_differences": differences,
    }
    _print(compared, differences)
    note(f"details in {shown(out / 'replay.json')}")
    return write_report(out / "replay.json", report, runtime, seed=repeated.seed)


def read_record(source: Path) -> tuple[str, dict[str, Any]]:
    """Returns which job a run folder is of, and the environment that it ran in.

    Raises:
        FileNotFoundError: If it is no run folder.
        ValueError: If the run is not finished, or of a job that cannot be repeated.
    """
    if not (source / "config.yaml").is_file():
        raise FileNotFoundError(f"no run at {source}: it has no config.yaml")
    recorded = read_json(source / "environment.json")
    command = recorded.get("job") if isinstance(recorded, dict) else None
    if command not in REPEATABLE:
        raise ValueError(
            f"{source} is of the job {command or 'unknown'}; only {', '.join(REPEATABLE)} repeat to the bit"
        )
    if not (source / DONE_FILE).is_file():
        raise ValueError(
            f"the run {source} is not finished; start `nas {command} name={source.name}` with its settings"
        )
    return command, recorded.get("begun_with", recorded)


def repeated_config(source: Path, recorded: dict[str, Any], *, cfg: DictConfig) -> DictConfig:
    """Returns the config of a run with its number of threads, on which sums depend, and without its logger.

    Args:
        source: The run folder.
        recorded: The environment that it ran in.
        cfg: The config of the replay.
    """
    repeated = recorded_config(source, cfg)
    repeated.runtime.threads = recorded.get("threads")
    repeated.logger = {"_target_": "nas.reporting.trackers.FilesOnly"}
    given = OmegaConf.select(repeated, "genotype")
    known = recorded.get("inputs", {}).get("genotype")
    if given is not None and known and not split_reference(given)[0].exists():
        repeated.genotype = str(source / "genotype.json")  # what it was made from is gone; this is its copy
    return repeated


def _print(compared: list[FileComparison], differences: list[str]) -> None:
    unequal = [file for file in compared if file.difference is not None]
    if not unequal:
        result(f"equal to the bit: {', '.join(file.file for file in compared)}")
        return
    result(f"differs first in {unequal[0].file}: {unequal[0].difference}")
    for file in unequal[1:]:
        result(f"  and in {file.file}: {file.difference}")
    result(f"the environment: {'; '.join(differences) or 'the same'}")
