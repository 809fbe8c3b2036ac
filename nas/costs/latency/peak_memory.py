"""The most memory that a model needs for a pass.

On a CUDA device it is what torch's allocator reports. A CPU's allocator keeps no such record, and the size of the
process tells nothing about one pass among others; there the tensors alive at the same time are added up, after every
operation, which leaves out what kernels take and give back within one.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nas.costs.operations import storage_of

MIB = 2**20
HOW_MEASURED = {
    "cuda": "weights and what a pass allocates at most (torch.cuda.max_memory_allocated); cuda_graph: while captured",
    "cpu": "weights and tensors alive at once in an eager pass; what kernels need inside is not counted",
}


def held_bytes(tensors: Iterable[Tensor]) -> int:
    """Returns the bytes of some tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def live_bytes(model: nn.Module, images: Tensor) -> int:
    """Returns the most bytes of tensors alive at once while a model computes, weights left out, images included."""
    weights = [*model.parameters(), *model.buffers()]
    with torch.inference_mode(), _LiveTensors(known=weights, entering=images) as live:
        model(images)
    most: int = live.most
    return most


class PeakMemory:
    """A context that notes the most memory allocated on a CUDA device within it, beyond what there was before.

    Attributes:
        num_bytes: Known afterwards; None on another device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.num_bytes: int | None = None
        self._before = 0

    def __enter__(self) -> "PeakMemory":
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            self._before = torch.cuda.memory_allocated(self.device)
        return self

    def __exit__(self, *_: object) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            self.num_bytes = torch.cuda.max_memory_allocated(self.device) - self._before


class _LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages of the tensors that operations made and that are still there."""

    def __init__(self, *, known: list[Tensor], entering: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = {storage_of(value) for value in known}
        self._sizes: dict[StorageWeakRef, int] = {}
        self.most = 0
        self._note(entering)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self._note(out)
        return out

    def _note(self, made: object) -> None:
        self._sizes = {storage: size for storage, size in self._sizes.items() if not _is_gone(storage)}
        for value in tree_leaves(made):
            if isinstance(value, Tensor) and storage_of(value) not in self._known:
                self._sizes[storage_of(value)] = value.untyped_storage().nbytes()
        self.most = max(self.most, sum(self._sizes.values()))


def _is_gone(storage: StorageWeakRef) -> bool:
    return bool(storage.expired())  # type: ignore[no-untyped-call]
