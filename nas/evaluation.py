"""Scoring a network as it stands, and the statistics of its batch norms for that."""

import contextlib
import functools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.graphs import Recorder, Repeated
from search_spaces.genotype import Genotype

Batches = Iterable[tuple[Tensor, Tensor]]
"""Pairs of images (N, C, H, W), normalised, and labels (N,)."""


class Score(NamedTuple):
    """Means over images: cross-entropy in nats, and accuracy in [0, 1]."""

    loss: float
    accuracy: float


def evaluate(
    network: nn.Module,
    batches: Batches,
    genotype: Genotype | None,
    *,
    autocast: torch.dtype | None = None,
    recorder: Recorder | None = None,
) -> Score:
    """Scores a path in the mode the network is in; see `batch_statistics` and `network.eval()`."""
    (score,) = evaluate_paths(network, [(genotype, batches)], autocast=autocast, recorder=recorder)
    return score


@torch.no_grad()
def evaluate_paths(
    network: nn.Module,
    paths: Iterable[tuple[Genotype | None, Batches]],
    *,
    autocast: torch.dtype | None = None,
    recorder: Recorder | None = None,
) -> list[Score]:
    """Scores paths, each on batches of its own, in the mode the network is in; the host waits once, at the end."""
    totals: list[Tensor] = []
    counts: list[int] = []
    with recorder.stream() if recorder is not None else contextlib.nullcontext():
        for genotype, batches in paths:
            sums: list[Tensor] = []
            work = functools.partial(_evaluate_batch, network=network, genotype=genotype, autocast=autocast, sums=sums)
            step, num_images = Repeated(work, recorder=recorder), 0
            for images, labels in batches:
                step(images, labels)
                num_images += len(labels)
            totals.append(sums[0] if sums else torch.zeros(2))
            counts.append(num_images)
        on_host: Iterable[Tensor] = torch.stack(totals).cpu() if totals else []
        return [read_score(row, count) for row, count in zip(on_host, counts, strict=True)]


def _evaluate_batch(
    images: Tensor,
    labels: Tensor,
    *,
    network: nn.Module,
    genotype: Genotype | None,
    autocast: torch.dtype | None,
    sums: list[Tensor],
) -> None:
    """Adds a batch's totals to the tensor in `sums`."""
    with autocasting(images, autocast):
        logits = network(images, genotype)
    totals = batch_totals(F.cross_entropy(logits.float(), labels), logits, labels)
    if sums:
        sums[0] += totals
    else:
        sums.append(totals)


@contextlib.contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Within the context the network evaluates with the statistics of each batch and keeps none of them.

    ENAS rewards a path this way: the running statistics of a supernet are a mixture over all its paths.
    """
    training = network.training
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    network.eval()
    for norm in norms:
        norm.train()
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        network.train(training)


@torch.no_grad()
def recalibrate_batch_norm(
    network: nn.Module, batches: Batches, genotype: Genotype | None, *, autocast: torch.dtype | None = None
) -> None:
    """Sets the path's running statistics to the mean over the batches (of training images), weights untouched."""
    training = network.training
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    for number, (images, _) in enumerate(batches, start=1):
        for norm in norms:
            norm.momentum = 1 / number  # a cumulative average; torch's own would wait for the device at every norm
        with autocasting(images, autocast):
            network(images, genotype)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(training)


def autocasting(images: Tensor, dtype: torch.dtype | None) -> torch.autocast:
    """Returns the context of a forward pass in a number format; None stays in float32."""
    return torch.autocast(images.device.type, dtype=dtype, enabled=dtype is not None)


def batch_totals(mean_loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Returns (summed loss, number right) on the device, shape (2,)."""
    right = (logits.argmax(dim=1) == labels).sum()
    return torch.stack([mean_loss * len(labels), right.to(mean_loss.dtype)])


def read_score(totals: Tensor | None, num_images: int) -> Score:
    """Reads summed totals back, which waits for the device.

    Raises:
        ValueError: If there were no images.
    """
    if totals is None or not num_images:
        raise ValueError("there are no batches: the split is empty, or smaller than one batch")
    loss, right = (totals / num_images).tolist()
    return Score(loss=loss, accuracy=right)
