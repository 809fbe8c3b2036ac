"""Normalisation, random augmentation and CutMix of a whole batch at once, on the device that holds it.

A loader that augments image by image costs more than a small network trains; here a batch of uint8 images becomes
a batch of normalised floats in a dozen tensor operations, each image with draws of its own and without the host
ever waiting for the device. The work runs over rows of `W·C` bytes: with only three channels, any operation whose
innermost dimension is the channels cannot be vectorised by the CPU.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import NonNegativeInt
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn import functional as F

from nas.compute.distributed.shares import Part
from nas.settings import STRICT


@dataclass(frozen=True, slots=True, config=STRICT)
class Augmentation:
    """What is done at random to a training image.

    Attributes:
        crop_padding: Pixels of zeros around the image before a crop of its own size; 0 crops nothing.
        flip: Whether an image is mirrored left to right with probability one half.
        cutout: Side in pixels of the square set to zero; 0 cuts nothing.

    Raises:
        ValueError: If a number of pixels is negative or not whole, or `flip` is not a bool.
    """

    crop_padding: NonNegativeInt = 0
    flip: bool = False
    cutout: NonNegativeInt = 0


class Draws(NamedTuple):
    """The random choices for a batch, one of each per image, all of shape (N,).

    Attributes:
        down: Rows the crop lies below the image's own place, in [-crop_padding, crop_padding].
        right: Columns it lies to the right, in the same range.
        flipped: Whether the crop is mirrored, bool.
        cut_row: Row of the centre of the cut square, in [0, H).
        cut_column: Column of the centre of the cut square, in [0, W).
    """

    down: Tensor
    right: Tensor
    flipped: Tensor
    cut_row: Tensor
    cut_column: Tensor


def draw(num_images: int, *, height: int, width: int, augmentation: Augmentation, generator: torch.Generator) -> Draws:
    """Draws crops, flips and cuts for a batch, uniformly and independently for each image.

    Every kind is drawn whether it is switched on or not, so that switching one on leaves the others' draws alone.

    Args:
        num_images: The images N of the batch.
        height: Rows H of an image.
        width: Columns W of an image.
        augmentation: The range of the crops.
        generator: Source of the draws, on the device they are made on.
    """
    shape, device, padding = (num_images,), generator.device, augmentation.crop_padding
    return Draws(
        down=torch.randint(-padding, padding + 1, shape, generator=generator, device=device),
        right=torch.randint(-padding, padding + 1, shape, generator=generator, device=device),
        flipped=torch.rand(shape, generator=generator, device=device) < 0.5,
        cut_row=torch.randint(height, shape, generator=generator, device=device),
        cut_column=torch.randint(width, shape, generator=generator, device=device),
    )


def channel_statistics(
    images: npt.NDArray[np.uint8], *, indices: npt.NDArray[np.int64]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, by sums of integers and so alike on every machine.

    Args:
        images: (N, C, H, W).
        indices: (M,) images to take.

    Returns:
        Means and standard deviations, C each, in units of the full scale 255. The standard deviation of a
        constant channel is given as 1, for it is divided by.
    """
    sums = squares = np.zeros(images.shape[1], dtype=np.int64)
    for start in range(0, len(indices), 1000):
        chunk = images[indices[start : start + 1000]]
        sums = sums + chunk.sum(axis=(0, 2, 3), dtype=np.int64)
        squares = squares + np.square(chunk, dtype=np.uint32).sum(axis=(0, 2, 3), dtype=np.int64)
    count = len(indices) * images.shape[2] * images.shape[3]
    means = sums / count
    deviations = np.sqrt([max(0.0, q / count - m * m) for q, m in zip(squares.tolist(), means, strict=True)])
    scales = np.where(deviations < 1e-3, 255, deviations)
    return tuple((means / 255).tolist()), tuple((scales / 255).tolist())


def normalize(images: Tensor, *, mean: Tensor, std: Tensor) -> Tensor:
    """Turns bytes into floats of about zero mean and unit variance: `(images / 255 - mean) / std`.

    Images, results and errors are as in `augment`.
    """
    num_images, channels, height, width = _checked_shape(images)
    rows = images.permute(0, 2, 3, 1).reshape(num_images, height, width * channels)
    return _as_images(_normalized_rows(rows, mean=mean, std=std), channels=channels)


