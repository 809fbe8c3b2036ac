"""Export: write a trained model for use elsewhere, check that it computes the same, and leave a model card with it."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from nas.data.named import ImageData
from nas.jobs.building.config import build, chosen_names, named_modules, plain, recorded_config
from nas.jobs.building.parts import build_runtime, read_genotype
from nas.jobs.building.run_folder import write_report
from nas.models.derived import model_size
from nas.models.exporting.exported import Exported, compared
from nas.models.exporting.formats import Written, check_onnx, make_program, write_onnx, write_program, write_python
from nas.models.exporting.settings import FORMATS, ExportSettings
from nas.models.loading import build_model, find_model
from nas.models.model_card import (
    CARD_NAME,
    WEIGHTS_FILE,
    ModelRecord,
    file_facts,
    model_text,
    read_mapping,
    versions,
    write_card,
)
from nas.runs.checkpoints import save_weights
from nas.runs.console import Column, Table, header, next_command, note, result, shown
from nas.runs.seeds import seed_everything

COLUMNS = (
    Column("file", "file      ", "s"),
    Column("bytes", "bytes", "d"),
    Column("random", "random images", ".1e"),
    Column("test", "test images", ".1e"),
    Column("accuracy", "test %", ".2f", 100),
)


def run(cfg: DictConfig, out: Path) -> dict[str, Any]:
    """Writes the model of `cfg.run` in the formats of `cfg.format`, and what was done into the run folder `out`.

    Returns:
        What `export.json` holds.

    Raises:
        ValueError: If a setting is out of range, a package is missing, or a written model computes something else.
        FileNotFoundError: If there is no such model.
    """
    settings: ExportSettings = build(cfg.export, "export")
    formats = chosen_names("format", plain(cfg, "the config")["format"], FORMATS)
    if "onnx" in formats:
        check_onnx(settings.opset)
    runtime = build_runtime(cfg)
    seed_everything(cfg.seed)
    record, network = _trained(cfg, settings)
    data = _run_data(cfg, record)
    record = _completed(record, data, settings, cfg)
    folder = Path(str(cfg.out)) if cfg.out is not None else (out if cfg.run is None else Path(str(cfg.run))) / "export"
    header(
        "export",
        {
            "run folder": shown(out),
            "model": record.name,
            "into": shown(folder),
            "input": f"{settings.images}, {'x'.join(map(str, record.image_shape or ()))}, "
            f"{'any batch size' if settings.batch_size is None else f'batches of {settings.batch_size}'}",
        },
    )
    exported = Exported(record, network, settings, data)
    table, rows = Table(COLUMNS), []
    for name, write in _writers(exported, folder, formats).items():
        rows.append(compared(name, write(), exported))
        largest = {images: one["largest"] for images, one in rows[-1]["compared"].items()}
        file, accuracy = Path(rows[-1]["files"][0]).name, rows[-1].get("test_accuracy")
        table.row({"file": file, "bytes": rows[-1]["bytes"], **largest, "accuracy": accuracy})
    card = _write_card(folder, exported, rows, weights=str(cfg.weights))
    figures = {"folder": str(folder), "formats": rows, "settings": asdict(settings), "model": card}
    report = write_report(out / "export.json", figures, runtime, seed=cfg.seed)
    for row in rows:
        relative = max(one["relative"] for one in row["compared"].values())
        result(
            f"{row['format']}: {shown(Path(row['files'][0]))}, largest difference of a logit "
            f"{row['max_difference']:.2g}, {relative:.1g} of the largest logit"
        )
    note(f"model card in {shown(folder / CARD_NAME)}")
    next_command(shlex.join(["nas", "predict", f"run={shown(folder)}", "images=FOLDER"]))
    return report


def _writers(exported: Exported, folder: Path, formats: Sequence[str]) -> dict[str, Callable[[], Written]]:
    """Returns what writes each format."""
    settings, example = exported.settings, exported.example(exported.settings.batch_size or 2)
    writers: dict[str, Callable[[], Written]] = {}
    if {"onnx", "torch_export"} & set(formats):
        dynamic = settings.batch_size is None
        program = make_program(exported.plain, example, dynamic=dynamic)
        writers["onnx"] = partial(write_onnx, program, folder, opset=settings.opset, dynamic=dynamic)
        writers["torch_export"] = partial(write_program, program, folder)
    record = exported.record
    title = f"{record.name}: {type(exported.network).__name__}" + (
        f", trained on {record.data}." if record.data else "."
    )
    writers["python"] = partial(
        write_python,
        exported.plain,
        folder,
        example,
        title=title,
        images=f"{settings.images}, (N, {', '.join(map(str, record.image_shape or ()))})",
        takes=settings.takes,
    )
    return {name: writers[name] for name in formats}


def _trained(cfg: DictConfig, settings: ExportSettings) -> tuple[ModelRecord, nn.Module]:
    """Returns the model of a run, or the architecture of the config with random weights."""
    if cfg.weights not in ("trained", "random"):
        raise ValueError(f"weights must be trained or random, got {cfg.weights!r}")
    if cfg.run is not None:
        if cfg.genotype is not None:
            raise ValueError("run and genotype are both given; a run has its own genotype")
        if settings.num_classes is not None:
            raise ValueError("export.num_classes is for weights=random without a run; a run has its own")
        record, weights = find_model(str(cfg.run), pretrained=cfg.weights == "trained")
        return record, build_model(record, weights, modules=named_modules(cfg)).requires_grad_(False)
    if cfg.weights == "trained":
        raise ValueError("run is not set; add run=RUN, or weights=random to export an architecture without training")
    genotype = read_genotype(cfg)
    channels, height, width = settings.image_shape or (3, 32, 32)
    record = ModelRecord(
        name=str(cfg.genotype) if genotype is not None else str(cfg.network._target_).rpartition(".")[2],
        genotype=genotype,
        network=plain(cfg.network, "network"),
        in_channels=channels,
        num_classes=settings.num_classes or 10,
        image_shape=(channels, height, width),
        mean=(0.5,) * channels,
        std=(0.5,) * channels,
    )
    return record, build_model(record, None, modules=named_modules(cfg)).requires_grad_(False)


def _run_data(cfg: DictConfig, record: ModelRecord) -> ImageData | None:
    """Loads the data set that a run was trained on, if it is there; nothing is downloaded for the comparison."""
    config = None if cfg.run is None else Path(str(cfg.run)) / "config.yaml"
    if config is None or not config.is_file() or cfg.weights != "trained":
        return None
    try:
        node = recorded_config(config.parent, cfg, parts=["data"]).data
        if "download" in node:
            node.download = False
        data: ImageData = build(node, "data", device="cpu")
    except (ValueError, OSError, AttributeError) as error:
        note(f"not compared on test images: {str(error).splitlines()[0]}")
        return None
    known = record.mean is None or torch.allclose(torch.tensor(data.mean), torch.tensor(record.mean), atol=1e-6)
    if data.num_classes != record.num_classes or data.image_shape[0] != record.in_channels or not known:
        note("not compared on test images: the data set is no longer the one of the run")
        return None
    return data


def _completed(record: ModelRecord, data: ImageData | None, settings: ExportSettings, cfg: DictConfig) -> ModelRecord:
    """Adds to a record what the data set tells; an image shape in the settings comes first."""
    if data is not None:
        record = replace(
            record,
            image_shape=data.image_shape,
            class_names=data.class_names,
            mean=record.mean or data.mean,
            std=record.std or data.std,
        )
    if settings.image_shape is not None:
        channels, height, width = settings.image_shape
        if channels != record.in_channels:
            raise ValueError(f"export.image_shape: the model takes {record.in_channels} channels, got {channels}")
        record = replace(record, image_shape=(channels, height, width))
    if record.image_shape is None:
        raise ValueError(f"{cfg.run} does not say how large its images are; add export.image_shape=[C,H,W]")
    return record


def _write_card(folder: Path, exported: Exported, rows: Sequence[dict[str, Any]], *, weights: str) -> dict[str, Any]:
    """Writes the weights for `nas.load_model` and the model card; formats of the same weights written earlier stay."""
    record, network, settings = exported.record, exported.network, exported.settings
    metadata = {"model": model_text(record.genotype, record.network)}
    before = read_mapping(folder / CARD_NAME)
    save_weights(folder / WEIGHTS_FILE, network.state_dict(), metadata=metadata)
    facts = file_facts(folder / WEIGHTS_FILE)
    files, formats = {WEIGHTS_FILE: facts}, {}
    if (before.get("files") or {}).get(WEIGHTS_FILE) == facts:
        formats = dict(before.get("formats") or {})
        files |= {name: known for name, known in before["files"].items() if (folder / name).is_file()}
    for row in rows:
        names = [Path(file).name for file in row["files"]]
        files |= {name: file_facts(folder / name) for name in names}
        formats[row["format"]] = {
            "files": names,
            "input": settings.images,
            "normalization_inside": settings.normalize,
            "batch_size": "any" if settings.batch_size is None or row["format"] == "python" else settings.batch_size,
            **({"opset": settings.opset} if row["format"] == "onnx" else {}),
            **{key: value for key, value in row.items() if key not in ("format", "files", "bytes")},
        }
    return write_card(
        folder,
        record,
        weights=weights,
        **model_size(exported.plain.network, record.genotype, image_shape=exported.shape),
        formats=formats,
        files=files,
        versions=versions(),
    )
