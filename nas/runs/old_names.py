"""The names that this project's classes, functions and settings had before they moved, which older files still hold."""

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
    "nas.studies.demonstrations.permuted.settings": "nas.studies.demonstrations.settings",
    "nas.tracking": "nas.reporting.trackers",
    "nas.training.retrain_settings": "nas.training.settings",
}
"""By module, the one that holds now what configs named in it."""
RENAMED = {
    "nas.runtime.make_runtime": "nas.compute.settings.RuntimeSettings",
    "nas.searching.tabular_settings.TabularSearchSettings": "nas.searching.settings.QuerySettings",
    "nas.tabular_search.TabularSearchSettings": "nas.searching.settings.QuerySettings",
    "nas.tabular_search.open_table": "nas.searching.table_lookup.open_table",
}
_PARTS = {
    "optimizer": "controllers.policy_gradients.Adam",
    "baseline": "controllers.policy_gradients.MovingAverageBaseline",
    "entropy": "controllers.policy_gradients.EntropyBonus",
    "objective": "controllers.policy_gradients.ClippedObjective",
    "elites": "controllers.best_architectures.Elites",
}
CONTROLLER_KEYS: dict[str, tuple[str, Any]] = {
    "learning_rate": ("optimizer.lr", 0.0035),
    "adam_betas": ("optimizer.betas", [0.0, 0.999]),
    "adam_epsilon": ("optimizer.eps", 1e-3),
    "entropy_weight": ("entropy.weight", 1e-4),
    "entropy_bonus": ("entropy.part_of", "reward"),
    "entropy_weight_end": ("entropy.weight_end", None),
    "entropy_schedule": ("entropy.schedule", "linear"),
    "entropy_updates": ("entropy.updates", 100),
    "baseline_decay": ("baseline.decay", 0.99),
    "baseline_start": ("baseline.start", 0.0),
    "ppo_clip": ("objective.clip", None),
    "ppo_epochs": ("objective.epochs", 1),
    "elite_size": ("elites.size", 0),
    "elite_weight": ("elites.weight", 0.02),
    "elite_window": ("elites.window", 100),
}
"""By key of a `Reinforce` of version 0.1, the key that it has now and the value that it had where it was not set."""


def current_name(name: str) -> str:
    """Returns the dotted name that a class or function has now; others are returned as they are."""
    module, _, last = name.rpartition(".")
    return RENAMED.get(name) or f"{MOVED.get(module, module)}.{last}".lstrip(".")


def current_key(key: str) -> str | None:
    """Returns the key that has taken the place of one such as `controller.learning_rate`; None if it is no old key."""
    group, _, last = key.rpartition(".")
    is_old = f"{group}.".startswith("controller.") and last in CONTROLLER_KEYS
    return f"{group}.{CONTROLLER_KEYS[last][0]}" if is_old else None


def _nest_settings(controller: dict[str, Any]) -> None:
    """Gives the settings of a `Reinforce` the keys that they have now, if it is one of version 0.1."""
    if "optimizer" in controller:
        return
    parts: dict[str, Any] = {name: {"_target_": target} for name, target in _PARTS.items()}
    for old, (key, default) in CONTROLLER_KEYS.items():
        name, _, last = key.partition(".")
        parts[name][last] = controller.pop(old, default)
    if parts["objective"]["clip"] is None:
        parts["objective"] = {"_target_": "controllers.policy_gradients.ReinforceObjective"}
    if parts["elites"]["size"] == 0:
        parts["elites"] = None
    controller.update(parts)


def with_current_names(node: Any) -> Any:
    """Gives every `_target_` and setting in a config, or a part of one, its current name; returns the same object.

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
            if part["_target_"] == "controllers.reinforce.Reinforce":
                _nest_settings(part)
    return node
