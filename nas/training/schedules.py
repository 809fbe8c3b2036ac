"""What training weights needs to know beforehand: learning rate, drop-path and SGD over the epochs."""

import math
from dataclasses import dataclass
from typing import Protocol

DROP_PATH_SCHEDULES = ("linear", "constant")
PENALTY_POWERS = {"constant": 0, "linear": 1, "quadratic": 2}


class Annealing(Protocol):
    """How the learning rate changes."""

    def learning_rate(self, epoch: float) -> float:
        """Returns the learning rate at a point in time, in epochs from 0; fractions are meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CosineRestarts:
    """SGDR: cosine annealing with warm restarts (Loshchilov & Hutter, arXiv:1608.03983, eq. 5).

    Attributes:
        lr_max: At the start of every cycle.
        lr_min: Approached at the end of every cycle.
        first_cycle: T0, epochs of the first cycle.
        cycle_factor: Tmul, growth of the cycles.
    """

    lr_max: float = 0.05
    lr_min: float = 0.0001
    first_cycle: float = 10
    cycle_factor: float = 2

    def __post_init__(self) -> None:
        check_rates(lr_min=self.lr_min, lr_max=self.lr_max)
        if not 0 < self.first_cycle < math.inf:
            raise ValueError(f"first_cycle must be above 0 epochs, got {self.first_cycle}")
        if not 1 <= self.cycle_factor < math.inf:
            raise ValueError(f"cycle_factor must be at least 1, got {self.cycle_factor}")

    def learning_rate(self, epoch: float) -> float:
        """Returns the learning rate at a point in time, in epochs from 0; fractions are meant."""
        start, length = 0.0, float(self.first_cycle)
        while epoch >= start + length:
            start, length = start + length, length * self.cycle_factor
        wave = 0.5 * (1 + math.cos(math.pi * (epoch - start) / length))
        return self.lr_min + (self.lr_max - self.lr_min) * wave


@dataclass(frozen=True, slots=True, kw_only=True)
class OneCycle:
    """One rise and one fall (Smith & Topin, arXiv:1708.07120): linear up to `lr_max`, a cosine down to `lr_min`.

    The paper falls linearly, and lowers the momentum while the learning rate rises; here the momentum stays.

    Attributes:
        epochs: Length of the training.
        lr_max: At the peak.
        lr_min: At the end.
        peak: When the peak comes, as a share of the epochs, in (0, 1).
    """

    epochs: float
    lr_max: float
    lr_min: float
    peak: float

    def __post_init__(self) -> None:
        check_rates(lr_min=self.lr_min, lr_max=self.lr_max)
        if not 0 < self.peak < 1:
            raise ValueError(f"peak must lie in (0, 1), got {self.peak}")

    def learning_rate(self, epoch: float) -> float:
        """Returns the learning rate at a point in time, in epochs from 0; it begins with lr_max / 25."""
        top = self.peak * self.epochs
        if epoch < top:
            return self.lr_max * (1 + 24 * epoch / top) / 25
        fallen = min((epoch - top) / (self.epochs - top), 1.0)
        return self.lr_min + (self.lr_max - self.lr_min) * 0.5 * (1 + math.cos(math.pi * fallen))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """How weights train, in a search and afterwards.

    Attributes:
        epochs: Passes through the training images.
        batch_size: Images in a batch.
        lr_max: Learning rate at a restart.
        lr_min: Learning rate at the end of a cycle.
        first_cycle: T0 in epochs.
        cycle_factor: Tmul.
        momentum: Of Nesterov's SGD.
        weight_decay: Twice ENAS's l2.
        max_grad_norm: Of every gradient tensor; null leaves them.
        drop_path: Drop probability at the last layer, 1 − keep, in [0, 1) (arXiv:1812.02975, §IV-D).
        drop_path_schedule: `linear` grows from 0 to it over the epochs (ENAS), `constant` has it from the start.
        cutout: Side of the square cut out, in pixels; 0 for none.
        mixer_penalty: λ of the learned mixers at its full height; large matrices get less where it would be too much.
        mixer_penalty_schedule: How it gets there from 0: `quadratic`, `linear`, or `constant` from the start.
        mixer_lr_scale: Learning rate of the learned mixers, in learning rates of the weights.
        max_bad_steps: Steps of an epoch that may be skipped because loss or gradients are not finite.
        checkpoint_seconds: Least time between two checkpoints.
    """

    epochs: int
    batch_size: int = 144
    lr_max: float = 0.05
    lr_min: float = 0.0001
    first_cycle: float = 10
    cycle_factor: float = 2
    momentum: float = 0.9
    weight_decay: float = 4e-4
    max_grad_norm: float | None = 5.0
    drop_path: float = 0.0
    drop_path_schedule: str = "linear"
    cutout: int = 0
    mixer_penalty: float = 0.05
    mixer_penalty_schedule: str = "quadratic"
    mixer_lr_scale: float = 1.0
    max_bad_steps: int = 10
    checkpoint_seconds: float = 10.0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("cutout", "mixer_penalty", "mixer_lr_scale", "max_bad_steps", "checkpoint_seconds"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path must lie in [0, 1), got {self.drop_path}")
        if self.drop_path_schedule not in DROP_PATH_SCHEDULES:
            raise ValueError(
                f"drop_path_schedule must be one of {', '.join(DROP_PATH_SCHEDULES)}, got {self.drop_path_schedule!r}"
            )
        if self.max_grad_norm is not None and not self.max_grad_norm > 0:
            raise ValueError(f"max_grad_norm must be above 0, got {self.max_grad_norm}")
        if self.mixer_penalty_schedule not in PENALTY_POWERS:
            known = ", ".join(PENALTY_POWERS)
            raise ValueError(f"mixer_penalty_schedule must be one of {known}, got {self.mixer_penalty_schedule!r}")
        check_sgd(momentum=self.momentum, weight_decay=self.weight_decay)
        _ = self.annealing

    @property
    def annealing(self) -> Annealing:
        """The learning rate over the epochs."""
        return self.cosine_restarts

    @property
    def cosine_restarts(self) -> CosineRestarts:
        """The learning rate over the epochs as SGDR has it."""
        return CosineRestarts(
            lr_max=self.lr_max,
            lr_min=self.lr_min,
            first_cycle=self.first_cycle,
            cycle_factor=self.cycle_factor,
        )

    @property
    def penalty_epochs(self) -> float:
        """Epochs in which the mixers' penalty grows to its full height."""
        return self.epochs

    def penalty_weight(self, epoch: float) -> float:
        """Returns λ of the learned mixers at a point in time, in epochs from 0."""
        grown = min(epoch / self.penalty_epochs, 1.0) if self.penalty_epochs else 1.0
        return self.mixer_penalty * grown ** PENALTY_POWERS[self.mixer_penalty_schedule]

    def drop_prob(self, epoch: float) -> float:
        """Returns the drop-path probability of the last layer at a point in time, in epochs from 0."""
        return self.drop_path * (epoch / self.epochs if self.drop_path_schedule == "linear" else 1.0)


def check_rates(*, lr_min: float, lr_max: float) -> None:
    """Raises ValueError unless 0 ≤ lr_min ≤ lr_max and 0 < lr_max < ∞."""
    if not 0 <= lr_min <= lr_max < math.inf or lr_max == 0:
        raise ValueError(f"needs 0 ≤ lr_min ≤ lr_max and 0 < lr_max < ∞, got lr_min {lr_min}, lr_max {lr_max}")


def check_sgd(*, momentum: float, weight_decay: float) -> None:
    """Raises ValueError if momentum is not in [0, 1) or weight_decay is below 0."""
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
    if not 0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay must be at least 0, got {weight_decay}")
