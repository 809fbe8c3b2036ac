"""The processes of a job as each of them sees the others: who it is, and what they tell one another.

Every rank does the same work on its share of the images or cells, and knows at each boundary what all know. What the
run folder holds the first alone reads and writes. A job that was not started by torchrun has one rank, for which all
of this is nothing at all.
"""

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nas.compute.distributed.settings import DistributedSettings
from nas.compute.distributed.shares import Share

T = TypeVar("T")
R = TypeVar("R")

STREAMS_APART = 0x9E3779B97F4A7C15  # between the seeds of two ranks; any large odd number would do


class LostRankError(Exception):
    """Another process of the job has ended, or was not heard of for too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """One of several processes, and the way to the others.

    All methods but the properties are called by all ranks, in the same order.

    Attributes:
        rank: Its number, from 0.
        size: How many there are.
        settings: How they share the work.
    """

    rank: int = 0
    size: int = 1
    settings: DistributedSettings = field(default_factory=DistributedSettings)

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.size == 1

    @property
    def share(self) -> Share:
        """The part of every batch that is this rank's."""
        return Share(self.rank, self.size)

    @property
    def samples_apart(self) -> bool:
        """Whether each rank trains a cell of its own."""
        return not self.alone and self.settings.sampling == "independent"

    @property
    def normalizes_together(self) -> bool:
        """Whether batch norm takes the statistics of all ranks' images."""
        return not self.alone and self.settings.batch_norm == "sync"

    def check_batch_size(self, batch_size: int, *, where: str) -> None:
        """Raises ValueError unless every rank gets as many images of a batch; `where` is the config group."""
        if batch_size % self.size:
            raise ValueError(
                f"{where}.batch_size {batch_size} is that of all processes together and must be "
                f"divisible by their number, {self.size}"
            )

    def sum_(self, tensor: Tensor) -> Tensor:
        """Adds up a dense tensor over the ranks, in place; all get the same to the bit."""
        if not self.alone:
            with heard():
                dist.all_reduce(tensor)
        return tensor

    def gather(self, value: T) -> list[T]:
        """Returns every rank's value, in the order of the ranks."""
        if self.alone:
            return [value]
        values: list[Any] = [None] * self.size
        with heard():
            dist.all_gather_object(values, value)
        return values

    def from_first(self, make: Callable[[], T]) -> T:
        """Returns what `make` returns on the first rank, where alone it is called.

        Raises:
            ValueError: If it raised one there.
            OSError: If it raised one there.
        """
        if self.alone:
            return make()
        made: list[Any] = [None, None]  # the value, or an error
        if self.first:
            try:
                made[0] = make()
            except (ValueError, OSError) as error:
                made[1] = error
        with heard():
            dist.broadcast_object_list(made, src=0)
        if made[1] is not None:
            raise made[1]
        value: T = made[0]
        return value

    def spread(self, items: Sequence[T], work: Callable[[Sequence[T]], Iterable[R]]) -> list[R]:
        """Returns what `work` makes of each of the items, every rank working on its share of them.

        Args:
            items: The same on all ranks.
            work: Returns a result for each of the items given.
        """
        if self.alone:
            return list(work(items))
        parts = self.gather(list(work(items[self.rank :: self.size])))
        return [parts[number % self.size][number // self.size] for number in range(len(items))]

    def largest(self, value: int) -> int:
        """Returns the largest of the ranks' values."""
        return max(self.gather(value))

    def check_agreement(self, state: Any, *, on: str) -> None:
        """Checks that all ranks are in the same state.

        Args:
            state: Tensors, numbers, texts, lists and dicts.
            on: What it is, for the message.

        Raises:
            RuntimeError: If they are not, which is a defect: from here on they would do different things.
        """
        if not self.alone and len(set(self.gather(digest(state)))) > 1:
            raise RuntimeError(f"the ranks disagree on {on}; they must not, so that this is a defect")

    @torch.no_grad()
    def copy_first(self, network: nn.Module) -> None:
        """Gives a network the first rank's weights and buffers."""
        if self.alone:
            return
        tensors = [*network.parameters(), *network.buffers()]
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):  # thousands of tensors, a message for each type
            alike = [tensor.data for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.flatten() for tensor in alike])
            with heard():
                dist.broadcast(flat, src=0)
            for tensor, part in zip(alike, torch.split(flat, [tensor.numel() for tensor in alike]), strict=True):
                tensor.copy_(part.view_as(tensor))

    @contextlib.contextmanager
    def own_randomness(self) -> Iterator[None]:
        """Within the context a rank draws by itself, drop-path for instance; afterwards all draw the same again."""
        if self.alone:
            yield
            return
        state = torch.get_rng_state()
        torch.manual_seed((torch.initial_seed() + self.rank * STREAMS_APART) % 2**63)
        try:
            yield
        finally:
            torch.set_rng_state(state)


ALONE = Ranks()


@contextlib.contextmanager
def heard() -> Iterator[None]:
    """Within the context, a failure is that of the connection to the others.

    Raises:
        LostRankError: If it fails.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo/transport" not in str(error):  # gloo has no error of its own
            raise
        reason = (str(error).splitlines() or [""])[0]
        raise LostRankError(f"another process of this job has ended or does not answer: {reason}") from error


def digest(state: Any) -> str:
    """Returns a digest of tensors, numbers, texts, lists and dicts, equal if they are to the bit."""
    hashed = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            hashed.update(f"{value.dtype} {tuple(value.shape)}".encode())
            hashed.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        elif isinstance(value, dict):
            for key in value:
                add(key)
                add(value[key])
        elif isinstance(value, list | tuple):
            for each in value:
                add(each)
        else:
            hashed.update(repr(value).encode())

    add(state)
    return hashed.hexdigest()
