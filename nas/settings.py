"""Settings: dataclasses in which each setting has one default, one range and one description.

A range is an annotation, which pydantic checks; a description is the field's entry under `Attributes` in the docstring.
The config groups that Hydra composes, `nas COMMAND --help` and the tests of ranges are made from these classes.
"""

import importlib
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, TypeVar, get_origin

from annotated_types import Len
from pydantic import AfterValidator, ConfigDict, Field, PositiveInt, ValidationError

STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True, extra="forbid")
"""No value is converted to a field's type, and numbers are finite."""

GROUP = "settings"
"""The config group `settings@PLACE`, which is made from the classes and has no YAML files."""
CLASSES = {
    "bench": "nas.studies.benchmarks.settings.BenchSettings",
    "bodies": "nas.studies.demonstrations.settings.BodiesSettings",
    "compare": "nas.studies.controller_comparison.settings.ComparisonSettings",
    "distributed": "nas.compute.distributed.settings.DistributedSettings",
    "export": "nas.models.exporting.settings.ExportSettings",
    "front": "nas.studies.controller_comparison.settings.FrontSettings",
    "graph_matching": "nas.studies.demonstrations.settings.GraphMatchingSettings",
    "latency": "nas.costs.latency.settings.LatencySettings",
    "mixer_costs": "nas.studies.demonstrations.settings.MixerCostSettings",
    "model_costs": "nas.studies.demonstrations.settings.ModelCostSettings",
    "permuted_images": "nas.studies.demonstrations.settings.PermutedImagesSettings",
    "predict": "nas.models.prediction_settings.PredictSettings",
    "predictor": "nas.jobs.building.settings.PredictorTestSettings",
    "queries": "nas.searching.settings.QuerySettings",
    "rank": "nas.studies.ranking.settings.RankSettings",
    "rank_table": "nas.studies.ranking.settings.TableRankSettings",
    "report": "nas.jobs.building.settings.ReportSettings",
    "retrain": "nas.training.settings.RetrainSettings",
    "runtime": "nas.compute.settings.RuntimeSettings",
    "score": "nas.jobs.building.settings.ScoreSettings",
    "search": "nas.searching.settings.SearchSettings",
    "stand_alone": "nas.searching.settings.StandAloneSettings",
    "structured": "nas.studies.demonstrations.settings.StructuredSettings",
    "tabulate": "nas.jobs.building.settings.TabulateSettings",
    "two_layer": "nas.studies.demonstrations.settings.TwoLayerSettings",
}
"""By option, the class. Their modules import no torch."""

T = TypeVar("T")


def _distinct(values: Sequence[T]) -> Sequence[T]:
    if len(set(values)) < len(values):
        raise ValueError(f"must not list a value twice, got {list(values)}")
    return values


def _rising(values: Sequence[int]) -> Sequence[int]:
    if list(values) != sorted(set(values)):
        raise ValueError(f"must list numbers in rising order, got {list(values)}")
    return values


BelowOne = Annotated[float, Field(ge=0, lt=1)]
"""A probability, decay or share in [0, 1)."""
Inside = Annotated[float, Field(gt=0, lt=1)]
"""A share in (0, 1)."""
Fraction = Annotated[float, Field(ge=0, le=1)]
"""A share in [0, 1]."""
Share = Annotated[float, Field(gt=0, le=1)]
"""A share in (0, 1]."""
Distinct = Annotated[Sequence[T], Len(1), AfterValidator(_distinct)]
"""At least one value, each once."""
Rising = Annotated[Sequence[PositiveInt], Len(1), AfterValidator(_rising)]
"""Numbers of at least 1 in rising order."""
ImageShape = Annotated[Sequence[PositiveInt], Len(3, 3)]
"""[channels, height, width]."""


SAID = {"unexpected_keyword_argument": "is unknown", "missing": "is not set"}
PLAIN = {
    "Input should be an instance of Sequence": "Input should be a list",
    "'str' instances are not allowed as a Sequence value": "Input should be a list",
    " after validation": "",
}
"""What is said in the place of pydantic's sentences: by its type of error, and by what they hold."""


def problem(error: ValidationError, where: str = "", *, settings: object = None, of_value: bool = False) -> str:
    """Returns what is wrong with the first wrong setting, such as `search.epochs must be greater than 0, got 0`.

    Args:
        error: The error of a settings class, or of one value.
        where: Key of the settings, put in front of the field's, or of the value.
        settings: The class, if it is known: of its fields that are mappings, the key is named too.
        of_value: Whether it is of one value.
    """
    first, *others = error.errors(include_url=False)
    field = "" if of_value or not first["loc"] else str(first["loc"][0])
    mappings = (
        [one.name for one in fields(settings) if get_origin(one.type) is Mapping] if is_dataclass(settings) else []
    )
    inner = str(first["loc"][1]) if field in mappings and len(first["loc"]) > 1 else ""
    key = ".".join(filter(None, (where, field, inner)))
    if first["type"] in SAID:
        return f"{key} {SAID[first['type']]}"
    same = [first, *(one for one in others if of_value or one["loc"][:1] == first["loc"][:1])]  # of a union, one a type
    for one in same:
        if one["type"] == "value_error":
            ours = str(one["ctx"]["error"])  # a sentence that names the setting where it is about several
            return f"{key} {ours}" if field else f"{where}.{ours}".lstrip(".")
    said = [_plain_words(one["msg"]) for one in same]
    wanted = dict.fromkeys(re.sub(r"^\w+ should (be )?", "", one) for one in said)
    verb = "must be" if "should be" in said[0] else "must"
    return f"{key} {verb} {' or '.join(wanted)}, got {first['input']!r}"


def _plain_words(message: str) -> str:
    for held, better in PLAIN.items():
        message = message.replace(held, better)
    return re.sub(r"an instance of \w+Settings$", "a group of settings", message)


def config_node(settings: type) -> dict[str, Any]:
    """Returns the config node of a settings class: every setting that has a default, nested settings as nodes."""
    node: dict[str, Any] = {"_target_": f"{settings.__module__}.{settings.__qualname__}"}
    for field in fields(settings):
        if field.default_factory is not MISSING:
            node[field.name] = _plain(field.default_factory())
        elif field.default is not MISSING:
            node[field.name] = _plain(field.default)
    return node


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return config_node(type(value)) | {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def settings_class(option: str) -> type:
    """Returns the class of an option of the group."""
    module, _, name = CLASSES[option].rpartition(".")
    found: type = getattr(importlib.import_module(module), name)
    return found


@cache
def descriptions(settings: type) -> dict[str, str]:
    """Returns what the docstrings of a settings class and its bases say of each setting, nested ones by dotted name."""
    found: dict[str, str] = {}
    for cls in reversed(settings.__mro__):
        entries = inspect.cleandoc(cls.__doc__ or "").partition("Attributes:\n")[2]
        for name, text in re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", entries, flags=re.MULTILINE):
            said = " ".join(text.split()).removesuffix(".")
            found[name] = said[0].lower() + said[1:] if said[1].islower() else said  # as comments in YAML begin
    for part, nested in parts(settings):
        found |= {f"{part}.{name}": text for name, text in descriptions(nested).items()}
    return found


def parts(settings: type) -> list[tuple[str, type]]:
    """Returns name and class of the nested settings."""
    return [(one.name, one.type) for one in fields(settings) if isinstance(one.type, type) and is_dataclass(one.type)]


def summary(settings: type) -> str:
    """Returns the first paragraph of a settings class's docstring."""
    return " ".join(inspect.cleandoc(settings.__doc__ or "").partition("\n\n")[0].split())
