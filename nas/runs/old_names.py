"""The names that this project's classes and functions had before they moved, as files written then hold them."""

from typing import Any

MOVED = {
    "nas.benchmarks.settings": "nas.studies.benchmarks.settings",
    "nas.controller_comparison.settings": "nas.studies.controller_comparison.settings",
    "nas.costing.latency_predictor": "nas.costs.settings",
    "nas.costing.reward_functions": "nas.searching.reward_functions",
    "nas.data": "nas.data.named",
    "nas.demonstrations.bodies": "nas.studies.demonstrations.settings",
    "nas.demonstrations.graph_matching": "nas.studies.demonstrations.settings",
    "nas.demonstrations.mixer_costs": "nas.studies.demonstrations.settings",
    "nas.demonstrations.model_costs": "nas.studies.demonstrations.settings",
    "nas.demonstrations.permuted_settings": "nas.studies.demonstrations.settings",
    "nas.demonstrations.structured": "nas.studies.demonstrations.settings",
    "nas.demonstrations.two_layer": "nas.studies.demonstrations.settings",
    "nas.diagnostics.settings": "nas.searching.diagnostics.settings",
    "nas.distributed.settings": "nas.compute.distributed.settings",
    "nas.exporting.exported": "nas.models.exporting.settings",
    "nas.jobs.predict": "nas.models.prediction_settings",
    "nas.jobs.predictor": "nas.jobs.building.settings",
    "nas.jobs.report": "nas.jobs.building.settings",
    "nas.latency.settings": "nas.costs.latency.settings",
    "nas.networks": "nas.models.shufflenasnet",
    "nas.own_images": "nas.data.own_images",
    "nas.ranking.settings": "nas.studies.ranking.settings",
    "nas.reinforce": "controllers.reinforce",
    "nas.retraining": "nas.training.settings",
    "nas.rewards": "nas.searching.evaluators",
    "nas.search": "nas.searching.settings",
    "nas.shufflenets": "nas.models.shufflenets",
    "nas.stacked": "nas.models.stacked_cells",
    "nas.tensorboard_tracker": "nas.reporting.tensorboard",
    "nas.tracking": "nas.reporting.trackers",
}
"""By module, the one that holds now what configs named in it."""
RENAMED = {
    "nas.runtime.make_runtime": "nas.compute.settings.RuntimeSettings",
    "nas.searching.tabular_settings.TabularSearchSettings": "nas.searching.settings.QuerySettings",
    "nas.tabular_search.TabularSearchSettings": "nas.searching.settings.QuerySettings",
    "nas.tabular_search.open_table": "nas.searching.table_lookup.open_table",
}


def current_name(name: str) -> str:
    """Returns the dotted name that a class or function has now; others are returned as they are."""
    module, _, last = name.rpartition(".")
    return RENAMED.get(name) or f"{MOVED.get(module, module)}.{last}".lstrip(".")


def with_current_names(node: Any) -> Any:
    """Gives every `_target_` in a config, or a part of one, its current name; returns the same object.

    The config may come from a stranger: it may be nested deeply, and a YAML alias may repeat a part or hold itself.
    """
    left, seen = [node], set()
    while left:
        part = left.pop()
        if id(part) in seen or not isinstance(part, dict | list):
            continue
        seen.add(id(part))
        if isinstance(part, list):
            left.extend(part)
            continue
        left.extend(part.values())
        if isinstance(target := part.get("_target_"), str):
            part["_target_"] = current_name(target)
    return node
