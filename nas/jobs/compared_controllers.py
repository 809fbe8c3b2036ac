"""What `nas compare` holds side by side, built from the config: controllers, the table, and what is rewarded in it."""

import statistics
from functools import partial

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from nas.config import build
from nas.controller_comparison.settings import ComparisonSettings, FrontSettings
from nas.controller_comparison.trials import Laboratory, Part
from nas.costing.pareto import Point, hypervolume
from nas.jobs.tabular_search import bound_reward
from nas.rewards import RewardFunction, accuracy_reward
from nas.table_lookup import TabularEvaluator
from search_spaces.space import SearchSpace


def build_laboratory(cfg: DictConfig, settings: ComparisonSettings, front: FrontSettings) -> Laboratory:
    """Builds all that trials need, and each controller once so that mistakes show early.

    Raises:
        ValueError: If there is no such controller, a setting is out of range, or the table has no front to compare.
        FileNotFoundError: If the table is not there.
    """
    space: SearchSpace = build(cfg.search_space, "search_space")
    names = dict.fromkeys([*settings.controllers, *(front.controllers if front.seeds else ())])
    nodes = {name: controller_config(name, cfg.controller) for name in names}
    if unknown := set(cfg.controller) - set(names):
        raise ValueError(f"controller.{min(unknown)} is not compared; compare.controllers names {', '.join(names)}")
    for name, node in nodes.items():
        build(node, f"controller {name}", space.decisions)
        settings.batch(name)
    evaluator, cost = build(cfg.table, "table")
    reports = evaluator.table.column("report")
    rewards: dict[Part, RewardFunction] = {"accuracy": accuracy_reward}
    reference = None
    if front.seeds:
        rewards["front"] = bound_reward(front.reward, cost, space=space)
        reference = max(evaluator.table.column("cost").values()), statistics.median(reports.values())
        _check_front(evaluator, reference)
    return Laboratory(
        settings=settings,
        space=space,
        controllers={name: partial(build, node, f"controller {name}") for name, node in nodes.items()},
        evaluator=evaluator,
        rewards=rewards,
        cost=cost,
        reference=reference,
    )


def _check_front(evaluator: TabularEvaluator, reference: Point) -> None:
    """Raises ValueError if the table has a cost that is not above 0, or no front that could be found."""
    costs, reports = evaluator.table.column("cost"), evaluator.table.column("report")
    if min(costs.values()) <= 0:
        raise ValueError(f"{evaluator.table.path}: a cost must be above 0, got {min(costs.values())}")
    if hypervolume([(cost, reports[key]) for key, cost in costs.items()], reference=reference) == 0:
        raise ValueError(
            f"{evaluator.table.path}: no cell is both cheaper than the dearest and better than the median, so that "
            "there is no front to compare; front.seeds=0 leaves it out"
        )


def controller_config(name: str, changed: DictConfig) -> DictConfig:
    """Composes a file of the group `controller`, those of `--config-dir` included.

    Args:
        name: Of the file.
        changed: By name, what is to differ from the files.

    Raises:
        ValueError: If there is no such file.
    """
    try:
        if GlobalHydra.instance().is_initialized():
            composed = compose(f"controller/{name}")
        else:
            with initialize_config_module("conf", version_base="1.3"):
                composed = compose(f"controller/{name}")
    except HydraException:
        raise ValueError(f"there is no controller {name!r}; `nas search --help` lists them") from None
    node = OmegaConf.merge(composed.controller, changed.get(name, {}))
    assert isinstance(node, DictConfig)
    return node
