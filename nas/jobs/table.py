"""Table: the published figures of Table I next to what this code counts and what runs measured."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from nas.data.image_data import ImageKind
from nas.jobs.building.parts import measure_size
from nas.models.genotype_files import load_genotype
from nas.models.of_runs import network_config
from nas.runs.checkpoints import load_json, write_csv, write_json
from nas.runs.console import in_columns, note, result, shown
from nas.runs.intervals import plus_minus
from nas.runs.listing import read_config
from nas.studies.table_i import TABLE_I, Row
from search_spaces.genotype import Genotype
from search_spaces.published import PUBLISHED

CIFAR10 = ImageKind((3, 32, 32), 10)
TITLES = (
    *("method", "cells", "F", "published", "counted", "M mult-adds", "counted as", "error %", "+ Cutout"),
    "measured here",
)


class MeasuredRun(NamedTuple):
    """What a retraining on CIFAR-10 measured: its cell and size, and in words the error and by how much training."""

    name: str
    genotype: Genotype | None
    parameters: int
    text: str

    def is_of(self, row: Row) -> bool:
        """Whether it trained the model of a row."""
        return (
            row.name is not None
            and row.model is not None
            and self.genotype == PUBLISHED[row.name].genotype
            and self.parameters == row.model.parameters
        )


def run(cfg: DictConfig, out: Path) -> list[dict[str, Any]]:  # noqa: ARG001
    """Prints the table, and writes it into the folder `cfg.folder` where one is named.

    Returns:
        A dictionary a row.
    """
    runs = measured_runs([cfg.runs] if isinstance(cfg.runs, str) else cfg.runs)
    rows = [filled(row, runs) for row in TABLE_I]
    rows += [
        filled(Row(method=found.name), ()) | {"parameters": found.parameters, "measured": found.text}
        for found in runs
        if not any(found.is_of(row) for row in TABLE_I)
    ]
    cells = [TITLES, *([_shown_value(row, key) for key in row] for row in rows)]
    result("\n".join(in_columns(cells, left=(0, len(TITLES) - 1))))
    result(
        "Published: arXiv:1812.02975, Table I, CIFAR-10 (without AmoebaNet-A). Counted: this code, no auxiliary head;\n"
        "`counted as` where the macro-architecture, DARTS's, has other cells and filters. Measured here: mean ±\n"
        "standard deviation over seeds; fewer than 630 epochs do not compare with the paper."
    )
    if cfg.folder is not None:
        folder = Path(cfg.folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "table.json", rows)
        write_csv(folder / "table.csv", rows)
        note(f"table in {shown(folder / 'table.json')} and table.csv")
    return rows


def filled(row: Row, runs: Sequence[MeasuredRun]) -> dict[str, Any]:
    """Counts the model of a row and looks for runs that trained it."""
    figures: dict[str, Any] = {
        "method": row.method,
        "cells": row.cells,
        "filters": row.filters,
        "published_parameters": row.published_parameters,
        "parameters": None,
        "multiply_adds": None,
        "counted_as": "",
        "error_percent": row.error,
        "cutout_error_percent": row.cutout_error,
        "measured": "",
    }
    if row.name is not None and row.model is not None:
        genotype = PUBLISHED[row.name].genotype
        cfg = network_config(row.model.network, row.model.settings)
        figures |= measure_size(cfg, genotype, CIFAR10)
        if (row.model.cells, row.model.settings["filters"]) != (row.cells, row.filters):
            figures["counted_as"] = f"{row.model.cells}, F {row.model.settings['filters']}"
        figures["measured"] = "; ".join(found.text for found in runs if found.is_of(row))
    return figures


def measured_runs(folders: Iterable[str]) -> list[MeasuredRun]:
    """Finds the retrainings on CIFAR-10 in folders and their subfolders; what cannot be read is named and left out."""
    files: dict[Path, Path] = {}
    for folder in folders:
        if not Path(folder).is_dir():
            note(f"no folder {folder}")
        files |= {file.resolve(): file for file in sorted(Path(folder).rglob("metrics.json"))}
    runs = []
    for file in files.values():
        try:
            metrics = load_json(file)
            if metrics["data"] == "cifar10":
                runs.append(_measured_run(file.parent, metrics))
        except (OSError, ValueError, LookupError, TypeError) as error:
            note(f"left out {file}, not what nas retrain writes: {type(error).__name__}: {error}")
    return runs


def _measured_run(run: Path, metrics: dict[str, Any]) -> MeasuredRun:
    retrain = read_config(run).get("retrain")
    accuracies = metrics["found"]["test_accuracy"]
    seeds = len(accuracies["values"])
    cutout = ", Cutout" if isinstance(retrain, dict) and retrain.get("cutout") else ""
    training = f"({seeds} seed{'s'[: seeds > 1]}, {metrics['epochs']} epochs{cutout})"
    return MeasuredRun(
        name=run.name,
        genotype=load_genotype(run) if (run / "genotype.json").exists() else None,
        parameters=metrics["found"]["parameters"],
        text=f"{plus_minus(100 * (1 - accuracies['mean']), accuracies['std'] and 100 * accuracies['std'])} {training}",
    )


def _shown_value(row: dict[str, Any], key: str) -> str:
    value = row[key]
    if value is None or isinstance(value, str):
        return value or ""
    if key == "multiply_adds":
        return f"{value / 1e6:.1f}"
    return format(value, ".2f" if key.endswith("_percent") else ",")
