"""Schedules of the learning rate; each tells it by the time in epochs."""

import math
from dataclasses import dataclass


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

    def learning_rate(self, epoch: float) -> float:
        """Returns the learning rate at a point in time, in epochs from 0; it begins with lr_max / 25."""
        top = self.peak * self.epochs
        if epoch < top:
            return self.lr_max * (1 + 24 * epoch / top) / 25
        fallen = min((epoch - top) / (self.epochs - top), 1.0)
        return self.lr_min + (self.lr_max - self.lr_min) * 0.5 * (1 + math.cos(math.pi * fallen))
