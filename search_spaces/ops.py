"""The op table: every op a cell can be made of, by name.

An op keeps the number of channels (guideline G1 of ShuffleNet V2, arXiv:1807.11164) and has stride 1 or 2. A new op
is one function under `@register_op`; search spaces name it in their YAML.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from search_spaces.batch_norm import BatchNorm2d
from search_spaces.shuffles import build_mixer

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


@dataclass(frozen=True, slots=True)
class Op:
    """An entry of the op table.

    Attributes:
        build: Makes the module from (channels, stride).
        weight_free: Whether the op has no weights, so that two of them on one input compute the same.
    """

    build: Callable[[int, int], nn.Module]
    weight_free: bool


OPS: dict[str, Op] = {}


def register_op(
    name: str, *, weight_free: bool = False
) -> Callable[[Callable[[int, int], nn.Module]], Callable[[int, int], nn.Module]]:
    """Enters the decorated builder `(channels, stride) -> nn.Module` into the op table under `name`.

    The module maps (N, C, H, W) to (N, C, ⌈H / stride⌉, ⌈W / stride⌉).

    Raises:
        ValueError: If the name is taken.
    """

    def enter(build: Callable[[int, int], nn.Module]) -> Callable[[int, int], nn.Module]:
        if name in OPS:
            raise ValueError(f"the op {name!r} is registered twice")
        OPS[name] = Op(build=build, weight_free=weight_free)
        return build

    return enter


def find_op(name: str) -> Op:
    """Returns the op of that name.

    Raises:
        ValueError: If there is none; the message lists the known ones.
    """
    if name not in OPS:
        raise ValueError(f"unknown op {name!r}; known: {', '.join(sorted(OPS))}")
    return OPS[name]


def batch_norm(channels: int) -> BatchNorm2d:
    """Batch norm with ENAS's constants, which are torch's own: ε = 1e-5, momentum 0.1."""
    return BatchNorm2d(channels)


class PointwiseConv(nn.Conv2d):
    """1x1 convolution without bias; a stride picks pixels first.

    That is the same function as a strided convolution. It spares the CPU kernel of torch 2.15 for the weight gradient
    of strided 1x1 convolutions, which in channels-last layout with fewer than 8 channels writes out of bounds.

    Args:
        in_channels: C.
        out_channels: C'.
        stride: 1 or 2.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, 1, bias=False)
        self.pixel_stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C', ⌈H / stride⌉, ⌈W / stride⌉)."""
        return super().forward(x if self.pixel_stride == 1 else x[:, :, :: self.pixel_stride, :: self.pixel_stride])


def relu_conv_bn(in_channels: int, out_channels: int, *, stride: int = 1) -> nn.Sequential:
    """The 1x1 convolution in the order relu–conv–BN, without bias (ShuffleNASNet, arXiv:1812.02975, §III-A)."""
    return nn.Sequential(nn.ReLU(), PointwiseConv(in_channels, out_channels, stride=stride), batch_norm(out_channels))


