"""The mean of a network's weights along a training, exponentially weighted, kept on the device.

Averaging the last part of a training's path does what lowering the learning rate does (Polyak & Juditsky 1992; for
networks arXiv:1803.05407). Batch norm's running statistics are of the weights that were trained: those of the means
are taken afresh wherever the means are used (arXiv:1803.05407, §3.2).
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """mean ← decay · mean + (1 − decay) · weight after every step, beginning with the present weights.

    Weights and means are only ever written in place, so that a recorded step finds them where they were.

    Args:
        network: Whose parameters are averaged.
        decay: In (0, 1); about 1 / (1 − decay) steps are remembered.
    """

    def __init__(self, network: nn.Module, *, decay: float) -> None:
        self.network = network
        self.decay = decay
        self._weights = {name: weight.detach() for name, weight in network.named_parameters()}
        self._means = {name: weight.clone() for name, weight in self._weights.items()}

    def update(self) -> None:
        """Takes the weights in; to be called after every step."""
        torch._foreach_lerp_(list(self._means.values()), list(self._weights.values()), 1 - self.decay)

    def state_dict(self) -> dict[str, Tensor]:
        """Returns the means by the names of the weights."""
        return self._means

    def take_over(self, means: Mapping[str, Tensor]) -> None:
        """Goes on from the means of a network that had some of the same weights, or from those of a checkpoint."""
        for name, mean in self._means.items():
            if name in means and means[name].shape == mean.shape:
                mean.copy_(means[name])

    def exchange(self) -> None:
        """Puts the means in the place of the weights and the other way round; a second call undoes it."""
        for weight, mean in zip(self._weights.values(), self._means.values(), strict=True):
            kept = weight.clone()
            weight.copy_(mean)
            mean.copy_(kept)

    @contextlib.contextmanager
    def in_use(self, calibrate: Callable[[], None]) -> Iterator[None]:
        """Within the context the network has the means as weights, and batch norm what `calibrate` gives it."""
        kept = [buffer.clone() for buffer in self.network.buffers()]
        self.exchange()
        try:
            calibrate()
            yield
        finally:
            self.exchange()
            for buffer, value in zip(self.network.buffers(), kept, strict=True):
                buffer.copy_(value)
