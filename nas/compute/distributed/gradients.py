"""Mean gradients over the ranks, and the statistics of batch norm: of all their images, or each rank's own, averaged.

Where all steps use the same weights, torch averages the gradients. In a search the weights used differ from step to
step and from rank to rank, for which `DistributedDataParallel` is not made. A path has some hundred weight tensors. To
send each by itself would take as long as the step; end to end they are one message. With a cell of its own on every
rank, a weight is stepped on all ranks if it is used on any.
"""

import contextlib
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nas.compute.distributed.ranks import Ranks
from search_spaces.batch_norm import BatchNorm2d

Groups = list[list[Tensor]]
"""Weights by group of the optimizer."""


def data_parallel(network: nn.Module) -> nn.Module:
    """Wraps a network so that a backward pass averages its gradients over the ranks; all ranks call it.

    Every pass must use the same weights. Those that the first one does not use, such as an auxiliary head that is left
    out, get no gradient. Running statistics stay each rank's own. State dicts are taken of the network itself.

    Args:
        network: On its device; compiled already if it is to be.
    """
    # Strides of dimensions of size 1 are compared as well, as those of depthwise convolutions.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view")
    wrapped = DistributedDataParallel(network, gradient_as_bucket_view=True, static_graph=True)
    wrapped.broadcast_buffers = False  # as an argument it is deprecated since torch 2.13, and had no successor before
    return wrapped


def count_touching(groups: Groups, ranks: Ranks) -> list[list[int]]:
    """Returns on how many ranks each weight has a gradient.

    Only the host is asked, which knows what was computed before the device has computed it.
    """
    own = [[int(weight.grad is not None) for weight in group] for group in groups]
    if not ranks.samples_apart:
        return [[ranks.size * touched for touched in group] for group in own]
    counts = torch.tensor([touched for group in own for touched in group], dtype=torch.int32)
    return [group.tolist() for group in torch.split(ranks.sum_(counts), [len(group) for group in own])]


class Bucket:
    """The gradients of the weights that a step moves, and the sums over its images, laid end to end.

    Args:
        groups: All weights of the optimizer, after a backward pass.
        ranks: Those who add up.
        num_scores: Numbers sent next to the gradients.
    """

    def __init__(self, groups: Groups, *, ranks: Ranks, num_scores: int) -> None:
        counts = count_touching(groups, ranks)
        self.ranks = ranks
        self.weights: Groups = [
            [weight for weight, count in zip(group, counted, strict=True) if count]
            for group, counted in zip(groups, counts, strict=True)
        ]
        every = [weight for group in self.weights for weight in group]
        self.counts = [count for counted in counts for count in counted if count]
        length = sum(map(torch.numel, every)) + num_scores
        self.flat = torch.zeros(length, dtype=every[0].dtype, device=every[0].device)
        *slices, self.scores = torch.split(self.flat, [*map(torch.numel, every), num_scores])
        # In the layout of the weights, which the ranks have in common and a gradient need not keep.
        self.gradients = [
            part.as_strided(weight.size(), weight.stride()) for part, weight in zip(slices, every, strict=True)
        ]
        self.own = [number for number, weight in enumerate(every) if weight.grad is not None]
        self._every = every
        self._num_images = 0

    @property
    def num_bytes(self) -> int:
        """Bytes that a rank gives to be added up in a step."""
        return self.flat.numel() * self.flat.element_size()

    @property
    def num_images(self) -> int:
        """Images of all ranks in the last step."""
        return self._num_images * self.ranks.size

    def fill(self, scores: Tensor, *, num_images: int) -> None:
        """Takes in this rank's gradients and the scores (S,) of its images; weights that it has not used are zero."""
        self._num_images = num_images
        if len(self.own) < len(self._every):
            self.flat.zero_()
        gradients = [weight.grad for weight in self._every if weight.grad is not None]
        torch._foreach_copy_([self.gradients[number] for number in self.own], gradients)
        self.scores.copy_(scores)

    def average(self) -> None:
        """Makes means of the gradients that were added up, and hands them to the weights.

        By the number of ranks whose cells use a weight, the mean is an unbiased estimate of its expected gradient over
        the cells that use it, whenever one does. By the number of all ranks, it is one of its expected gradient over
        all cells, of which those that do not use it have none (ENAS, arXiv:1802.03268, §2.2, with M ranks).
        """
        touched = self.ranks.settings.average == "touched"
        divisors = self.counts if touched else [self.ranks.size] * len(self.counts)
        if len(set(divisors)) == 1:
            self.flat[: len(self.flat) - len(self.scores)] *= 1 / divisors[0]
        else:
            torch._foreach_mul_(self.gradients, [1 / divisor for divisor in divisors])
        for weight, gradient in zip(self._every, self.gradients, strict=True):
            weight.grad = gradient


def check_norms(network: nn.Module, ranks: Ranks) -> None:
    """Raises ValueError if batch norm is to be synchronised and the network has one that cannot be."""
    if ranks.normalizes_together and any(not isinstance(norm, BatchNorm2d) for norm in _norms(network)):
        raise ValueError(
            "distributed.batch_norm=sync needs search_spaces.batch_norm.BatchNorm2d throughout; "
            "the network has a batch norm of another class"
        )


@contextlib.contextmanager
def synchronized(network: nn.Module, ranks: Ranks) -> Iterator[None]:
    """Within the context batch norm takes the statistics of all ranks' images, if that is wanted.

    Only weights are trained in it: there the ranks compute the same path at the same time.
    """
    norms = [norm for norm in _norms(network) if isinstance(norm, BatchNorm2d)] if ranks.normalizes_together else []
    for norm in norms:
        norm.group = ranks
    try:
        yield
    finally:
        for norm in norms:
            norm.group = None


@torch.no_grad()
def average_running_statistics(network: nn.Module, ranks: Ranks) -> None:
    """Gives all ranks the mean of their running statistics, which they took from images of their own."""
    if ranks.alone or ranks.normalizes_together:
        return
    norms = [norm for norm in _norms(network) if norm.running_mean is not None]
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        values: list[Tensor] = [getattr(norm, name) for norm in norms]
        if not values:
            return
        flat = ranks.sum_(torch.cat([value.flatten() for value in values]))
        flat = flat / ranks.size if flat.is_floating_point() else flat // ranks.size
        for value, mean in zip(values, torch.split(flat, [value.numel() for value in values]), strict=True):
            value.copy_(mean.view_as(value))


def _norms(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    return [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
