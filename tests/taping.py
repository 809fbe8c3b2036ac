"""A recorder on the CPU that behaves as a CUDA graph does, for testing what is recorded."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten


class Tape(TorchDispatchMode):
    """Writes down every operation, and what the tensors it met held before."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self.before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("the host reads a value, which cannot be recorded")
        for tensor in tensors_in((args, kwargs)):
            if address(tensor) not in self.before:
                whole = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
                self.before[address(tensor)] = (whole, whole.clone())
        out = function(*args, **kwargs)
        self.operations.append((function, args, kwargs, out))
        return out


class TapeRecorder:
    """Replays operations with the tensors and numbers they were recorded with; recording itself changes nothing."""

    def __init__(self) -> None:
        self.recordings = 0
        self.replays = 0

    @contextlib.contextmanager
    def stream(self) -> Iterator[None]:
        yield

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        tape, random_state = Tape(), torch.get_rng_state()
        try:
            with tape:
                work()
        finally:
            torch.set_rng_state(random_state)
            with torch.no_grad():
                for tensor, value in tape.before.values():
                    tensor.copy_(value)
        self.recordings += 1

        def replay() -> None:
            self.replays += 1
            with torch.no_grad():
                for function, args, kwargs, outs in tape.operations:
                    write_back(function(*args, **kwargs), outs, inputs=tensors_in((args, kwargs)))

        return replay


def write_back(computed: Any, recorded: Any, *, inputs: list[Tensor]) -> None:
    """Writes results where they lay when they were recorded, but for views of the inputs, which lie there already."""
    for new, old in zip(tensors_in(computed), tensors_in(recorded), strict=True):
        if address(old) not in map(address, inputs):
            old.copy_(new)


def tensors_in(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]


def address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
