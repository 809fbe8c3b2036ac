"""What there is to know of a trained model beside its weights: read from a run folder, kept as `model_card.json`."""

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from nas import __version__
from nas.data.own_images import margin_of
from nas.models.genotype_files import bounded_text
from nas.runs.checkpoints import file_digest, read_metadata, write_json
from nas.runs.listing import read_config
from nas.runs.old_names import with_current_names
from search_spaces.genotype import Genotype, parse_json

CARD_NAME = "model_card.json"
WEIGHTS_FILE = "weights.safetensors"
CARD_VERSION = 1
PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecord:
    """What a model is.

    Attributes:
        name: Of the run or the published cell.
        genotype: None for a network without choices.
        network: `_target_`, the dotted name of the network's class, and its settings.
        in_channels: Of the images; None where only the weights tell.
        num_classes: Likewise.
        image_shape: (C, H, W) that it was trained on; None where it is not known.
        mean: Of each channel of the training images, in units of the full scale; None where it is not known.
        std: Standard deviation likewise.
        margin: Side of the part in the middle that test pictures showed, as a share of the shorter side, see
            `nas.data.cropping`; None where it was all of it.
        class_names: Name of each label; None where they are not known.
        data: Name of the data set, if there was one.
        test_accuracy: That of these weights at the end of training, a fraction, where it was measured.
    """

    name: str
    genotype: Genotype | None
    network: dict[str, Any]
    in_channels: int | None = None
    num_classes: int | None = None
    image_shape: tuple[int, int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    margin: float | None = None
    class_names: tuple[str, ...] | None = None
    data: str | None = None
    test_accuracy: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the record, ready for JSON."""
        cell = None if self.genotype is None else self.genotype.to_dict()
        return {**asdict(self), "genotype": cell}


def record_of_run(run: Path) -> ModelRecord:
    """Reads what a run folder says of the model that it trained.

    Raises:
        FileNotFoundError: If the run has trained none.
        ValueError: If its files are broken.
    """
    weights = run / WEIGHTS_FILE
    if not weights.is_file():
        raise FileNotFoundError(f"no trained model in {run}: `nas retrain` and `nas pipeline` write {WEIGHTS_FILE}")
    text = read_metadata(weights).get("model")
    if text is None:
        raise ValueError(f"{weights} is not a whole file of weights, or does not say of which model they are")
    model = _checked(parse_json(text), weights)
    data = read_mapping(run / "data.json")
    members = read_mapping(run / "metrics.json").get("members") or [{}]
    config = read_config(run).get("data")
    own = {
        "name": run.name,
        "data": data.get("name"),
        "margin": margin_of(config) if isinstance(config, dict) else None,
    }
    return _record(weights, {**model, **data, **_first_accuracy(members), **own})


def record_of_card(folder: Path) -> ModelRecord:
    """Reads the model card of a folder that `nas export` wrote.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is broken.
    """
    path = folder / CARD_NAME
    if not path.is_file():
        raise FileNotFoundError(f"no model card at {path}; `nas export` writes it")
    return _record(path, read_mapping(path))


def model_text(genotype: Genotype | None, network: object) -> str:
    """Returns what a file of weights says of its model: cell and network, one text, as safetensors keeps no order."""
    return json.dumps({"genotype": None if genotype is None else genotype.to_dict(), "network": network})


def versions() -> dict[str, str]:
    """Returns the versions of the packages that an exported model depends on, those that are there."""
    found = {"shufflenas": __version__}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def read_mapping(path: Path) -> dict[str, Any]:
    """Reads a JSON file that holds an object; an absent file is an empty one.

    Raises:
        ValueError: If the file is too large, not JSON or no object.
    """
    if not path.is_file():
        return {}
    text = bounded_text(path)
    try:
        return _checked(parse_json(text), path)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def model_input(record: ModelRecord) -> dict[str, Any]:
    """Returns what `nas.load_model` takes: `shape`, `dtype`, `range` and whether mean and std are applied inside."""
    inside = record.mean is not None and record.std is not None
    shape = record.image_shape or (record.in_channels, "H", "W")
    return {"shape": ["N", *shape], "dtype": "float32", "range": [0, 1] if inside else None, "normalizes": inside}


def write_card(folder: Path, record: ModelRecord, **more: Any) -> dict[str, Any]:
    """Writes the model card of a folder and returns it; `more` are its further entries."""
    card = {"card_version": CARD_VERSION, "input": model_input(record), **record.to_dict(), **more}
    write_json(folder / CARD_NAME, card)
    return card


def file_facts(path: Path) -> dict[str, Any]:
    """Returns size and digest of a file."""
    return {"bytes": path.stat().st_size, "sha256": file_digest(path)}


def check_file(folder: Path, name: str) -> None:
    """Compares a file with what the card beside it says of it.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If the card does not know it, or knows another size or content.
    """
    path, files = folder / name, read_mapping(folder / CARD_NAME).get("files")
    told = files.get(name) if isinstance(files, dict) else None
    if not isinstance(told, dict):
        raise ValueError(f"{folder / CARD_NAME} does not mention {name}")
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}, which {CARD_NAME} mentions")
    size = path.stat().st_size
    if size != told.get("bytes"):
        raise ValueError(f"{path} has {size} bytes; {CARD_NAME} says {told.get('bytes')}: it is not the whole file")
    if file_digest(path) != told.get("sha256"):
        raise ValueError(f"{path} is not the file of {CARD_NAME}: its sha256 is another")


def _record(path: Path, data: Mapping[str, Any]) -> ModelRecord:
    """Makes a record of untrusted data; entries of other names are left alone."""
    network = with_current_names(data.get("network"))
    if not isinstance(network, dict) or not isinstance(network.get("_target_"), str):
        raise ValueError(f"{path}: network must name its class as _target_, got {network!r}")
    try:
        cell = data.get("genotype")
        genotype = None if cell is None else Genotype.from_dict(cell)
    except ValueError as error:
        raise ValueError(f"{path}: genotype: {error}") from None
    _check_facts(data, path)
    lists = {
        key: tuple(data[key]) for key in ("mean", "std", "class_names", "image_shape") if data.get(key) is not None
    }
    plain = {key: data.get(key) for key in ("in_channels", "num_classes", "margin", "data", "test_accuracy")}
    return ModelRecord(name=str(data.get("name", "model")), genotype=genotype, network=network, **plain, **lists)  # type: ignore[arg-type]


def _check_facts(data: Mapping[str, Any], path: Path) -> None:
    """Raises ValueError if an entry of a record is of another kind than it must be; absent ones are None."""
    rules: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "image_shape": ("whole numbers of at least 1", _is_positive),
        "mean": ("numbers", _is_number),
        "std": ("numbers above 0", lambda value: _is_number(value) and value > 0),
        "class_names": ("texts", lambda value: isinstance(value, str)),
    }
    for key, (kind, holds) in rules.items():
        values = data.get(key)
        if values is not None and not (isinstance(values, list | tuple) and all(map(holds, values))):
            raise ValueError(f"{path}: {key} must be a list of {kind}, got {values!r}")
    for key in ("num_classes", "in_channels"):
        if not (data.get(key) is None or _is_positive(data[key])):
            raise ValueError(f"{path}: {key} must be a whole number of at least 1, got {data[key]!r}")
    margin = data.get("margin")
    if margin is not None and not (_is_number(margin) and 0 < margin <= 1):
        raise ValueError(f"{path}: margin must lie in (0, 1], got {margin!r}")
    if data.get("image_shape") is not None and len(data["image_shape"]) != 3:
        raise ValueError(f"{path}: image_shape must be [channels, height, width], got {data['image_shape']!r}")
    if len(data.get("mean") or ()) != len(data.get("std") or ()):
        raise ValueError(f"{path}: mean and std must have one number a channel each")


def _is_positive(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_number(value: Any) -> bool:
    """Whether an entry is a number that fits into a float."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def _checked(data: object, path: Path) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError(f"{path} must hold an object, got {type(data).__name__}")
    return data


def _first_accuracy(members: Any) -> dict[str, Any]:
    """Returns the accuracy of the member whose weights are kept, the first."""
    first = members[0] if isinstance(members, list) and isinstance(members[0], dict) else {}
    return {"test_accuracy": first.get("test_accuracy")}
