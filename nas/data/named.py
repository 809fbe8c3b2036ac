"""Data sets by name: one function each, which the config names by `_target_`.

Every one divides its training images into train and reward images by `split_seed` and `held_out`, which
belong to the data and not to a run, so that all runs are compared on the same split. They share these
arguments:

- `device`: where images, or batches of streamed images, live.
- `split_seed`: drives the division, in [0, 2³²).
- `held_out`: training images kept as reward images: a fraction in (0, 1), or their number.
- `crop_padding`, `flip`: the default augmentation, see `nas.data.augmentation.Augmentation`.
- `max_train`, `max_test`: at most so many images, a stratified sample, for reduced runs; None keeps all.
- `test_fraction`: where there is no official test split, the share of all images kept for it, in (0, 1).

All raise ValueError for a value out of range and for a class with too few images to be divided.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from nas.data.augmentation import Augmentation
from nas.data.image_data import ImageData, resident_data
from nas.data.npz import KNOWN_SETS, read_known_set
from nas.data.own_images import arrays, image_folder
from nas.data.stratified_split import partition

__all__ = ["ImageData", "arrays", "check_batches", "digits", "image_folder", "synthetic", "torchvision_images"]


def check_batches(
    data: ImageData, *, split: Literal["train", "full"], where: str, batch_size: int, cutout: int
) -> None:
    """Checks that settings of a training fit the images, before any work starts.

    Args:
        data: The data set.
        split: What is trained on.
        where: The config group, for messages.
        batch_size: Images in a batch.
        cutout: Side of the square that is cut out, in pixels.

    Raises:
        ValueError: If a batch is larger than the split, or the square larger than the images.
    """
    num_images, side = len(getattr(data, split)), min(data.image_shape[1:])
    if batch_size > num_images:
        raise ValueError(f"{where}.batch_size {batch_size} is more than the {num_images} {split} images of {data.name}")
    if cutout > side:
        raise ValueError(f"{where}.cutout {cutout} is more than the {side} pixels of an image's side")


def digits(
    *,
    device: torch.device | str = "cpu",
    split_seed: int = 0,
    held_out: float = 0.1,
    test_fraction: float = 0.25,
    crop_padding: int = 1,
    flip: bool = False,
    max_train: int | None = None,
    max_test: int | None = None,
) -> ImageData:
    """The 1,797 handwritten digits that come with scikit-learn, 1×8×8: no download, a search in a minute.

    Their 17 grey levels are spread over 0 to 255. The arguments are those of all data sets.

    Returns:
        The data set.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    class_names = tuple("0123456789")
    parts = partition(
        labels,
        class_names=class_names,
        split_seed=split_seed,
        held_out=held_out,
        test_fraction=test_fraction,
        max_train=max_train,
        max_test=max_test,
    )
    return resident_data(
        parts.select(images),
        labels,
        name="digits",
        class_names=class_names,
        parts=parts,
        split_seed=split_seed,
        augmentation=Augmentation(crop_padding=crop_padding, flip=flip),
        device=device,
    )


