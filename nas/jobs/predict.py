"""Predict: run a trained model on image files and write down its most likely classes."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nas.compute.environment import environment
from nas.jobs.building.config import build, named_modules
from nas.jobs.building.parts import build_runtime
from nas.models.loading import LoadedModel, load_model
from nas.models.prediction import Prediction, find_images, predict
from nas.models.prediction_settings import PredictSettings
from nas.runs.checkpoints import write_json, write_text
from nas.runs.console import Column, Table, header, note, result, shown

MAX_ROWS = 100  # of the table in the terminal


def run(cfg: DictConfig, out: Path) -> dict[str, Any]:
    """Classifies `cfg.images` with the model of `cfg.run`; writes `predictions.csv` and `predictions.json` into `out`.

    Returns:
        What `predictions.json` holds.

    Raises:
        ValueError: If a setting is out of range, or no image can be read.
        FileNotFoundError: If there is no such model or no image.
    """
    settings: PredictSettings = build(cfg.predict, "predict")
    for key in ("run", "images"):
        if cfg[key] is None or cfg[key] == []:
            raise ValueError(f"{key} is not set; add {key}={'RUN' if key == 'run' else 'FILE, FOLDER or PATTERN'}")
    given = [str(one) for one in (cfg.images if OmegaConf.is_list(cfg.images) else [cfg.images])]
    files = find_images(given)
    runtime = build_runtime(cfg)
    model = load_model(cfg.run, device=runtime.device, modules=named_modules(cfg))
    image_shape = _image_shape(settings, model, str(cfg.run))
    model.check.size = image_shape[1:]  # one that was asked for is no mistake
    margin = model.record.margin if settings.resize == "crop" else None
    cut = settings.resize if margin is None else f"{settings.resize}, the middle {100 * margin:.3g} %"
    header(
        "predict",
        {
            "run folder": shown(out),
            "model": f"{cfg.run}, trained on {model.record.data or 'unknown data'}",
            "images": f"{len(files)}, to {'x'.join(map(str, image_shape))} ({cut})",
            "device": str(runtime.device),
        },
    )
    predictions, unreadable = predict(
        model,
        files,
        settings,
        image_shape=image_shape,
        margin=margin,
        device=runtime.device,
    )
    names, order = model.record.class_names, {str(file): place for place, file in enumerate(files)}
    rows = [_row(prediction, names) for prediction in predictions]
    rows += [{"file": str(file), "unreadable": reason} for file, reason in unreadable.items()]
    rows.sort(key=lambda row: order[row["file"]])
    _print(rows, settings.top)
    figures = {
        "run": str(cfg.run),
        "images": given,
        "settings": asdict(settings),
        "image_shape": list(image_shape),
        "margin": margin,
        "predictions": [_entry(prediction, names) for prediction in predictions],
        "unreadable": {str(file): reason for file, reason in unreadable.items()},
        "environment": environment(runtime, seed=cfg.seed),
    }
    write_text(out / "predictions.csv", _csv(rows, num_classes=len(predictions[0].labels) if predictions else 0))
    write_json(out / "predictions.json", figures)
    result(f"images classified: {len(predictions)}; {shown(out / 'predictions.csv')}")
    if not predictions:
        raise ValueError(f"none of {len(files)} images can be read, the first {unreadable[files[0]]}")
    if unreadable:
        first = next(iter(unreadable.values()))
        note(f"warning: {len(unreadable)} of {len(files)} images cannot be read, the first {first}")
    return figures


def _image_shape(settings: PredictSettings, model: LoadedModel, run: str) -> tuple[int, int, int]:
    shape = settings.image_shape or model.record.image_shape
    if shape is None:
        raise ValueError(f"{run} does not say how large its images are; add predict.image_shape=[C,H,W]")
    channels, height, width = shape
    if channels != model.record.in_channels:
        raise ValueError(f"predict.image_shape: the model takes {model.record.in_channels} channels, got {channels}")
    return channels, height, width


def _class_name(label: int, names: Sequence[str] | None) -> str:
    return str(label) if names is None or label >= len(names) else names[label]


def _row(prediction: Prediction, names: Sequence[str] | None) -> dict[str, Any]:
    row: dict[str, Any] = {"file": str(prediction.file)}
    for rank, (label, probability) in enumerate(zip(prediction.labels, prediction.probabilities, strict=True), start=1):
        row |= {f"class_{rank}": _class_name(label, names), f"probability_{rank}": probability}
    return row


def _csv(rows: Sequence[dict[str, Any]], *, num_classes: int) -> str:
    """Returns the table as CSV; a file's name may hold anything, hence the quoting of Python's own writer."""
    text = io.StringIO()
    of_classes = [f"{name}_{rank}" for rank in range(1, num_classes + 1) for name in ("class", "probability")]
    writer = csv.DictWriter(text, ["file", *of_classes, "unreadable"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _entry(prediction: Prediction, names: Sequence[str] | None) -> dict[str, Any]:
    chosen = zip(prediction.labels, prediction.probabilities, strict=True)
    classes = [{"class": _class_name(n, names), "label": n, "probability": value} for n, value in chosen]
    return {"file": str(prediction.file), "classes": classes}


def _print(rows: Sequence[dict[str, Any]], top: int) -> None:
    """Prints a row an image, the first `MAX_ROWS` of them."""
    shown_rows = [{**row, "class_1": "unreadable"} if "unreadable" in row else row for row in rows[:MAX_ROWS]]

    def column(key: str, title: str) -> Column:
        width = max([len(str(row.get(key, ""))) for row in shown_rows] + [len(title)])
        return Column(key, title.rjust(width), "s")

    columns = [column("file", "image")]
    for rank in range(1, top + 1):
        if any(f"class_{rank}" in row for row in shown_rows):
            columns += [column(f"class_{rank}", f"class {rank}"), Column(f"probability_{rank}", "%", ".2f", 100)]
    table = Table(columns)
    for row in shown_rows:
        table.row(row)
    if len(rows) > MAX_ROWS:
        note(f"… and {len(rows) - MAX_ROWS} more")
