"""What changes from one training step to the next.

A step that is recorded or compiled reads it from tensors, so that the recording or the compiled code stays as it is.
"""

import torch
from torch import Tensor


class Dials:
    """The dials of a step: numbers, or tensors of shape () for a step that is recorded or compiled.

    Attributes:
        learning_rate: Of weights that have no scale of their own.
        drop_prob: Drop-path probability of the last layer.
        mixer_penalty: λ of the learned mixers.

    Args:
        device: Where the tensors are; None takes numbers.
    """

    def __init__(self, device: torch.device | None) -> None:
        self.device = device
        self.learning_rate: float | Tensor = 0.0
        self.drop_prob: float | Tensor = 0.0
        self.mixer_penalty: float | Tensor = 0.0

    def turn(self, *, learning_rate: float, drop_prob: float, mixer_penalty: float) -> None:
        """Sets all of them."""
        self.learning_rate = self._set(self.learning_rate, learning_rate)
        self.drop_prob = self._set(self.drop_prob, drop_prob)
        self.mixer_penalty = self._set(self.mixer_penalty, mixer_penalty)

    def _set(self, dial: float | Tensor, value: float) -> float | Tensor:
        if self.device is None:
            return value
        return dial.fill_(value) if isinstance(dial, Tensor) else torch.full((), value, device=self.device)
