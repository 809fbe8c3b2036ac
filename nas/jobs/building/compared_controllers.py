"""What `nas compare` holds side by side, built from the config: controllers, the table, and what is rewarded in it."""

import statistics
from contextlib import nullcontext
from functools import partial

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from nas.costs.pareto import Point, hypervolume
from nas.jobs.building.config import build
from nas.jobs.building.costs import table_costs
from nas.runs.console import note
from nas.searching.evaluators import RewardFunction, accuracy_reward
from nas.searching.reward_functions import CostReward
from nas.searching.table_lookup import TableLookup
from nas.studies.controller_comparison.settings import ComparisonSettings, FrontSettings
from nas.studies.controller_comparison.trials import Part, TrialRunner
from search_spaces.space import SearchSpace


def build_trial_runner(cfg: DictConfig, settings: ComparisonSettings, front: FrontSettings) -> TrialRunner:
    """Builds all that trials need, and each controller once so that mistakes show early.

    Raises:
        ValueError: If there is no such controller, a setting is out of range, or the table has no front to compare.
        FileNotFoundError: If the table is not there.
    """
    if not isinstance(front.reward, CostReward):
        raise ValueError("front.reward must ask for a cost, as latency_aware does")
    space: SearchSpace = build(cfg.search_space, "search_space")
    lookup, cost = build(cfg.table, "table")
    rewards: dict[Part, RewardFunction] = {"accuracy": accuracy_reward}
    reference = _reference(front, lookup, seeds=front.num_seeds(settings.seeds))
    if reference is not None:
        rewards["front"] = table_costs(front.reward, cost, space=space).reward
    names = dict.fromkeys([*settings.controllers, *(front.controllers if reference is not None else ())])
    nodes = {name: controller_config(name, cfg.controller) for name in names}
    if unknown := set(cfg.controller) - set(names):
        raise ValueError(f"controller.{min(unknown)} is not compared; compare.controllers names {', '.join(names)}")
    for name, node in nodes.items():
        build(node, f"controller.{name}", space.decisions)
        settings.batch(name)
    return TrialRunner(
        settings=settings,
        space=space,
        controllers={name: partial(build, node, f"controller.{name}") for name, node in nodes.items()},
        lookup=lookup,
        rewards=rewards,
        cost=cost,
        reference=reference,
    )


def _reference(front: FrontSettings, lookup: TableLookup, *, seeds: int) -> Point | None:
    """Returns the largest cost and the median report, from which the area of a front is measured.

    None if the part with cost is not wanted, or nobody asked for it and the table has no costs or no front.

    Raises:
        ValueError: If a cost is not above 0, or the part was asked for by its number of seeds and cannot be.
    """
    table, reports = lookup.table, lookup.table.column("report")
    if not seeds:
        return None
    reason = "no cost column is known, name its column with table.cost=COLUMN"
    if table.cost is not None:
        if min(table.cost.values()) <= 0:
            raise ValueError(f"{table.path}: a cost must be above 0, got {min(table.cost.values())}")
        reference = max(table.cost.values()), statistics.median(reports.values())
        if hypervolume([(cost, reports[key]) for key, cost in table.cost.items()], reference=reference) > 0:
            return reference
        reason = "no cell is both cheaper than the dearest and better than the median"
    if front.seeds is not None:
        raise ValueError(f"{table.path}: there is no front to compare: {reason}; front.seeds=0 leaves it out")
    note(f"the part with cost is left out: {reason}")
    return None


def controller_config(name: str, changed: DictConfig) -> DictConfig:
    """Composes a file of the group `controller`, those of `--config-dir` included.

    Args:
        name: Of the file.
        changed: By name, what is to differ from the files.

    Raises:
        ValueError: If there is no such file.
    """
    ready = GlobalHydra.instance().is_initialized()
    try:
        with nullcontext() if ready else initialize_config_module("conf", version_base="1.3"):
            composed = compose(f"controller/{name}")
    except HydraException:
        raise ValueError(f"there is no controller {name!r}; `nas search --help` lists them") from None
    OmegaConf.set_struct(composed, False)  # an unknown key is for `build` to answer
    node = OmegaConf.merge(composed.controller, changed.get(name, {}))
    assert isinstance(node, DictConfig)
    return node
