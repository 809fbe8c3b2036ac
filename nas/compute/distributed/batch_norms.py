"""Batch norm on several ranks: statistics of all their images, or of each rank's own and averaged now and then."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from nas.compute.distributed.ranks import Ranks
from search_spaces.batch_norm import BatchNorm2d


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

    Only the training of weights goes on in it: there the ranks compute the same path at the same time.
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
