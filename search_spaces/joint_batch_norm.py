"""Batch norm whose statistics are those of the images of several processes, on any device.

Torch's own `SyncBatchNorm` is there for GPUs alone, and is another class than the one that the rest of this code
knows. Here the sums of a process come from the same kernels as without others, and are corrected by what these tell.
"""

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class Group(Protocol):
    """Processes that each hold as many images of a batch."""

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""

    @property
    def size(self) -> int:
        """How many there are."""

    def sum_(self, tensor: Tensor) -> Tensor:
        """Adds a tensor up over the processes, in place."""


class NormalizeTogether(torch.autograd.Function):
    """Maps (N, C, H, W) to its normalised self by the statistics of all N · M images; arXiv:1502.03167, Algorithm 1.

    The losses of the M processes are taken to be summed: the gradient of the input is that of this sum, those of
    weight and bias are the process's own part of it.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, group: Group
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the output, and mean and (biased) variance (C,) of all images."""
        own_var, own_mean = torch.var_mean(x.to(weight.dtype), dim=(0, 2, 3), correction=0)
        rows = own_mean.new_zeros((group.size, 2, len(own_mean)))  # a row a process, for all to know them
        rows[group.rank] = torch.stack([own_mean, own_var])
        means, variances = group.sum_(rows).unbind(dim=1)  # (M, C)
        mean = means.mean(dim=0)
        variance = variances.mean(dim=0) + (means - mean).square().mean(dim=0)
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps, ctx.group = eps, group
        ctx.mark_non_differentiable(mean, variance)
        return F.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Returns the gradients of input, weight and bias."""
        x, weight, mean, variance = ctx.saved_tensors
        # As in evaluation: what is left out is how the statistics depend on the images.
        grad, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grads[0], x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        count = ctx.group.size * (x.numel() // x.shape[1])
        all_weight, all_bias = ctx.group.sum_(torch.stack([grad_weight, grad_bias])) / count
        inverse = torch.rsqrt(variance + ctx.eps)
        slope = -weight * inverse.square() * all_weight
        offset = -weight * inverse * all_bias - slope * mean
        grad = grad + (slope.view(1, -1, 1, 1) * x + offset.view(1, -1, 1, 1)).to(grad.dtype)
        return grad, grad_weight, grad_bias, None, None
