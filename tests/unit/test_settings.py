"""Settings classes: cases of wrong values are made from the classes, by pydantic's JSON schema of each field."""

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import reduce
from operator import getitem
from typing import Any, get_args

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from pydantic import TypeAdapter, ValidationError

from nas.compute.settings import RuntimeSettings
from nas.jobs.building.config import build
from nas.searching.diagnostics.settings import GuardSettings
from nas.searching.settings import SearchSettings
from nas.settings import CLASSES, GROUP, Distinct, Rising, config_node, descriptions, problem, settings_class, summary
from nas.training.settings import TrainingSettings

SAMPLES = {
    **{"null": None, "boolean": True, "integer": 3, "number": 0.5, "string": "some"},
    **{"array": [[[]]], "object": {"some": [[]]}},
}
"""By JSON type, a value that no setting of another type takes."""
GIVEN = {"front": {"reward": None}}
"""Settings without a default."""
FREE = {
    *("BenchSettings.parts", "BodiesSettings.filters", "BodiesSettings.mixers", "BodiesSettings.v1_width"),
    *("BodiesSettings.v2_width", "ComparisonSettings.baseline", "ComparisonSettings.controllers"),
    *("ComparisonSettings.published", "ExportSettings.opset", "FrontSettings.controllers", "GuardSettings.skip_ops"),
    *("LatencySettings.reference", "MixerCostSettings.device", "MixerCostSettings.mixers", "ModelCostSettings.device"),
    *("PermutedImagesSettings.root", "PredictorSettings.folder", "ReportSettings.title", "RetrainSettings.filters"),
    *("RetrainSettings.cells_per_stage", "RetrainSettings.random_seeds", "RetrainSettings.seeds"),
    "RetrainSettings.warm_start",
    *("QuerySettings.warm_start", "WarmUpSettings.by", "WarmUpSettings.file"),
    *("SearchSettings.finals_budget", "TableRankSettings.beside"),
}
"""Numbers of any size and texts of any letters: names and seeds, or checked where they are used."""


