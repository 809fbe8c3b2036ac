"""Predictor: measure the latency table, and how well sums over it predict the latency of whole networks."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from nas.costs.counting import SummedCost, random_genotypes
from nas.costs.latency_predictor import calibration_genotypes, measure_genotypes, prediction_errors
from nas.jobs.building.config import build
from nas.jobs.building.costs import model_builder, parts_of, predictor_from_config
from nas.jobs.building.parts import build_network, build_runtime, command_line, image_kind
from nas.jobs.building.run_folder import write_report
from nas.jobs.building.settings import PredictorTestSettings
from nas.reporting.plots import predictor_plot
from nas.reporting.trackers import FilesOnly, Tracker
from nas.runs.checkpoints import write_csv
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
    errors = _errors(rows)
    figures = {
        "settings": asdict(settings),
        "image_shape": list(images.shape),
        "num_classes": images.num_classes,
        "network": OmegaConf.to_container(cfg.network),
        **errors,
        "correction": asdict(predictor.correction),
        "genotypes": [{**row, "genotype": genotype.to_dict()} for row, genotype in zip(rows, genotypes, strict=True)],
        "table": asdict(table),
    }
    report = write_report(out / "predictor.json", figures, runtime, seed=cfg.seed)
    write_csv(out / "predictor.csv", rows)
    _conclude(errors, rows, out)
    (tracker or FilesOnly()).log(errors["corrected"], step=0, section="predictor")
    return report


def draw_test_genotypes(space: WeightSharingSpace, settings: PredictorTestSettings, *, seed: int) -> list[Genotype]:
    """Draws the genotypes of the test: different ones, none of them measured for the correction.

    Raises:
        ValueError: If the space has not so many.
    """
    count = settings.latency.calibration_genotypes
    known = {space.canonical(one) for one in calibration_genotypes(space, count)} if count else set()
    drawn: dict[Any, Genotype] = {}
    for genotype in random_genotypes(space, 20 * settings.genotypes, stream="predictor", seed=seed):
        drawn.setdefault(space.canonical(genotype), genotype)
    new = [genotype for key, genotype in drawn.items() if key not in known]
    if len(new) < settings.genotypes:
        raise ValueError(
            f"predictor.genotypes asks for {settings.genotypes} different genotypes, the space gave {len(new)}"
        )
    return new[: settings.genotypes]


def compare(predictor: SummedCost, genotypes: Sequence[Genotype], measured: Sequence[float]) -> list[dict[str, Any]]:
    """Returns a row a genotype: sum, prediction and measurement in ms, error in percent of the measurement."""
    return [
        {
            "number": number,
            "sum_ms": predictor.sum(genotype),
            "predicted_ms": predictor(genotype),
            "measured_ms": true,
            "error_percent": 100 * (predictor(genotype) / true - 1),
        }
        for number, (genotype, true) in enumerate(zip(genotypes, measured, strict=True))
    ]


def _errors(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Returns the errors of the corrected predictions and those of the sums."""
    measured = [row["measured_ms"] for row in rows]
    return {
        name: prediction_errors([row[key] for row in rows], measured)
        for name, key in (("corrected", "predicted_ms"), ("uncorrected", "sum_ms"))
    }


def _conclude(errors: dict[str, dict[str, float]], rows: Sequence[dict[str, Any]], out: Path) -> None:
    """Prints the comparison and draws it."""
    Table(COLUMNS).rows(rows)
    now, before = (errors[name]["mean_absolute_percentage_error"] for name in ("corrected", "uncorrected"))
    spearman, kendall = (errors["corrected"][name] for name in ("spearman", "kendall"))
    predictor_plot(
        {"random genotypes": [(row["predicted_ms"], row["measured_ms"]) for row in rows]},
        title=f"Spearman {spearman:.3f}, mean error {now:.1f} %",
        path=out / "predictor.svg",
    )
    result(
        f"predicted against measured latency of {len(rows)} genotypes: Spearman {spearman:.3f}, Kendall {kendall:.3f}, "
        f"mean absolute error {now:.1f} % (sums alone {before:.1f} %)"
    )
    next_command(command_line("search", "reward=latency_aware"))
