"""Torchvision's classification models as networks to compare with ours."""

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


class PlainModel(nn.Module):
    """A network of other people's making, called like ours.

    Args:
        network: Maps (N, C, H, W) to logits.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, genotype: None = None) -> Tensor:  # noqa: ARG002
        """Maps (N, C, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.network(images)
        return logits


def torchvision_names() -> list[str]:
    """Returns the names of torchvision's classification models."""
    from torchvision import models

    names: list[str] = models.list_models(module=models)
    return names


@torch.no_grad()
def build_torchvision(
    name: str, *, image_shape: tuple[int, int, int], num_classes: int, settings: Mapping[str, Any]
) -> PlainModel:
    """Makes a model of torchvision with random weights, in evaluation mode, and tries it on an image.

    Args:
        name: One of `torchvision_names`.
        image_shape: (C, H, W) of the images it will be given.
        num_classes: Outputs of the head.
        settings: Further arguments of the model.

    Raises:
        ValueError: If the images do not have three channels or are too small for it, or a setting is not its own.
    """
    from torchvision import models

    if image_shape[0] != 3:
        size = "x".join(map(str, image_shape))
        raise ValueError(
            f"models: torchvision's {name} reads images of 3 channels, these are {size}; "
            "set latency.image_shape=[3,HEIGHT,WIDTH] and latency.num_classes"
        )
    make = partial(models.get_model, name, weights=None, num_classes=num_classes, **settings)
    return tried(name, make, image_shape=image_shape)


def tried(name: str, make: Callable[[], nn.Module], *, image_shape: tuple[int, int, int]) -> PlainModel:
    """Makes a network in evaluation mode and has it classify an image.

    Args:
        name: For messages.
        make: Makes the network.
        image_shape: (C, H, W) of the image.

    Raises:
        ValueError: If one or the other fails, with what is said of it in a line.
    """
    size = "x".join(map(str, image_shape))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # how others draw weights or look things up is not for a user of ours
            network = PlainModel(make()).eval()
        network(torch.zeros((1, *image_shape)))
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"models: {name} cannot be made for images of {size}: {reason}") from None
    return network