def torchvision_images(
    *,
    name: str,
    root: str | Path,
    download: bool = False,
    device: torch.device | str = "cpu",
    split_seed: int = 0,
    held_out: float = 5000,
    crop_padding: int = 4,
    flip: bool = True,
    max_train: int | None = None,
    max_test: int | None = None,
) -> ImageData:
    """CIFAR-10, CIFAR-100 or Fashion-MNIST with their official test split.

    Read from the cache `root/<name>.npz`: arrays `images` (N, C, H, W) uint8, training images first, and
    `labels` (N,). Where it is absent it is made from torchvision's files in `root`, or from a download.

    Args:
        name: `cifar10`, `cifar100` or `fashion_mnist`.
        root: Folder of the cache.
        download: Whether torchvision may fetch what is not there.
        device: Where the images live.
        split_seed: Drives the division, in [0, 2³²).
        held_out: Training images kept as reward images: a fraction in (0, 1), or their number.
        crop_padding: Pixels a random crop may shift a training image by.
        flip: Whether training images are mirrored at random.
        max_train: At most so many train and reward images, a stratified sample; None keeps all.
        max_test: At most so many test images, likewise.

    Returns:
        The data set.

    Raises:
        FileNotFoundError: If it is not in `root` and is not, or cannot be, fetched.
        ValueError: If `name` is unknown, or the cache does not hold that data set.
    """
    if name not in KNOWN_SETS:
        raise ValueError(f"name must be one of {', '.join(KNOWN_SETS)}, got {name!r}")
    images, labels = read_known_set(name, root=Path(root).expanduser(), download=download)
    class_names = KNOWN_SETS[name].class_names
    parts = partition(
        labels,
        class_names=class_names,
        split_seed=split_seed,
        held_out=held_out,
        num_train=KNOWN_SETS[name].num_train,
        max_train=max_train,
        max_test=max_test,
    )
    return resident_data(
        parts.select(images),
        labels,
        name=name,
        class_names=class_names,
        parts=parts,
        split_seed=split_seed,
        augmentation=Augmentation(crop_padding=crop_padding, flip=flip),
        device=device,
    )


def synthetic(
    *,
    num_images: int = 2048,
    image_size: int = 32,
    channels: int = 3,
    num_classes: int = 10,
    device: torch.device | str = "cpu",
    split_seed: int = 0,
    held_out: float = 0.1,
    test_fraction: float = 0.25,
    crop_padding: int = 0,
    flip: bool = False,
    max_train: int | None = None,
    max_test: int | None = None,
) -> ImageData:
    """Images made at once: a coarse pattern for each class under noise, which a small network can learn.

    Args:
        num_images: Images in all, test images included.
        image_size: Side in pixels.
        channels: Channels, any number.
        num_classes: Classes, equally frequent.
        device: Where the images live.
        split_seed: Drives the division, the patterns and the noise, in [0, 2³²).
        held_out: Training images kept as reward images: a fraction in (0, 1), or their number.
        test_fraction: Share of all images kept for the test, in (0, 1).
        crop_padding: Pixels a random crop may shift a training image by.
        flip: Whether training images are mirrored at random.
        max_train: At most so many train and reward images, a stratified sample; None keeps all.
        max_test: At most so many test images, likewise.

    Returns:
        The data set.

    Raises:
        ValueError: If a size is below 1, or there are fewer than two classes.
    """
    if min(num_images, image_size, channels) < 1 or num_classes < 2:
        raise ValueError(
            "num_images, image_size and channels must be at least 1 and num_classes at least 2, "
            f"got {num_images}, {image_size}, {channels} and {num_classes}"
        )
    rng = np.random.RandomState(split_seed)
    labels = np.arange(num_images, dtype=np.int64) % num_classes
    coarse = rng.choice([-1.0, 1.0], size=(num_classes, channels, 4, 4)).astype(np.float32)
    spread = np.arange(image_size) * 4 // image_size
    patterns = coarse[:, :, spread][:, :, :, spread]  # (classes, C, H, W)
    images = np.empty((num_images, channels, image_size, image_size), dtype=np.uint8)
    for start in range(0, num_images, 1000):
        pattern = patterns[labels[start : start + 1000]]
        noisy = 128 + 32 * pattern + 48 * rng.standard_normal(pattern.shape).astype(np.float32)
        images[start : start + 1000] = noisy.clip(0, 255)
    class_names = tuple(str(label) for label in range(num_classes))
    parts = partition(
        labels,
        class_names=class_names,
        split_seed=split_seed,
        held_out=held_out,
        test_fraction=test_fraction,
        max_train=max_train,
        max_test=max_test,
    )
    return resident_data(
        parts.select(images),
        labels,
        name="synthetic",
        class_names=class_names,
        parts=parts,
        split_seed=split_seed,
        augmentation=Augmentation(crop_padding=crop_padding, flip=flip),
        device=device,
    )
