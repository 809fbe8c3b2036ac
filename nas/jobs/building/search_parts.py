"""The parts of a search with shared weights, built from the config."""

import math
from functools import partial
from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from nas.compute.cuda_graphs import Recorder
from nas.compute.device import Runtime
from nas.compute.distributed.batch_norms import check_norms
from nas.data.named import ImageData
from nas.jobs.building.config import build
from nas.jobs.building.costs import SearchCosts, share_search_costs
from nas.jobs.building.parts import build_data, build_network
from nas.jobs.watching import build_controller
from nas.runs.seeds import derive_seed, seed_everything
from nas.searching.evaluators import SupernetEvaluator
from nas.searching.reward_functions import RecordedReward
from nas.searching.search import Search
from nas.searching.settings import SearchSettings
from nas.training.trainers import make_trainer
from search_spaces.space import WeightSharingSpace


def build_search(cfg: DictConfig, runtime: Runtime) -> Search:
    """Builds all parts of a search from the config."""
    return build_search_with_costs(cfg, runtime, out=None)[0]


def build_search_with_costs(cfg: DictConfig, runtime: Runtime, *, out: Path | None) -> tuple[Search, SearchCosts]:
    """Builds all parts of a search from the config, cheap ones first so that mistakes show early.

    Args:
        cfg: Of the job.
        runtime: Device, number format and memory format.
        out: The run folder, which may hold costs measured before.

    Returns:
        The search, and what it counts as cost.
    """
    settings = build(cfg.search, "search")
    if not isinstance(settings, SearchSettings):
        raise ValueError("trainer@search=tabular looks cells up: experiment=nasbench201 table.path=FILE names a table")
    space: WeightSharingSpace = build(cfg.search_space, "search_space")
    controller = build_controller(cfg, space)
    data = build_data(cfg, runtime)
    seed_everything(derive_seed(cfg.seed, "weights"))
    network = runtime.place(
        build_network(cfg, space.candidates(), image_shape=data.image_shape, num_classes=data.num_classes)
    )
    check_norms(network, runtime.ranks)
    recorder = runtime.recorder()
    trainer = make_trainer(network, settings, runtime, recorder=recorder)
    costs = share_search_costs(
        cfg,
        settings,
        space=space,
        network=network,
        image_shape=data.image_shape,
        num_classes=data.num_classes,
        runtime=runtime,
        out=out,
    )
    reward = RecordedReward(costs.reward)
    search = Search(
        settings=settings,
        seed=cfg.seed,
        space=space,
        controller=controller,
        data=data,
        trainer=trainer,
        evaluator=_evaluator(network, settings, runtime, data=data, reward=reward, recorder=recorder),
        reward=reward,
        costs=costs.costs,
        rows=[],
        scored=[],
        best=(-math.inf, []),
        renew=partial(build_controller, cfg, space),
    )
    return search, costs


def _evaluator(
    network: nn.Module,
    settings: SearchSettings,
    runtime: Runtime,
    *,
    data: ImageData,
    reward: RecordedReward,
    recorder: Recorder | None,
) -> SupernetEvaluator:
    return SupernetEvaluator(
        network,
        train=data.train,
        reward=data.reward,
        batch_size=settings.batch_size,
        reward_function=reward,
        bn=settings.bn,
        calibration_batches=settings.calibration_batches,
        autocast=runtime.autocast,
        recorder=recorder,
        ranks=runtime.ranks,
    )
