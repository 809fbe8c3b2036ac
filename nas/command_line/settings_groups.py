"""The config groups `settings@PLACE` that are made from settings classes, not from YAML files."""

import importlib
import inspect
import re
from dataclasses import fields, is_dataclass
from functools import cache

GROUP = "settings"
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
    "search": "nas.searching.settings.SearchSettings",
    "stand_alone": "nas.searching.settings.StandAloneSettings",
    "structured": "nas.studies.demonstrations.settings.StructuredSettings",
    "two_layer": "nas.studies.demonstrations.settings.TwoLayerSettings",
}
"""By option, the class. Their modules import no torch."""


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
