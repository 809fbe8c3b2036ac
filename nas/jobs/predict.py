"""Predict: run a trained model on image files and write down its most likely classes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nas.jobs.building.config import build, named_modules
from nas.jobs.building.parts import build_runtime
from nas.jobs.building.run_folder import write_report
from nas.models.loading import LoadedModel, load_model
from nas.models.prediction import Prediction, find_images, predict
from nas.models.prediction_settings import PredictSettings
from nas.runs.checkpoints import write_csv
from nas.runs.console import header, in_columns, note, result, shown

MAX_ROWS = 100  # of the table in the terminal
SHOWN = ("class", "probability")  # of each class in the CSV


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
    chosen = {prediction.file: _classes(prediction, model.record.class_names) for prediction in predictions}
    _print(files, chosen)
    rows = [
        {"file": str(file), "unreadable": unreadable.get(file)}
        | {f"{key}_{rank}": str(one[key]) for rank, one in enumerate(chosen.get(file, ()), 1) for key in SHOWN}
        for file in files
    ]
    write_csv(out / "predictions.csv", rows)
    figures = {
        "run": str(cfg.run),
        "images": given,
        "settings": asdict(settings),
        "image_shape": list(image_shape),
        "margin": margin,
        "predictions": [{"file": str(file), "classes": classes} for file, classes in chosen.items()],
        "unreadable": {str(file): reason for file, reason in unreadable.items()},
    }
    report = write_report(out / "predictions.json", figures, runtime, seed=cfg.seed)
    result(f"images classified: {len(predictions)}; {shown(out / 'predictions.csv')}")
    if not predictions:
        raise ValueError(f"none of {len(files)} images can be read, the first {unreadable[files[0]]}")
    if unreadable:
        first = next(iter(unreadable))
        note(f"warning: {len(unreadable)} of {len(files)} images cannot be read, the first {unreadable[first]}")
    return report


def _image_shape(settings: PredictSettings, model: LoadedModel, run: str) -> tuple[int, int, int]:
    shape = settings.image_shape or model.record.image_shape
    if shape is None:
        raise ValueError(f"{run} does not say how large its images are; add predict.image_shape=[C,H,W]")
    channels, height, width = shape
    if channels != model.record.in_channels:
        raise ValueError(f"predict.image_shape: the model takes {model.record.in_channels} channels, got {channels}")
    return channels, height, width


def _classes(prediction: Prediction, names: Sequence[str] | None) -> list[dict[str, Any]]:
    """Returns the classes of an image, the most likely first; one without a name is called by its number."""
    return [
        {
            "class": names[label] if names is not None and label < len(names) else str(label),
            "label": label,
            "probability": share,
        }
        for label, share in zip(prediction.labels, prediction.probabilities, strict=True)
    ]


def _print(files: Sequence[Path], chosen: Mapping[Path, Sequence[dict[str, Any]]]) -> None:
    """Prints a row for each image, the first `MAX_ROWS` of them."""
    count = max(map(len, chosen.values()), default=1)
    lines = [["image", *(title for rank in range(1, count + 1) for title in (f"class {rank}", "%"))]]
    for file in files[:MAX_ROWS]:
        texts = [text for one in chosen.get(file, ()) for text in (one["class"], f"{100 * one['probability']:.2f}")]
        lines.append([str(file), *(texts or ["unreadable", *[""] * (2 * count - 1)])])
    note("\n".join(in_columns(lines, left=())))
    if len(files) > MAX_ROWS:
        note(f"… and {len(files) - MAX_ROWS} more")
