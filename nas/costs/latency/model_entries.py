"""The entries by which a user names models to compare: a reference, sizes, a name.

As text, `enas`, `shufflenasnet_a@48` (F = 48) or `enas@filters:24@cells_per_stage:2`; as a mapping,
`{genotype: enas, filters: 24, cells_per_stage: 2, name: small}`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from nas.models.genotype_files import is_genotype_itself

REFERENCE_KEYS = ("genotype", "model")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A model as a user asks for it.

    Attributes:
        reference: A run folder, a genotype file, or a name.
        name: Its name in tables and figures.
        network: Config group of the network; None leaves it to the reference.
        settings: Settings of the network, in place of its own.
    """

    reference: str
    name: str
    network: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


def read_entries(given: object) -> list[ModelEntry]:
    """Reads one model or a list of them.

    Raises:
        ValueError: If an entry cannot be read or two have the same name.
    """
    several = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    entries = [read_entry(one) for one in several]
    check_names([entry.name for entry in entries])
    return entries


def check_names(names: Sequence[str]) -> None:
    """Raises ValueError if two models have one name."""
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"models: two are called {name!r}; tell them apart with {{genotype: ..., name: ...}}")


def read_entry(given: object) -> ModelEntry:
    """Reads one model, from a text or a mapping.

    Raises:
        ValueError: If it is neither, or lacks its reference, or a setting is not of the form KEY:VALUE.
    """
    entry = {"model": given} if isinstance(given, str) and given else given
    if not isinstance(entry, Mapping):
        raise ValueError(f"models: an entry is a name, a path or a mapping with genotype=..., got {given!r}")
    rest = {str(key): value for key, value in entry.items()}
    references = [rest.pop(key) for key in REFERENCE_KEYS if key in rest]
    if len(references) != 1 or not isinstance(references[0], str):
        raise ValueError(f"models: {dict(entry)} needs one text under genotype or model")
    read = _from_text(references[0])
    network, name = rest.pop("network", None), rest.pop("name", None)
    if not isinstance(network, str | None) or not isinstance(name, str | None):
        raise ValueError(f"models: name and network of {dict(entry)} must be texts")
    own_name = read.name + "".join(f"@{key}:{value}" for key, value in rest.items())
    return replace(read, name=name or own_name, network=network, settings={**read.settings, **rest})


def _from_text(text: str) -> ModelEntry:
    if is_genotype_itself(text) or Path(text).exists():  # perhaps with the sign @ in it
        return ModelEntry(reference=text, name=short_name(text))
    reference, *parts = text.split("@")
    settings: dict[str, Any] = {}
    for part in (piece for joined in parts for piece in joined.split(",")):
        key, sign, value = part.replace("=", ":", 1).partition(":")
        if part.isdecimal():
            settings["filters"] = int(part)
        elif sign and key and value:
            settings[key.strip()] = yaml.safe_load(value)
        else:
            raise ValueError(f"models: {part!r} in {text!r} is neither a number of filters nor KEY:VALUE")
    return ModelEntry(reference=reference, name="@".join([short_name(reference), *parts]), settings=settings)


def short_name(reference: str) -> str:
    """Returns a run folder's own name, FOLDER/FILE of a file, and any other reference as it is."""
    if is_genotype_itself(reference):
        return "genotype"
    file, sign, index = reference.partition("#")
    path = Path(file)
    if path.is_dir():
        return path.resolve().name
    own_name = "" if path.name == "genotype.json" else f"/{path.stem}{sign}{index}"
    return f"{path.resolve().parent.name}{own_name}" if path.is_file() else reference
