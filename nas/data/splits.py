"""Splits of a data set, which yield batches to a training loop: images live on the device, or stay in files.

An epoch is a pure function of its seed. The seed starts a fresh generator that drives the order and every random
crop, flip and cut, so that a run resumed at an epoch sees exactly the batches an uninterrupted one would have seen.
Images that stay in files are decoded by workers and augmented on the device as resident ones are.
"""

import itertools
from collections.abc import Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from nas.compute.distributed.shares import WHOLE, Part, Share
from nas.data.augmentation import Augmentation, augment, normalize
from nas.data.decoding import PIECE, Decoders, Piece

Batches = Iterable[tuple[Tensor, Tensor]]
"""Pairs of images (N, C, H, W), normalised, and labels (N,)."""
IMAGES_AT_ONCE = 4096  # augmented in one go on an accelerator: small batches would be bound by kernel launches


class Split(Protocol):
    """Images with labels, in batches. Resident and streaming splits are interchangeable.

    Attributes:
        indices: (M,) int64, the images that belong to the split in their stored order.
        mean: (C,) float, each channel's mean in units of the full scale 255.
        std: (C,) float, its standard deviation, positive.
    """

    indices: Tensor
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    def num_batches(self, batch_size: int, *, drop_last: bool = False) -> int:
        """Returns the number of batches that `batches` yields for the same arguments, and raises what it does."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if not drop_last:
            return -(-len(self) // batch_size)
        if batch_size > len(self):
            raise ValueError(
                f"batch_size {batch_size} exceeds the {len(self)} images of the split, and drop_last leaves none"
            )
        return len(self) // batch_size

    def batches(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        augmentation: Augmentation | None = None,
        drop_last: bool = False,
        share: Share = WHOLE,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Goes through the split once.

        Args:
            batch_size: Images N in a batch; the last batch may be smaller.
            seed: Drives order and augmentation; None goes through the images in stored order.
            augmentation: What to do at random to each image; None does nothing, and without a seed nothing may be.
            drop_last: Whether to leave out a last batch smaller than the others.
            share: The part of every batch that is yielded, each image as it would be in the whole one; empty parts are
                left out.

        Returns:
            Pairs of normalised images (N, C, H, W) float32 channels-last and labels (N,) int64, on the device.

        Raises:
            ValueError: If `batch_size` is below 1, or exceeds the split and `drop_last` would leave nothing, or
                `augmentation` is given without a seed. Raised by the call, not by the first batch.
        """
        num_images = min(self.num_batches(batch_size, drop_last=drop_last) * batch_size, len(self))
        if augmentation is not None and seed is None:
            raise ValueError(f"augmentation needs a seed, got {augmentation} with seed None")
        return self._pass(num_images, batch_size, seed=seed, augmentation=augmentation, share=share)

    def _pass(
        self, num_images: int, batch_size: int, *, seed: int | None, augmentation: Augmentation | None, share: Share
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields the batches of the first images in the order of the pass."""

    def _prepared(
        self, images: Tensor, *, augmentation: Augmentation | None, generator: torch.Generator, part: Part | None
    ) -> Tensor:
        """Returns bytes (N, C, H, W) as normalised images, augmented if an augmentation is given."""
        if augmentation is None:
            return normalize(images, mean=self.mean, std=self.std)
        return augment(images, mean=self.mean, std=self.std, augmentation=augmentation, generator=generator, part=part)


def augments_batch_by_batch(device: torch.device) -> bool:
    """Whether a device is served best by one batch at a time: the CPU, whose caches hold no more."""
    return device.type == "cpu"


class ResidentSplit(Split):
    """Chosen images of a uint8 tensor on the device; splits of one data set share its storage.

    Args:
        images: (N, C, H, W) uint8 on the device. Stored channels-last, shared when it is so already.
        labels: (N,) int64 on the same device.
        mean: (C,) float, each channel's mean in units of the full scale 255.
        std: (C,) float, its standard deviation, positive.
        indices: (M,) int64, the images that belong to the split in their stored order; None takes all.

    Raises:
        ValueError: If shapes or types disagree with the above, or there is no image.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, *, mean: Tensor, std: Tensor, indices: Tensor | None = None
    ) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise ValueError(f"images must be uint8 (N, C, H, W), got {images.dtype} {tuple(images.shape)}")
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            raise ValueError(f"labels must be int64 ({len(images)},), got {labels.dtype} {tuple(labels.shape)}")
        if mean.shape != images.shape[1:2] or std.shape != images.shape[1:2]:
            raise ValueError(f"mean and std must be ({images.shape[1]},), got {mean.shape} and {std.shape}")
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.labels = labels
        self.mean = mean.to(images.device)
        self.std = std.to(images.device)
        indices = torch.arange(len(images)) if indices is None else indices
        if indices.dtype != torch.int64 or indices.ndim != 1 or not len(indices):
            raise ValueError(f"indices must be int64 (M,), M at least 1, got {indices.dtype} {tuple(indices.shape)}")
        self.indices = indices.to(images.device)

    def _pass(
        self, num_images: int, batch_size: int, *, seed: int | None, augmentation: Augmentation | None, share: Share
    ) -> Iterator[tuple[Tensor, Tensor]]:
        device = self.images.device
        generator, indices, together = torch.Generator(device), self.indices[:num_images], 1
        if seed is not None:
            order = torch.randperm(len(self), generator=generator.manual_seed(seed), device=device)
            indices = self.indices[order[:num_images]]
        if augmentation is not None and not augments_batch_by_batch(device):
            together = max(1, IMAGES_AT_ONCE // batch_size)
        for several in torch.split(indices, together * batch_size):
            part = share.part(len(several), batch_size=batch_size, device=device)
            sizes = [len(batch) for batch in share.parts(several, batch_size=batch_size)]
            wanted = several if part is None else several[part.rows]
            # Rows of (H, W, C) are selected several times faster than channels-first ones.
            stored = self.images.permute(0, 2, 3, 1).index_select(0, wanted).permute(0, 3, 1, 2)
            images = self._prepared(stored, augmentation=augmentation, generator=generator, part=part)
            pairs = zip(torch.split(images, sizes), torch.split(self.labels[wanted], sizes), strict=True)
            yield from (pair for pair in pairs if len(pair[1]))


class StreamingSplit(Split):
    """Chosen images of a source that stay in files, for folders that do not fit into the device's memory.

    With an augmentation, parts of the pictures are random where the source has them so. A file that cannot be decoded
    raises ValueError at its batch.

    Args:
        decoders: Decode the images; splits of one source share them.
        mean: (C,) float, each channel's mean in units of the full scale 255.
        std: (C,) float, its standard deviation, positive.
        indices: (M,) int64, the files that belong to the split in their stored order, M at least 1.
        device: Where batches are yielded.
    """

    def __init__(
        self, decoders: Decoders, *, mean: Tensor, std: Tensor, indices: Tensor, device: torch.device | str
    ) -> None:
        self.decoders = decoders
        self.device = torch.device(device)
        self.mean = mean.to(self.device)
        self.std = std.to(self.device)
        self.indices = indices

    def _pass(
        self, num_images: int, batch_size: int, *, seed: int | None, augmentation: Augmentation | None, share: Share
    ) -> Iterator[tuple[Tensor, Tensor]]:
        indices, generator = self.indices, torch.Generator(self.device)
        shuffler = torch.Generator()  # on the CPU: that is where files are named
        if seed is not None:
            indices = indices[torch.randperm(len(indices), generator=shuffler.manual_seed(seed))]
            generator.manual_seed(int(torch.randint(2**62, (), generator=shuffler)))
        framing = self.decoders.source.framing
        draws_parts = augmentation is not None and framing is not None and framing.scale is not None
        batches = torch.split(indices[:num_images], batch_size)
        pieces = [_pieces(files, share, shuffler if draws_parts else None) for files in batches]
        decoded = self.decoders.decoded(list(itertools.chain(*pieces)))
        arriving = (tuple(one.to(self.device, non_blocking=True) for one in both) for both in decoded)
        for files, own in zip(batches, pieces, strict=True):
            if not own:
                continue
            parts, classes = zip(*itertools.islice(arriving, len(own)), strict=True)
            images, labels = (several[0] if len(own) == 1 else torch.cat(several) for several in (parts, classes))
            part = share.part(len(files), batch_size=len(files), device=self.device)
            yield self._prepared(images, augmentation=augmentation, generator=generator, part=part), labels


def _pieces(files: Tensor, share: Share, shuffler: torch.Generator | None) -> list[Piece]:
    """Cuts the share of a batch into pieces; each has the seed that it has where the batch is whole.

    Args:
        files: (N,) int64, those of the whole batch.
        share: The part of it that is wanted.
        shuffler: Source of the seeds; None gives none.
    """
    wanted = share.parts(torch.arange(len(files)), batch_size=len(files))[0].tolist()
    pieces = []
    for first in range(0, len(files), PIECE):
        seed = None if shuffler is None else int(torch.randint(2**62, (), generator=shuffler))
        places = [place for place in wanted if first <= place < first + PIECE]
        if places:
            pieces.append(Piece(files[places[0] : places[-1] + 1].tolist(), seed, skipped=places[0] - first))
    return pieces
