"""The text that a person sees of a comparison: tables, and the verdict on each controller."""

from collections.abc import Mapping, Sequence
from typing import Any

from nas.runs.console import Column, Table, note, result
from nas.runs.intervals import plus_minus
from nas.studies.controller_comparison.settings import ComparisonSettings

Rows = Sequence[Mapping[str, Any]]


def print_figures(rows: Rows, fronts: Rows, *, settings: ComparisonSettings) -> None:
    """Prints the tables, and in words what was shown.

    Args:
        rows: As `nas.studies.controller_comparison.figures.accuracy_figures` returned them.
        fronts: As `front_figures` there returned them; may be empty.
        settings: The protocol.
    """
    width = max(len(name) for name in [*settings.controllers, *(row["controller"] for row in fronts)])
    name = Column("controller", f"{'controller':>{width}}", "")
    _print_accuracies(rows, name, settings=settings)
    if fronts:
        _print_fronts(fronts, name, settings=settings)
    for row in rows:
        if row["controller"] == "largest_first":
            mean = row[f"mean_at_{settings.budget}"]
            note(f"warning: largest_first looks at no reward: size alone comes to {mean:.2f} in this table")
        if "verdict" in row:
            result(
                f"{row['controller']}: against {settings.opponent} after {settings.budget} queries, {row['verdict']}"
            )


def _print_accuracies(rows: Rows, name: Column, *, settings: ComparisonSettings) -> None:
    near = [mark for mark in settings.marks if mark < settings.budget][-1:]  # regret is shown there and at the end
    note("test accuracy of the best by reward, % (mean ± standard deviation); median regret, points")
    columns = [
        *(Column(f"median_regret_at_{mark}", f"regret {mark}", ".3f") for mark in [*near, settings.budget]),
        Column("last_worst", f"worst last {settings.last}", ".2f"),
        Column("proposals_per_query", "proposals", ".1f"),
        Column("own", "own %", ".0f", 100),
        Column("seconds_per_query", "ms/query", ".2f", 1000),
        _p_value(settings),
        Column("shown_published", "   published", ""),
    ]
    table = Table([name, *_at_marks(settings), *columns])
    for row in rows:
        published = plus_minus(*row["published"]) if row["published"] else None
        table.row({**row, **_cells(row, "mean", settings), "shown_published": published})


def _print_fronts(fronts: Rows, name: Column, *, settings: ComparisonSettings) -> None:
    note("accuracy and cost rewarded: area of the true front that was found, % (mean ± standard deviation)")
    table = Table([name, *_at_marks(settings), Column("ratio_worst", "worst", ".2f", 100), _p_value(settings)])
    for row in fronts:
        table.row({**row, **_cells(row, "ratio", settings, scale=100)})


def _at_marks(settings: ComparisonSettings) -> list[Column]:
    return [Column(f"at_{mark}", f"{f'at {mark}':>12}", "") for mark in settings.marks]


def _cells(row: Mapping[str, Any], key: str, settings: ComparisonSettings, *, scale: float = 1) -> dict[str, str]:
    """Returns the mean and its deviation at every mark as text."""
    values = {mark: (row[f"{key}_at_{mark}"], row[f"std_at_{mark}"]) for mark in settings.marks}
    return {f"at_{mark}": plus_minus(scale * mean, scale * std) for mark, (mean, std) in values.items()}


def _p_value(settings: ComparisonSettings) -> Column:
    return Column(f"p_at_{settings.budget}", f"p {settings.opponent}", ".2g")
