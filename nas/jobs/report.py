"""Report: one HTML page of runs that opens from disk, with its figures and tables as files next to it."""

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nas.jobs.building.config import build
from nas.jobs.building.settings import ReportSettings
from nas.reporting.page.live import Watch
from nas.reporting.page.report import write_report
from nas.runs.console import note, result, shown

LONGEST_NAME = 80


def run(cfg: DictConfig, out: Path) -> dict[str, Any]:  # noqa: ARG001
    """Writes the report of `cfg.runs` into the folder `cfg.out`; with `cfg.watch` also while the runs are at work.

    Returns:
        `page`, `runs` and `problems`.

    Raises:
        ValueError: If no run is named or a folder holds none.
        FileNotFoundError: If a folder is not there.
    """
    settings: ReportSettings = build(cfg.report, "report")
    given = cfg.runs if OmegaConf.is_list(cfg.runs) else [] if cfg.runs is None else [cfg.runs]
    folders = [Path(str(folder)) for folder in given]
    if not folders:
        raise ValueError("runs is not set; add runs=RUN, runs=SWEEP or runs=[RUN,RUN] to the command")
    default = folders[0] if len(folders) == 1 else Path("results/reports") / _joint_name(folders)
    place = default if cfg.out is None else Path(cfg.out)
    write = partial(write_report, out=place, title=settings.title, png=settings.png)
    if cfg.watch:
        folders = Watch(folders, lambda begun, status: write(begun, live=status)).follow()
    report = write(folders)
    for problem in report.problems:
        note(f"left out {problem.file}: {problem.reason}")
    kinds = "SVG, PNG and CSV" if settings.png else "SVG and CSV"
    note(f"figures and tables as {kinds} in {shown(report.files)}")
    result(f"report of {len(report.runs)} run{'s'[: len(report.runs) > 1]}: {shown(report.page)}")
    return {
        "page": str(report.page),
        "runs": list(report.runs),
        "problems": [f"{problem.file}: {problem.reason}" for problem in report.problems],
    }


def _joint_name(folders: Sequence[Path]) -> str:
    """Returns the names of the folders in a row; where that is too long, a digest of all stands for the rest."""
    name = "-".join(folder.resolve().name for folder in folders)
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256("\n".join(str(folder.resolve()) for folder in folders).encode()).hexdigest()[:8]
    return f"{name[: LONGEST_NAME - 9]}-{digest}"
