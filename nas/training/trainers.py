"""The trainers of shared weights and of derived models, as the settings of a search and of a retraining say."""

from typing import Any

import torch
from torch import nn

from nas.compute.cuda_graphs import Recorder
from nas.compute.device import Runtime
from nas.training.settings import RetrainSettings, TrainingSettings
from nas.training.sgd import make_sgd
from nas.training.weight_average import WeightAverage
from nas.training.weight_trainer import WeightTrainer


def make_optimizer(network: nn.Module, settings: TrainingSettings) -> torch.optim.SGD:
    """Makes the optimizer of a network as the settings say."""
    return make_sgd(
        network,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        mixer_lr_scale=settings.mixer_lr_scale,
    )


def make_trainer(
    network: nn.Module, settings: TrainingSettings, runtime: Runtime, *, recorder: Recorder | None, **further: Any
) -> WeightTrainer:
    """Makes a trainer of what searches and retrainings have in common.

    Args:
        network: Trained in place.
        settings: Of the search or the retraining.
        runtime: Number format and ranks.
        recorder: Of the steps, where they are recorded.
        further: Other arguments of the trainer.
    """
    return WeightTrainer(
        network=network,
        optimizer=make_optimizer(network, settings),
        learning_rate=settings.annealing.learning_rate,
        drop_prob=settings.drop_prob,
        max_grad_norm=settings.max_grad_norm,
        mixer_penalty=settings.penalty_weight,
        mixer_lr_scale=settings.mixer_lr_scale,
        max_bad_steps=settings.max_bad_steps,
        autocast=runtime.autocast,
        recorder=recorder,
        ranks=runtime.ranks,
        **further,
    )


def make_retrainer(
    network: nn.Module,
    settings: RetrainSettings,
    runtime: Runtime,
    *,
    batches_per_epoch: int,
    average: WeightAverage | None = None,
) -> WeightTrainer:
    """Makes the trainer of a derived model, compiled where that many steps are worth it.

    With several ranks no step is recorded: a CUDA graph with messages in it needs NCCL's error handling switched off
    (torch's notes on CUDA graphs), after which a rank that is lost, or that alone fails to record, hangs the others.
    """
    return make_trainer(
        network,
        settings,
        runtime,
        recorder=runtime.recorder() if runtime.ranks.alone else None,
        one_path=True,
        label_smoothing=settings.label_smoothing,
        auxiliary_weight=settings.auxiliary_weight,
        compile=runtime.compiles(steps=settings.epochs * batches_per_epoch),
        average=average,
    )
