"""Rank: the same cells scored with the shared weights of searches and trained stand-alone; do the two agree?"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from nas.compute.device import Runtime
from nas.data.named import ImageData
from nas.jobs import rank_table
from nas.jobs.building.config import build, merged, plain
from nas.jobs.building.derived_models import derived_network_config, read_scratch_settings, train_cells
from nas.jobs.building.parts import build_data, build_runtime, counted_network
from nas.jobs.building.ranked_runs import PREDICTIONS, predict, read_runs, run_config, run_folders
from nas.jobs.building.run_folder import write_report
from nas.models.derived import count_parameters
from nas.runs.checkpoints import load_json, write_csv, write_json
from nas.runs.console import header, note, result, shown
from nas.runs.listing import PORTION_FILE
from nas.runs.shards import JOIN, portion_of
from nas.searching.stand_alone import Protocol, Training, read_results, take_over
from nas.studies.ranking.chosen_cells import ChosenCell
from nas.studies.ranking.figures import Bootstrapping, ranking_figures, stand_alone
from nas.studies.ranking.plots import ranking_plot
from nas.studies.ranking.settings import RankSettings, TableRankSettings
from nas.studies.ranking.tables import print_figures, sentences
from nas.training.settings import RetrainSettings
from search_spaces.genotype import Genotype

RESULTS = "stand_alone"


def run(cfg: DictConfig, out: Path) -> dict[str, Any]:
    """Scores cells, trains those that the folder `out` does not hold yet, and writes how well the two agree.

    Cells are chosen and scored once, with the checkpoints as they are at the first start: a search that is still
    running continues, and its ranking is of the epochs that `rank.json` names.

    Returns:
        What `rank.json` holds.

    Raises:
        ValueError: If a setting is out of range, or the runs cannot be compared.
        FileNotFoundError: If a run, its checkpoint or its data is not there.
    """
    settings: RankSettings | TableRankSettings = build(cfg.rank, "rank")
    if isinstance(settings, TableRankSettings):
        return rank_table.run(cfg, out, settings)
    training = read_scratch_settings(cfg)
    runtime = build_runtime(cfg)
    file = out / PREDICTIONS
    if not file.exists():
        write_json(file, predict(cfg, settings, read_runs(cfg, runtime)))
    predicted: dict[str, Any] = load_json(file)
    network_cfg = _stand_alone_config(cfg, training)
    data = build_data(network_cfg, runtime)
    if data.record != predicted["data"]:
        raise ValueError(f"the images of {data.name} have changed since {out} was begun; choose another name")
    genotypes = [ChosenCell.from_dict(cell).genotype for cell in predicted["cells"]]
    # Counted before anything is trained, since a cell that does not fit the network shows here.
    sizes = [count_parameters(counted_network(network_cfg, genotype, data.kind)) for genotype in genotypes]
    trainings = _trainings(cfg, out, settings, training, genotypes, network=network_cfg.network, data=data)
    header(
        "rank",
        {
            "run folder": shown(out),
            "runs": ", ".join(shown(folder) for folder in run_folders(cfg)),
            "data": f"{data.name}: {len(data.full)} train, {len(data.test)} test, {len(data.reward)} reward images",
            "cells": f"{len(genotypes)}, {len(trainings)} stand-alone trainings of {training.epochs} epochs",
        },
    )
    for _ in train_cells(trainings, network_cfg, training, data, runtime, workers=settings.workers):
        pass
    if settings.portions > 1:
        report = {"portion": settings.portion, "portions": settings.portions, "trainings": len(trainings)}
        result(f"portion {settings.portion} of {settings.portions} is done: {len(trainings)} trainings")
        note(JOIN)
        return write_report(out / PORTION_FILE, report, runtime, seed=cfg.seed)
    accuracies = [one["accuracy"] for one in read_results(trainings).values()]
    cells = [
        {**cell, "parameters": size, "stand_alone": accuracies[number * settings.seeds : (number + 1) * settings.seeds]}
        for number, (cell, size) in enumerate(zip(predicted["cells"], sizes, strict=True))
    ]
    return _conclude(cfg, out, cells, predicted, data, settings=settings, runtime=runtime)


def _stand_alone_config(cfg: DictConfig, training: RetrainSettings) -> DictConfig:
    """Returns the first run's config with the stand-alone trainings' settings and this machine's."""
    own = {"retrain": plain(cfg.retrain, "retrain"), "runtime": plain(cfg.runtime, "runtime"), "device": cfg.device}
    return derived_network_config(merged(run_config(run_folders(cfg)[0], cfg), own), training)


def _trainings(
    cfg: DictConfig,
    out: Path,
    settings: RankSettings,
    training: RetrainSettings,
    genotypes: Sequence[Genotype],
    *,
    network: DictConfig,
    data: ImageData,
) -> Sequence[Training]:
    """Returns the trainings of this portion by cell and seed; takes over what earlier runs have done."""
    protocol = Protocol(network=plain(network, "network"), data=data.record, settings=training)
    trainings = [
        Training(genotype, seed, out / RESULTS / protocol.file_name(genotype.to_dict(), seed=seed))
        for genotype in genotypes
        for seed in range(cfg.seed, cfg.seed + settings.seeds)
    ]
    portion = portion_of(trainings, settings.portion, settings.portions)
    earlier = [] if cfg.cells is None else [Path(str(cfg.cells)) / RESULTS]
    for folder in (*earlier, *sorted(out.glob(f"*/{RESULTS}"))):  # those of this run's portions lie below it
        take_over(folder, portion)
    return portion


def _conclude(
    cfg: DictConfig,
    out: Path,
    cells: list[dict[str, Any]],
    predicted: Mapping[str, Any],
    data: ImageData,
    *,
    settings: RankSettings,
    runtime: Runtime,
) -> dict[str, Any]:
    """Writes and prints what the cells come to."""
    estimate = Bootstrapping(seed=cfg.seed, resamples=settings.resamples)
    figures = ranking_figures(cells, predicted["runs"], top=settings.top, estimate=estimate)
    report = {
        "cells": cells,
        "figures": figures,
        "sentences": sentences(figures),
        "runs": predicted["runs"],
        "accuracy": f"shared: {predicted['reward_images']} reward images; stand-alone: {len(data.test)} test images",
        "settings": {"rank": plain(cfg.rank, "rank"), "retrain": plain(cfg.retrain, "retrain")},
    }
    write_csv(out / "rank.csv", [_csv_row(number, cell) for number, cell in enumerate(cells)])
    images = {"reward_images": predicted["reward_images"], "test_images": len(data.test)}
    ranking_plot(cells, figures["runs"], **images, path=out / "rank.svg")
    report = write_report(out / "rank.json", report, runtime, seed=cfg.seed)
    print_figures(figures)
    note(f"figures in {shown(out / 'rank.json')}, rank.csv and rank.svg")
    return report


def _csv_row(number: int, cell: Mapping[str, Any]) -> dict[str, Any]:
    described = {key: cell[key] for key in ("source", "stratum", "share", "parameters")}
    shared = {f"{run}.{mode}": value for run, modes in cell["shared"].items() for mode, value in modes.items()}
    policy = {f"{run}.log_prob": value for run, value in cell["log_prob"].items()}
    trained = {f"stand_alone.{place}": value for place, value in enumerate(cell["stand_alone"])}
    return {"cell": number, **described, "stand_alone": float(stand_alone([cell])[0]), **trained, **shared, **policy}
