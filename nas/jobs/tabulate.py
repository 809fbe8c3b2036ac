"""Tabulate: train cells of a space from scratch, in narrow bins of size, and write a table of what each comes to."""

import statistics
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from nas.jobs.building.config import build, plain
from nas.jobs.building.derived_models import derived_network_config, read_scratch_settings, train_cells
from nas.jobs.building.parts import build_data, build_runtime, measure_size
from nas.jobs.building.run_folder import keep_data, write_report
from nas.jobs.building.settings import TabulateSettings
from nas.runs.checkpoints import load_json, write_csv, write_json
from nas.runs.console import header, note, result, shown
from nas.runs.seeds import derive_seed, seed_everything
from nas.searching.random_cells import random_cells
from nas.searching.stand_alone import Protocol, Training
from search_spaces.genotype import Genotype, json_line
from search_spaces.space import WeightSharingSpace

RESULTS = "trainings"
DRAWN = "drawn.json"
ENOUGH_CELLS = 20
"""From which on the agreement of seeds is said."""
DRAWS = 200
"""Cells whose sizes say where the bins are."""


def run(cfg: DictConfig, out: Path) -> dict[str, Any]:
    """Draws cells, trains those that the folder `out` does not hold yet, and writes `cells.csv` after each training.

    Returns:
        What `tabulate.json` holds: how well one training of a cell predicts another, within bins of size.

    Raises:
        ValueError: If a setting is out of range, or bins overlap.
        FileNotFoundError: If the data set is not there.
    """
    settings: TabulateSettings = build(cfg.tabulate, "tabulate")
    training = read_scratch_settings(cfg)
    space: WeightSharingSpace = build(cfg.search_space, "search_space")
    runtime = build_runtime(cfg)
    network_cfg = derived_network_config(cfg, training)
    data = build_data(cfg, runtime)
    keep_data(out, data.record)
    header(
        "tabulate",
        {
            "run folder": shown(out),
            "data": f"{data.name}: {len(data.full)} train, {len(data.test)} test images of "
            f"{'x'.join(map(str, data.kind.shape))}",
            "cells": f"{settings.cells} in {settings.bins} bins of size, {training.epochs} epochs with "
            f"{len(training.seeds)} seeds each",
        },
    )
    cells = _drawn_cells(cfg, out, space, settings, size_of=partial(measure_size, network_cfg, images=data.kind))
    protocol = Protocol(network=plain(network_cfg.network, "network"), data=data.record, settings=training)
    trainings = [
        Training(genotype, seed, out / RESULTS / protocol.file_name(genotype.to_dict(), seed=seed))
        for seed in training.seeds  # all cells with one seed, then all with the next
        for _, genotype in cells
    ]
    accuracies: dict[tuple[Genotype, int], float] = {}
    for found in train_cells(trainings, network_cfg, training, data, runtime, workers=settings.workers):
        accuracies[Genotype.from_dict(found["genotype"]), found["seed"]] = found["accuracy"]
        rows = [
            {
                **row,
                "accuracy": statistics.fmean(accuracies[genotype, seed] for seed in training.seeds),
                **{f"seed_{seed}": accuracies[genotype, seed] for seed in training.seeds},
            }
            for row, genotype in cells
            if all((genotype, seed) in accuracies for seed in training.seeds)
        ]
        write_csv(out / "cells.csv", rows)
    by_seed = np.array([[row[f"seed_{seed}"] for seed in training.seeds] for row in rows])
    report = {
        "cells": len(cells),
        "agreement": agreement(by_seed, np.array([row["bin"] for row in rows])),
        "settings": {"tabulate": plain(cfg.tabulate, "tabulate"), "retrain": plain(cfg.retrain, "retrain")},
        "network": plain(network_cfg.network, "network"),
        "data": data.record,
    }
    report = write_report(out / "tabulate.json", report, runtime, seed=cfg.seed)
    note(f"rows in {shown(out / 'cells.csv')}, protocol in tabulate.json")
    if report["agreement"] is not None and len(cells) >= ENOUGH_CELLS:
        result(f"two trainings of a cell correlate {report['agreement']:.2f} within bins of size")
    note(f"of a search RUN: nas rank run=RUN truth=table table=cells table.path={shown(out / 'cells.csv')}")
    return report


def _drawn_cells(
    cfg: DictConfig,
    out: Path,
    space: WeightSharingSpace,
    settings: TabulateSettings,
    *,
    size_of: Callable[[Genotype], dict[str, Any]],
) -> list[tuple[dict[str, Any], Genotype]]:
    """Draws the cells, or reads what an earlier start drew: `cell`, `bin` and size of each, and the genotype."""
    file = out / DRAWN
    if not file.exists():
        note("drawing cells: thousands are counted to find those of the right size")
        sizes = cache(size_of)
        seed_everything(derive_seed(cfg.seed, "cells"))
        bins = cells_in_bins(space, settings, parameters=lambda genotype: int(sizes(genotype)["parameters"]))
        rows = [
            {"cell": json_line(genotype), "bin": number, **sizes(genotype)}
            for number, several in enumerate(bins)
            for genotype in several
        ]
        write_json(file, rows)
    return [(row, Genotype.from_json(row["cell"])) for row in load_json(file)]


def cells_in_bins(
    space: WeightSharingSpace, settings: TabulateSettings, *, parameters: Callable[[Genotype], float]
) -> list[list[Genotype]]:
    """Draws cells from torch's global generator: each bin's have about as many parameters, each function once.

    The bins lie at evenly spaced quantiles of the sizes of cells drawn uniformly.
    """
    sample = random_cells(space, DRAWS, parameters=parameters, near=0, tolerance=None)
    shares = (np.arange(settings.bins) + 0.5) / settings.bins
    centres = np.quantile([parameters(genotype) for genotype in sample], shares)
    edges = [centre * (1 + side * settings.width / 2) for centre in centres for side in (-1, 1)]
    if edges != sorted(edges):
        raise ValueError(
            f"tabulate.width {settings.width} makes {settings.bins} bins overlap; take narrower or fewer ones"
        )
    return [
        random_cells(
            space, settings.cells // settings.bins, parameters=parameters, near=centre, tolerance=settings.width / 2
        )
        for centre in centres
    ]


def agreement(accuracies: np.ndarray[Any, np.dtype[np.float64]], bins: np.ndarray[Any, Any]) -> float | None:
    """Returns the mean correlation of seeds, each bin's mean taken off; None with one seed, or where one tells nothing.

    Args:
        accuracies: (n, S), of n cells by seed.
        bins: (n,), the number of each cell's bin.
    """
    if accuracies.shape[1] < 2:
        return None
    means = np.array([accuracies[bins == number].mean(axis=0) for number in bins])
    if not (accuracies - means).any(axis=0).all():
        return None
    correlations = np.corrcoef((accuracies - means).T)
    return float(correlations[np.triu_indices(len(correlations), 1)].mean())
