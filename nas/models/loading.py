"""A trained model in one line: `model = nas.load_model("results/runs/four")`.

Weights are read without unpickling, and what a file says of its model is checked before anything is built by it: such
files travel.
"""

import sys
from collections.abc import Collection, Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from nas.models.derived import DerivedModel
from nas.models.exporting.plain_layers import ImageCheck
from nas.models.exporting.plain_network import make_normalize
from nas.models.genotype_files import near_references
from nas.models.hardening import harden_mixers
from nas.models.inference.ready import for_inference as ready_for_inference
from nas.models.model_card import CARD_NAME, WEIGHTS_FILE, ModelRecord, check_file, record_of_card, record_of_run
from nas.runs.checkpoints import load_weights
from nas.runs.trust import find_trusted
from search_spaces.cells import genotype_candidates
from search_spaces.published import PUBLISHED, published_names

SHIPPED = Path(__file__).parent / "trained_models"
"""Of each published cell whose trained weights come with the package, a folder as `nas export` writes it."""


class LoadedModel(DerivedModel):
    """A network bound to its genotype, and what is known of it: `model(images)` returns logits.

    Images of another type, range or number of channels than the model takes are refused with ValueError.

    Args:
        network: Holds the genotype's path.
        record: What the model is.
        normalize: What is done to the images first; None takes them as normalised.
    """

    def __init__(self, network: nn.Module, record: ModelRecord, normalize: nn.Module | None) -> None:
        super().__init__(network, record.genotype, normalize)
        self.record = record
        assert record.in_channels is not None
        size = None if record.image_shape is None else record.image_shape[1:]
        self.check = ImageCheck(record.in_channels, size, takes="normalised" if normalize is None else "floats")
        self.register_forward_pre_hook(self.check, with_kwargs=True)


def load_model(
    source: str | Path,
    *,
    pretrained: bool = True,
    normalize: bool = True,
    for_inference: bool = True,
    device: torch.device | str = "cpu",
    num_classes: int | None = None,
    in_channels: int | None = None,
    network: Mapping[str, Any] | None = None,
    modules: Collection[str] | None = None,
) -> LoadedModel:
    """Loads a model, in evaluation mode.

    Args:
        source: A run folder with `weights.safetensors`, a folder written by `nas export`, or the name of a published
            cell. A folder of a published cell's name comes first.
        pretrained: Whether to load weights; otherwise they are random, and names without weights here need that.
        normalize: Whether the model normalises images itself: it then takes floats in [0, 1], as exported models do.
            Without, it takes images normalised by `model.record.mean` and `.std`.
        for_inference: Whether to fold permutations away; without, the model can be trained further.
        device: Where it is to live.
        num_classes: Outputs of a published model, 10 unless given.
        in_channels: Channels of the images of a published model, 3 unless given.
        network: Settings of a published model's network that differ from the published ones, such as `filters`.
        modules: Modules, apart from this package's own, that may define the network; None takes all that are
            imported by now.

    Returns:
        The model: maps images (N, C, H, W) to logits (N, num_classes). `model.record` tells the rest.

    Raises:
        FileNotFoundError: If there is no such folder or name, or nothing was trained there.
        ValueError: If a file is truncated, damaged or of another model, or an argument does not fit the source.
    """
    record, weights = find_model(
        source, pretrained=pretrained, num_classes=num_classes, in_channels=in_channels, network=network
    )
    made = build_model(record, weights, modules=modules)
    layer = None
    if normalize:
        if record.mean is None or record.std is None:
            raise ValueError(
                f"{source}: mean and std of the training images are not known; take normalize=False, "
                "and normalise the images as they were for the training"
            )
        if len(record.mean) != record.in_channels:
            raise ValueError(f"{source}: mean is of {len(record.mean)} channels, the model takes {record.in_channels}")
        layer = make_normalize(record.mean, record.std)
    ready = ready_for_inference(made, record.genotype) if for_inference else made
    return LoadedModel(ready, record, layer).eval().to(device)


