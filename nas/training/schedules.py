"""Schedules: the learning rate at a point in time, in epochs from 0; fractions are meant."""

import math


def cosine_restarts(epoch: float, *, lr_max: float, lr_min: float, first_cycle: float, cycle_factor: float) -> float:
    """Returns the learning rate of SGDR, cosine annealing with warm restarts (arXiv:1608.03983, eq. 5).

    Args:
        epoch: The time.
        lr_max: The learning rate at the start of every cycle.
        lr_min: The learning rate that is approached at the end of every cycle.
        first_cycle: T0, epochs of the first cycle.
        cycle_factor: Tmul, growth of the cycles.
    """
    start, length = 0.0, float(first_cycle)
    while epoch >= start + length:
        start, length = start + length, length * cycle_factor
    wave = 0.5 * (1 + math.cos(math.pi * (epoch - start) / length))
    return lr_min + (lr_max - lr_min) * wave


def one_cycle(epoch: float, *, epochs: float, lr_max: float, lr_min: float, peak: float) -> float:
    """Returns the learning rate of one rise and one fall (Smith & Topin, arXiv:1708.07120); it begins with lr_max / 25.

    It is linear up to `lr_max`, and a cosine down to `lr_min`. The paper falls linearly, and lowers the momentum while
    the learning rate rises; here the momentum stays.

    Args:
        epoch: The time.
        epochs: Length of the training.
        lr_max: The learning rate at the peak.
        lr_min: The learning rate at the end.
        peak: The time of the peak, as a share of the epochs, in (0, 1).
    """
    top = peak * epochs
    if epoch < top:
        return lr_max * (1 + 24 * epoch / top) / 25
    fallen = min((epoch - top) / (epochs - top), 1.0)
    return lr_min + (lr_max - lr_min) * 0.5 * (1 + math.cos(math.pi * fallen))
