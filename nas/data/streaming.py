"""A split whose images stay in files: workers decode them, the device normalises and augments them.

For image folders that do not fit into the device's memory. What is drawn is drawn from the seed of the pass alone, and
augmentation is that of the resident split, so that one setting means one thing. Bytes travel to the device, which is
a quarter of what floats would be.
"""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor

from nas.compute.distributed.shares import Share
from nas.data.augmentation import Augmentation
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