def augment(
    images: Tensor,
    *,
    mean: Tensor,
    std: Tensor,
    augmentation: Augmentation,
    generator: torch.Generator,
    part: Part | None = None,
) -> Tensor:
    """Crops, flips, normalises and cuts a batch, each image by draws of its own: (N, C, H, W) float32, channels-last.

    What lies outside the image and what is cut out are zero *after* normalisation, the mean colour that is: ENAS
    (arXiv:1802.03268) also pads normalised images. Cutout follows DeVries and Taylor (arXiv:1708.04552, §3.2):
    the centre is uniform over the image, so that the square may reach over the border.

    Args:
        images: (N, C, H, W) uint8 on any device; fastest when stored channels-last.
        mean: (C,) float on the same device, in units of the full scale 255.
        std: (C,) float on the same device, positive.
        augmentation: What to do.
        generator: Source of all draws, on the images' device.
        part: Which images of a batch these are, if not all: what is drawn for the whole batch is drawn all the same,
            and each image gets what it would have got among all of them.

    Raises:
        ValueError: If `images` is not a uint8 tensor of four dimensions, or `crop_padding` reaches the side of an
            image (a crop could miss it), or `cutout` exceeds it (no pixel of an image might be left).
    """
    num_images, channels, height, width = _checked_shape(images)
    side = min(height, width)
    if augmentation.crop_padding >= side:
        raise ValueError(f"crop_padding must be below the image side {side}, got {augmentation.crop_padding}")
    if augmentation.cutout > side:
        raise ValueError(f"cutout must be at most the image side {side}, got {augmentation.cutout}")
    drawn = num_images if part is None else part.num_images
    draws = draw(drawn, height=height, width=width, augmentation=augmentation, generator=generator)
    if part is not None:
        draws = Draws(*(values[part.rows] for values in draws))
    y, x = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    rows = y + draws.down[:, None]  # (N, H): the row each output row is read from
    columns = torch.where(draws.flipped[:, None], x.flip(0), x) if augmentation.flip else x.expand(num_images, -1)
    columns = columns + draws.right[:, None]  # (N, W)
    pixels = _gathered_rows(images, rows=rows, columns=columns)  # (N, H, W·C) uint8
    result = _normalized_rows(pixels, mean=mean, std=std)  # (N, H, W·C)
    if augmentation.crop_padding:
        kept_columns = _inside(columns, 0, width).repeat_interleave(channels, dim=1)
        result.mul_(_inside(rows, 0, height)[:, :, None]).mul_(kept_columns[:, None, :])
    if augmentation.cutout:
        top, left = (centre[:, None] - augmentation.cutout // 2 for centre in (draws.cut_row, draws.cut_column))
        kept_rows = 1 - _inside(y, top, top + augmentation.cutout)  # (N, H)
        kept_columns = (1 - _inside(x, left, left + augmentation.cutout)).repeat_interleave(channels, dim=1)  # (N, W·C)
        result.mul_(torch.maximum(kept_rows[:, :, None], kept_columns[:, None, :]))
    return _as_images(result, channels=channels)


def _checked_shape(images: Tensor) -> tuple[int, int, int, int]:
    """The four sizes of a batch of uint8 images."""
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(f"images must be uint8 (N, C, H, W), got {images.dtype} {tuple(images.shape)}")
    return images.shape[0], images.shape[1], images.shape[2], images.shape[3]


def _gathered_rows(images: Tensor, *, rows: Tensor, columns: Tensor) -> Tensor:
    """Reads row `rows[n, i]` and column `columns[n, j]` of each image, clamped to it: (N, H, W·C) uint8.

    Rows first, as whole runs of bytes, then columns by one small index that all rows of an image share.
    """
    num_images, channels, height, width = images.shape
    first_row = torch.arange(num_images, device=images.device)[:, None] * height
    flat = images.permute(0, 2, 3, 1).reshape(num_images * height, width * channels)
    pixels = flat.index_select(0, (rows.clamp(0, height - 1) + first_row).flatten())
    offsets = torch.arange(channels, device=images.device)
    index = (columns.clamp(0, width - 1)[:, :, None] * channels + offsets).view(num_images, 1, width * channels)
    return pixels.view(num_images, height, width * channels).gather(2, index.expand(-1, height, -1))


def _normalized_rows(rows: Tensor, *, mean: Tensor, std: Tensor) -> Tensor:
    """Normalises (N, H, W·C) bytes whose channels lie innermost."""
    width = rows.shape[2] // mean.shape[0]
    return rows.float().mul_((1 / (255 * std)).repeat(width)).add_((-mean / std).repeat(width))


def _as_images(rows: Tensor, *, channels: int) -> Tensor:
    """Views (N, H, W·C) as channels-last images (N, C, H, W)."""
    return rows.view(*rows.shape[:2], rows.shape[2] // channels, channels).permute(0, 3, 1, 2)


def _inside(position: Tensor, start: Tensor | int, stop: Tensor | int) -> Tensor:
    """1.0 where `start <= position < stop`, else 0.0: floats, for a product with bools is several times slower."""
    return ((position >= start) & (position < stop)).float()


def cut_and_mixed(
    batches: Iterable[tuple[Tensor, Tensor]], *, share: float, num_classes: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Applies `cutmix` to batches, and yields images and the probabilities of the classes, (N, num_classes).

    Args:
        batches: Batches of images (N, C, H, W) and labels (N,), in random order.
        share: Share of the images that are mixed, in [0, 1].
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
        share: Share of the images that are mixed, in [0, 1].
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
