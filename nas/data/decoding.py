"""Image files decoded by worker processes that live as long as they are of use.

Work is handed out in pieces smaller than a batch, so that all workers share the first batch of a pass, and little is
decoded in vain where a pass ends early. Workers draw nothing: a piece brings the seed of its random parts along, so
that it comes out the same whoever decodes it.
"""

import signal
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nas.compute.device import num_cores
from nas.data.image_files import Framing, decode_image, decode_part
from nas.runs.console import progress

PIECE = 32  # images a worker decodes at a time
AHEAD = 4  # pieces a worker may be ahead of what is asked for


class Piece(NamedTuple):
    """Files to decode together.

    Attributes:
        files: Their numbers.
        seed: Seed of their random parts; None takes the middle of each.
        skipped: Files before these that others decode; what is drawn for them is thrown away.
    """

    files: list[int]
    seed: int | None = None
    skipped: int = 0


Decoded = tuple[Tensor, Tensor]
"""Images (N, C, H, W) uint8 channels-last and labels (N,) int64, on the CPU."""


@dataclass(frozen=True, slots=True)
class ImageSource(Dataset["Decoded | ValueError"]):
    """Files, and how they are decoded; a data set of torch's that is asked for pieces.

    Attributes:
        paths: The files.
        labels: (N,) class of each.
        image_size: Side of an image in pixels.
        channels: 3 for RGB, 1 for grey.
        framing: Which part of a picture is taken; None takes the largest square in the middle.
    """

    paths: tuple[Path, ...]
    labels: npt.NDArray[np.int64]
    image_size: int
    channels: int
    framing: Framing | None = None

    def __getitem__(self, piece: Piece) -> "Decoded | ValueError":
        """Decodes a piece; an error is handed over, not raised: a worker would wrap it in a traceback."""
        try:
            return self.decode(piece)
        except ValueError as error:
            return ValueError(f"{error}; data.skip_bad=true leaves such files out")

    def decode(self, piece: Piece) -> Decoded:
        """Decodes a piece.

        Raises:
            ValueError: If a file cannot be decoded.
        """
        size, channels, number = self.image_size, self.channels, len(piece.files)
        images = torch.empty(number, size, size, channels, dtype=torch.uint8).permute(0, 3, 1, 2)
        draws: list[Any] = [None] * number
        if piece.seed is not None and self.framing is not None:
            generator = torch.Generator().manual_seed(piece.seed)
            draws = self.framing.draws(piece.skipped + number, generator=generator)[piece.skipped :].tolist()
        for image, file, drawn in zip(images, piece.files, draws, strict=True):
            path = self.paths[file]
            image.copy_(
                torch.from_numpy(decode_image(path, image_size=size, channels=channels)).permute(2, 0, 1)
                if self.framing is None
                else decode_part(path, image_size=size, channels=channels, framing=self.framing, draws=drawn)
            )
        return images, torch.from_numpy(self.labels[piece.files])


class Decoders:
    """Worker processes that decode a source's files, for all of its splits.

    They begin with the first pass and wait between passes, for to start them takes as long as some batches do. A pass
    that begins while another is under way gets workers of its own.

    Args:
        source: The files.
        workers: How many processes at most, as there are no more than cores; 0 decodes in this one.
        pin_memory: Whether images are to be copied to a GPU.
    """

    def __init__(self, source: ImageSource, *, workers: int, pin_memory: bool = False) -> None:
        self.source = source
        self.workers = min(workers, num_cores())
        self.pin_memory = pin_memory
        self._idle: tuple[list[Piece], DataLoader[Decoded | ValueError]] | None = None

    def decoded(self, pieces: Sequence[Piece]) -> Iterator[Decoded]:
        """Decodes pieces, and yields them in the order given.

        Raises:
            ValueError: If a file cannot be decoded.
        """
        with closing(self._results(pieces)) as results:
            for done in results:
                if isinstance(done, ValueError):
                    raise done
                yield done

    def _results(self, pieces: Sequence[Piece]) -> Generator[Decoded | ValueError, None, None]:
        order, loader = self._idle or self._crew()
        self._idle = None
        order[:] = pieces
        try:
            yield from loader
        finally:
            self._idle = order, loader

    def _crew(self) -> tuple[list[Piece], DataLoader[Decoded | ValueError]]:
        """Returns workers that stay, and the list of the pieces that they decode when a pass through them begins."""
        order: list[Piece] = []
        loader = DataLoader(
            self.source,
            batch_size=None,  # an item of the data set is a piece already
            sampler=order,
            num_workers=self.workers,
            prefetch_factor=AHEAD if self.workers else None,
            persistent_workers=self.workers > 0,
            pin_memory=self.pin_memory,
            generator=torch.Generator(),  # or it would advance the global one
            worker_init_fn=_leave_ctrl_c_to_the_parent,
        )
        return order, loader

    def decode_all(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Decodes files by number (M,) into memory: (M, C, H, W), a view of memory in the order (M, H, W, C).

        Raises:
            ValueError: If a file cannot be decoded.
        """
        size, done = self.source.image_size, 0
        shape = (len(indices), size, size, self.source.channels)
        images = np.empty(shape, dtype=np.uint8).transpose(0, 3, 1, 2)
        pieces = split_in_pieces(indices.tolist())
        with progress("decoding images", total=len(pieces)) as bar:
            for part, _ in self.decoded(pieces):
                images[done : done + len(part)] = part.numpy()
                done += len(part)
                bar.advance()
        return images

    def unreadable(self) -> dict[int, str]:
        """Decodes every file at a fraction of its size, and returns why by the number of each that it cannot decode."""
        small = Decoders(replace(self.source, image_size=1, framing=None), workers=self.workers)
        pieces = split_in_pieces(range(len(small.source.paths)))
        found: dict[int, str] = {}
        with progress("checking images", total=len(pieces)) as bar:
            for piece, done in zip(pieces, small._results(pieces), strict=True):
                for file in piece.files if isinstance(done, ValueError) else ():
                    try:
                        small.source.decode(Piece([file]))
                    except ValueError as error:
                        found[file] = str(error)
                bar.advance()
        return found


def split_in_pieces(files: Sequence[int]) -> list[Piece]:
    """Divides files into pieces whose parts are not random."""
    return [Piece(list(files[first : first + PIECE])) for first in range(0, len(files), PIECE)]


def _leave_ctrl_c_to_the_parent(worker: int) -> None:  # noqa: ARG001
    """Lets a worker continue after Ctrl-C, which reaches all processes of a terminal: the run ends its epoch first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # by which the parent ends it