class SeparableConv(nn.Sequential):
    """Depthwise-separable convolution, applied twice as in ENAS: (relu–depthwise–pointwise–BN) × 2.

    Batch norm only after the pointwise convolution; the first depthwise convolution carries the stride
    (arXiv:1812.02975, §III-A).

    Args:
        channels: C, in and out.
        stride: 1 or 2.
        kernel_size: Odd side of the depthwise kernel.
        dilation: The dilation of the depthwise kernel.
        repeats: How often the group of four is applied.
    """

    def __init__(self, channels: int, *, stride: int, kernel_size: int, dilation: int = 1, repeats: int = 2) -> None:
        layers: list[nn.Module] = []
        for i in range(repeats):
            depthwise = nn.Conv2d(
                channels,
                channels,
                kernel_size,
                stride if i == 0 else 1,
                padding=dilation * (kernel_size // 2),
                dilation=dilation,
                groups=channels,
                bias=False,
            )
            pointwise = nn.Conv2d(channels, channels, 1, bias=False)
            layers += [nn.ReLU(), depthwise, pointwise, batch_norm(channels)]
        super().__init__(*layers)


class FactorizedReduction(nn.Module):
    """Halves the resolution with two strided 1x1 convolutions of C to C' ≥ 2 channels, the second shifted by one pixel.

    relu; each convolution yields half of the output channels; concatenated, then batch norm (arXiv:1812.02975,
    Figure 5, the reduction of ENAS). With an odd number of channels the first convolution yields the extra one.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        if out_channels < 2:
            raise ValueError(f"a factorized reduction needs at least 2 output channels, got {out_channels}")
        self.even = PointwiseConv(in_channels, out_channels - out_channels // 2, stride=2)
        self.odd = PointwiseConv(in_channels, out_channels // 2, stride=2)
        self.bn = batch_norm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C', ⌈H / 2⌉, ⌈W / 2⌉)."""
        x = F.relu(x)
        shifted = F.pad(x[:, :, 1:, 1:], (0, 1, 0, 1))  # the missing last row and column are zeros
        out: Tensor = self.bn(torch.cat([self.even(x), self.odd(shifted)], dim=1))
        return out


def register_separable_conv(name: str, **sizes: int) -> None:
    """Enters a separable convolution into the op table, with arguments of `SeparableConv`; raises as `register_op`."""

    @register_op(name)
    def build(channels: int, stride: int) -> nn.Module:
        return SeparableConv(channels, stride=stride, **sizes)


register_separable_conv("sep_conv_3x3", kernel_size=3)
register_separable_conv("sep_conv_5x5", kernel_size=5)
register_separable_conv("sep_conv_7x7", kernel_size=7)
register_separable_conv("dil_conv_3x3", kernel_size=3, dilation=2, repeats=1)
register_separable_conv("dil_conv_5x5", kernel_size=5, dilation=2, repeats=1)
register_op("max_pool_3x3", weight_free=True)(lambda channels, stride: MaxPool(stride=stride))  # noqa: ARG005
register_op("min_pool_3x3", weight_free=True)(lambda channels, stride: MinPool(stride=stride))  # noqa: ARG005
register_op("avg_pool_3x3", weight_free=True)(
    lambda channels, stride: nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)  # noqa: ARG005
)


@register_op("identity", weight_free=True)
@register_op("skip_connect", weight_free=True)
def _identity(channels: int, stride: int) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduction(channels, channels)


@register_op("conv_1x1")
@register_op("nor_conv_1x1")
def _conv_1x1(channels: int, stride: int) -> nn.Module:
    return relu_conv_bn(channels, channels, stride=stride)


@register_op("nor_conv_3x3")
def _nor_conv_3x3(channels: int, stride: int) -> nn.Module:
    """A dense 3x3 convolution: relu, convolution, BN (NAS-Bench-201, arXiv:2001.00326, §2.1)."""
    convolution = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
    return nn.Sequential(nn.ReLU(), convolution, batch_norm(channels))


@register_op("conv_7x1_1x7")
def _conv_7x1_1x7(channels: int, stride: int) -> nn.Module:
    """A 7x7 convolution in two: relu, a row, a column, BN (AmoebaNet-A, arXiv:1802.01548)."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, (1, 7), stride=(1, stride), padding=(0, 3), bias=False),
        nn.Conv2d(channels, channels, (7, 1), stride=(stride, 1), padding=(3, 0), bias=False),
        batch_norm(channels),
    )


def _register_shuffle(name: str, *, weight_free: bool) -> None:
    """Enters a mixer as an op: with stride 2 it follows a factorized reduction, as a strided identity has it."""

    @register_op(name, weight_free=weight_free)
    def build(channels: int, stride: int) -> nn.Module:
        mixer = build_mixer(name, channels, groups=2 if channels % 2 == 0 and channels >= 4 else 1)
        return mixer if stride == 1 else nn.Sequential(FactorizedReduction(channels, channels), mixer)


for _name in ("auto_shuffle", "dynamic_shuffle", "static_dynamic_shuffle", "kaleidoscope"):
    _register_shuffle(_name, weight_free=False)
