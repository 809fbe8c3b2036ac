"""Image files decoded by worker processes that live as long as they are of use.

Work is handed out in pieces smaller than a batch, so that all workers share the first batch of a pass, and little is
decoded in vain where a pass ends early. Workers draw nothing: a piece brings the seed of its random parts along, so
that it comes out the same whoever decodes it.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nas.compute.device import num_cores
from nas.data.cropping import Framing, decode_part
from nas.data.image_files import decode_image
from nas.runs.console import progress

T = TypeVar("T")
PIECE = 32  # images a worker decodes at a time
AHEAD = 4  # pieces a worker may be ahead of what is asked for


class Piece(NamedTuple):
    """Files to decode together.

    Attributes:
        files: Their numbers.
        seed: Of their random parts; None takes the middle of each.
        skipped: Files before these that others decode; what is drawn for them is thrown away.
    """

    files: list[int]
    seed: int | None = None
    skipped: int = 0


Decoded = tuple[Tensor, Tensor]
"""Images (N, C, H, W) uint8 channels-last and labels (N,) int64, on the CPU."""


@dataclass(frozen=True, slots=True)
class ImageSource:
    """Files, and how they are decoded.

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

    def decode(self, piece: Piece) -> Decoded:
        """Decodes a piece.

        Raises:
            ValueError: If a file cannot be decoded, or random parts are asked for and there is no framing.
        """
        size, number = self.image_size, len(piece.files)
        images = torch.empty(number, size, size, self.channels, dtype=torch.uint8).permute(0, 3, 1, 2)
        draws: list[list[list[float]]] | None = None
        if piece.seed is not None:
            if self.framing is None:
                raise ValueError("a random part of a picture needs a framing, got None")
            generator = torch.Generator().manual_seed(piece.seed)
            draws = self.framing.draws(piece.skipped + number, generator=generator)[piece.skipped :].tolist()
        for i, file in enumerate(piece.files):
            images[i] = self._decode_one(self.paths[file], None if draws is None else draws[i])
        return images, torch.from_numpy(self.labels[piece.files])

    def _decode_one(self, path: Path, draws: Sequence[Sequence[float]] | None) -> Tensor:
        """Returns one image, (C, H, W)."""
        size, channels = self.image_size, self.channels
        if self.framing is None:
            return torch.from_numpy(decode_image(path, image_size=size, channels=channels)).permute(2, 0, 1)
        return decode_part(path, image_size=size, channels=channels, framing=self.framing, draws=draws)


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
        self._idle: _Crew[Decoded | ValueError] | None = None

    def decoded(self, pieces: Sequence[Piece]) -> Iterator[Decoded]:
        """Decodes pieces, and yields them in the order given.

        Raises:
            ValueError: If a file cannot be decoded.
        """
        crew = self._idle or _Crew(_Work(_decoded, self.source), workers=self.workers, pin_memory=self.pin_memory)
        self._idle = None
        crew.order[:] = pieces
        try:
            for done in crew.loader:
                if isinstance(done, ValueError):
                    raise done
                yield done
        finally:
            self._idle = crew

    def decode_all(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Decodes files into memory.

        Args:
            indices: (M,) numbers of the files.

        Returns:
            (M, C, H, W), a view of memory in the order (M, H, W, C).

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
        source = replace(self.source, image_size=1, framing=None)
        numbers = split_in_pieces(range(len(source.paths)))
        found: dict[int, str] = {}
        with progress("checking images", total=len(numbers)) as bar:
            crew = _Crew(_Work(_unreadable, source), workers=self.workers, pin_memory=False)
            crew.order[:] = numbers
            for reasons in crew.loader:
                found |= reasons
                bar.advance()
        return found


def split_in_pieces(files: Sequence[int]) -> list[Piece]:
    """Divides files into pieces whose parts are not random."""
    return [Piece(list(files[first : first + PIECE])) for first in range(0, len(files), PIECE)]


class _Crew(Generic[T]):
    """Workers that stay; they work on whatever `order` holds when a pass through `loader` begins."""

    def __init__(self, work: Dataset[T], *, workers: int, pin_memory: bool) -> None:
        self.order: list[Piece] = []
        self.loader: DataLoader[T] = DataLoader(
            work,
            batch_size=None,  # an item of the data set is a piece already
            sampler=self.order,
            num_workers=workers,
            prefetch_factor=AHEAD if workers else None,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            generator=torch.Generator(),  # or it would advance the global one
            worker_init_fn=_leave_ctrl_c_to_the_parent,
        )


class _Work(Dataset[T]):
    """Does something with the pieces of a source that it is asked for."""

    def __init__(self, work: Callable[[ImageSource, Piece], T], source: ImageSource) -> None:
        self.work = work
        self.source = source

    def __getitem__(self, piece: Piece) -> T:
        return self.work(self.source, piece)


def _decoded(source: ImageSource, piece: Piece) -> Decoded | ValueError:
    """Decodes a piece; an error is handed over, not raised: a worker would wrap it in a traceback."""
    try:
        return source.decode(piece)
    except ValueError as error:
        return ValueError(f"{error}; data.skip_bad=true leaves such files out")


def _unreadable(source: ImageSource, piece: Piece) -> dict[int, str]:
    """Tries to decode a piece file by file, and returns what went wrong, by the file's number."""
    reasons = {}
    for file in piece.files:
        try:
            source.decode(Piece([file]))
        except ValueError as error:
            reasons[file] = str(error)
    return reasons


def _leave_ctrl_c_to_the_parent(worker: int) -> None:  # noqa: ARG001
    """Has a worker go on after Ctrl-C, which reaches all processes of a terminal: the run ends its epoch first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # by which the parent ends it
