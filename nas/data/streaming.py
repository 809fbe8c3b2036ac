"""A split whose images stay in files: workers decode them, the device normalises and augments them.

For image folders that do not fit into the device's memory. What is drawn is drawn from the seed of the pass alone, and
augmentation is the resident split's very own, so that one setting means one thing. Bytes travel to the device, which is
a quarter of what floats would be.
"""

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from nas.compute.distributed.shares import Share
from nas.data.augmentation import Augmentation, augment, normalize
from nas.data.decoding import PIECE, Decoders, Piece
from nas.data.splits import Split


class StreamingSplit(Split):
    """Chosen images of a source; otherwise like `nas.data.splits.ResidentSplit`.

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
            shuffler.manual_seed(seed)
            indices = indices[torch.randperm(len(indices), generator=shuffler)]
            generator.manual_seed(int(torch.randint(2**62, (), generator=shuffler)))
        batches = torch.split(indices[:num_images], batch_size)
        pieces = self._pieces(batches, share, draw_parts=augmentation is not None, shuffler=shuffler)
        return self._batches(batches, pieces, augmentation=augmentation, generator=generator, share=share)

    def _pieces(
        self, batches: Sequence[Tensor], share: Share, *, draw_parts: bool, shuffler: torch.Generator
    ) -> list[list[Piece]]:
        """Cuts the share of every batch into pieces; each has the seed that it has where the batch is whole."""
        framing = self.decoders.source.framing
        draw_parts = draw_parts and framing is not None and framing.scale is not None
        per_batch = []
        for files in batches:
            wanted = share.parts(torch.arange(len(files)), batch_size=len(files))[0].tolist()
            pieces = []
            for first in range(0, len(files), PIECE):
                size = min(PIECE, len(files) - first)
                seed = int(torch.randint(2**62, (), generator=shuffler)) if draw_parts else None
                places = [place - first for place in wanted if first <= place < first + size]
                if places:
                    chosen = files[first + places[0] : first + places[-1] + 1].tolist()
                    pieces.append(Piece(chosen, seed, skipped=places[0]))
            per_batch.append(pieces)
        return per_batch

    def _batches(
        self,
        batches: Sequence[Tensor],
        pieces: list[list[Piece]],
        *,
        augmentation: Augmentation | None,
        generator: torch.Generator,
        share: Share,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Moves decoded pieces of every batch to the device and prepares them there."""
        arriving = (self._moved(decoded) for decoded in self.decoders.decoded(list(itertools.chain(*pieces))))
        for files, own in zip(batches, pieces, strict=True):
            if not own:
                continue
            parts, classes = zip(*itertools.islice(arriving, len(own)), strict=True)
            images, labels = (several[0] if len(own) == 1 else torch.cat(several) for several in (parts, classes))
            if augmentation is None:
                yield normalize(images, mean=self.mean, std=self.std), labels
            else:
                images = augment(
                    images,
                    mean=self.mean,
                    std=self.std,
                    augmentation=augmentation,
                    generator=generator,
                    part=share.part(len(files), batch_size=len(files), device=self.device),
                )
                yield images, labels

    def _moved(self, decoded: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        images, labels = decoded
        return images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)
