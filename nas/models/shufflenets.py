"""ShuffleNet v1 and v2, the bodies in which AutoShuffleNet, dynamic shuffle and kaleidoscope matrices were measured.

The channel shuffle of every unit is a module named `mixer`: any of the mixer table, or what a builder makes, all else
being equal. The architecture is the papers'; there is no genotype, and `forward` takes None in its place.
"""

from collections.abc import Callable
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.models.macro import check_choices
from search_spaces.mixers import MixerBuilder
from search_spaces.ops import batch_norm
from search_spaces.shuffles import build_mixer, check_mixer

MACROS = ("imagenet", "cifar")
STAGE_UNITS = (4, 8, 4)
# Channels of the first stage, by groups for v1 and by width for v2; they double with every stage.
V1_CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}
V2_CHANNELS = {0.5: 48, 1.0: 116, 1.5: 176, 2.0: 244}
V1_STEM_CHANNELS = {0.25: 6, 0.5: 12, 1.0: 24, 1.5: 24, 2.0: 48}
V2_STEM_CHANNELS = 24


class ShuffleUnitV1(nn.Module):
    """The unit of ShuffleNet v1 (arXiv:1707.01083, §3.2, Figure 2 b and c).

    Branch: grouped 1x1 conv, BN, relu, mixer, 3x3 depthwise conv, BN, grouped 1x1 conv, BN. It is added to the input
    or, if strided, concatenated with the input's 3x3 average pooling (zeros of the padding count); relu.

    Args:
        in_channels: C.
        out_channels: C'; equal to C unless strided. C' / 4 channels pass the mixer.
        strided: Whether the resolution is halved.
        groups: g of the last 1x1 convolution and of the shuffle.
        first_groups: g of the first 1x1 convolution.
        mixer: Makes the mixer.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, strided: bool, groups: int, first_groups: int, mixer: MixerBuilder
    ) -> None:
        super().__init__()
        bottleneck = out_channels // 4
        self.strided = strided
        self.squeeze = _conv_bn(in_channels, bottleneck, groups=first_groups)
        self.mixer = mixer(bottleneck, groups)
        self.expand = nn.Sequential(
            *_depthwise_bn(bottleneck, strided=strided),
            *_conv_bn(bottleneck, out_channels - in_channels if strided else out_channels, groups=groups, relu=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C', H, W), or to (N, C', ⌈H / 2⌉, ⌈W / 2⌉) if strided."""
        out: Tensor = self.expand(self.mixer(self.squeeze(x)))
        return F.relu(torch.cat([F.avg_pool2d(x, 3, 2, padding=1), out], dim=1) if self.strided else x + out)


