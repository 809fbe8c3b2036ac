"""3x3 max and min pooling, and a faster way for them on the CPU where no gradient is asked for."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WORTH_ROWS = 10_000  # numbers; with fewer, torch's kernel is done before ten others have been called


class MaxPool(nn.MaxPool2d):
    """3x3 max pooling with stride 1 or 2."""

    def __init__(self, *, stride: int) -> None:
        super().__init__(3, stride, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C, ⌈H / stride⌉, ⌈W / stride⌉)."""
        if self.stride == 1 and pools_by_rows(x):
            return pool_rows(x, torch.maximum)
        out: Tensor = super().forward(x)
        return out


class MinPool(nn.Module):
    """3x3 min pooling with stride 1 or 2: the negated max pooling of the negated input."""

    def __init__(self, *, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C, ⌈H / stride⌉, ⌈W / stride⌉)."""
        if self.stride == 1 and pools_by_rows(x):
            return pool_rows(x, torch.minimum)
        return -F.max_pool2d(-x, 3, self.stride, padding=1)


def pools_by_rows(x: Tensor) -> bool:
    """Whether `pool_rows` may pool images (N, C, H, W) and is the faster way.

    Torch's kernel goes through the channels of one pixel after the other, slow where they are few, and finds out where
    each maximum lies, which only a gradient needs.
    """
    return (
        x.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not (torch.is_grad_enabled() and x.requires_grad)
        and x.numel() >= WORTH_ROWS
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def pool_rows(x: Tensor, extreme: Callable[..., Tensor]) -> Tensor:
    """Pools 3x3 with stride 1, whole rows at a time: three columns first, then three rows.

    Args:
        x: (N, C, H, W), channels-last.
        extreme: `torch.maximum` or `torch.minimum`.
    """
    n, c, h, w = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(n, h, w * c)
    columns = rows.clone()
    extreme(columns[:, :, c:], rows[:, :, :-c], out=columns[:, :, c:])
    extreme(columns[:, :, :-c], rows[:, :, c:], out=columns[:, :, :-c])
    pooled = columns.clone()
    extreme(pooled[:, 1:], columns[:, :-1], out=pooled[:, 1:])
    extreme(pooled[:, :-1], columns[:, 1:], out=pooled[:, :-1])
    return pooled.view(n, h, w, c).permute(0, 3, 1, 2)
