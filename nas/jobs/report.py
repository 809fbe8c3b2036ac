"""Report: one HTML page of runs that opens from disk, with its figures and tables as files beside it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from nas.config import build
from nas.console import note, result, shown
from nas.reporting.report import write_report
from nas.tracking import Tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings:
    """What a report holds beside the page.

    Attributes:
        title: Heading of the page; None makes one of the runs' names.
        png: Whether figures are written as PNG beside the SVG.
    """

    title: str | None = None
    png: bool = False


def run(cfg: DictConfig, out: Path, *, tracker: Tracker | None = None) -> dict[str, Any]:  # noqa: ARG001
    """Writes the report of `cfg.runs` into the folder `cfg.out`.

    Returns:
        `page`, `runs` and `problems`.

    Raises:
        ValueError: If no run is named or a folder holds none.
        FileNotFoundError: If a folder is not there.
    """
    settings: ReportSettings = build(cfg.report, "report")
    folders = [Path(str(folder)) for folder in ([cfg.runs] if isinstance(cfg.runs, str) else cfg.runs or [])]
    if not folders:
        raise ValueError("runs is not set; add runs=RUN, runs=SWEEP or runs=[RUN,RUN] to the command")
    together = Path("results/reports") / "-".join(folder.resolve().name for folder in folders)[:80]
    default = folders[0] if len(folders) == 1 else together
    report = write_report(
        folders, default if cfg.out is None else Path(cfg.out), title=settings.title, png=settings.png
    )
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
