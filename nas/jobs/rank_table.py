"""Rank with a table as the truth: every cell of a space scored with the shared weights of searches."""

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from nas.jobs.building.config import build, plain
from nas.jobs.building.parts import build_runtime
from nas.jobs.building.ranked_runs import RankedRun, read_runs
from nas.jobs.building.run_folder import keep_data, write_report
from nas.models.genotype_files import load_genotype, load_genotypes
from nas.runs.checkpoints import write_csv, write_text
from nas.runs.console import Column, Table, header, note, progress, result, shown
from nas.searching.supernet_scorer import Readout
from nas.studies.ranking.ordering import Array, Estimates
from nas.studies.ranking.plots import ordering_plot
from nas.studies.ranking.settings import TableRankSettings
from nas.studies.ranking.table_truth import TableCells, ordering_rows, rows_beside, table_cells

SCORES = "scores"
AT_ONCE = 50  # cells
FINALISTS = 10
"""Best candidates of a search of which the table chooses one as a search of it would."""


def run(cfg: DictConfig, out: Path, settings: TableRankSettings) -> dict[str, Any]:
    """Scores the cells that the folder `out` does not hold yet, and writes how well scores order them.

    Returns:
        What `rank.json` holds.

    Raises:
        ValueError: If a setting is out of range, the runs differ in space or images, or a cell is not in the table.
        FileNotFoundError: If a run, its checkpoint, its data or the table is not there.
    """
    runtime = build_runtime(cfg)
    lookup, _ = build(cfg.table, "table")
    runs = read_runs(cfg, runtime)
    first = runs[0].search
    keep_data(out, lookup.table.record)
    every = table_cells(first.space, lookup, first.evaluator.costs)
    cells = every.of_part(settings.part, space=first.space, most=settings.classes)
    if settings.beside is not None:
        beside = rows_beside(Path(settings.beside).expanduser(), cells, first.space)
        cells = replace(cells, rows={**cells.rows, **beside})
    header(
        "rank",
        {
            "run folder": shown(out),
            "runs": ", ".join(one.name for one in runs),
            "truth": f"{lookup.table.path.name}, {settings.part}",
            "cells": f"{len(cells.genotypes)}, {cells.num_classes} classes",
        },
    )
    scores = {one.name: _scores(one, cells, out, settings) for one in runs}
    if settings.twins == "once":
        cells, places = cells.once()
        scores = {run: {kind: values[places] for kind, values in kinds.items()} for run, kinds in scores.items()}
    rows = ordering_rows(cells, scores, seed=cfg.seed, resamples=settings.resamples)
    report = {
        "ordering": rows,
        "found": {} if settings.part == "development" else _found(runs, every),
        "part": settings.part,
        "classes": cells.num_classes,
        "runs": {one.name: one.described() for one in runs},
        "settings": plain(cfg.rank, "rank"),
    }
    write_csv(out / "ordering.csv", [_csv_row(name, row) for name, row in rows.items()])
    columns = {
        "cell": ["-".join(map(str, first.space.encode(genotype))) for genotype in cells.genotypes],
        "class": cells.truth.classes,
        "truth": cells.truth.values,
        **{f"{name}, {kind}": values for name, kinds in scores.items() for kind, values in kinds.items()},
    }
    values = zip(*columns.values(), strict=True)
    write_csv(out / "scored_cells.csv", [dict(zip(columns, row, strict=True)) for row in values])
    ordering_plot(cells.truth.values, scores, out / "rank.svg")
    report = write_report(out / "rank.json", report, runtime, seed=cfg.seed)
    _print(rows, own="calibrated loss" if first.evaluator.scorer.calibrate else "loss")
    note(f"figures in {shown(out / 'rank.json')}, ordering.csv and rank.svg; scores in {shown(out / SCORES)}")
    return report


