"""Scores of untrained networks, from one batch of images: a second in the place of a training.

They are compared in Abdelfattah et al. 2021, arXiv:2101.08134. Most lean to large networks, so that a count of
parameters or multiply-adds stands next to them.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from nas.training.evaluation import batch_statistics
from search_spaces.genotype import Genotype

RELUS = (F.relu, torch.relu, Tensor.relu)
SMALL = 1e-5
"""Added to eigenvalues (Mellor's code), and their least value where a logarithm is taken."""


class ZeroCostScores(NamedTuple):
    """Higher is better; see the functions of these names."""

    synflow: float
    naswot: float
    jacob_cov: float


def zero_cost_scores(network: nn.Module, genotype: Genotype | None, images: Tensor) -> ZeroCostScores:
    """Scores an untrained network, which stays as it is.

    Args:
        network: `network(images, genotype)` returns logits.
        genotype: The path; None for a network without choices.
        images: (N, C, H, W) of training images, normalised.
    """
    return ZeroCostScores(
        synflow=synflow(network, genotype, image_shape=images.shape[1:]),
        naswot=naswot(network, genotype, images),
        jacob_cov=jacob_cov(network, genotype, images),
    )


def synflow(network: nn.Module, genotype: Genotype | None, *, image_shape: Sequence[int]) -> float:
    """Returns the logarithm of the synaptic flow, Σ |w · ∂R/∂w| over all weights of layers (arXiv:2006.05467).

    R is the sum of the logits of an image of ones when every weight has its absolute value; batch norm does nothing.
    No data is looked at.
    """
    linear = copy.deepcopy(network).double().eval()  # as made, batch norm in eval mode divides by 1
    for value in linear.parameters():
        value.data.abs_()
    weights = [value for value in linear.parameters() if value.ndim > 1]
    ones = torch.ones((1, *image_shape), dtype=torch.double, device=weights[0].device)
    gradients = torch.autograd.grad(linear(ones, genotype).sum(), weights, materialize_grads=True)
    flows = [(w * g).abs().sum() for w, g in zip(weights, gradients, strict=True)]
    return torch.stack(flows).sum().clamp_min(torch.finfo(torch.double).tiny).log().item()


def naswot(network: nn.Module, genotype: Genotype | None, images: Tensor) -> float:
    """Returns log |det K|, K_ij the number of rectifiers that images i and j agree in (arXiv:2006.04647).

    High where an untrained network tells images apart by which rectifiers they switch on.
    """
    agreement = _Agreement()
    with torch.no_grad(), batch_statistics(network), agreement:
        network(images, genotype)
    if not isinstance(agreement.kernel, Tensor):
        raise ValueError("naswot needs a network with rectifiers, torch's relu")
    values: Tensor = torch.linalg.eigvalsh(agreement.kernel)
    return values.clamp_min(SMALL).log().sum().item()


def jacob_cov(network: nn.Module, genotype: Genotype | None, images: Tensor) -> float:
    """Returns how little the gradients of the logits' sum by different images correlate (Mellor et al. 2020).

    −Σ (log(v + k) + 1 / (v + k)) over the eigenvalues v of their correlation matrix (N, N), k = 1e-5.
    """
    given = images.clone().requires_grad_()
    with batch_statistics(network):
        (gradient,) = torch.autograd.grad(network(given, genotype).sum(), given, materialize_grads=True)
    rows = gradient.flatten(1).double()
    rows = rows - rows.mean(dim=1, keepdim=True)
    rows = rows / rows.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.double).tiny)
    values: Tensor = torch.linalg.eigvalsh(rows @ rows.mT).clamp_min(0) + SMALL
    return -(values.log() + 1 / values).sum().item()


def log_rank_sum(*scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Returns the sum of the logarithms of the ranks of n cells by several scores, (n,); the worst has rank 1."""
    from scipy.stats import rankdata

    total: npt.NDArray[np.float64] = np.sum([np.log(rankdata(one)) for one in scores], axis=0)
    return total


class _Agreement(TorchFunctionMode):
    """Adds up over all rectifiers how many of their outputs are on, or off, for both of two images, (N, N)."""

    kernel: Tensor | float = 0.0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in RELUS:
            on = (out > 0).flatten(1).float()
            count = on.sum(dim=1)
            both = on @ on.mT
            self.kernel = self.kernel + (2 * both + on.shape[1] - count[:, None] - count).double()
        return out
