"""The sections of a report, from its runs: what no run has the files for is left out."""

import json
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from nas.reporting.cells.drawing import genotype_svg
from nas.reporting.figures.contests import comparison_blocks
from nas.reporting.figures.figures import Block, Cells, Code, Paragraph, Section
from nas.reporting.figures.learning import overlaid_charts, retrain_charts, search_charts
from nas.reporting.figures.mixing import permutation_figures
from nas.reporting.figures.policy import diagnostic_figures, policy_figures, warnings_of
from nas.reporting.figures.ranking_figures import ranking_blocks
from nas.reporting.figures.swept import differences_table, swept_charts
from nas.reporting.figures.timing import latency_blocks
from nas.reporting.figures.tradeoffs import front_charts, model_charts
from nas.reporting.page.records import RunRecord
from nas.reporting.page.summary import accuracy_chart, failures, lead, summary_table, verdicts
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
    overlaid = runs if 1 < len(runs) <= MAX_OVERLAID else []
    summary: list[Block] = [summary_table(rows), *failures(runs), *verdicts(runs), *accuracy_chart(rows)]
    best = max(range(len(runs)), key=lambda index: rows[index].get("test_accuracy", -1.0))
    opening: list[Block] = [*lead(rows, best), *cell_pictures(runs[best])]
    full, folded = len(runs) <= FULL_RUNS, len(runs) > OPEN_RUNS
    sections = [
        Section("found", "", opening),
        Section("summary", "Summary", [*summary, *swept_charts(runs, rows), *differences_table(runs)]),
        Section("searches", "Searches side by side", overlaid_charts(overlaid)),
        Section("trade-offs", "Accuracy and cost", model_charts(rows) if overlaid else []),
        Section("timing", "Latency", latency_blocks(runs)),
        Section("ranking", "Ranking", _of_all(runs, ranking_blocks)),
        Section("controllers", "Controllers compared", _of_all(runs, comparison_blocks)),
    ]
    for index, run in enumerate(runs):
        cells = [] if index == best else cell_pictures(run)
        sections.append(Section(f"run-{run.key}", run.name, [*cells, *run_blocks(run, full=full)], folded))
    return [section for section in sections if section.blocks]


def run_blocks(run: RunRecord, *, full: bool) -> list[Block]:
    """Makes the parts of a run's own section, from its warnings to how to make it again."""
    if not full:
        hint = Paragraph("Of so many runs no curves are shown here; a report of this run alone has them.")
        return [*warnings_of(run), hint, *origin(run)]
    return [
        *warnings_of(run),
        *diagnostic_figures(run),
        *search_charts(run),
        *policy_figures(run),
        *front_charts(run),
        *retrain_charts(run),
        *permutation_figures(run),
        *origin(run),
    ]


def cell_pictures(run: RunRecord) -> list[Cells]:
    """Draws the cells that a run found or trained."""
    with run.reading("genotype.json"):
        text = run.text("genotype.json")
        if text is not None:
            genotype = Genotype.from_json(text)
            merge = str((run.config.get("network") or {}).get("merge", "sum"))
            alone = {name: Genotype(genotype.space, cell) for name, cell in genotype.cells.items()}
            parts = [genotype_svg(cell, title=f"{name} cell", merge=merge) for name, cell in alone.items()]
            return [Cells(f"{run.key}--cells", "Cells", CELL_CAPTION, parts, genotype_svg(genotype, merge=merge))]
    return []


def origin(run: RunRecord) -> list[Code]:
    """Says how to make the run again: command, config and environment."""
    blocks = []
    if command := command_of(run):
        blocks.append(Code(text=command, title="To reproduce"))
    if config := run.text("config.yaml"):
        blocks.append(Code(text=config.rstrip(), title="Config", folded=True))
    if environment := run.environment:
        text = json.dumps(environment, indent=2, ensure_ascii=False)
        blocks.append(Code(text=text, title="Environment", folded=True))
    return blocks


def command_of(run: RunRecord) -> str | None:
    """Returns the command that a run was made with, as one would type it; None if it is not known."""
    with run.reading("environment.json"):
        if command := run.environment.get("command"):
            program, *overrides = (str(part) for part in command)
            return " ".join([program, *map(shlex.quote, overrides)])
    with run.reading(".hydra/overrides.yaml"):
        if overrides := run.yaml(".hydra/overrides.yaml"):
            return " ".join(["nas", "COMMAND", *(shlex.quote(str(part)) for part in overrides)])
    return None


def _of_all(runs: Sequence[RunRecord], make: Callable[[RunRecord], Sequence[Block]]) -> list[Block]:
    return [block for run in runs for block in make(run)]
