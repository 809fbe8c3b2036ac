"""The most memory that a model needs for a pass.

On a CUDA device it is what torch's allocator reports. A CPU's allocator keeps no such record, and the size of the
process tells nothing about one pass among others; there the tensors alive at the same time are added up, after every
operation, which leaves out what kernels take and give back within one.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from nas.costs.operations import storage_of, tensors_in

MIB = 2**20
HOW_MEASURED = {
    "cuda": "weights and what a pass allocates at most (torch.cuda.max_memory_allocated); cuda_graph: while captured",
    "cpu": "weights and tensors alive at once in an eager pass; what kernels need inside is not counted",
}

Result = TypeVar("Result")


def held_bytes(tensors: Iterable[Tensor]) -> int:
    """Returns the bytes of some tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def live_bytes(model: nn.Module, images: Tensor) -> int:
    """Returns the most bytes of tensors alive at once while a model computes, weights left out, images included."""
    with torch.inference_mode(), _LiveTensors(known=[*model.parameters(), *model.buffers()], entering=images) as live:
        model(images)
    return int(live.most)


def with_peak(work: Callable[[], Result], device: torch.device) -> tuple[Result, int | None]:
    """Does a piece of work.

    Returns:
        Its result, and the most bytes allocated on a CUDA device meanwhile, beyond what there was before; None on
        another device.
    """
    if device.type != "cuda":
        return work(), None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    result = work()
    torch.cuda.synchronize(device)
    return result, torch.cuda.max_memory_allocated(device) - before


class _LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages of the tensors that operations made and that are still there."""

    def __init__(self, *, known: list[Tensor], entering: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = {storage_of(value) for value in known}
        self._sizes: dict[StorageWeakRef, int] = {}
        self.most = 0
        self._note(entering)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        self._note(out)
        return out

    def _note(self, made: object) -> None:
        alive = {one: size for one, size in self._sizes.items() if not one.expired()}  # type: ignore[no-untyped-call]
        new = {storage_of(value): value.untyped_storage().nbytes() for value in tensors_in(made)}
        self._sizes = alive | {storage: size for storage, size in new.items() if storage not in self._known}
        self.most = max(self.most, sum(self._sizes.values()))
