"""A data set ready for a search: its splits, their normalisation, and a record of what was held out."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from nas.data.augmentation import Augmentation, channel_statistics
from nas.data.decoding import Decoders
from nas.data.npz import averaged
from nas.data.splits import ResidentSplit, Split, StreamingSplit
from nas.data.stratified_split import Indices, OwnSplitOptions, Partition, SplitOptions, partition

MAX_LISTED_INDICES = 100_000
STATISTICS_SAMPLE = 1024  # images of a streamed training split that mean and standard deviation are taken from


class ImageKind(NamedTuple):
    """What a network is built for.

    Attributes:
        shape: (C, H, W) of an image.
        num_classes: Number of classes.
    """

    shape: tuple[int, int, int]
    num_classes: int


@dataclass(frozen=True, slots=True)
class ImageData:
    """Images with labels, divided for a search.

    Attributes:
        name: What the data set is called.
        train: Images that train the weights during the search.
        reward: Training images held out from them, on which genotypes are scored.
        test: Images that nothing sees before the final retrain is measured.
        full: Train and reward images together: what a derived model is retrained on.
        image_shape: (C, H, W).
        num_classes: Number of classes.
        class_names: Name of each label.
        mean: Mean of each channel over the train images, in units of the full scale 255.
        std: Standard deviation of each channel, in the same units.
        augmentation: What suits the training images by default; no cutout.
        record: JSON-ready: `name`, `split_seed`, `num_train`, `num_reward`, `num_test`, `image_shape`, `class_names`,
            `mean`, `std`; as `reward_indices` the reward images by their number in the stored order (a digest of these
            numbers, `reward_indices_sha256`, where there are more than 100,000); as `data_sha256` a digest of the
            data in use: of all pixels (N, C, H, W), then all labels as int64; and as `averaged_from` the sides of
            images that were averaged down.
    """

    name: str
    train: Split
    reward: Split
    test: Split
    full: Split
    image_shape: tuple[int, int, int]
    num_classes: int
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation
    record: dict[str, Any]

    @property
    def kind(self) -> ImageKind:
        """What a network for these images is built for."""
        return ImageKind(self.image_shape, self.num_classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """Facts of a data set that are settled before its images are there.

    Attributes:
        name: What the data set is called.
        class_names: Name of each label.
        parts: How it is divided.
        split_seed: What `parts` was drawn from.
        augmentation: What suits the training images by default.
        device: Where images, or batches of streamed images, live.
    """

    name: str
    class_names: tuple[str, ...]
    parts: Partition
    split_seed: int
    augmentation: Augmentation
    device: torch.device | str


def divided(
    labels: Indices,
    *,
    name: str,
    class_names: tuple[str, ...],
    options: Mapping[str, Any],
    num_train: int | None = None,
) -> Division:
    """Divides a data set.

    Args:
        labels: (N,) class of every image.
        name: What the data set is called.
        class_names: Name of each label.
        options: `SplitOptions`.
        num_train: The number of images before the first test image, where there is a test split.

    Raises:
        ValueError: If an option is out of range, or a class has too few images to be divided.
    """
    if unknown := set(options) - set(OwnSplitOptions.__annotations__) - set(SplitOptions.__annotations__):
        raise TypeError(f"a data set has no argument {', '.join(sorted(unknown))}")
    seed = options.get("split_seed", 0)
    parts = partition(labels, class_names=class_names, num_train=num_train, **options)
    return Division(
        name=name,
        class_names=class_names,
        parts=parts,
        split_seed=seed,
        augmentation=Augmentation(crop_padding=options.get("crop_padding", 0), flip=options.get("flip", False)),
        device=options.get("device", "cpu"),
    )


def divided_images(
    images: npt.NDArray[np.uint8], labels: Indices, *, image_size: int | None = None, **described: Any
) -> ImageData:
    """Divides all images (N, C, H, W) of a data set, described as in `divided`, and puts those in use on the device."""
    division = divided(labels, **described)
    return resident_data(division.parts.select(images), labels, division, image_size=image_size)


def resident_data(
    images: npt.NDArray[np.uint8], labels: Indices, division: Division, *, image_size: int | None = None
) -> ImageData:
    """Puts images on the device, once for all splits.

    Args:
        images: (M, C, H, W), the images `division.parts.used` in that order.
        labels: (N,) class of every image of the data set, used or not.
        division: Division of the data set.
        image_size: Side to which images are averaged down first, see `nas.data.npz.averaged`; the record then has
            `averaged_from`, the sides before. None leaves them as they are.

    Raises:
        ValueError: If `image_size` does not divide the sides of the images.
    """
    parts, used, smaller = division.parts, division.parts.used, dict[str, Any]()
    if image_size is not None:
        smaller["averaged_from"] = list(images.shape[2:])
        images = averaged(images, side=image_size)
    mean, std = channel_statistics(images, indices=np.searchsorted(used, parts.train))
    digest = hashlib.sha256(np.ascontiguousarray(images).data)
    digest.update(labels[used].astype("<i8").data)
    stored = torch.from_numpy(images).to(division.device).contiguous(memory_format=torch.channels_last)
    stored_labels = torch.from_numpy(labels[used]).to(division.device)

    def split(indices: Indices) -> Split:
        positions = torch.from_numpy(np.searchsorted(used, indices))
        return ResidentSplit(stored, stored_labels, mean=torch.tensor(mean), std=torch.tensor(std), indices=positions)

    shape = (images.shape[1], images.shape[2], images.shape[3])
    return _assembled(split, division, shape, mean=mean, std=std, data_sha256=digest.hexdigest(), **smaller)


def streaming_data(decoders: Decoders, root: Path, division: Division) -> ImageData:
    """Leaves images in their files.

    Mean and standard deviation come from a sample of the train images drawn from `split_seed`. The record's digest,
    `files_sha256`, covers names, sizes and classes of the files, not their content: that would all have to be read.

    Args:
        decoders: Decoders of the files.
        root: Folder that holds them.
        division: Division of the data set.

    Raises:
        ValueError: If a file of the sample cannot be decoded.
    """
    sample = np.random.RandomState(division.split_seed).permutation(division.parts.train)[:STATISTICS_SAMPLE]
    source = decoders.source
    mean, std = channel_statistics(decoders.decode_all(sample), indices=np.arange(len(sample)))
    digest = hashlib.sha256()
    for i in division.parts.used:
        path = source.paths[i]
        entry = f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0{source.labels[i]}\0"
        digest.update(entry.encode("utf-8", "surrogateescape"))

    def split(indices: Indices) -> Split:
        return StreamingSplit(
            decoders,
            mean=torch.tensor(mean),
            std=torch.tensor(std),
            indices=torch.from_numpy(indices),
            device=division.device,
        )

    shape = (source.channels, source.image_size, source.image_size)
    return _assembled(split, division, shape, mean=mean, std=std, files_sha256=digest.hexdigest())


def _assembled(
    split: Callable[[Indices], Split],
    division: Division,
    image_shape: tuple[int, int, int],
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    **further: Any,
) -> ImageData:
    """Makes the four splits and completes the record."""
    parts = division.parts
    reward: list[int] | str = parts.reward.tolist()
    if len(parts.reward) > MAX_LISTED_INDICES:
        reward = hashlib.sha256(parts.reward.astype("<i8").data).hexdigest()
    return ImageData(
        name=division.name,
        train=split(parts.train),
        reward=split(parts.reward),
        test=split(parts.test),
        full=split(parts.full),
        image_shape=image_shape,
        num_classes=len(division.class_names),
        class_names=division.class_names,
        mean=mean,
        std=std,
        augmentation=division.augmentation,
        record={
            "name": division.name,
            "num_train": len(parts.train),
            "num_reward": len(parts.reward),
            "num_test": len(parts.test),
            "image_shape": list(image_shape),
            "class_names": list(division.class_names),
            "mean": list(mean),
            "std": list(std),
            "reward_indices" if isinstance(reward, list) else "reward_indices_sha256": reward,
            "split_seed": division.split_seed,
            **further,
        },
    )
