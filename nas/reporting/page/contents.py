"""The sections of a report, from its runs: what no run has the files for is left out."""

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from nas.reporting.cells.drawing import genotype_svg
from nas.reporting.figures.costs import front_charts, latency_blocks, model_charts
from nas.reporting.figures.figures import Block, Cells, Chart, Code, Paragraph, Section
from nas.reporting.figures.mixing import WEIGHTS, distance_charts, permutation_images
from nas.reporting.figures.searches import (
    diagnostic_charts,
    insight_blocks,
    overlaid_charts,
    policy_charts,
    retrain_charts,
    search_charts,
    warnings_of,
)
from nas.reporting.figures.studies import comparison_charts, comparison_tables, ranking_blocks, ranking_clouds
from nas.reporting.figures.swept import differences_table, swept_charts
from nas.reporting.page.records import RunRecord
from nas.reporting.page.summary import MAX_VERDICTS, accuracy_chart, failures, lead, summary_table, verdicts
from search_spaces.genotype import Genotype

OPEN_RUNS = 3  # a report of more runs shows them closed
FULL_RUNS = 8  # of more runs each is shown briefly, so that the page stays below two megabytes
MAX_OVERLAID = 14  # runs in one figure
CELL_CAPTION = (
    "The cells that were found. A box is an op, lines lead to it from what it reads; what no other op reads is merged "
    "into the output, and a mixer shuffles the channels."
)


def report_sections(runs: Sequence[RunRecord], rows: Sequence[dict[str, Any]]) -> list[Section]:
    """Makes the sections of a report; files that are broken are noted in the runs.

    Args:
        runs: At least one.
        rows: The summary of each.
    """
    several, full = 1 < len(runs) <= MAX_OVERLAID, len(runs) <= FULL_RUNS
    best = max(range(len(runs)), key=lambda index: rows[index].get("test_accuracy", -1.0))
    said = [*_made(runs, FAILURES), *(_made(runs, VERDICTS) if len(runs) <= MAX_VERDICTS else [])]
    summary = [summary_table(rows), *said, *accuracy_chart(rows), *swept_charts(runs, rows), *differences_table(runs)]
    sections = [
        Section("found", "", [*lead(rows, best), *_made([runs[best]], CELLS)]),
        Section("summary", "Summary", summary),
        Section("searches", "Searches side by side", overlaid_charts(runs) if several else []),
        Section("trade-offs", "Accuracy and cost", model_charts(rows) if several else []),
        Section("timing", "Latency", latency_blocks(runs)),
        Section("ranking", "Ranking", _made(runs, RANKING)),
        Section("controllers", "Controllers compared", _made(runs, COMPARISON)),
    ]
    hint = Paragraph("Of so many runs no curves are shown here; a report of this run alone has them.")
    for index, run in enumerate(runs):
        cells = [] if index == best else _made([run], CELLS)
        shown = _made([run], CURVES) if full else [hint]
        blocks = [*cells, *_made([run], WARNINGS), *_made([run], INSIGHT), *shown, *_made([run], ORIGIN)]
        sections.append(Section(f"run-{run.key}", run.name, blocks, folded=len(runs) > OPEN_RUNS))
    known = [
        replace(section, blocks=[block for block in section.blocks if not (isinstance(block, Chart) and block.empty)])
        for section in sections
    ]
    return [section for section in known if section.blocks]


def cell_pictures(run: RunRecord) -> Iterator[Cells]:
    """Draws the cells that a run found or trained."""
    text = run.text("genotype.json")
    if text is not None:
        genotype = Genotype.from_json(text)
        merge = str((run.config.get("network") or {}).get("merge", "sum"))
        alone = {name: Genotype(genotype.space, cell) for name, cell in genotype.cells.items()}
        parts = [genotype_svg(cell, title=f"{name} cell", merge=merge) for name, cell in alone.items()]
        yield Cells(f"{run.key}--cells", "Cells", CELL_CAPTION, parts, genotype_svg(genotype, merge=merge))


def origin(run: RunRecord) -> Iterator[Code]:
    """Says how to make the run again: command, config and environment."""
    texts = {
        "To reproduce": command_of(run) or "",
        "Config": (run.text("config.yaml") or "").rstrip(),
        "Environment": json.dumps(run.environment, indent=2, ensure_ascii=False) if run.environment else "",
    }
    for title, text in texts.items():
        if text:
            yield Code(text, title, folded=title != "To reproduce")


def command_of(run: RunRecord) -> str | None:
    """Returns the command that a run was made with, as one would type it; None if it is not known."""
    with run.reading("environment.json"):
        if command := run.environment.get("command"):
            program, *overrides = map(str, command)
            return " ".join([program, *map(shlex.quote, overrides)])
    if overrides := run.yaml(".hydra/overrides.yaml"):
        return " ".join(["nas", "COMMAND", *(shlex.quote(str(part)) for part in overrides)])
    return None


Part = tuple[str, Callable[[RunRecord], Iterable[Block]]]
"""A file of a run and what is made of it."""
CELLS: list[Part] = [("genotype.json", cell_pictures)]
FAILURES: list[Part] = [("failed.json", failures)]
VERDICTS: list[Part] = [("metrics.json", verdicts)]
RANKING: list[Part] = [("scored_cells.csv", ranking_clouds), ("rank.json", ranking_blocks)]
COMPARISON: list[Part] = [("curves.csv", comparison_charts), ("compare.json", comparison_tables)]
WARNINGS: list[Part] = [("warnings.json", warnings_of)]
CURVES: list[Part] = [
    ("diagnostics.csv", lambda run: diagnostic_charts(run.rows("diagnostics.csv"), run.key)),
    ("search.csv", search_charts),
    ("search.csv", policy_charts),
    ("pareto.json", front_charts),
    ("retrain.csv", retrain_charts),
    ("retrain.csv", distance_charts),
    (WEIGHTS, permutation_images),
]
INSIGHT: list[Part] = [("insight.json", insight_blocks)]
ORIGIN: list[Part] = [(".hydra/overrides.yaml", origin)]


def _made(runs: Sequence[RunRecord], parts: Sequence[Part]) -> list[Block]:
    """Makes parts of runs; where a file is not what is expected, the run notes it and the part ends."""
    blocks: list[Block] = []
    for run in runs:
        for file, make in parts:
            with run.reading(file):
                blocks += make(run)
    return blocks
