"""The costs of a search: built from the config, bound to its reward, and kept in the run folder.

`cost.json` says which cost and which target a search has; `latency_table.json` holds what was measured. A resumed run
takes both from its folder, so that it ends as it would have without a stop.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import nn

from nas.compute.device import Runtime
from nas.costs.counting import Cost, CountedCost, median_cost, size_costs
from nas.costs.latency_predictor import latency_cost, predictor_of
from nas.costs.latency_table import LatencyTable, read_table
from nas.costs.network_layers import CellNetwork
from nas.costs.network_parts import NetworkParts
from nas.costs.settings import FIELDS, UNITS, PredictorSettings
from nas.data.image_data import ImageKind
from nas.jobs.building.config import build, plain
from nas.jobs.building.parts import build_derived, measure_size
from nas.models.derived import DerivedModel
from nas.models.inference.batch_norm_folding import fold_batch_norm
from nas.models.inference.ready import for_inference
from nas.runs.checkpoints import load_json, write_bytes, write_json
from nas.searching.evaluators import RewardFunction
from nas.searching.reward_functions import CostReward
from nas.searching.settings import QuerySettings, SearchSettings
from nas.searching.table_lookup import TabularCost
from search_spaces.genotype import Genotype
from search_spaces.space import SearchSpace, WeightSharingSpace

COST_FILES = ("cost.json", "latency_table.json")


@dataclass(frozen=True, slots=True)
class SearchCosts:
    """The costs of a search.

    Attributes:
        costs: All that are recorded, by name.
        chosen: The one of the reward and of the Pareto front; None if there are no costs.
        reward: Has its cost if it asks for one.
        record: What `cost.json` holds.
        table: What latencies are summed from, if they are.
    """

    costs: Mapping[str, Cost]
    chosen: str | None
    reward: RewardFunction
    record: dict[str, Any]
    table: LatencyTable | None

    def described(self) -> str:
        """Returns in words what is rewarded."""
        if "target" not in self.record:
            function = getattr(self.reward, "func", self.reward)  # of a partial function
            return str(getattr(function, "__name__", type(function).__name__)).removesuffix("_reward")
        amount = f"{self.record['target']:.4g} {self.record['target_unit']}"
        return f"accuracy and {self.record['reward_cost']}, target {amount} ({self.record['target_from']})"

    def write(self, out: Path) -> None:
        """Writes both files into a run folder that does not have them."""
        if self.chosen is not None and not (out / "cost.json").exists():
            write_json(out / "cost.json", self.record)
        if self.table is not None and not (out / "latency_table.json").exists():
            write_json(out / "latency_table.json", asdict(self.table))


def build_search_costs(
    cfg: DictConfig,
    settings: SearchSettings | QuerySettings,
    *,
    space: WeightSharingSpace,
    network: nn.Module,
    images: ImageKind,
    runtime: Runtime,
    out: Path | None,
) -> SearchCosts:
    """Builds the reward of `cfg.reward` and the costs that it and the settings ask for.

    Args:
        cfg: Config of the job.
        settings: Settings of the search.
        space: The search space.
        network: The supernet.
        images: The kind of image that the network is for.
        runtime: The device and number format of latency measurements.
        out: A run folder, whose files replace new measurements; None if there is none.

    Raises:
        ValueError: If the reward is out of range, or latency is asked for of a network whose parts are not known.
    """
    reward = build(cfg.reward, "reward")
    asked = reward.cost if isinstance(reward, CostReward) else None
    chosen = settings.cost or asked or "multiply_adds"
    with_latency, table = "latency" in (asked, chosen), None
    if with_latency or isinstance(network, CellNetwork):
        parts = parts_of(network, space, image_shape=images.shape)
        costs: dict[str, Cost] = {**size_costs(parts)}
        if with_latency and out is not None and (out / "latency_table.json").exists():
            table = read_table(out / "latency_table.json")
            costs["latency"] = predictor_of(parts, table)
        elif with_latency:
            costs["latency"], table = predictor_from_config(
                cfg, parts, space=space, images=images, settings=settings.latency, runtime=runtime
            )
    else:  # counted on the derived model of each genotype
        count = lru_cache(maxsize=1000)(partial(measure_size, cfg, images=images))
        costs = {name: CountedCost(name, count) for name in ("parameters", "multiply_adds")}
    return _bound(reward, costs, chosen=chosen, space=space, table=table, out=out)


def table_costs(
    reward: RewardFunction, cost: TabularCost | None, *, space: SearchSpace, out: Path | None = None
) -> SearchCosts:
    """Gives a reward the cost of a table, if it asks for one.

    Args:
        reward: The reward.
        cost: The cost of the table, if it has one.
        space: The search space.
        out: A run folder, whose target replaces a new one; None if there is none.

    Raises:
        ValueError: If the reward asks for a cost that the table does not have.
    """
    if cost is None:
        if isinstance(reward, CostReward):
            raise ValueError(f"the reward asks for the cost {reward.cost}; name its column with table.cost=COLUMN")
        return SearchCosts({}, None, reward, {}, None)
    return _bound(reward, {cost.name: cost}, chosen=cost.name, space=space, table=None, out=out)


def _bound(
    reward: RewardFunction,
    costs: Mapping[str, Cost],
    *,
    chosen: str,
    space: SearchSpace,
    table: LatencyTable | None,
    out: Path | None,
) -> SearchCosts:
    """Gives a reward the cost that it asks for, and the target of the run folder, its own, or the median."""
    record: dict[str, Any] = {"cost": FIELDS[chosen], "unit": UNITS[chosen]}
    if not isinstance(reward, CostReward):
        return SearchCosts(costs, chosen, reward, record, table)
    if reward.cost not in costs:
        raise ValueError(f"the reward asks for the cost {reward.cost}, got {', '.join(costs)}")
    if out is not None and (out / "cost.json").exists():
        record = load_json(out / "cost.json")
    else:
        given = reward.target
        record |= {
            "reward_cost": FIELDS[reward.cost],
            "target_unit": UNITS[reward.cost],
            "target": median_cost(costs[reward.cost], space) if given is None else given,
            "target_from": "median of 100 random genotypes" if given is None else "given",
        }
    bound = reward.bind(costs[reward.cost], target=record["target"])
    return SearchCosts(costs, chosen, bound, record, table)


def share_search_costs(
    cfg: DictConfig, settings: SearchSettings | QuerySettings, *, runtime: Runtime, out: Path | None, **parts: Any
) -> SearchCosts:
    """Builds what `build_search_costs` does, where several ranks search with what the first of them measured.

    A latency is never measured twice alike, and ranks that reward the same cell differently would learn differently.
    """
    ranks, built = runtime.ranks, []

    def on_first() -> dict[str, bytes]:
        costs = build_search_costs(cfg, settings, runtime=runtime, out=out, **parts)
        built.append(costs)
        if ranks.alone or out is None:
            return {}
        costs.write(out)
        return {name: (out / name).read_bytes() for name in COST_FILES if (out / name).exists()}

    files = ranks.from_first(on_first)
    if ranks.first:
        return built[0]
    assert out is not None
    for name, content in files.items():
        write_bytes(out / name, content)
    return build_search_costs(cfg, settings, runtime=runtime, out=out, **parts)


def parts_of(network: nn.Module, space: WeightSharingSpace, *, image_shape: tuple[int, int, int]) -> NetworkParts:
    """Returns the parts of a supernet.

    Raises:
        ValueError: If they are not known of its class.
    """
    genotype = space.decode([0] * len(space.decisions))
    return NetworkParts(network, space.candidates(), genotype=genotype, image_shape=image_shape)


def predictor_from_config(
    cfg: DictConfig,
    parts: NetworkParts,
    *,
    space: WeightSharingSpace,
    images: ImageKind,
    settings: PredictorSettings,
    runtime: Runtime,
) -> tuple[Any, LatencyTable]:
    """Returns the predictor for the network of `cfg.network`, and what it sums over; see `latency_cost`."""
    return latency_cost(
        parts,
        space=space,
        build_model=model_builder(cfg, images, runtime=runtime),
        image_shape=images.shape,
        network={**plain(cfg.network, "network"), "num_classes": images.num_classes},
        settings=settings,
        runtime=runtime,
    )


def model_builder(cfg: DictConfig, images: ImageKind, *, runtime: Runtime) -> Callable[[Genotype], nn.Module]:
    """Returns what makes the model of a genotype as inference has it, with random weights, on the device."""

    def build_model(genotype: Genotype) -> nn.Module:
        ready = for_inference(build_derived(cfg, genotype, images), genotype)
        fold_batch_norm(ready)
        return DerivedModel(runtime.place(ready), genotype).eval()

    return build_model
