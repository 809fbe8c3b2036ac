"""The part of every batch that a process takes, where several train or score together."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Part(NamedTuple):
    """Some images of a batch, where the others are left to other processes.

    Attributes:
        rows: (N,) int64, their places in the batch, on the images' device.
        num_images: Images of the whole batch.
    """

    rows: Tensor
    num_images: int


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of every batch is wanted, where several processes train or score together.

    Attributes:
        number: The number of the part, from 0.
        of: Parts that a batch is cut into, whose sizes differ by one at most; a part may be empty.
    """

    number: int = 0
    of: int = 1

    def parts(self, values: Tensor, *, batch_size: int) -> list[Tensor]:
        """Cuts values (N,) into batches and each of these into parts; returns those wanted, empty ones included."""
        return [batch.tensor_split(self.of)[self.number] for batch in torch.split(values, batch_size)]

    def part(self, num_images: int, *, batch_size: int, device: torch.device) -> Part | None:
        """Returns which images of several batches laid end to end are wanted; None where all are."""
        if self.of == 1:
            return None
        places = torch.arange(num_images, device=device)
        return Part(torch.cat(self.parts(places, batch_size=batch_size)), num_images)


WHOLE = Share()
