"""CutMix on a whole batch at once, on its device: part of an image is another's, and so is part of its label."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from nas.data.splits import Batches


def cut_and_mixed(batches: Batches, *, share: float, num_classes: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Applies `cutmix` to batches, and yields images and the probabilities of the classes, (N, num_classes).

    Args:
        batches: Of images (N, C, H, W) and labels (N,), in random order.
        share: Of the images that are mixed, in [0, 1].
        num_classes: Number of classes.
        seed: Drives all draws, which are made on the images' device.
    """
    generator: torch.Generator | None = None
    for images, labels in batches:
        if generator is None:
            generator = torch.Generator(images.device).manual_seed(seed)
        yield cutmix(images, F.one_hot(labels, num_classes).float(), share=share, generator=generator)


def cutmix(images: Tensor, targets: Tensor, *, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Pastes a rectangle of the image before into each image (arXiv:1905.04899, §3.1; α = 1).

    A rectangle has 1 − λ of the area, λ uniform, at a uniform place, and may reach over the border; λ of the labels is
    the share that is left of the image then. The paper draws one rectangle a batch and mixes whole batches or none:
    here every image has draws of its own.

    Args:
        images: (N, C, H, W), in random order, so that the image before is any other.
        targets: (N, K) probabilities of the classes.
        share: Of the images that are mixed, in [0, 1].
        generator: Source of all draws, on the images' device.
    """
    num_images, _, height, width = images.shape
    draws = torch.rand((4, num_images), generator=generator, device=images.device)
    mixed, area, down, right = draws.unbind()  # (N,) each
    side = torch.where(mixed < share, area, 0.0).sqrt()
    rows = _spanned(down, side, height)  # (N, H) bool
    columns = _spanned(right, side, width)  # (N, W) bool
    cut = rows[:, :, None] & columns[:, None, :]  # (N, H, W)
    before = torch.cat([images[-1:], images[:-1]])  # `roll` loses channels-last on a CUDA device
    pasted = torch.where(cut[:, None], before, images)
    kept = 1 - cut.float().mean(dim=(1, 2))[:, None]  # (N, 1)
    return pasted, kept * targets + (1 - kept) * targets.roll(1, dims=0)


def _spanned(centre: Tensor, side: Tensor, length: int) -> Tensor:
    """Which pixels lie within `side` / 2 of `centre`, both (N,) in shares of the length: (N, length) bool."""
    middles = (torch.arange(length, device=centre.device) + 0.5) / length
    return (middles - centre[:, None]).abs() < side[:, None] / 2
