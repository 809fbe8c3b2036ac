"""Records of trained models, which hold all but the weights: read from run folders, kept as `model_card.json`."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, InstanceOf, PositiveInt, ValidationError
from pydantic.dataclasses import dataclass

from nas import __version__
from nas.data.own_images import margin_of
from nas.models.genotype_files import bounded_text
from nas.runs.checkpoints import file_digest, read_metadata, write_json
from nas.runs.listing import read_config
from nas.runs.old_names import with_current_names
from nas.settings import Share, problem
from search_spaces.genotype import Genotype, parse_json

CARD_NAME = "model_card.json"
WEIGHTS_FILE = "weights.safetensors"
CARD_VERSION = 1
PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")

T = TypeVar("T")
Several = Annotated[Sequence[T], AfterValidator(tuple)]
"""A list, which is kept as a tuple."""


def _three(values: Any) -> Any:
    if not isinstance(values, list | tuple) or len(values) != 3:
        raise ValueError(f"must be [channels, height, width], got {values!r}")
    return tuple(values)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(strict=True, allow_inf_nan=False))
class ModelRecord:
    """Description of a model.

    Attributes:
        name: Name of the run or the published cell.
        genotype: None for a network without choices.
        network: `_target_`, the dotted name of the network's class, and its settings.
        in_channels: Channels of the images; None where only the weights tell.
        num_classes: Number of classes; None where only the weights tell.
        image_shape: (C, H, W) that it was trained on; None where it is not known.
        mean: Mean of each channel of the training images, in units of the full scale; None where it is not known.
        std: Standard deviation of each channel, in the same units.
        margin: Side of the part in the middle that test pictures showed, as a share of the shorter side, see
            `nas.data.image_files`; None where it was all of it.
        class_names: Name of each label; None where they are not known.
        data: Name of the data set, if there was one.
        test_accuracy: That of these weights at the end of training, a fraction, where it was measured.
    """

    name: str
    genotype: InstanceOf[Genotype] | None
    network: dict[str, Any]
    in_channels: PositiveInt | None = None
    num_classes: PositiveInt | None = None
    image_shape: Annotated[tuple[PositiveInt, PositiveInt, PositiveInt], BeforeValidator(_three)] | None = None
    mean: Several[float] | None = None
    std: Several[Annotated[float, Field(gt=0)]] | None = None
    margin: Share | None = None
    class_names: Several[str] | None = None
    data: str | None = None
    test_accuracy: float | None = None

    def __post_init__(self) -> None:
        if len(self.mean or ()) != len(self.std or ()):
            raise ValueError("mean and std must have one number a channel each")

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
    data, config = read_mapping(run / "data.json"), read_config(run).get("data")
    members = read_mapping(run / "metrics.json").get("members") or [{}]
    first = members[0] if isinstance(members, list) and isinstance(members[0], dict) else {}  # whose weights are kept
    own = {
        "name": run.name,
        "data": data.get("name"),
        "margin": margin_of(config) if isinstance(config, dict) else None,
        "test_accuracy": first.get("test_accuracy"),
    }
    return _record(weights, {**model, **data, **own})


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
        with suppress(metadata.PackageNotFoundError):  # of another name too: onnxruntime-gpu holds onnxruntime
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
    """Compares a file with what the card in its folder says of it.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If the card does not know it, or knows another size or content.
    """
    path, files = folder / name, read_mapping(folder / CARD_NAME).get("files")
    said = files.get(name) if isinstance(files, dict) else None
    if not isinstance(said, dict):
        raise ValueError(f"{folder / CARD_NAME} does not mention {name}")
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}, which {CARD_NAME} mentions")
    found = file_facts(path)
    if found["bytes"] != said.get("bytes"):
        raise ValueError(
            f"{path} has {found['bytes']} bytes; {CARD_NAME} says {said.get('bytes')}: it is not the whole file"
        )
    if found["sha256"] != said.get("sha256"):
        raise ValueError(f"{path} is not the file of {CARD_NAME}: its sha256 is another")


def _record(path: Path, data: Mapping[str, Any]) -> ModelRecord:
    """Makes a record of untrusted data; entries of other names are left alone."""
    network = with_current_names(data.get("network"))
    if not isinstance(network, dict) or not isinstance(network.get("_target_"), str):
        raise ValueError(f"{path}: network must name its class as _target_, got {network!r}")
    try:
        genotype = None if data.get("genotype") is None else Genotype.from_dict(data["genotype"])
    except ValueError as error:
        raise ValueError(f"{path}: genotype: {error}") from None
    facts = {field.name: data[field.name] for field in fields(ModelRecord) if data.get(field.name) is not None}
    try:
        facts |= {"name": str(data.get("name", "model")), "genotype": genotype, "network": network}
        return ModelRecord(**facts)
    except ValidationError as error:
        raise ValueError(f"{path}: {problem(error)}") from None


def _checked(data: object, path: Path) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError(f"{path} must hold an object, got {type(data).__name__}")
    return data
