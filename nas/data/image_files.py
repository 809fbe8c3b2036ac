"""Image files: how a file of any kind becomes the bytes of one image, and which part of a picture that shows.

In training as ImageNet's, a random part of a picture becomes an image, otherwise its middle. Pictures of many sizes are
cut and scaled in one go, by the process that decodes them. The choice is a function of random numbers that it is given,
so that it does not depend on which process that is.
"""

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".jfif", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
ATTEMPTS = 10  # at a part that lies within the picture, before the largest of the nearest shape is taken


def images_below(root: Path) -> list[Path]:
    """Returns the files below a folder that are images by their suffix, in order of name, hidden ones passed over."""
    found: list[Path] = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        found += [Path(folder, file) for file in files if not file.startswith(".")]
    return sorted(file for file in found if file.suffix.lower() in SUFFIXES)


def decode_image(path: Path, *, image_size: int, channels: int) -> npt.NDArray[np.uint8]:
    """Decodes one file, cuts out its central square and scales it: (image_size, image_size, channels) uint8.

    16-bit grey is reduced to its upper 8 bits; palettes are resolved; transparency is dropped, as torchvision does; of
    an animation the first frame is taken. Large JPEGs are decoded at a fraction of their size, not below twice
    `image_size`.

    Args:
        path: The file.
        image_size: Side of the result in pixels.
        channels: 3 for RGB, 1 for grey.

    Raises:
        ValueError: If the file cannot be decoded, or holds numbers that are not pixels of 8 or 16 bits.
    """
    with opened_image(path) as image:
        image.draft(None, (2 * image_size, 2 * image_size))
        plain = eight_bits(image).convert("RGB" if channels == 3 else "L")
        square = ImageOps.fit(plain, (image_size, image_size), method=Image.Resampling.BILINEAR)
    return np.array(square).reshape(image_size, image_size, channels)


@contextlib.contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """Opens a file, which is decoded within the context.

    Raises:
        ValueError: If anything goes wrong there; the message names the file.
    """
    try:
        with Image.open(path) as image:
            yield image
    except Exception as error:  # a broken file can make a decoder raise almost anything
        raise ValueError(f"{path}: cannot be read as an image: {error}") from error


def eight_bits(image: Image.Image) -> Image.Image:
    """Makes an image of 8 bits a channel, without palette."""
    if image.mode in ("P", "PA"):
        return image.convert("RGBA")
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    pixels = np.asarray(image).astype(np.int64)
    if pixels.min() < 0 or pixels.max() >= 1 << 16:
        raise ValueError(f"its pixels lie in [{pixels.min()}, {pixels.max()}], not in 16 bits")
    return Image.fromarray((pixels >> 8).astype(np.uint8))


class Box(NamedTuple):
    """A part of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Framing:
    """How parts are chosen.

    Attributes:
        scale: Least and greatest share of the picture's area that a random part covers, in (0, 1]; None takes the
            middle always.
        ratio: Least and greatest width / height of a random part.
        margin: Side of the middle part, as a share of the picture's shorter side, in (0, 1].

    Raises:
        ValueError: If a number is out of its range.
    """

    scale: tuple[float, float] | None = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    margin: float = 224 / 256

    def __post_init__(self) -> None:
        if self.scale is not None and not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"crop_scale must be two rising shares in (0, 1], got {list(self.scale)}")
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise ValueError(f"crop_ratio must be two rising numbers above 0, got {list(self.ratio)}")
        if not 0 < self.margin <= 1:
            raise ValueError(f"margin must lie in (0, 1], got {self.margin}")

    def draws(self, num_images: int, *, generator: torch.Generator) -> Tensor:
        """Returns the random numbers that parts are chosen by, (num_images, ATTEMPTS, 4) in [0, 1)."""
        return torch.rand(num_images, ATTEMPTS, 4, dtype=torch.float64, generator=generator)

    def random_part(self, draws: Sequence[Sequence[float]], *, width: int, height: int) -> Box:
        """Chooses a part of random area and shape at a random place.

        The area is uniform, the logarithm of the shape too (Szegedy et al., arXiv:1409.4842, §6, in the reading of
        torchvision's RandomResizedCrop: what does not lie within the picture is drawn again, ten times at most).

        Args:
            draws: (ATTEMPTS, 4) in [0, 1): area, shape, column and row of each attempt.
            width: Width of the picture, in pixels.
            height: Height of the picture, in pixels.

        Raises:
            ValueError: If parts are not random.
        """
        if self.scale is None:
            raise ValueError("a random part needs a scale, got None")
        (least, most), (narrow, wide) = self.scale, (math.log(ratio) for ratio in self.ratio)
        for area, shape, column, row in draws:
            pixels = width * height * (least + (most - least) * area)
            ratio = math.exp(narrow + (wide - narrow) * shape)
            w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
            if 0 < w <= width and 0 < h <= height:
                return Box(int(column * (width - w + 1)), int(row * (height - h + 1)), w, h)
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        w, h = min(width, round(height * ratio)), min(height, round(width / ratio))
        return _middle(max(w, 1), max(h, 1), width=width, height=height)

    def middle_part(self, *, width: int, height: int) -> Box:
        """Returns the square in the middle: what scaling the shorter side and cutting out the centre leaves."""
        side = max(1, round(min(width, height) * self.margin))
        return _middle(side, side, width=width, height=height)


def decode_part(
    path: Path, *, image_size: int, channels: int, framing: Framing, draws: Sequence[Sequence[float]] | None = None
) -> Tensor:
    """Decodes one file, cuts a part out and scales it to (C, H, W) uint8, its channels innermost in memory.

    Large JPEGs are decoded at a fraction of their size, at which the part still has `image_size` pixels a side.

    Args:
        path: The file, of any kind that `nas.data.image_files.decode_image` takes.
        image_size: Side of the result in pixels.
        channels: 3 for RGB, 1 for grey.
        framing: Which part.
        draws: Random numbers of the part, see `Framing.random_part`; None takes the middle.

    Raises:
        ValueError: If the file cannot be decoded.
    """
    with opened_image(path) as image:
        width, height = image.size
        if draws is None:
            box = framing.middle_part(width=width, height=height)
        else:
            box = framing.random_part(draws, width=width, height=height)
        image.draft(None, (-(-width * image_size // box.width), -(-height * image_size // box.height)))
        part = _cut(image, box, shrunk=width / image.size[0])
        mode = "RGB" if channels == 3 else "L"
        pixels = np.array(part if part.mode == mode else eight_bits(part).convert(mode))
    stored = torch.from_numpy(pixels.reshape(1, *pixels.shape[:2], channels)).permute(0, 3, 1, 2)
    # torch scales bytes with vector instructions, in half the time of Pillow.
    scaled = F.interpolate(stored, (image_size, image_size), mode="bilinear", antialias=True)
    return scaled[0]


def _middle(part_width: int, part_height: int, *, width: int, height: int) -> Box:
    return Box((width - part_width) // 2, (height - part_height) // 2, part_width, part_height)


def _cut(image: Image.Image, box: Box, *, shrunk: float) -> Image.Image:
    """Cuts a part out of an image that was decoded at 1 / `shrunk` of its size."""
    left, top = int(box.left / shrunk), int(box.top / shrunk)
    right = max(left + 1, min(round((box.left + box.width) / shrunk), image.size[0]))
    bottom = max(top + 1, min(round((box.top + box.height) / shrunk), image.size[1]))
    return image.crop((left, top, right, bottom))
