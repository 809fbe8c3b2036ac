"""A training step of several ranks: each finds its gradients, they are averaged, and each takes the same step."""

import warnings
from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nas.compute.cuda_graphs import Recorder, Repeated
from nas.compute.distributed.gradients import Bucket
from nas.compute.distributed.ranks import Ranks


def data_parallel(network: nn.Module) -> nn.Module:
    """Wraps a network so that a backward pass averages its gradients over the ranks; all ranks call it.

    Every pass must use the same weights. Those that the first one does not use, such as an auxiliary head that is left
    out, get no gradient. Running statistics stay each rank's own. State dicts are taken of the network itself.

    Args:
        network: On its device; compiled already if it is to be.
    """
    # Strides of dimensions of size 1 are compared as well, as those of depthwise convolutions.
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view")
    wrapped = DistributedDataParallel(network, gradient_as_bucket_view=True, static_graph=True)
    wrapped.broadcast_buffers = False  # as an argument it is deprecated since torch 2.13, and had no successor before
    return wrapped


class Path(Protocol):
    """What is trained."""

    bucket: Bucket | None


class JointStep:
    """A step on a path, taken again and again; its two halves are recorded, what is between them never is.

    What is recorded must launch the same kernels on the device, whatever the other ranks do; a message to them need
    not be a kernel.

    Args:
        find: Takes images and labels, and fills the path's bucket.
        path: What is trained; `find` gives it its bucket.
        move: Steps with the gradients in the path's bucket.
        ranks: Those who take the step.
        recorder: None never records.
    """

    def __init__(
        self,
        find: Callable[[Tensor, Tensor], None],
        *,
        path: Path,
        move: Callable[[], None],
        ranks: Ranks,
        recorder: Recorder | None,
    ) -> None:
        self._find = Repeated(find, recorder=recorder)
        self._move = Repeated(move, recorder=recorder)
        self._path = path
        self._ranks = ranks

    @property
    def recorded(self) -> bool:
        """Whether both halves are replayed by now."""
        return self._find.recorded and self._move.recorded

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        """Takes the step on this rank's share of a batch."""
        self._find(images, labels)
        assert self._path.bucket is not None
        self._ranks.sum_(self._path.bucket.flat)
        self._move()
