"""Division of a data set: images that train the weights, that reward the controller, and that are kept for the test.

Every choice is stratified by class and drawn from a seed of its own, not the run's: all runs of a
comparison see the same split. The draws come from numpy's frozen `RandomState` stream, which no later
version may change.
"""

from dataclasses import dataclass
from typing import TypedDict, Unpack

import numpy as np
import numpy.typing as npt
import torch

Indices = npt.NDArray[np.int64]


class SplitOptions(TypedDict, total=False):
    """Arguments that all data sets have.

    Attributes:
        device: Where images, or batches of streamed images, live; the CPU by default.
        split_seed: Drives the division, in [0, 2³²); 0 by default.
        held_out: Training images kept as reward images: a fraction in (0, 1), or their number; 0.1 by default.
        crop_padding: Pixels that a random crop may shift a training image by; 0 by default.
        flip: Whether training images are mirrored at random; not by default.
        max_train: At most so many train and reward images, a stratified sample; None, the default, keeps all.
        max_test: At most so many test images; None, the default, keeps all.
    """

    device: torch.device | str
    split_seed: int
    held_out: float
    crop_padding: int
    flip: bool
    max_train: int | None
    max_test: int | None


class OwnSplitOptions(SplitOptions, total=False):
    """The same for data sets that may lack a test split of their own.

    Attributes:
        test_fraction: Share of all images kept for the test where there is no such split, in (0, 1); 0.25 by default.
    """

    test_fraction: float


@dataclass(frozen=True, slots=True)
class Partition:
    """Three disjoint sets of images, as ascending numbers (M,) in the order the data set is stored in.

    Attributes:
        train: Images that train the shared weights.
        reward: Images held out from them, on which genotypes are scored.
        test: Images that no search touches.
    """

    train: Indices
    reward: Indices
    test: Indices

    @property
    def full(self) -> Indices:
        """Train and reward images together, ascending: what a derived model is retrained on."""
        return np.sort(np.concatenate([self.train, self.reward]))

    @property
    def used(self) -> Indices:
        """All images of any of the three, ascending."""
        return np.sort(np.concatenate([self.train, self.reward, self.test]))

    def select(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Returns the images in use out of all (N, ...): a copy, or the array itself where all are in use."""
        return images if len(self.used) == len(images) else images[self.used]


def partition(
    labels: Indices,
    *,
    class_names: tuple[str, ...],
    num_train: int | None = None,
    **options: Unpack[OwnSplitOptions],
) -> Partition:
    """Divides a data set.

    Args:
        labels: (N,) class of each image, in [0, len(class_names)).
        class_names: Names of the classes, for messages.
        num_train: Where the test images begin, for a data set with a test split of its own.
        options: The arguments that all data sets share.

    Raises:
        ValueError: If a fraction or a number is out of range, or a class has too few images to be divided.
    """
    split_seed = options.get("split_seed", 0)
    if not 0 <= split_seed < 2**32:
        raise ValueError(f"split_seed must lie in [0, 2**32), got {split_seed}")
    everything = np.arange(len(labels))
    if num_train is not None:
        pool, test = everything[:num_train], everything[num_train:]
    else:
        count = held_out_count(options.get("test_fraction", 0.25), num_images=len(labels), name="test_fraction")
        test = _stratified(everything, labels, count, class_names=class_names, seed=split_seed, what="test")
        pool = np.setdiff1d(everything, test)
    pool = _at_most(pool, labels, options.get("max_train"), seed=split_seed, name="max_train")
    test = _at_most(test, labels, options.get("max_test"), seed=split_seed, name="max_test")
    count = held_out_count(options.get("held_out", 0.1), num_images=len(pool), name="held_out")
    reward = _stratified(pool, labels, count, class_names=class_names, seed=split_seed, what="reward")
    return Partition(train=np.setdiff1d(pool, reward), reward=reward, test=test)


def held_out_count(held_out: float, *, num_images: int, name: str) -> int:
    """Turns a fraction or a number of images into a number of images, in [1, num_images).

    Args:
        held_out: A float in (0, 1) is a fraction, an int a number.
        num_images: Images there are to hold out from.
        name: What the user calls `held_out`, for messages.

    Raises:
        ValueError: If it is neither, or holds out no image or all of them.
    """
    if type(held_out) is not int and not (isinstance(held_out, float) and 0 < held_out < 1):
        raise ValueError(f"{name} must be a fraction in (0, 1) or a whole number of images, got {held_out!r}")
    count = round(held_out * num_images) if isinstance(held_out, float) else held_out
    if not 0 < count < num_images:
        raise ValueError(f"{name} {held_out} takes {count} of {num_images} images, must take 1 to {num_images - 1}")
    return count


def stratified_choice(labels: Indices, count: int, *, seed: int, spare: int = 0) -> Indices:
    """Chooses images at random, from every class in proportion to its size: (count,) ascending positions in `labels`.

    Shares are rounded by largest remainders. For one seed the images of a class are taken in one fixed order,
    so that a larger choice holds a smaller one but for this rounding.

    Args:
        labels: (N,) class of each image, from 0.
        count: Images to choose, at most N.
        seed: Drives the choice.
        spare: Images of each class that must not be chosen.

    Raises:
        ValueError: If the classes do not hold `count` images apart from the spare ones.
    """
    sizes = np.bincount(labels)
    limits = np.maximum(sizes - spare, 0)
    if count > limits.sum():
        raise ValueError(f"cannot choose {count} of {len(labels)} images and leave {spare} of each class")
    taken = np.minimum(count * sizes // len(labels), limits)
    while taken.sum() < count:
        remainders = np.where(taken < limits, count * sizes - taken * len(labels), np.iinfo(np.int64).min)
        taken[np.argmax(remainders)] += 1
    order = np.random.RandomState(seed).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # within the class
    return np.sort(by_class[rank < taken[labels[by_class]]])


def _stratified(
    pool: Indices, labels: Indices, count: int, *, class_names: tuple[str, ...], seed: int, what: str
) -> Indices:
    """Takes `count` images of the pool and leaves at least one of every class."""
    sizes = np.bincount(labels[pool], minlength=len(class_names))
    if sizes.min() < 2:
        name, size = class_names[sizes.argmin()], sizes.min()
        raise ValueError(
            f"class {name!r} has {size} of the {len(pool)} images that {what} images are chosen from; "
            "a stratified split needs at least 2 of each class"
        )
    return pool[stratified_choice(labels[pool], count, seed=seed, spare=1)]


def _at_most(pool: Indices, labels: Indices, limit: int | None, *, seed: int, name: str) -> Indices:
    """Reduces the pool to a stratified sample where it exceeds the limit."""
    if limit is not None and limit < 1:
        raise ValueError(f"{name} must be at least 1, got {limit}")
    return pool if limit is None or limit >= len(pool) else pool[stratified_choice(labels[pool], limit, seed=seed)]
