"""Latency: time forward passes of models side by side, over batch sizes, backends, precisions and threads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from nas.compute.device import Runtime, threads_set
from nas.costs.latency.backends import precision_name
from nas.costs.latency.comparison import TOLERANCES, Comparison, ReadyModel, exact_float32, timed_rows
from nas.costs.latency.model_entries import ModelEntry, check_names, read_entries, short_name
from nas.costs.latency.peak_memory import HOW_MEASURED
from nas.costs.latency.settings import LatencySettings
from nas.costs.latency.torchvision_models import PlainModel
from nas.data.image_data import ImageKind
from nas.jobs.building.compared_models import ComparedModel, build_compared, compared_network
from nas.jobs.building.config import build
from nas.jobs.building.parts import build_runtime, image_kind, read_genotype, takes_genotype
from nas.jobs.building.run_folder import write_report
from nas.models.derived import DerivedModel
from nas.models.inference.batch_norm_folding import fold_batch_norm, fold_batch_norm_by_graph
from nas.models.inference.ready import for_inference
from nas.reporting.figures.costs import line_labels
from nas.reporting.latency_report import Row, comparison_plot, conclude, flat_row, print_table
from nas.reporting.trackers import FilesOnly, Tracker
from nas.runs.checkpoints import write_csv
from nas.runs.console import header, note, progress, shown
from nas.runs.seeds import seed_everything


def run(cfg: DictConfig, out: Path, *, tracker: Tracker | None = None) -> dict[str, Any]:
    """Measures `cfg.genotype`, the models of `cfg.models`, or all of them, and writes into the run folder `out`.

    Returns:
        What `latency.json` holds; its first keys are about the first model.

    Raises:
        ValueError: If a setting is out of range or a genotype file is not valid.
        FileNotFoundError: If a model, or the data set where it is needed, is not there.
        RuntimeError: If a model computes other logits than the network as trained.
    """
    settings: LatencySettings = build(cfg.latency, "latency")
    runtime = build_runtime(cfg)
    images = image_kind(settings, cfg, runtime)
    seed_everything(0)
    models = build_models(cfg, images)
    references = settings.references_among([model.name for model in models])
    _describe(models, settings, runtime, out, image_shape=images.shape)
    with exact_float32():
        rows, left_out = measure(
            models, settings, runtime, image_shape=images.shape, references=references, seed=cfg.seed
        )
    figures = {
        **{key: models[0].facts[key] for key in ("genotype", "weights", "network")},
        "image_shape": list(images.shape),
        **{key: models[0].facts[key] for key in ("parameters", "multiply_adds")},
        "models": [model.facts for model in models],
        "latency": rows,
        "left_out": left_out,
        "tolerances": TOLERANCES,
        "memory": HOW_MEASURED.get(runtime.device.type),
    }
    report = write_report(out / "latency.json", figures, runtime, seed=cfg.seed)
    write_csv(out / "latency.csv", [flat_row(row) for row in rows])
    comparison_plot(rows, out / "latency.svg")
    _log(rows, tracker or FilesOnly())
    print_table(rows, references)
    conclude(rows, references)
    return report


def build_models(cfg: DictConfig, images: ImageKind) -> list[ComparedModel]:
    """Makes the model of `cfg.genotype` with `cfg.network`, if there is one, and those of `cfg.models`.

    Raises:
        ValueError: If there is none, or one cannot be made, or two have one name.
        FileNotFoundError: If one is not there.
    """
    given = OmegaConf.select(cfg, "models")
    given = OmegaConf.to_container(given, resolve=True) if OmegaConf.is_config(given) else given
    entries = [] if given is None else read_entries(given)
    models = []
    if not entries or OmegaConf.select(cfg, "genotype") is not None:
        genotype = read_genotype(cfg)
        name = short_name(str(cfg.genotype)) if takes_genotype(cfg) else cfg.network._target_.rpartition(".")[2]
        check_names([name, *(entry.name for entry in entries)])
        own = ModelEntry(reference=str(cfg.genotype), name=name)
        models.append(compared_network(own, cfg, genotype, images))
    return models + [build_compared(entry, cfg, images) for entry in entries]


@torch.no_grad()
def ready_for_inference(model: ComparedModel, images: Tensor, *, runtime: Runtime) -> ReadyModel:
    """Returns a model as it is timed: mixers hardened, permutations and batch norm folded, on the runtime's device."""
    expected = model.network.eval()(images, model.genotype)
    ready = for_inference(model.network, model.genotype)
    if isinstance(ready, PlainModel):
        ready.network, folded = fold_batch_norm_by_graph(ready.network)
    else:
        folded = fold_batch_norm(ready)
    model.facts["batch_norms_folded"] = folded
    return ReadyModel(model=DerivedModel(runtime.place(ready), model.genotype).eval(), expected=expected)


def measure(
    models: Sequence[ComparedModel],
    settings: LatencySettings,
    runtime: Runtime,
    *,
    image_shape: tuple[int, int, int],
    references: Sequence[str],
    seed: int,
) -> tuple[list[Row], list[dict[str, str]]]:
    """Checks what all models compute, then times them in rounds, for each number of threads.

    Returns:
        The rows, and what was left out and why.

    Raises:
        RuntimeError: If a model computes other logits than the network as trained.
        ValueError: If no backend works here.
    """
    images = torch.randn((max(settings.batch_sizes), *image_shape))
    comparison = Comparison(
        {model.name: ready_for_inference(model, images, runtime=runtime) for model in models},
        images,
        batch_sizes=settings.batch_sizes,
        backends=settings.backends,
        precisions=settings.precisions or [precision_name(runtime.autocast)],
        runtime=runtime,
        note=note,
    )
    rows: list[Row] = []
    for wanted in settings.threads:
        with threads_set(wanted) as threads:
            with torch.inference_mode():
                prepared = comparison.prepare(threads=threads)
            with progress(f"timing, {threads} threads", total=settings.repeats) as bar:
                rows += timed_rows(
                    prepared,
                    rounds=settings.repeats,
                    warmup=settings.warmup,
                    seconds=settings.seconds,
                    references=references,
                    seed=seed,
                    runtime=runtime,
                    advance=bar.advance,
                )
    if not rows:
        reasons = [f"{one['what']}: {one['reason']}" for one in comparison.left_out]
        raise ValueError(f"nothing to time: {'; '.join(reasons)}")
    return rows, comparison.left_out


def _describe(
    models: Sequence[ComparedModel],
    settings: LatencySettings,
    runtime: Runtime,
    out: Path,
    *,
    image_shape: Sequence[int],
) -> None:
    named = {
        model.name: f"{model.facts['parameters']:,} parameters, {model.facts['multiply_adds'] / 1e6:.1f}M mult-adds, "
        f"weights {model.facts['weights']}"
        for model in models
    }
    header(
        "latency",
        {
            "run folder": shown(out),
            **named,
            "images": "x".join(map(str, image_shape)),
            "passes": f"{settings.repeats} in rounds after {settings.warmup}, or {settings.seconds:g} s each",
            "device": f"{runtime.device}, {torch.get_num_threads()} threads",
        },
    )


def _log(rows: Sequence[Row], tracker: Tracker) -> None:
    for label, measured in line_labels(rows).items():
        section = "latency" if len(line_labels(rows)) == 1 else f"latency/{label}"
        for row in measured:
            numbers = {key: value for key, value in row.items() if isinstance(value, int | float)}
            tracker.log(numbers, step=row["batch_size"], section=section)
