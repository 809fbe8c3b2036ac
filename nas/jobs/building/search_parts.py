"""Builds searches from the config: the loop with one of its three evaluators."""

from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from controllers.protocol import Controller
from nas.compute.device import Runtime
from nas.compute.distributed.gradients import check_norms
from nas.compute.worker_pool import num_processes
from nas.jobs.building.config import build, plain
from nas.jobs.building.costs import SearchCosts, share_search_costs, table_costs
from nas.jobs.building.derived_models import derived_network_config, training_pool
from nas.jobs.building.parts import build_data, build_network
from nas.jobs.watching import build_controller
from nas.runs.seeds import derive_seed, seed_everything
from nas.searching.evaluators import Evaluator
from nas.searching.search import Search
from nas.searching.settings import QuerySettings, SearchSettings, StandAloneSettings
from nas.searching.shared_weights import SharedWeights
from nas.searching.stand_alone import Protocol, StandAlone, check_accuracy_reward, finals_data
from nas.searching.supernet_scorer import SupernetScorer
from nas.searching.table_files import first_cells, read_values
from nas.searching.table_lookup import TableEvaluator
from nas.training.weight_trainer import make_trainer
from search_spaces.space import SearchSpace, WeightSharingSpace

EvaluatorT = TypeVar("EvaluatorT", bound=Evaluator)
TRAININGS_FOLDER = "trainings"
"""The folder of a run with the results of its stand-alone trainings."""


def build_search(cfg: DictConfig, runtime: Runtime, *, out: Path | None = None) -> tuple[Search[Any], SearchCosts]:
    """Builds a search with the evaluator that the config asks for, cheap parts first so that mistakes show early.

    Args:
        cfg: Config of the job.
        runtime: Device, number format, memory format and ranks.
        out: The run folder, which may hold costs measured before.

    Returns:
        The search, and what it counts as cost.

    Raises:
        ValueError: If a setting is out of range, or settings do not fit the evaluator.
        FileNotFoundError: If the data or the table are not there.
    """
    looked_up, alone = (OmegaConf.select(cfg, key) is not None for key in ("table", "evaluator"))
    if (looked_up or alone) and not runtime.ranks.alone:
        raise ValueError("a search without shared weights has no use for torchrun; start it without")
    if looked_up:
        return _build_table_search(cfg, out)
    return _build_stand_alone_search(cfg, runtime, out) if alone else build_supernet_search(cfg, runtime, out=out)


def build_supernet_search(
    cfg: DictConfig, runtime: Runtime, *, out: Path | None = None
) -> tuple[Search[SharedWeights], SearchCosts]:
    """Builds a search with shared weights; see `build_search`."""
    settings = build(cfg.search, "search")
    if not isinstance(settings, SearchSettings):
        raise ValueError(
            "settings@search=queries is for exact rewards: evaluator=stand_alone trains every cell, "
            "experiment=nasbench201 table.path=FILE looks cells up"
        )
    space: WeightSharingSpace = build(cfg.search_space, "search_space")
    controller = build_controller(cfg, space)
    data = build_data(cfg, runtime)
    seed_everything(derive_seed(cfg.seed, "weights"))
    network = runtime.place(build_network(cfg, space.candidates(), data.kind))
    check_norms(network, runtime.ranks)
    runtime.ranks.copy_first(network)
    recorder = runtime.recorder()
    trainer = make_trainer(network, settings, runtime, recorder=recorder)
    costs = share_search_costs(cfg, settings, space=space, network=network, images=data.kind, runtime=runtime, out=out)
    scorer = SupernetScorer(
        network=network,
        train=data.train,
        reward=data.reward,
        batch_size=settings.batch_size,
        bn=settings.bn,
        calibration_batches=settings.calibration_batches,
        max_images=settings.scoring_images,
        calibrate=settings.calibrate,
        autocast=runtime.autocast,
        recorder=recorder,
        ranks=runtime.ranks,
    )
    evaluator = SharedWeights(
        settings=settings,
        seed=cfg.seed,
        data=data,
        trainer=trainer,
        scorer=scorer,
        reward=costs.reward,
        costs=costs.costs,
    )
    return _search(cfg, settings, space, controller, evaluator), costs


def _build_table_search(cfg: DictConfig, out: Path | None) -> tuple[Search[TableEvaluator], SearchCosts]:
    settings = _query_settings(cfg, evaluator="table")
    space: SearchSpace = build(cfg.search_space, "search_space")
    controller = build_controller(cfg, space)
    reward = build(cfg.reward, "reward")
    lookup, cost = build(cfg.table, "table")
    costs = table_costs(reward, cost, space=space, out=out)
    if settings.cost not in (None, costs.chosen):
        raise ValueError(f"search.cost={settings.cost} is not in the table; table.cost names its column of costs")
    if settings.random_parameters is not None and "parameters" not in costs.costs:
        raise ValueError("search.random_parameters must be null: the table does not say how many parameters a cell has")
    return _search(
        cfg, settings, space, controller, TableEvaluator(lookup=lookup, reward=costs.reward, cost=cost)
    ), costs


def _build_stand_alone_search(
    cfg: DictConfig, runtime: Runtime, out: Path | None
) -> tuple[Search[StandAlone], SearchCosts]:
    assert out is not None, "the results of trainings are kept in the run folder"
    settings = _query_settings(cfg, evaluator="stand_alone")
    alone: StandAloneSettings = build(cfg.evaluator, "evaluator")
    space: WeightSharingSpace = build(cfg.search_space, "search_space")
    controller = build_controller(cfg, space)
    data = build_data(cfg, runtime)
    derived = derived_network_config(cfg, alone.training)
    costs = share_search_costs(
        derived,
        settings,
        space=space,
        network=build_network(derived, space.candidates(), data.kind),
        images=data.kind,
        runtime=runtime,
        out=out,
    )
    check_accuracy_reward(costs.reward, space)
    workers = num_processes(settings.samples_per_update, workers=alone.workers, device=runtime.device.type)
    evaluator = StandAlone(
        pool=training_pool(derived, alone.training, finals_data(data), runtime, workers=workers),
        protocol=Protocol(network=plain(derived.network, "network"), data=data.record, settings=alone.training),
        folder=out / TRAININGS_FOLDER,
        space=space,
        seed=derive_seed(cfg.seed, "stand-alone"),
        reward=costs.reward,
        costs=costs.costs,
    )
    return _search(cfg, settings, space, controller, evaluator), costs


def _search(
    cfg: DictConfig,
    settings: SearchSettings | QuerySettings,
    space: SearchSpace,
    controller: Controller,
    evaluator: EvaluatorT,
) -> Search[EvaluatorT]:
    given: dict[str, Any] = {}
    if isinstance(settings, QuerySettings):
        given["first"] = first_cells(settings.warm_up, space, seed=derive_seed(cfg.seed, "warm-up"))
        if settings.warm_start is not None:
            given["known"] = read_values(settings.warm_start, space, column="reward")
    return Search(
        settings=settings,
        seed=cfg.seed,
        space=space,
        controller=controller,
        evaluator=evaluator,
        renew=partial(build_controller, cfg, space),
        **given,
    )


def _query_settings(cfg: DictConfig, *, evaluator: str) -> QuerySettings:
    settings = build(cfg.search, "search")
    if not isinstance(settings, QuerySettings):
        raise ValueError(f"a search with evaluator={evaluator} needs settings@search=queries, which that has set")
    return settings
