"""Builds searches from the config: the loop with one of its three evaluators."""

from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from controllers.protocol import Controller
from nas.compute.device import Runtime
from nas.compute.distributed.gradients import check_norms
from nas.compute.worker_pool import num_processes
from nas.jobs.building.config import build, plain
from nas.jobs.building.costs import SearchCosts, share_search_costs, table_costs
from nas.jobs.building.derived_models import derived_network_config, training_pool
from nas.jobs.building.parts import build_data, build_network
from nas.runs.seeds import derive_seed, seed_everything
from nas.searching.search import Search
from nas.searching.settings import QuerySettings, SearchSettings, StandAloneSettings
from nas.searching.shared_weights import SharedWeights
from nas.searching.stand_alone import Protocol, StandAlone, check_accuracy_reward, finals_data
from nas.searching.supernet_scorer import SupernetScorer
from nas.searching.table_files import first_cells, read_values
from nas.searching.table_lookup import TableEvaluator
from nas.training.weight_trainer import make_trainer
from search_spaces.space import SearchSpace, WeightSharingSpace

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
    settings = build(cfg.search, "search")
    if isinstance(settings, QuerySettings) and not (looked_up or alone):
        raise ValueError(
            "settings@search=queries is for exact rewards: evaluator=stand_alone trains every cell, "
            "experiment=nasbench201 table.path=FILE looks cells up"
        )
    if isinstance(settings, SearchSettings) and (looked_up or alone):
        raise ValueError(
            f"a search with evaluator={'table' if looked_up else 'stand_alone'} needs settings@search=queries, "
            "which that has set"
        )
    space = build(cfg.search_space, "search_space")
    controller = build_controller(cfg, space)
    make = _table_evaluator if looked_up else _stand_alone_evaluator if alone else _shared_weights
    evaluator, costs = make(cfg, settings, space, runtime, out)
    given: dict[str, Any] = {}
    if isinstance(settings, QuerySettings):
        given["first"] = first_cells(settings.warm_up, space, seed=derive_seed(cfg.seed, "warm-up"))
        if settings.warm_start is not None:
            given["known"] = read_values(settings.warm_start, space, column="reward")
    search = Search(
        settings=settings,
        seed=cfg.seed,
        space=space,
        controller=controller,
        evaluator=evaluator,
        renew=partial(build_controller, cfg, space),
        **given,
    )
    return search, costs


def build_controller(cfg: DictConfig, space: SearchSpace, restart: int = 0) -> Controller:
    """Makes the controller of `cfg.controller`, for each restart another one; the seed fixes all of them."""
    seed_everything(derive_seed(cfg.seed, "controller", *([restart] if restart else [])))
    controller: Controller = build(cfg.controller, "controller", space.decisions)
    return controller


def _shared_weights(
    cfg: DictConfig, settings: SearchSettings, space: WeightSharingSpace, runtime: Runtime, out: Path | None
) -> tuple[SharedWeights, SearchCosts]:
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
        common_images=settings.common_images,
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
    return evaluator, costs


def _table_evaluator(
    cfg: DictConfig,
    settings: QuerySettings,
    space: SearchSpace,
    runtime: Runtime,  # noqa: ARG001
    out: Path | None,
) -> tuple[TableEvaluator, SearchCosts]:
    reward = build(cfg.reward, "reward")
    lookup, cost = build(cfg.table, "table")
    costs = table_costs(reward, cost, space=space, out=out)
    if settings.cost not in (None, costs.chosen):
        raise ValueError(f"search.cost={settings.cost} is not in the table; table.cost names its column of costs")
    if settings.random_parameters is not None and "parameters" not in costs.costs:
        raise ValueError("search.random_parameters must be null: the table does not say how many parameters a cell has")
    return TableEvaluator(lookup=lookup, reward=costs.reward, cost=cost), costs


def _stand_alone_evaluator(
    cfg: DictConfig, settings: QuerySettings, space: WeightSharingSpace, runtime: Runtime, out: Path | None
) -> tuple[StandAlone, SearchCosts]:
    assert out is not None, "the results of trainings are kept in the run folder"
    alone: StandAloneSettings = build(cfg.evaluator, "evaluator")
    data = build_data(cfg, runtime)
    derived = derived_network_config(cfg, alone.training)
    network = build_network(derived, space.candidates(), data.kind)
    costs = share_search_costs(
        derived, settings, space=space, network=network, images=data.kind, runtime=runtime, out=out
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
    return evaluator, costs
