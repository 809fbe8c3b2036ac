"""From a trained network to the one that is exported: plain layers, one genotype, images alone as its argument.

The networks of this package choose between memory formats, leave autocast where sums are long and keep what training
needs. An exported model has none of that: what is left is torch's own layers and those of
`nas.models.exporting.plain_layers`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nas.models.exporting import plain_layers
from nas.models.inference.ready import for_inference
from search_spaces.batch_norm import BatchNorm2d
from search_spaces.dynamic_shuffle import HardDynamicShuffle, StaticDynamicShuffle
from search_spaces.genotype import Genotype
from search_spaces.kaleidoscope import FixedLinear
from search_spaces.ops import MaxPool, PointwiseConv
from search_spaces.shuffles import DenseMixer, IdentityMixer


@torch.no_grad()
def plain_network(network: nn.Module, genotype: Genotype | None) -> nn.Module:
    """Returns a copy of a network for inference, on the CPU, without an auxiliary head and made of plain layers.

    A layer of a type that is not known here, such as a user's own op, stays as it is.
    """
    ready = for_inference(network, genotype).cpu()
    if getattr(ready, "auxiliary", None) is not None:
        ready.auxiliary = None  # type: ignore[assignment]
    _replace_layers(ready)
    return ready.eval().requires_grad_(False)


def make_normalize(mean: Sequence[float], std: Sequence[float], *, uint8: bool = False) -> plain_layers.Normalize:
    """Returns the layer that normalises images in [0, 1], or bytes; mean and std in units of the full scale."""
    return plain_layers.Normalize(list(mean), list(std), scale=255.0 if uint8 else 1.0).eval()


def _replace_layers(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child) in PLAIN:
            setattr(module, name, PLAIN[type(child)](child).eval())
        else:
            _replace_layers(child)


def _holding(layer: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    layer.load_state_dict(weights)
    return layer


def _pointwise(layer: Any) -> nn.Module:
    conv = _holding(nn.Conv2d(layer.in_channels, layer.out_channels, 1, bias=False), layer.state_dict())
    return conv if layer.pixel_stride == 1 else nn.Sequential(nn.MaxPool2d(1, layer.pixel_stride), conv)  # picks pixels


def _batch_norm(layer: Any) -> nn.Module:
    plain = nn.BatchNorm2d(layer.num_features, eps=layer.eps, momentum=layer.momentum, affine=layer.affine)
    return _holding(plain, layer.state_dict())


def _linear_map(layer: Any) -> nn.Module:
    weight = layer.weight.reshape(layer.channels, layer.channels, 1, 1)
    return _holding(nn.Conv2d(layer.channels, layer.channels, 1, bias=False), {"weight": weight})


def _generator_settings(generator: Any) -> dict[str, Any]:
    return {"groups": generator.groups, "sizes": generator.sizes, "hidden": generator.reduce.out_features}


def _dynamic(layer: Any) -> nn.Module:
    plain = plain_layers.DynamicShuffle(**_generator_settings(layer.generator))
    return _holding(plain, layer.generator.state_dict())


def _static_dynamic(layer: Any) -> nn.Module:
    plain = plain_layers.StaticDynamicShuffle(**_generator_settings(layer.dynamic.generator))
    dynamic = {f"dynamic.{name}": value for name, value in layer.dynamic.generator.state_dict().items()}
    return _holding(plain, {"static_a": layer.static_a, "static_b": layer.static_b, **dynamic})


PLAIN: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
    PointwiseConv: _pointwise,
    BatchNorm2d: _batch_norm,
    MaxPool: lambda layer: nn.MaxPool2d(3, layer.stride, padding=1),
    FixedLinear: _linear_map,
    DenseMixer: _linear_map,
    HardDynamicShuffle: _dynamic,
    StaticDynamicShuffle: _static_dynamic,
    IdentityMixer: lambda layer: nn.Identity(),  # noqa: ARG005
    nn.Dropout: lambda layer: nn.Identity(),  # noqa: ARG005
}
"""Functions that make the plain layer of a layer, by its type."""