def settings_in(settings: type, prefix: str = "") -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Yields dotted key, JSON schema and annotation of each setting, those of nested classes too."""
    schemas = TypeAdapter(settings).json_schema()["properties"]
    for field in fields(settings):
        nested = is_dataclass(field.type)
        yield f"{prefix}{field.name}", {"type": "object"} if nested else schemas[field.name], field.type
        if nested:
            yield from settings_in(field.type, f"{prefix}{field.name}.")


def wrong_values(schema: dict[str, Any], marks: set[Any]) -> Iterator[Any]:
    """Yields values that a JSON schema excludes; with marks, also lists whose order or repetition is excluded."""
    options = schema.get("anyOf", [schema])
    kinds = {option["type"] for option in options}
    kinds |= {"integer"} if "number" in kinds else set()
    yield from (value for kind, value in SAMPLES.items() if kind not in kinds)
    if "integer" in kinds:
        yield from (math.nan, math.inf, -math.inf)
    for option in options:
        match option:
            case {"enum": _} | {"const": _}:
                yield SAMPLES[option["type"]]
            case {"type": "array", "items": items}:
                one, least, most = right_value(items), option.get("minItems", 0), option.get("maxItems", 0)
                yield from ([wrong, *[one] * (least - 1)] for wrong in wrong_values(items, set()))
                lists = (least, [one] * (least - 1)), (most, [one] * (most + 1)), (marks, [one] * 2)
                yield from (values for excluded, values in (*lists, (RISING in marks, [2, 1])) if excluded)
            case {"type": "object", "additionalProperties": items}:
                yield from ({"some": wrong} for wrong in wrong_values(items, set()))
        yield from (option[key] for key in ("exclusiveMinimum", "exclusiveMaximum") if key in option)
        yield from (option[key] + step for key, step in (("minimum", -1), ("maximum", 1)) if key in option)


def right_value(schema: dict[str, Any]) -> Any:
    option = schema.get("anyOf", [schema])[0]
    low = max(option.get("minimum", 1), option.get("exclusiveMinimum", 0) + 1)
    return option["enum"][0] if "enum" in option else {"string": "some"}.get(option["type"], low)


DISTINCT, RISING = (alias.__metadata__[-1] for alias in (Distinct, Rising))


def marks_of(annotation: Any) -> set[Any]:
    """Returns which of `DISTINCT` and `RISING` are within an annotation."""
    own = {mark for mark in (DISTINCT, RISING) if mark in getattr(annotation, "__metadata__", ())}
    return own.union(*map(marks_of, get_args(annotation)))


def leaves(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for option in schema.get("anyOf", [schema]):
        inner = option.get("items") or option.get("additionalProperties")
        yield from leaves(inner) if inner else [option]


WRONG = {
    (option, key): list(wrong_values(schema, marks_of(annotation)))
    for option in CLASSES
    for key, schema, annotation in settings_in(settings_class(option))
    if "type" in schema or "anyOf" in schema  # not Any
}


def node(option: str, key: str = "", value: Any = None) -> Any:
    """Returns the config node of an option, with one value changed."""
    made = {**config_node(settings_class(option)), **GIVEN.get(option, {})}
    if key:
        *groups, last = key.split(".")
        reduce(getitem, groups, made)[last] = value
    return OmegaConf.create(made)


@pytest.mark.parametrize(("option", "key"), WRONG, ids=map(".".join, WRONG))
def test_a_value_that_the_annotation_excludes_is_refused_by_its_key(option, key):
    for value in WRONG[option, key]:
        with pytest.raises(ValueError) as refused:  # noqa: PT011
            build(node(option, key, value), option)
        assert str(refused.value).startswith((f"{option}.{key} ", f"{option}.{key}.some ")), value


def test_wrong_values_were_made_of_every_setting_and_kind():
    assert min(map(len, WRONG.values())) >= 4
    assert sum(map(len, WRONG.values())) > 2500
    expected = {
        ("search", "epochs"): [True, 0.5, 0, None, "some", math.inf],
        ("search", "warmup"): [-1, 1, math.nan],
        ("search", "guard.reward_samples"): [1],
        ("search", "cost"): ["some"],
        ("search", "guard"): [None, "some"],
        ("runtime", "graphs"): ["some", 3],
        ("latency", "threads"): [[], [0], [1, 1]],
        ("latency", "image_shape"): [[0, 1, 1], [1, 1], [1] * 4],
        ("bench", "blocks"): [[], [2, 1], [1, 1], [0]],
        ("compare", "published"): [{"some": [1]}, {"some": [None, 1]}],
        ("permuted_images", "side"): [3],
    }
    for case, values in expected.items():
        assert all(repr(value) in map(repr, WRONG[case]) for value in values), (case, WRONG[case])


def test_a_number_has_a_bound_and_a_text_its_choices_unless_named():
    classes = {settings_class(option) for option in CLASSES}
    classes |= {field.type for one in classes for field in fields(one) if is_dataclass(field.type)}
    found = {
        f"{one.__name__}.{key}"
        for one in classes
        for key, schema, _ in settings_in(one)
        if "." not in key
        for leaf in leaves(schema)
        if leaf.get("type") in ("integer", "number", "string")
        and not leaf.keys() & {"minimum", "exclusiveMinimum", "enum", "const"}
    }
    assert found == FREE


@pytest.mark.parametrize("option", CLASSES)
def test_a_class_its_config_node_and_what_hydra_composes_are_one(option):
    cls = settings_class(option)
    with initialize_config_module("conf", version_base="1.3"):
        composed = compose(overrides=[f"+{GROUP}@here={option}"]).here
    assert OmegaConf.to_container(composed) == config_node(cls)
    adapter = TypeAdapter(cls)
    built, direct = build(node(option), option), cls(**GIVEN.get(option, {}))
    assert type(built) is cls
    assert adapter.dump_python(built, mode="json") == adapter.dump_python(direct, mode="json")
    assert descriptions(cls).keys() == {key for key, *_ in settings_in(cls)}
    assert summary(cls)
    assert all(descriptions(cls).values())


def test_a_description_is_that_of_the_nearest_class():
    own, base = descriptions(SearchSettings), descriptions(TrainingSettings)
    assert own["epochs"] != base["epochs"]
    assert own["momentum"] == base["momentum"] != ""
    assert own["guard.entropy"] == descriptions(GuardSettings)["entropy"]


@pytest.mark.parametrize(
    ("cls", "value", "where", "said"),
    [
        (SearchSettings, {"epochs": 0}, "search", ("search.epochs ", "greater than 0", "got 0")),
        (RuntimeSettings, {"graphs": "no"}, "runtime", ("runtime.graphs ", "boolean", " or 'auto'", "got 'no'")),
        (GuardSettings, {"entropy": 2.0}, "search.guard", ("search.guard.entropy ", "1", "got 2.0")),
        (GuardSettings, {"reward_after": 60}, "search.guard", ("search.guard.reward_after ", "reward_samples 50")),
        (GuardSettings, {"entrpy": 0.1}, "search.guard", ("search.guard.entrpy ",)),
        (GuardSettings, {"samples": True}, "", ("samples ", "integer", "got True")),
    ],
)
def test_a_problem_is_a_line_that_begins_with_the_key(cls, value, where, said):
    with pytest.raises(ValidationError) as refused:
        cls(**value)
    line = problem(refused.value, where)
    assert line.startswith(said[0])
    assert all(part in line for part in said)
    assert "\n" not in line


def test_of_a_union_the_sentence_of_our_own_is_said():
    with pytest.raises(ValidationError) as raised:
        SearchSettings(finalist_epochs=[3, 1])
    assert problem(raised.value, "search") == "search.finalist_epochs must list numbers in rising order, got [3, 1]"


@pytest.mark.parametrize("budget", [10, "ten", "3m3"])
def test_a_budget_that_is_none_is_refused(budget):
    with pytest.raises(ValidationError) as raised:
        SearchSettings(finalists=4, finals_budget=budget)
    assert problem(raised.value, "search").startswith("search.finals_budget must be a budget such as '300 epochs', 90s")


def test_a_budget_too_small_for_finals_is_refused_before_the_search():
    with pytest.raises(ValidationError) as raised:
        SearchSettings(finalists=4, finals_budget="7 epochs", finalist_epochs=[1, 3])
    assert "7 epochs, and the finals of two cells take 8" in problem(raised.value, "search")
