"""Image folders: which files belong to which class, and how a file of any kind becomes the bytes of one image."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".jfif", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
TEST_FOLDERS = ("test", "val")


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """The files of an image folder, training images first.

    Attributes:
        paths: Every image, classes and files in order of name.
        labels: (N,) class of each.
        class_names: Names of the class folders.
        num_train: Where the test images begin; None where the folder has no test split.
    """

    paths: tuple[Path, ...]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    num_train: int | None

    def without(self, bad: Mapping[int, str]) -> "ImageFiles":
        """Leaves files out, given by number with the reason.

        Raises:
            ValueError: If a class keeps no file among the training images.
        """
        kept = np.array([number for number in range(len(self.paths)) if number not in bad], dtype=np.int64)
        num_train = None if self.num_train is None else int((kept < self.num_train).sum())
        labels = self.labels[kept]
        for label in sorted(set(range(len(self.class_names))) - set(labels[:num_train].tolist())):
            number = next(number for number in bad if self.labels[number] == label)
            raise ValueError(f"class {self.class_names[label]!r} has no image that can be read: {bad[number]}")
        return ImageFiles(tuple(self.paths[number] for number in kept), labels, self.class_names, num_train)


def scan_folder(root: Path) -> ImageFiles:
    """Lists a folder of class folders, or of `train` and `test` (else `val`) that hold class folders.

    Files are told by their suffix and not opened; hidden files and folders are passed over.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds fewer than two class folders, a class folder holds no image, or a class of the test
            folder has none in the training folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no such folder: {root}")
    test_root = next((root / name for name in TEST_FOLDERS if (root / name).is_dir()), None)
    if test_root is None or not (root / "train").is_dir():
        classes = _class_folders(root)
        paths, labels = _files(root, classes=classes, class_names=classes)
        return ImageFiles(tuple(paths), np.array(labels), classes, num_train=None)
    classes, test_classes = _class_folders(root / "train"), _class_folders(test_root, at_least=1)
    for name in test_classes:
        if name not in classes:
            raise ValueError(f"class folder {test_root / name} has no counterpart in {root / 'train'}")
    paths, labels = _files(root / "train", classes=classes, class_names=classes)
    test_paths, test_labels = _files(test_root, classes=test_classes, class_names=classes)
    return ImageFiles((*paths, *test_paths), np.array(labels + test_labels), classes, num_train=len(paths))


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


def _class_folders(root: Path, *, at_least: int = 2) -> tuple[str, ...]:
    """Names of the class folders in order."""
    names = tuple(sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if len(names) < at_least:
        raise ValueError(f"{root} must hold at least {at_least} class folders, got {len(names)}")
    return names


def _files(root: Path, *, classes: tuple[str, ...], class_names: tuple[str, ...]) -> tuple[list[Path], list[int]]:
    """Images below the class folders of `root`, and their labels as numbers in `class_names`."""
    paths: list[Path] = []
    labels: list[int] = []
    for name in classes:
        found = images_below(root / name)
        if not found:
            raise ValueError(f"class folder {root / name} holds no image ({', '.join(sorted(SUFFIXES))})")
        paths += found
        labels += [class_names.index(name)] * len(found)
    return paths, labels


def images_below(root: Path) -> list[Path]:
    """Returns the files below a folder that are images by their suffix, in order of name, hidden ones passed over."""
    found: list[Path] = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        found += [Path(folder, file) for file in files if not file.startswith(".")]
    return sorted(file for file in found if file.suffix.lower() in SUFFIXES)
