"""Batch norm, with the statistics of several processes, and faster on the CPU where the channels are few."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

VECTOR = 8  # channels that torch's kernel takes at once
FEW_CHANNELS = 3 * VECTOR  # with more, torch's kernel is the faster one
WORTH_ROWS = 100_000  # numbers; with fewer, torch's kernel is done before ten others have been called
ROW = 256  # numbers in a row, about


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


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm over N, H and W, `torch.nn.BatchNorm2d` in all but the time that a training pass takes.

    Attributes:
        group: Processes over whose images a training pass takes its statistics; None takes this one's alone.
    """

    group: Group | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C, H, W)."""
        trains = self.training and self.momentum is not None
        if not (trains and (self.group is not None or normalizes_by_rows(x))):
            out: Tensor = super().forward(x)
            return out
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        if not self.affine:
            like: dict[str, Any] = {"device": x.device, "dtype": torch.promote_types(x.dtype, torch.float32)}
            weight, bias = torch.ones(x.shape[1], **like), torch.zeros(x.shape[1], **like)
        if self.group is not None:
            out, mean, variance = _NormalizeTogether.apply(x, weight, bias, self.eps, self.group)
        else:
            out, mean, variance = _NormalizeRows.apply(x, weight, bias, self.eps)
        if self.track_running_stats:
            assert self.momentum is not None
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            count = x.numel() // x.shape[1] * (1 if self.group is None else self.group.size)
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        return out


def remove_scale_and_shift(module: nn.Module) -> None:
    """Takes the weight and the bias out of every batch norm within a module: it normalises and no more."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.affine = False
            norm.register_parameter("weight", None)
            norm.register_parameter("bias", None)


BATCH_NORMS = (nn.BatchNorm2d, BatchNorm2d)
"""Types that are batch norm and nothing else; a subclass of somebody else's may do more."""


def normalizes_by_rows(x: Tensor) -> bool:
    """Whether rows of several pixels are the faster way for images (N, C, H, W).

    Torch's kernel goes from pixel to pixel. Channels that do not fill its vectors take it longer than more of them
    would; and where the sums of all channels fit into a cache line, its threads wait for each other to write there.
    """
    channels = x.shape[1]
    return (
        x.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and channels < FEW_CHANNELS
        and channels % VECTOR != 0
        and x.numel() >= WORTH_ROWS
        and x.is_contiguous(memory_format=torch.channels_last)
    )


class _NormalizeTogether(torch.autograd.Function):
    """Maps (N, C, H, W) to its normalised self by the statistics of all N · M images; arXiv:1502.03167, Algorithm 1.

    Torch's own `SyncBatchNorm` is for GPUs alone, and another class than the one that the rest of this code knows. Here
    the sums of a process come from the same kernels as without others, and are corrected by what these tell.

    The losses of the M processes are taken to be summed: the gradient of the input is that of this sum, those of
    weight and bias are the process's own part of it.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, group: Group
    ) -> tuple[Tensor, Tensor, Tensor]:
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


class _NormalizeRows(torch.autograd.Function):
    """Batch norm on rows (R, k·C) of k pixels each; arXiv:1502.03167, Algorithm 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        rows = as_rows(x)
        count = x.numel() // x.shape[1]
        k = rows.shape[1] // x.shape[1]
        mean = _channel_sums(rows, k) / count
        centered = rows - mean.repeat(k)
        images = torch.empty_like(x)  # what is returned is no view, or an in-place relu after it would be refused
        out = torch.mul(centered, centered, out=as_rows(images))
        variance = _channel_sums(out, k) / count
        inverse = torch.rsqrt(variance + eps)
        torch.addcmul(bias.repeat(k), centered, (weight * inverse).repeat(k), out=out)
        ctx.save_for_backward(centered, weight, inverse)
        ctx.mark_non_differentiable(mean, variance)
        return images, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        grad = grads[0]
        centered, weight, inverse = ctx.saved_tensors
        count = grad.numel() // grad.shape[1]
        k = centered.shape[1] // grad.shape[1]
        rows = as_rows(grad.contiguous(memory_format=torch.channels_last))
        grad_bias = _channel_sums(rows, k)
        products = rows * centered
        grad_weight = _channel_sums(products, k) * inverse
        scale = weight * inverse
        # d x = scale · (d y - mean of d y - normalized x · mean of their product)
        torch.addcmul((-scale * grad_bias / count).repeat(k), rows, scale.repeat(k), out=products)
        products.addcmul_(centered, (-scale * inverse * grad_weight / count).repeat(k))
        return as_images(products, grad.shape), grad_weight, grad_bias, None


def as_rows(x: Tensor) -> Tensor:
    """Views channels-last images (N, C, H, W) as rows (N·H·W / k, k·C) of k pixels, k a power of two."""
    channels = x.shape[1]
    pixels = x.numel() // channels
    k = 1
    while k * channels < ROW and pixels % (2 * k) == 0:
        k *= 2
    return x.permute(0, 2, 3, 1).reshape(pixels // k, k * channels)


def as_images(rows: Tensor, shape: torch.Size) -> Tensor:
    """Views rows as channels-last images of a shape (N, C, H, W)."""
    n, c, h, w = shape
    return rows.view(n, h, w, c).permute(0, 3, 1, 2)


def _channel_sums(rows: Tensor, k: int) -> Tensor:
    """Returns the sums over all pixels, (C,), of rows (R, k·C): a product with ones is the fastest sum there is."""
    return torch.mv(rows.t(), rows.new_ones(len(rows))).view(k, -1).sum(dim=0)
