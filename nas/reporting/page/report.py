"""Writing a report: the page, and its figures and tables as files beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.reporting.figures.drawing import write_cells_png, write_figure
from nas.reporting.figures.figures import Cells, DataTable, Figure, Section
from nas.reporting.page.contents import report_sections
from nas.reporting.page.html import page
from nas.reporting.page.records import Problem, RunRecord, find_runs
from nas.reporting.page.summary import summary_row
from nas.runs.checkpoints import write_csv, write_json, write_text

PAGE, FILES = "report.html", "report_files"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was written.

    Attributes:
        page: The file of the page.
        files: The folder of figures and tables.
        runs: Names of the runs in it.
        problems: Files that could not be used.
    """

    page: Path
    files: Path
    runs: tuple[str, ...]
    problems: tuple[Problem, ...]


def write_report(folders: Sequence[Path], out: Path, *, title: str | None = None, png: bool = False) -> Report:
    """Writes `report.html`, one page that needs no other file, and its figures and tables in `report_files/`.

    Equal files give an equal page. A file that is broken is named in the page and does not stop it.

    Args:
        folders: Of runs, or with runs below them, such as a sweep's; at least one.
        out: The folder to write into.
        title: Heading of the page; None makes one of the runs' names.
        png: Whether figures are written as PNG beside the SVG.

    Raises:
        FileNotFoundError: If a folder is not there.
        ValueError: If there is no run in a folder.
    """
    runs = find_runs(folders)
    rows = [summary_row(run) for run in runs]
    sections = report_sections(runs, rows)
    problems = tuple(sorted({problem for run in runs for problem in run.problems}))
    files = out / FILES
    _write_files(sections, files, png=png)
    write_json(files / "summary.json", {"runs": rows, "problems": [f"{one.file}: {one.reason}" for one in problems]})
    text = page(
        sections,
        title=title or ", ".join(folder.resolve().name for folder in folders[:4]) + (" …" if len(folders) > 4 else ""),
        subtitle=_subtitle(runs, rows),
        problems=[f"{problem.file}: {problem.reason}" for problem in problems],
    )
    write_text(out / PAGE, text)
    return Report(page=out / PAGE, files=files, runs=tuple(run.name for run in runs), problems=problems)


def _write_files(sections: Sequence[Section], folder: Path, *, png: bool) -> None:
    for block in (block for section in sections for block in section.blocks):
        if isinstance(block, DataTable):
            rows = [{key: one for key, one in row.items() if not isinstance(one, list | dict)} for row in block.rows]
            write_csv(folder / f"{block.key}.csv", rows)
        elif isinstance(block, Cells):
            write_text(folder / f"{block.key}.svg", block.whole)
            if png:
                write_cells_png(folder / f"{block.key}.png", block.whole)
        elif isinstance(block, Figure):
            for suffix in ("svg", "png") if png else ("svg",):
                write_figure(folder / f"{block.key}.{suffix}", block)


def _subtitle(runs: Sequence[RunRecord], rows: Sequence[dict[str, Any]]) -> str:
    """Says what the report is of: names of few runs, devices, versions."""
    parts = [f"{len(runs)} run{'s'[: len(runs) > 1]}"]
    for key in ("space", "controller", "device"):
        values = list(dict.fromkeys(str(row[key]) for row in rows if key in row))
        parts += [", ".join(values)] if 0 < len(values) <= 3 else []
    packages = (run.environment.get("packages") for run in runs)
    versions = {str(package.get("shufflenas")) for package in packages if isinstance(package, dict)}
    parts += [f"shufflenas {', '.join(sorted(versions))}"] if versions else []
    return " · ".join(parts)
