"""What one step of a training touches: a path through the network, and the weights on it."""

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.compute.distributed.gradients import Bucket
from search_spaces.genotype import Genotype
from search_spaces.mixers import Mixer

Cells = Genotype | tuple[Genotype, ...] | None
"""What one step trains: a path; one for each rank; or None in a network without choices."""


@dataclass(slots=True, kw_only=True)
class TrainedPath:
    """What a step trains, and the weights that it turned out to touch.

    A supernet has ten thousand weight tensors and a path some hundred. To go through them all several times a step
    would take as long as a small network does.

    Attributes:
        genotype: The path; None for a network without choices.
        cells: What is trained in the step: the genotype, or those of all ranks.
        drops: Whether there is drop-path.
        mixers: The soft mixers on the path.
        weights: Those with a gradient, by group of the optimizer; None before the first step.
        bucket: What several ranks add up in a step of two halves; None before the first.
    """

    genotype: Genotype | None
    cells: Cells
    drops: bool
    mixers: list[Mixer]
    weights: list[list[Tensor]] | None = None
    bucket: Bucket | None = None

    def forget_gradients(self) -> None:
        """Lets go of the gradients of the step before."""
        for weight in itertools.chain.from_iterable(self.weights or []):
            weight.grad = None

    @contextlib.contextmanager
    def only_its_weights(self, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        """Within the context, after a backward pass, the optimizer's groups hold no other weights than the path's."""
        groups = [group["params"] for group in optimizer.param_groups]
        if self.weights is None:
            self.weights = [[weight for weight in group if weight.grad is not None] for group in groups]
        for group, weights in zip(optimizer.param_groups, self.weights, strict=True):
            group["params"] = weights
        try:
            yield
        finally:
            for group, weights in zip(optimizer.param_groups, groups, strict=True):
                group["params"] = weights