def _found(runs: Sequence[RankedRun], cells: TableCells) -> dict[str, Any]:
    """Returns the true standing of the cells that finished searches found, and prints it."""
    found = {}
    for one in runs:
        if not (one.path / "genotype.json").exists():
            continue
        standing = cells.standing(load_genotype(one.path), space=one.search.space)
        if standing is None:
            note(f"the cell that {one.name} found is not in the table")
            continue
        equal = standing["equal_parameters"]
        largest = "it is the largest cell" if standing["is_largest"] else f"the largest has {standing['largest']:.4g}"
        result(
            f"{one.name} found a cell of {standing['truth']:.4g}, better than {standing['percentile']:.1f} % of all; "
            f"the {equal['cells']} cells of its parameter count have {equal['mean']:.4g} in the mean, "
            f"it is better than {equal['percentile']:.1f} % of them; {largest}"
        )
        file = one.path / "candidates.json"
        finalists = load_genotypes(file)[:FINALISTS] if file.exists() else []
        chosen = cells.finals(finalists, space=one.search.space)
        if chosen is not None:
            standing["finals"], standing["finals_of_the_largest"] = chosen
            result(
                f"of its {len(finalists)} best candidates, the one that a search of the table prefers has "
                f"{chosen[0]:.4g}; of the {len(finalists)} largest cells, {chosen[1]:.4g} in the mean over ties"
            )
        found[one.name] = standing
    return found


def _scores(ranked: RankedRun, cells: TableCells, out: Path, settings: TableRankSettings) -> dict[str, Array]:
    """Scores what the files of a run's scores do not hold yet; returns scores (n,) by kind, higher is better.

    Of each class one cell is scored with each kept copy of the shared weights, in turn another one, on newly drawn
    images; all cells of a class have the mean of these scores.
    """
    search = ranked.search
    own = search.evaluator.scorer
    weights = (ranked.path / "checkpoint.pt").read_bytes()
    classes = [cells.genotypes_of(number) for number in range(cells.num_classes)]
    found = []
    with progress(f"scoring cells, {ranked.name}", total=len(classes) * max(1, len(search.evaluator.copies))) as bar:
        for copy in search.evaluator.each_copy():
            scorer = replace(own, max_images=settings.images or own.max_images, seed=copy)
            digest = hashlib.sha256(f"{scorer.max_images} {copy} ".encode() + weights).hexdigest()[:12]
            file = out / SCORES / f"{digest}.csv"
            known = _read(file)
            chosen = [members[copy % len(members)] for members in classes]
            keys = ["-".join(map(str, search.space.encode(genotype))) for genotype in chosen]
            left = [place for place, key in enumerate(keys) if key not in known]
            bar.advance(len(keys) - len(left))
            for first in range(0, len(left), AT_ONCE):
                places = left[first : first + AT_ONCE]
                scored = scorer.read_out([chosen[place] for place in places])
                # To nine digits: the last ones depend on which cells are scored together.
                rounded = [Readout(*(float(f"{value:.9g}") for value in score)) for score in scored]
                new = {keys[place]: score for place, score in zip(places, rounded, strict=True)}
                _append(file, new)
                known |= new
                bar.advance(len(new))
            found.append([known[key] for key in keys])
    means = np.mean(found, axis=0)[cells.truth.classes]
    losses = {name.replace("_", " "): -means[:, place] for place, name in enumerate(Readout._fields)}
    return losses | {"accuracy": means[:, Readout._fields.index("accuracy")]}


def _read(file: Path) -> dict[str, Readout]:
    """Returns the scores that a file holds, by cell; a line that was not written to its end is cut off."""
    if not file.exists():
        return {}
    text = file.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_text(file, whole)
    _, *rows = csv.reader(whole.splitlines())
    return {cell: Readout(*map(float, values)) for cell, *values in rows}


def _append(file: Path, scores: Mapping[str, Readout]) -> None:
    begun = file.exists()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerows([] if begun else [["cell", *Readout._fields]])
        writer.writerows([cell, *score] for cell, score in scores.items())


def _csv_row(name: str, row: Estimates) -> dict[str, Any]:
    return {"scored by": name} | {
        f"{column}{end}": value
        for column, one in row.items()
        for end, value in (("", one["value"]), (" low", one["low"]), (" high", one["high"]))
    }


def _print(rows: Mapping[str, Estimates], *, own: str) -> None:
    figures = rows[f"shared {own}"]
    columns = [
        Column("scored by", f"{'scored by':>{max(map(len, rows))}}", ""),
        *(Column(one, one, ".3f") for one in figures),
    ]
    Table(columns).rows(
        {"scored by": name} | {column: one["value"] for column, one in row.items()} for name, row in rows.items()
    )
    said = ", ".join(
        f"{name} {one['value']:.3f} ({one['low']:.3f} … {one['high']:.3f})" for name, one in figures.items()
    )
    result(f"scored by the shared weights' {own} (95 % interval over classes and runs): {said}")
