"""Models of the package timm as networks to compare with ours, where it is installed: `timm:NAME`."""

import difflib
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from nas.costs.latency.torchvision_models import PlainModel, tried

PREFIX = "timm:"


@torch.no_grad()
def build_timm(
    name: str, *, image_shape: tuple[int, int, int], num_classes: int, settings: Mapping[str, Any]
) -> PlainModel:
    """Makes a model of timm with random weights, in evaluation mode, and tries it on an image.

    Args:
        name: One of `timm.list_models()`.
        image_shape: (C, H, W) of the images it will be given.
        num_classes: Outputs of the head.
        settings: Further arguments of the model.

    Raises:
        ValueError: If timm is not installed, the images do not fit the model, or a setting is not its own.
        FileNotFoundError: If timm has no such model; the message has near names.
    """
    try:
        import timm
    except ImportError:
        raise ValueError(f"models: {PREFIX}{name} needs the package: pip install timm") from None
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=4)
        hint = f"near it: {', '.join(near)}" if near else "timm.list_models() lists them"
        raise FileNotFoundError(f"models: timm has no model {name!r}; {hint}")
    sizes = {"in_chans": image_shape[0], "num_classes": num_classes, **settings}
    make = partial(timm.create_model, name, pretrained=False, **sizes)
    network = tried(PREFIX + name, make, image_shape=image_shape)
    _part_activations(network)
    return network


def _part_activations(network: nn.Module) -> None:
    """Takes the activations out of timm's batch norm in place, so that it is folded as that of others is."""
    for name, norm in list(network.named_modules()):
        parts = dict(norm.named_children())
        if isinstance(norm, nn.BatchNorm2d) and list(parts) == ["drop", "act"]:
            plain = nn.BatchNorm2d(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
            plain.load_state_dict(norm.state_dict(), strict=False)
            after = [one for one in parts.values() if not isinstance(one, nn.Identity)]
            network.set_submodule(name, nn.Sequential(plain, *after).eval())