class ShuffleUnitV2(nn.Module):
    """The unit of ShuffleNet v2 (arXiv:1807.11164, §3.2, Figure 3 c and d).

    The first half of the channels is kept, the second passes the branch; if strided, all channels go into the branch
    and into a shortcut, half of the output each. Concatenate, mix.

    Args:
        in_channels: C.
        out_channels: C', even; equal to C unless strided.
        strided: Whether the resolution is halved.
        mixer: Makes the mixer, of C' channels in 2 groups.
    """

    def __init__(self, in_channels: int, out_channels: int, *, strided: bool, mixer: MixerBuilder) -> None:
        super().__init__()
        half = out_channels // 2
        self.strided = strided
        self.shortcut: nn.Module = nn.Identity()
        if strided:
            self.shortcut = nn.Sequential(*_depthwise_bn(in_channels, strided=True), *_conv_bn(in_channels, half))
        first = _conv_bn(in_channels if strided else half, half)
        self.branch = nn.Sequential(*first, *_depthwise_bn(half, strided=strided), *_conv_bn(half, half))
        self.mixer = mixer(out_channels, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, C', H, W), or to (N, C', ⌈H / 2⌉, ⌈W / 2⌉) if strided."""
        kept, changed = (x, x) if self.strided else x.chunk(2, dim=1)
        out: Tensor = self.mixer(torch.cat([self.shortcut(kept), self.branch(changed)], dim=1))
        return out


class ShuffleNetV1(nn.Module):
    """ShuffleNet v1 (arXiv:1707.01083, §3.3, Table 1): stem, stages of 4, 8 and 4 units, linear head.

    The mixer sits where the paper has the shuffle, before the depthwise convolution; its authors' later code has it
    after. The stem's channels are that code's (12, 24, 24, 48 at widths 0.5 … 2), where the paper scales them all; 6 at
    width 0.25 is inferred, and so is rounding up to a multiple of g, which gives the code's 16 at width 0.5, g = 8.

    Args:
        num_classes: Outputs of the head.
        groups: g, one of 1, 2, 3, 4, 8.
        width: Factor of the channels: 0.25, 0.5, 1.0, 1.5 or 2.0; with 2 or 4 groups, 1.0 or 2.0.
        in_channels: Channels of the images.
        macro: `imagenet` (strided stem and max pooling: 224x224 ends at 7x7) or `cifar` (neither: 32x32 ends at 4x4).
        mixer: Mixer of each unit, on its bottleneck channels in g groups: a name in the mixer table, or a builder.

    Raises:
        ValueError: If an argument is out of range or unknown, or g does not divide the channels of that width.
    """

    takes_genotype: ClassVar[bool] = False
    smallest_image: int

    def __init__(
        self,
        *,
        num_classes: int,
        groups: int = 3,
        width: float = 1.0,
        in_channels: int = 3,
        macro: str = "imagenet",
        mixer: str | MixerBuilder = "channel_shuffle",
    ) -> None:
        super().__init__()
        check_choices(groups=(groups, V1_CHANNELS), width=(width, V1_STEM_CHANNELS), macro=(macro, MACROS))
        stage_channels = round(width * V1_CHANNELS[groups])
        if stage_channels % (4 * groups):  # the bottlenecks have a quarter
            raise ValueError(f"width must be 1.0 or 2.0 with {groups} groups, which divide no other, got {width}")
        build = _mixer_builder(mixer)
        stem_channels = -(-V1_STEM_CHANNELS[width] // groups) * groups

        def build_unit(in_channels: int, out_channels: int, *, strided: bool) -> nn.Module:
            first_groups = 1 if in_channels == stem_channels else groups  # no groups on the few channels of the stem
            return ShuffleUnitV1(
                in_channels, out_channels, strided=strided, groups=groups, first_groups=first_groups, mixer=build
            )

        self.smallest_image = 2 ** (len(STAGE_UNITS) + (2 if macro == "imagenet" else 0))
        self.stem = _build_stem(in_channels, stem_channels, macro=macro)
        self.stages = _build_stages(stem_channels, stage_channels, build_unit)
        self.classifier = nn.Linear(stage_channels * 2 ** (len(STAGE_UNITS) - 1), num_classes)

    def forward(self, images: Tensor, genotype: None = None, *, drop_prob: float | Tensor = 0.0) -> Tensor:  # noqa: ARG002
        """Maps images (N, in_channels, H, W), normalised, to logits (N, num_classes); there is no path to drop."""
        logits: Tensor = self.classifier(self.stages(self.stem(images)).mean(dim=(2, 3)))
        return logits


class ShuffleNetV2(nn.Module):
    """ShuffleNet v2 (arXiv:1807.11164, §3.2, Table 5): stem, stages, 1x1 conv and linear head as torchvision has them.

    Args:
        num_classes: Outputs of the head.
        width: One of 0.5, 1.0, 1.5, 2.0.
        in_channels: Channels of the images.
        macro: `imagenet` or `cifar`, see `ShuffleNetV1`.
        mixer: Mixer of each unit, on all its channels in 2 groups: a name in the mixer table, or a builder.

    Raises:
        ValueError: If an argument is out of range or unknown.
    """

    takes_genotype: ClassVar[bool] = False
    smallest_image: int

    def __init__(
        self,
        *,
        num_classes: int,
        width: float = 1.0,
        in_channels: int = 3,
        macro: str = "imagenet",
        mixer: str | MixerBuilder = "channel_shuffle",
    ) -> None:
        super().__init__()
        check_choices(width=(width, V2_CHANNELS), macro=(macro, MACROS))
        final_channels = 2048 if width == 2.0 else 1024
        self.smallest_image = 2 ** (len(STAGE_UNITS) + (2 if macro == "imagenet" else 0))
        self.stem = _build_stem(in_channels, V2_STEM_CHANNELS, macro=macro)
        self.stages = _build_stages(
            V2_STEM_CHANNELS, V2_CHANNELS[width], partial(ShuffleUnitV2, mixer=_mixer_builder(mixer))
        )
        self.final = _conv_bn(V2_CHANNELS[width] * 2 ** (len(STAGE_UNITS) - 1), final_channels)
        self.classifier = nn.Linear(final_channels, num_classes)

    def forward(self, images: Tensor, genotype: None = None, *, drop_prob: float | Tensor = 0.0) -> Tensor:  # noqa: ARG002
        """Maps images (N, in_channels, H, W), normalised, to logits (N, num_classes); there is no path to drop."""
        logits: Tensor = self.classifier(self.final(self.stages(self.stem(images))).mean(dim=(2, 3)))
        return logits


def _mixer_builder(mixer: str | MixerBuilder) -> MixerBuilder:
    if isinstance(mixer, str):
        check_mixer(mixer)
        return partial(build_mixer, mixer)
    return mixer


def _conv_bn(
    in_channels: int, out_channels: int, *, kernel_size: int = 1, stride: int = 1, groups: int = 1, relu: bool = True
) -> nn.Sequential:
    """Convolution without bias, BN, relu; He-normal here and not over the network, so that mixers keep their start."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return nn.Sequential(conv, batch_norm(out_channels), *([nn.ReLU(inplace=True)] if relu else []))


def _depthwise_bn(channels: int, *, strided: bool) -> nn.Sequential:
    return _conv_bn(channels, channels, kernel_size=3, stride=2 if strided else 1, groups=channels, relu=False)


def _build_stem(in_channels: int, channels: int, *, macro: str) -> nn.Sequential:
    if macro == "cifar":
        return _conv_bn(in_channels, channels, kernel_size=3)
    return nn.Sequential(*_conv_bn(in_channels, channels, kernel_size=3, stride=2), nn.MaxPool2d(3, 2, padding=1))


def _build_stages(in_channels: int, channels: int, build_unit: Callable[..., nn.Module]) -> nn.Sequential:
    """Stages of units made from (C, C', strided=), the first of each strided; `channels`: of the first stage."""
    stages = []
    for stage, num_units in enumerate(STAGE_UNITS):
        out_channels = channels * 2**stage
        units = [build_unit(in_channels, out_channels, strided=True)]
        units += [build_unit(out_channels, out_channels, strided=False) for _ in range(1, num_units)]
        stages.append(nn.Sequential(*units))
        in_channels = out_channels
    return nn.Sequential(*stages)
