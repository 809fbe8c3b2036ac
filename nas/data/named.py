"""Data sets by name: one function each, which the config names by `_target_`.

Every one divides its training images into train and reward images by `split_seed` and `held_out`, which
belong to the data and not to a run, so that all runs are compared on the same split. The arguments that they share are
`nas.data.stratified_split.SplitOptions`. All raise ValueError for a value out of range and for a class with too few
images to be divided.
"""

from pathlib import Path
from typing import Literal, Unpack

import numpy as np

from nas.data.image_data import ImageData, divided_images
from nas.data.npz import KNOWN_SETS, read_known_set
from nas.data.own_images import arrays, image_folder
from nas.data.stratified_split import OwnSplitOptions, SplitOptions

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


def digits(**options: Unpack[OwnSplitOptions]) -> ImageData:
    """The 1,797 handwritten digits that come with scikit-learn, 1×8×8: no download, a search in a minute.

    Their 17 grey levels are spread over 0 to 255. Training images are cropped after a padding of 1 by default.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    given = {"crop_padding": 1, **options}
    return divided_images(images, labels, name="digits", class_names=tuple("0123456789"), options=given)


def torchvision_images(
    *,
    name: str,
    root: str | Path,
    download: bool = False,
    image_size: int | None = None,
    **options: Unpack[SplitOptions],
) -> ImageData:
    """CIFAR-10, CIFAR-100 or Fashion-MNIST with their official test split.

    Read from the cache `root/<name>.npz`: arrays `images` (N, C, H, W) uint8, training images first, and
    `labels` (N,). Where it is absent it is made from torchvision's files in `root`, or from a download.

    Args:
        name: `cifar10`, `cifar100` or `fashion_mnist`.
        root: Folder of the cache.
        download: Whether torchvision may fetch what is not there.
        image_size: Side in pixels to which images are averaged down; it must divide theirs. None leaves them.
        options: The arguments that all data sets share; by default 5,000 images are held out, cropped after a padding
            of 4 and mirrored.

    Raises:
        FileNotFoundError: If it is not in `root` and is not, or cannot be, fetched.
        ValueError: If `name` is unknown, the cache does not hold that data set, or `image_size` does not divide.
    """
    if name not in KNOWN_SETS:
        raise ValueError(f"name must be one of {', '.join(KNOWN_SETS)}, got {name!r}")
    images, labels = read_known_set(name, root=Path(root).expanduser(), download=download)
    return divided_images(
        images,
        labels,
        name=name,
        class_names=KNOWN_SETS[name].class_names,
        num_train=KNOWN_SETS[name].num_train,
        image_size=image_size,
        options={"held_out": 5000, "crop_padding": 4, "flip": True, **options},
    )


def synthetic(
    *,
    num_images: int = 2048,
    image_size: int = 32,
    channels: int = 3,
    num_classes: int = 10,
    **options: Unpack[OwnSplitOptions],
) -> ImageData:
    """Images made at once: a coarse pattern for each class under noise, which a small network can learn.

    Args:
        num_images: Images in all, test images included.
        image_size: Side in pixels.
        channels: Channels, any number.
        num_classes: Classes, equally frequent.
        options: The arguments that all data sets share; `split_seed` also drives the patterns and the noise.

    Raises:
        ValueError: If a size is below 1, or there are fewer than two classes.
    """
    if min(num_images, image_size, channels) < 1 or num_classes < 2:
        raise ValueError(
            "num_images, image_size and channels must be at least 1 and num_classes at least 2, "
            f"got {num_images}, {image_size}, {channels} and {num_classes}"
        )
    rng = np.random.RandomState(options.get("split_seed", 0))
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
    return divided_images(images, labels, name="synthetic", class_names=class_names, options=options)
