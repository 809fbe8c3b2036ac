"""How gradients lie in memory."""

from typing import Any

import torch
from torch import Tensor


class _DenseGradient(torch.autograd.Function):
    """The identity, whose gradient is copied where it does not lie densely."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.channels_last = x.is_contiguous(memory_format=torch.channels_last)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (grad,) = grads
        return grad.contiguous(memory_format=torch.channels_last if ctx.channels_last else torch.contiguous_format)


def with_dense_gradient(x: Tensor) -> Tensor:
    """Returns `x` (N, C, H, W), a part of a concatenation to come, and sees to it that its gradient lies as it does.

    The gradient of a part is a slice of the whole one, whose pixels lie apart in channels-last format. Several ops may
    have summed to `x`, and the batch norm of each would read that slice at a fraction of the speed.
    """
    if torch.is_grad_enabled() and x.requires_grad:
        out: Tensor = _DenseGradient.apply(x)
        return out
    return x
