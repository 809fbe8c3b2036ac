"""A split whose images stay in files: workers decode them, the device normalises and augments them.

For image folders that do not fit into the device's memory. Augmentation is the resident split's very own, so that
one setting means one thing; the workers draw nothing, and a batch depends on the seed alone, not on their number.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nas.augment import Augmentation, augment, normalize
from nas.console import progress
from nas.folders import decode_image
from nas.splits import WHOLE, Share, check_seeded, count_batches

Decoded = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Files to decode, how, and with how many workers. Splits of one folder share it.

    Attributes:
        paths: The files.
        labels: (N,) class of each.
        image_size: Side of an image in pixels.
        channels: 3 for RGB, 1 for grey.
        workers: Processes that decode; 0 decodes in this one.
    """

    paths: tuple[Path, ...]
    labels: npt.NDArray[np.int64]
    image_size: int
    channels: int
    workers: int

    def decoded(self, chosen: list[Tensor], *, pin_memory: bool = False) -> Iterator[Decoded]:
        """Decodes batches in the order given.

        Args:
            chosen: Numbers of the files of each batch, (N,) each.
            pin_memory: Whether the result is to be copied to a GPU.

        Yields:
            Images (N, C, H, W) uint8 channels-last and labels (N,) int64, on the CPU.

        Raises:
            ValueError: If a file cannot be decoded.
        """
        loader = DataLoader(
            _Batches(self, chosen),
            batch_size=None,  # an item of the data set is a batch already
            num_workers=min(self.workers, len(chosen)),
            pin_memory=pin_memory,
            generator=torch.Generator(),  # or it would advance the global one
        )
        for batch in loader:
            if isinstance(batch, ValueError):
                raise batch
            images, labels = batch
            yield images.permute(0, 3, 1, 2), labels

    def decode_all(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Decodes files into memory.

        Args:
            indices: (M,) numbers of the files.

        Returns:
            (M, C, H, W), a view of memory in the order (M, H, W, C).

        Raises:
            ValueError: If a file cannot be decoded.
        """
        size, done = self.image_size, 0
        images = np.empty((len(indices), size, size, self.channels), dtype=np.uint8).transpose(0, 3, 1, 2)
        chosen = list(torch.split(torch.from_numpy(indices), 64))
        with progress("decoding images", total=len(chosen)) as bar:
            for batch, _ in self.decoded(chosen):
                images[done : done + len(batch)] = batch.numpy()
                done += len(batch)
                bar.advance()
        return images


class _Batches(Dataset[Decoded | ValueError]):
    """Batches as items. An error is handed over, not raised: a worker would wrap it in its own traceback."""

    def __init__(self, source: ImageSource, chosen: list[Tensor]) -> None:
        self.source = source
        self.chosen = chosen

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, number: int) -> Decoded | ValueError:
        source, chosen = self.source, self.chosen[number].tolist()
        images = np.empty((len(chosen), source.image_size, source.image_size, source.channels), dtype=np.uint8)
        try:
            for i, file in enumerate(chosen):
                images[i] = decode_image(source.paths[file], image_size=source.image_size, channels=source.channels)
        except ValueError as error:
            return ValueError(str(error))
        return torch.from_numpy(images), torch.from_numpy(source.labels[chosen])


class StreamingSplit:
    """Chosen images of an `ImageSource`; otherwise like `nas.splits.ResidentSplit`.

    Args:
        source: Where the images come from.
        mean: (C,) float, each channel's mean in units of the full scale 255.
        std: (C,) float, its standard deviation, positive.
        indices: (M,) int64, the files that belong to the split in their stored order, M at least 1.
        device: Where batches are yielded.
    """

    def __init__(
        self, source: ImageSource, *, mean: Tensor, std: Tensor, indices: Tensor, device: torch.device | str
    ) -> None:
        self.source = source
        self.device = torch.device(device)
        self.mean = mean.to(self.device)
        self.std = std.to(self.device)
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def num_batches(self, batch_size: int, *, drop_last: bool = False) -> int:
        """See `nas.splits.Split.num_batches`."""
        return count_batches(len(self), batch_size=batch_size, drop_last=drop_last)

    def batches(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        augmentation: Augmentation | None = None,
        drop_last: bool = False,
        share: Share = WHOLE,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `nas.splits.Split.batches`. A file that cannot be decoded raises ValueError at its batch."""
        num_batches = self.num_batches(batch_size, drop_last=drop_last)
        check_seeded(augmentation, seed=seed)
        indices, generator = self.indices, torch.Generator(self.device)
        if seed is not None:
            shuffler = torch.Generator().manual_seed(seed)  # on the CPU: that is where files are named
            indices = indices[torch.randperm(len(indices), generator=shuffler)]
            generator.manual_seed(int(torch.randint(2**62, (), generator=shuffler)))
        chosen = list(torch.split(indices, batch_size)[:num_batches])
        return self._batches(chosen, augmentation=augmentation, generator=generator, share=share)

    def _batches(
        self, chosen: list[Tensor], *, augmentation: Augmentation | None, generator: torch.Generator, share: Share
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Moves decoded batches to the device and prepares them there."""
        parts = [(len(batch), part) for batch in chosen for part in share.parts(batch, batch_size=len(batch))]
        parts = [(size, part) for size, part in parts if len(part)]
        decoded = self.source.decoded([part for _, part in parts], pin_memory=self.device.type == "cuda")
        for (size, _), (images, labels) in zip(parts, decoded, strict=True):
            images, labels = (x.to(self.device, non_blocking=True) for x in (images, labels))
            if augmentation is None:
                yield normalize(images, mean=self.mean, std=self.std), labels
            else:
                images = augment(
                    images,
                    mean=self.mean,
                    std=self.std,
                    augmentation=augmentation,
                    generator=generator,
                    part=share.part(size, batch_size=size, device=self.device),
                )
                yield images, labels
