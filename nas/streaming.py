"""A split whose images stay in files: workers decode them, the device normalises and augments them.

For image folders that do not fit into the device's memory. What is drawn is drawn from the seed of the pass alone, and
augmentation is the resident split's very own, so that one setting means one thing. Bytes travel to the device, which is
a quarter of what floats would be.
"""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from nas.augment import Augmentation, augment, normalize
from nas.decoding import PIECE, Decoders, Piece
from nas.splits import check_seeded, count_batches


class StreamingSplit:
    """Chosen images of a source; otherwise like `nas.splits.ResidentSplit`.

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
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `nas.splits.Split.batches`.

        With an augmentation, parts of the pictures are random where the source has them so. A file that cannot be
        decoded raises ValueError at its batch.
        """
        num_batches = self.num_batches(batch_size, drop_last=drop_last)
        check_seeded(augmentation, seed=seed)
        indices, generator = self.indices, torch.Generator(self.device)
        shuffler = torch.Generator()  # on the CPU: that is where files are named
        if seed is not None:
            shuffler.manual_seed(seed)
            indices = indices[torch.randperm(len(indices), generator=shuffler)]
            generator.manual_seed(int(torch.randint(2**62, (), generator=shuffler)))
        batches = [torch.split(batch, PIECE) for batch in torch.split(indices, batch_size)[:num_batches]]
        framing = self.decoders.source.framing
        seeds: list[int | None] = [None] * sum(map(len, batches))
        if augmentation is not None and framing is not None and framing.scale is not None:
            seeds = torch.randint(2**62, (len(seeds),), generator=shuffler).tolist()
        pieces = [
            Piece(files.tolist(), seed)
            for files, seed in zip(itertools.chain.from_iterable(batches), seeds, strict=True)
        ]
        return self._batches(pieces, list(map(len, batches)), augmentation=augmentation, generator=generator)

    def _batches(
        self, pieces: list[Piece], counts: list[int], *, augmentation: Augmentation | None, generator: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Moves decoded pieces to the device, `counts` of them a batch, and prepares them there."""
        arriving = (self._moved(decoded) for decoded in self.decoders.decoded(pieces))
        for count in counts:
            parts, classes = zip(*itertools.islice(arriving, count), strict=True)
            images, labels = (several[0] if count == 1 else torch.cat(several) for several in (parts, classes))
            if augmentation is None:
                yield normalize(images, mean=self.mean, std=self.std), labels
            else:
                yield (
                    augment(images, mean=self.mean, std=self.std, augmentation=augmentation, generator=generator),
                    labels,
                )

    def _moved(self, decoded: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        images, labels = decoded
        return images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
