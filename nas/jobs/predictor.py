"""Predictor: measure the latency table, and how well sums over it foretell the latency of whole networks."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from nas.compute.environment import environment
from nas.costs.counting import SummedCost, random_genotypes
from nas.costs.latency_predictor import calibration_genotypes, measure_genotypes, prediction_errors
from nas.jobs.building.config import build
from nas.jobs.building.costs import model_builder, parts_of, predictor_from_config
from nas.jobs.building.parts import build_network, build_runtime, command_line, image_kind
from nas.jobs.building.settings import PredictorTestSettings
from nas.reporting.plots import predictor_plot
from nas.reporting.trackers import FilesOnly, Tracker
from nas.runs.checkpoints import write_csv, write_json
from nas.runs.console import Column, Table, header, next_command, note, result, shown
from nas.runs.seeds import seed_everything
from search_spaces.genotype import Genotype
from search_spaces.space import WeightSharingSpace

COLUMNS = (
    Column("number", "genotype", "d"),
    Column("sum_ms", "sum ms", ".3f"),
    Column("predicted_ms", "predicted ms", ".3f"),
    Column("measured_ms", "measured ms", ".3f"),
    Column("error_percent", "error %", ".1f"),
)


def run(cfg: DictConfig, out: Path, *, tracker: Tracker | None = None) -> dict[str, Any]:
    """Measures the table and tests the predictor; writes `predictor.json`, `.csv` and `.svg` into `out`.

    Returns:
        What `predictor.json` holds.

    Raises:
        ValueError: If a setting is out of range or the network is of a class whose parts are not known.
        FileNotFoundError: If the data set is needed and not there.
    """
    tracker = tracker or FilesOnly()
    settings: PredictorTestSettings = build(cfg.predictor, "predictor")
    space: WeightSharingSpace = build(cfg.search_space, "search_space")
    runtime = build_runtime(cfg)
    images = image_kind(settings, cfg, runtime)
    seed_everything(0)
    network = runtime.place(build_network(cfg, space.candidates(), images))
    parts = parts_of(network, space, image_shape=images.shape)
    header(
        "predictor",
        {
            "run folder": shown(out),
            "images": f"{settings.latency.batch_size} of {'x'.join(map(str, images.shape))} in a pass",
            "device": f"{runtime.device}, {torch.get_num_threads()} threads",
            "genotypes": f"{settings.genotypes}; {settings.latency.calibration_genotypes} others for the correction",
        },
    )
    predictor, table = predictor_from_config(
        cfg, parts, space=space, images=images, settings=settings.latency, runtime=runtime
    )
    genotypes = draw_test_genotypes(space, settings, seed=cfg.seed)
    note(f"timing {len(genotypes)} whole networks")
    measured = measure_genotypes(
        genotypes,
        build_model=model_builder(cfg, images, runtime=runtime),
        image_shape=images.shape,
        settings=settings.latency,
        runtime=runtime,
    )
    rows = compare(predictor, genotypes, measured)
    figures = {
        "settings": asdict(settings),
        "image_shape": list(images.shape),
        "num_classes": images.num_classes,
        "network": OmegaConf.to_container(cfg.network),
        **errors_of(rows),
        "correction": asdict(predictor.correction),
        "genotypes": [{**row, "genotype": genotype.to_dict()} for row, genotype in zip(rows, genotypes, strict=True)],
        "table": asdict(table),
        "environment": environment(runtime, seed=cfg.seed),
    }
    report(figures, rows, out)
    tracker.log(errors_of(rows)["corrected"], step=0, section="predictor")
    return figures


def draw_test_genotypes(space: WeightSharingSpace, settings: PredictorTestSettings, *, seed: int) -> list[Genotype]:
    """Draws the genotypes of the test: different ones, none of them measured for the correction.

    Raises:
        ValueError: If the space has not so many.
    """
    known = (
        {space.canonical(one) for one in calibration_genotypes(space, settings.latency.calibration_genotypes)}
        if (settings.latency.calibration_genotypes)
        else set()
    )
    drawn: dict[Any, Genotype] = {}
    for genotype in random_genotypes(space, 20 * settings.genotypes, stream="predictor", seed=seed):
        if space.canonical(genotype) not in known:
            drawn.setdefault(space.canonical(genotype), genotype)
    if len(drawn) < settings.genotypes:
        raise ValueError(
            f"predictor.genotypes asks for {settings.genotypes} different genotypes, the space gave {len(drawn)}"
        )
    return list(drawn.values())[: settings.genotypes]


def compare(predictor: SummedCost, genotypes: Sequence[Genotype], measured: Sequence[float]) -> list[dict[str, Any]]:
    """Returns a row a genotype: sum, prediction and measurement in ms, error in percent of the measurement."""
    rows = []
    for number, (genotype, true) in enumerate(zip(genotypes, measured, strict=True)):
        predicted = predictor(genotype)
        rows.append(
            {
                "number": number,
                "sum_ms": predictor.sum(genotype),
                "predicted_ms": predicted,
                "measured_ms": true,
                "error_percent": 100 * (predicted / true - 1),
            }
        )
    return rows


def errors_of(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Returns the errors of the corrected predictions and those of the sums."""
    measured = [row["measured_ms"] for row in rows]
    return {
        name: prediction_errors([row[key] for row in rows], measured)
        for name, key in (("corrected", "predicted_ms"), ("uncorrected", "sum_ms"))
    }


def report(figures: dict[str, Any], rows: Sequence[dict[str, Any]], out: Path) -> None:
    """Prints the comparison and writes the files."""
    table = Table(COLUMNS)
    for row in rows:
        table.row(row)
    write_csv(out / "predictor.csv", rows)
    write_json(out / "predictor.json", figures)
    errors = figures["corrected"]
    said = f"Spearman {errors['spearman']:.3f}, Kendall {errors['kendall']:.3f}, "
    said += f"mean absolute error {errors['mean_absolute_percentage_error']:.1f} %"
    predictor_plot(
        {"random genotypes": [(row["predicted_ms"], row["measured_ms"]) for row in rows]},
        title=f"Spearman {errors['spearman']:.3f}, mean error {errors['mean_absolute_percentage_error']:.1f} %",
        path=out / "predictor.svg",
    )
    before = figures["uncorrected"]["mean_absolute_percentage_error"]
    result(f"predicted against measured latency of {len(rows)} genotypes: {said} (sums alone {before:.1f} %)")
    next_command(command_line("search", "reward=latency_aware"))
