"""How well shared weights rank cells, from what `nas rank` leaves: their scores against stand-alone training."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nas.reporting.figures.figures import Axis, Block, Chart, DataTable, Paragraph, Series, TableColumn
from nas.reporting.page.records import RunRecord, number

SCATTER_CAPTION = (
    "A dot a cell: what the shared weights say of it against what it reaches trained alone{spread}. Dots that rise to "
    "the right mean that a search picks good cells; a cloud without direction means that it picks at random."
)


def ranking_blocks(run: RunRecord) -> list[Block]:
    """Draws the ranking of a run; nothing if it has none."""
    blocks: list[Block] = []
    with run.reading("rank.json"):
        record = run.record("rank.json")
        cells: Sequence[Mapping[str, Any]] = record.get("cells", [])
        if not cells:
            return []
        figures = record.get("figures") or {}
        blocks += [Paragraph(str(text)) for text in record.get("sentences", [])]
        for index, name in enumerate(cells[0]["shared"]):
            blocks += _scatters(run, cells, name, index)
        blocks += _correlations(run, figures)
    return blocks


def _scatters(run: RunRecord, cells: Sequence[Mapping[str, Any]], name: str, index: int) -> list[Chart]:
    modes = list(cells[0]["shared"][name])
    truth = Axis(title="stand-alone test accuracy (%)")
    shared = Chart(
        key=f"{run.key}--rank-{index}",
        title=f"Ranking by the shared weights of {name}",
        caption=SCATTER_CAPTION.format(spread=_spread_words(cells)) + " The colours are ways "
        "of treating batch norm; a click on a name shows it.",
        x=Axis(title="shared-weight accuracy (%)"),
        y=truth,
        series=tuple(
            replace(
                _dots(
                    cells, [100 * number(cell["shared"][name].get(mode)) for cell in cells], name=mode, colour=colour
                ),
                hidden=colour > 0,
            )
            for colour, mode in enumerate(modes)
        ),
    )
    policy = Chart(
        key=f"{run.key}--rank-policy-{index}",
        title=f"Ranking by the policy of {name}",
        caption="A dot a cell: how probable the controller finds it against what it reaches trained alone. A policy "
        "that has learned finds good cells probable.",
        x=Axis(title="log-probability (nats)"),
        y=truth,
        series=(_dots(cells, [number((cell.get("log_prob") or {}).get(name)) for cell in cells], name="", colour=0),),
    )
    return [chart for chart in (shared, policy) if not chart.empty]


def _dots(cells: Sequence[Mapping[str, Any]], x: Sequence[float], *, name: str, colour: int) -> Series:
    points = []
    for number_, (cell, at) in enumerate(zip(cells, x, strict=True)):
        values = [100 * float(value) for value in cell["stand_alone"]]
        if math.isfinite(at) and values:
            spread = statistics.stdev(values) if len(values) > 1 else math.nan
            size = f", {cell['parameters']:,} parameters" if isinstance(cell.get("parameters"), int) else ""
            points.append((at, statistics.fmean(values), spread, f"cell #{number_}{size}"))
    return Series(
        name=name,
        x=[point[0] for point in points],
        y=[point[1] for point in points],
        mark="dots",
        low=[point[1] - point[2] for point in points],
        high=[point[1] + point[2] for point in points],
        notes=[point[3] for point in points],
        colour=colour,
    )


def _spread_words(cells: Sequence[Mapping[str, Any]]) -> str:
    seeds = min(len(cell["stand_alone"]) for cell in cells)
    return f", the line through it one standard deviation of {seeds} seeds" if seeds > 1 else ", with one seed each"


def _correlations(run: RunRecord, figures: Any) -> list[DataTable]:
    """Lists every correlation among the figures, wherever it stands, with its interval."""
    rows = [{"figure": path, **estimate} for path, estimate in _estimates(figures, "")]
    if not rows:
        return []
    columns = [TableColumn(key="figure", title="figure", show=lambda row: str(row["figure"]), numeric=False)]
    columns += [
        TableColumn(key=key, title=title, show=lambda row, key=key: f"{row[key]:.3f}")  # type: ignore[misc]
        for key, title in (("value", "value"), ("low", "95 % from"), ("high", "to"))
    ]
    columns.append(TableColumn(key="cells", title="cells", show=lambda row: f"{row['cells']:g}"))
    return [
        DataTable(
            key=f"{run.key}--correlations",
            title="Figures of the ranking",
            caption="With 95 % bootstrap intervals; an empty field means that there are too few cells. A "
            "correlation whose interval holds 0 shows no order.",
            columns=columns,
            rows=rows,
        )
    ]


def _estimates(node: Any, path: str) -> list[tuple[str, dict[str, float]]]:
    """Returns the figures with an interval below a node, each with the keys that lead to it."""
    if isinstance(node, Mapping):
        if {"value", "low", "high"} <= set(node):
            known = {key: number(node.get(key)) for key in ("value", "low", "high", "cells")}
            return [(path, {key: value for key, value in known.items() if math.isfinite(value)})]
        return [found for key, value in node.items() for found in _estimates(value, _joined(path, str(key)))]
    if isinstance(node, list):
        return [found for entry in node for found in _estimates(entry, f"{path} {_entry_name(entry)}")]
    return []


def _joined(path: str, key: str) -> str:
    """Returns the keys that lead to a figure as text, those left out that are of the file and not of the figure."""
    return path if key in ("runs", "within", "modes") else f"{path}, {key}" if path else key


def _entry_name(entry: Any) -> str:
    if isinstance(entry, Mapping):
        return " ".join(f"{key} {entry[key]}" for key in ("k", "run", "against") if key in entry)
    return ""
