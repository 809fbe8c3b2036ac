"""The loss of a path after a simple readout of its outputs is fitted to the images themselves.

Under shared weights every path has the last layer of a network that was trained for all paths: the scale of its outputs
and their bias to classes say more of the other paths than of the architecture. So the loss is taken after a temperature
and a bias for each class are fitted (vector scaling with one temperature, Guo et al. 2017, arXiv:1706.04599, §4.2).
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.data.splits import Batches
from nas.training.evaluation import autocasting
from search_spaces.genotype import Genotype

PRIOR = 1e-3
"""Weight of half the squared distance from a factor of 1 and biases of 0, in nats: it bounds them on few images."""
STEPS = 5
SHARES = (1.0, 0.25, 0.0625, 0.015625)
"""Of a Newton step, tried one after the other."""
WORST_LOSS = 1e6
"""In nats, of outputs that are not finite."""
SMALL = 1e-12


class Readout(NamedTuple):
    """Means over images: `loss` and `calibrated_loss` in nats, and `accuracy`."""

    loss: float
    accuracy: float
    calibrated_loss: float


@torch.no_grad()
def read_out(
    network: nn.Module, paths: Iterable[tuple[Genotype, Batches]], *, autocast: torch.dtype | None = None
) -> list[Readout]:
    """Scores paths in the mode the network is in; the host waits once, at the end.

    Args:
        network: Of all paths.
        paths: Each with its batches, at least one; all have as many images.
        autocast: Data type of the forward pass; None stays in float32.
    """
    outputs, labels = [], []
    for genotype, batches in paths:
        own = []
        for images, wanted in batches:
            with autocasting(images, autocast):
                own.append((network(images, genotype).float(), wanted))
        outputs.append(torch.cat([logits for logits, _ in own]))
        labels.append(torch.cat([wanted for _, wanted in own]))
    if not outputs:
        return []
    logits, wanted = torch.stack(outputs), torch.stack(labels)
    highest, predicted = logits.max(dim=2)  # a NaN counts as the highest
    losses = F.cross_entropy(logits.transpose(1, 2), wanted, reduction="none").double().mean(dim=1)
    losses = losses.nan_to_num(nan=WORST_LOSS, posinf=WORST_LOSS)
    accuracies = ((predicted == wanted) & highest.isfinite()).double().mean(dim=1)
    columns = [losses, accuracies, calibrated_losses(logits, wanted)]
    return [Readout(*row) for row in torch.stack(columns, dim=1).tolist()]


@torch.no_grad()
def calibrated_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the cross-entropy of each network after calibration on the very images, without waiting for the device.

    Outputs are centred, for each image and each class, and divided by their standard deviation, so that the result does
    not depend on their scale and biases at all; then 5 Newton steps in float64, shorter where a whole one would go up,
    fit a factor and a bias for each class. No loss is above that of a guess, log K, which a network has whose outputs
    are not finite, or all equal.

    Args:
        logits: (B, N, K), of B networks.
        labels: (N,), or (B, N) where each network has images of its own.

    Returns:
        In nats, (B,), float64.
    """
    count, num_classes = logits.shape[1:]
    finite = logits.isfinite().all(dim=2).all(dim=1)
    outputs = torch.where(finite[:, None, None], logits.double(), 0.0)
    outputs = outputs - outputs.mean(dim=2, keepdim=True)
    outputs = outputs - outputs.mean(dim=1, keepdim=True)
    outputs = outputs / outputs.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp_min(SMALL)
    wanted = F.one_hot(labels, num_classes).double().expand_as(outputs)
    identity = torch.zeros(len(logits), num_classes + 1, dtype=torch.double, device=logits.device)
    identity[:, 0] = 1.0  # the factor of the logits, then the biases
    prior = PRIOR * torch.eye(num_classes + 1, dtype=torch.double, device=logits.device)

    def losses(fitted: Tensor) -> Tensor:
        return -(_scaled(outputs, fitted).log_softmax(dim=2) * wanted).sum(dim=2).mean(dim=1)

    def penalised(fitted: Tensor) -> Tensor:
        return losses(fitted) + PRIOR / 2 * (fitted - identity).square().sum(dim=1)

    fitted, height = identity, penalised(identity)
    for _ in range(STEPS):
        probabilities = _scaled(outputs, fitted).softmax(dim=2)
        # The outputs' derivatives by the parameters, (B, N, K, K + 1), are the logits and the identity.
        residual = probabilities - wanted
        gradient = torch.cat([(residual * outputs).sum(dim=(1, 2))[:, None], residual.sum(dim=1)], dim=1) / count
        weighted = probabilities * outputs
        mean = weighted.sum(dim=2, keepdim=True)
        by_factor = (weighted * outputs).sum(dim=(1, 2)) - mean.square().sum(dim=(1, 2))
        mixed = (weighted - probabilities * mean).sum(dim=1)
        by_bias = torch.diag_embed(probabilities.sum(dim=1)) - probabilities.mT @ probabilities
        hessian = torch.cat(
            [
                torch.cat([by_factor[:, None], mixed], dim=1)[:, None],
                torch.cat([mixed[:, :, None], by_bias], dim=2),
            ],
            dim=1,
        )
        gradient = gradient + PRIOR * (fitted - identity)
        step = torch.linalg.solve(hessian / count + prior, gradient)
        for share in SHARES:  # the longest step that goes down; none where all go up
            tried = fitted - share * step
            reached = penalised(tried)
            lower = reached < height
            fitted, height = torch.where(lower[:, None], tried, fitted), torch.where(lower, reached, height)
            step = torch.where(lower[:, None], 0.0, step)
    guess = math.log(num_classes)
    return torch.where(finite, losses(fitted), guess).clamp(max=guess)


def _scaled(outputs: Tensor, fitted: Tensor) -> Tensor:
    return fitted[:, :1, None] * outputs + fitted[:, None, 1:]
