"""Reports: one HTML page with its style, its scripts and its data, which fetches nothing, and files of its figures.

Every text of a run is escaped. The page's policy lets no script run but Vega's and the one of this package, and
nothing load.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any

from nas.reporting.figures.colours import recoloured, variables
from nas.reporting.figures.drawing import COLUMNS, CONFIG, bundle, specification, write_cells_png, write_figure
from nas.reporting.figures.figures import Block, Cells, Chart, Code, DataTable, Figure, Paragraph, Section, TableColumn
from nas.reporting.page.contents import report_sections
from nas.reporting.page.records import Problem, RunRecord, find_runs
from nas.reporting.page.summary import summary_row
from nas.runs.checkpoints import write_csv, write_json, write_text

PAGE, FILES = "report.html", "report_files"
RELOAD_SECONDS = 10  # of a page that is still being written
MAX_NAVIGATION = 16  # links in the line at the top
KINDS = {"table": DataTable, "paragraph": Paragraph, "code": Code, "cells": Cells, "chart": Chart}


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


def write_report(
    folders: Sequence[Path], out: Path, *, title: str | None = None, png: bool = False, live: str | None = None
) -> Report:
    """Writes `report.html`, one page that needs no other file, and its figures and tables in `report_files/`.

    Equal files give an equal page. A file that is broken is named in the page and does not stop it.

    Args:
        folders: Folders of runs, or with runs below them, such as a sweep's; at least one.
        out: The folder to write into.
        title: Heading of the page; None makes one of the runs' names.
        png: Whether figures are written as PNG next to the SVG.
        live: How far runs at work are: the page says it and loads itself; no file beside it is written. None: it is
            written once.

    Raises:
        FileNotFoundError: If a folder is not there.
        ValueError: If there is no run in a folder.
    """
    runs = find_runs(folders)
    rows = [summary_row(run) for run in runs]
    sections = report_sections(runs, rows)
    problems = tuple(sorted({problem for run in runs for problem in run.problems}))
    files = out / FILES
    if live is None:
        _write_files(sections, files, png=png)
        reasons = [f"{one.file}: {one.reason}" for one in problems]
        write_json(files / "summary.json", {"runs": rows, "problems": reasons})
    text = page(
        sections,
        title=title or ", ".join(folder.resolve().name for folder in folders[:4]) + (" …" if len(folders) > 4 else ""),
        subtitle=_subtitle(runs, rows),
        problems=[f"{problem.file}: {problem.reason}" for problem in problems],
        live=live,
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


def page(
    sections: Sequence[Section], *, title: str, subtitle: str, problems: Sequence[str], live: str | None = None
) -> str:
    """Returns the text of the page.

    Args:
        sections: From top to bottom.
        title: Heading of the report.
        subtitle: Below it.
        problems: Sentences on files that could not be used.
        live: How far runs at work are, of a page that loads itself.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters |= {"side_by_side": _side_by_side, "data_url": _data_url, "digest": _digest}
    environment.filters["drawn"] = lambda figure: Markup(embedded_json(specification(figure, page=True)))
    environment.tests |= {name: (lambda one, kind=kind: isinstance(one, kind)) for name, kind in KINDS.items()}
    constants = {"CONFIG": {**CONFIG, "background": None}, "COLUMNS": COLUMNS}
    ours = "".join(f"const {name} = {embedded_json(value)};\n" for name, value in constants.items())
    scripts = [bundle(), ours + _resource("page.js")]
    if live is not None:
        scripts.append(f"const RELOAD_MS = {1000 * RELOAD_SECONDS};\n{_resource('live.js')}")
    named = [section for section in sections if section.title]
    return environment.from_string(_resource("page.html")).render(
        title=title,
        subtitle=subtitle,
        live=None if live is None else f"at work: {live} · loads itself every {RELOAD_SECONDS} s",
        light=variables(dark=False),
        dark=variables(dark=True),
        style=Markup(_resource("page.css") + recoloured(variable=True)),
        scripts=[Markup(script.replace("</script", "<\\/script")) for script in scripts],
        navigation=named if len(named) <= MAX_NAVIGATION else [one for one in named if one.folded is None],
        problems=problems,
        sections=sections,
        sorted_by=_sorted_by,
    )


def embedded_json(data: Any) -> str:
    """Returns data as JSON that can stand within a script element, whatever texts it holds."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _resource(name: str) -> str:
    return resources.files("nas.reporting.page").joinpath(name).read_text(encoding="utf-8")


def _side_by_side(blocks: Sequence[Block]) -> Iterator[tuple[bool, list[Block]]]:
    """Yields figures that follow each other together, and what is between them."""
    for are_figures, group in groupby(blocks, key=lambda block: isinstance(block, Figure)):
        yield are_figures, list(group)


def _data_url(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _sorted_by(row: Mapping[str, Any], column: TableColumn) -> str:
    """Returns the value that a table's cell is sorted by; nothing where it is not known."""
    value = row.get(column.key)
    return "" if value is None or value != value else str(value)