def find_model(
    source: str | Path,
    *,
    pretrained: bool = True,
    num_classes: int | None = None,
    in_channels: int | None = None,
    network: Mapping[str, Any] | None = None,
) -> tuple[ModelRecord, Path | None]:
    """Returns what a model is and the file of its weights, None for random ones; arguments as in `load_model`.

    Raises:
        FileNotFoundError: As `load_model`.
        ValueError: As `load_model`.
    """
    path = Path(source).expanduser()
    if not path.exists() and str(source) in PUBLISHED and pretrained:
        if not (SHIPPED / str(source) / CARD_NAME).is_file():
            raise ValueError(
                f"no trained weights of {source} are published here; pretrained=False gives it with random ones"
            )
        path = SHIPPED / str(source)
    if not path.exists() and str(source) in PUBLISHED:
        record, channels = record_of_published(str(source), network=network or {}), in_channels or 3
        middle = (0.5,) * channels  # as `nas export` has it for random weights
        return replace(record, num_classes=num_classes or 10, in_channels=channels, mean=middle, std=middle), None
    if not path.exists():
        near = near_references(str(source))
        hint = f"did you mean {near[0]}?" if near else f"published ones are {published_names()}"
        raise FileNotFoundError(f"no run folder, exported model or published cell {str(source)!r}; {hint}")
    if (num_classes, in_channels, network) != (None, None, None):
        raise ValueError("num_classes, in_channels and network are for published names; a trained model has its own")
    folder = path if path.is_dir() else path.parent
    has_card, weights = (folder / CARD_NAME).is_file(), folder / WEIGHTS_FILE
    record = record_of_card(folder) if has_card else record_of_run(folder)
    if has_card and pretrained:
        check_file(folder, WEIGHTS_FILE)
    return _sized(record, weights), weights if pretrained else None


def build_model(record: ModelRecord, weights: Path | None, *, modules: Collection[str] | None = None) -> nn.Module:
    """Makes the network of a record, learned permutations hardened, with the weights of a file or random ones.

    Args:
        record: What the model is.
        weights: Their file; None for random ones.
        modules: As in `load_model`.

    Raises:
        ValueError: If the record names no network of this package, or the weights do not fit it.
    """
    values = None if weights is None else load_weights(weights)
    where = record.name if weights is None else str(weights)
    if values is not None:
        largest = sum(value.numel() for value in values.values())
        for key, setting in record.network.items():
            sizes = setting if isinstance(setting, list) else [setting]
            if any(isinstance(size, int) and size > largest for size in sizes):
                raise ValueError(f"{where}: network.{key}={setting} is more than the {largest} weights of the file")
    settings = {key: value for key, value in record.network.items() if key != "_target_"}
    cells = [] if record.genotype is None else [genotype_candidates(record.genotype)]
    network = network_class(str(record.network["_target_"]), modules=modules)
    try:
        made: nn.Module = network(*cells, in_channels=record.in_channels, num_classes=record.num_classes, **settings)
    except (TypeError, RuntimeError, MemoryError, OverflowError) as error:
        raise ValueError(f"{where}: the network cannot be built: {str(error).splitlines()[0]}") from error
    harden_mixers(made)
    if values is not None:
        _give(made, values, where)
    return made.eval()


def record_of_published(name: str, *, network: Mapping[str, Any]) -> ModelRecord:
    """Returns the record of a published cell in its first published network, with other settings where given."""
    model = PUBLISHED[name].models[0]
    text = (resources.files("conf") / "network" / f"{model.network}.yaml").read_text(encoding="utf-8")
    settings = {**yaml.safe_load(text), **model.settings, **network}
    return ModelRecord(name=name, genotype=PUBLISHED[name].genotype, network=settings)


def _sized(record: ModelRecord, weights: Path) -> ModelRecord:
    """Adds channels and classes as the weights have them."""
    if record.num_classes is not None and record.in_channels is not None:
        return record
    values = load_weights(weights)
    classifier = values.get("classifier.weight")
    stem = next((value for name, value in values.items() if name.startswith("stem.") and value.ndim == 4), None)
    stem = values.get("stem.0.weight", values.get("stem.0.0.weight", stem))
    if classifier is None or stem is None or stem.ndim != 4:
        raise ValueError(f"{weights} lacks the weights of a stem and a classifier: it is of no network of this package")
    return replace(record, num_classes=len(classifier), in_channels=stem.shape[1])


def network_class(target: str, *, modules: Collection[str] | None = None) -> Any:
    """Returns the class of a dotted name, which may come from a file and so must be trusted.

    Args:
        target: The name.
        modules: As in `load_model`.

    Raises:
        ValueError: If it is no network, or of a module that is not trusted.
    """
    module = target.rpartition(".")[0]
    imported = {module} & sys.modules.keys()
    found = find_trusted(target, modules=imported if modules is None else modules)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(
            f"unknown network {target!r}; if it is your own, import its module first (of a command: imports=[{module}])"
        )
    return found


def _give(network: nn.Module, values: Mapping[str, Tensor], where: str) -> None:
    own = network.state_dict()
    if odd := sorted(own.keys() ^ values.keys()):
        raise ValueError(f"{where} is of another model: {', '.join(odd[:3])} missing or unknown ({len(odd)} such)")
    for name, value in values.items():
        if own[name].shape != value.shape:
            raise ValueError(
                f"{where}: {name} has shape {tuple(value.shape)}, the model needs {tuple(own[name].shape)}"
            )
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(
                f"{where}: {name} holds numbers that are not finite: the file is damaged or training diverged"
            )
        if name.endswith(".index") and not torch.equal(value.sort().values, torch.arange(len(value))):
            raise ValueError(f"{where}: {name} is not a permutation")
    network.load_state_dict(dict(values))
