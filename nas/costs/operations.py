"""What a forward pass computes, operation by operation: arithmetic, weights, memory traffic, and what waits for what.

The pass is recorded below the modules, where every tensor operation of torch passes, so that functional calls, skipped
candidates and copies count as they are run. On the device "meta" nothing is allocated or computed.
"""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from nas.costs.operation_costs import Convolution, Operation, kind_of
from nas.models.derived import evaluating

FREE = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided"}  # memory without contents
OVERWRITING = {"copy", "fill", "zero"}  # do not read the tensor that they write
PARTS = ("layers", "stages")  # lists whose entries are layers of their own
REST = "rest"
"""The layer of what the network's own forward computes outside its parts."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A forward pass.

    Attributes:
        operations: In the order in which they ran; views are none.
        output_shapes: By layer, without the batch axis; the network's own under the empty name.
    """

    operations: tuple[Operation, ...]
    output_shapes: dict[str, tuple[int, ...]]


def record_operations(network: nn.Module, *inputs: object, image_shape: tuple[int, int, int]) -> Recording:
    """Records the forward pass of one image in evaluation mode; every module's mode is as before afterwards.

    Args:
        network: Any device, "meta" included.
        inputs: What `network` takes after the images.
        image_shape: (C, H, W).

    Raises:
        ValueError: If the image shape is not three numbers of at least 1.
    """
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise ValueError(f"image_shape must be three numbers of at least 1, got {tuple(image_shape)}")
    recorder = _Recorder(network)
    # In inference mode torch hands over composite operations, convolutions by other names among them.
    with torch.inference_mode(False), torch.no_grad():
        weight = next(network.parameters(), torch.empty(0))
        image = torch.zeros((1, *image_shape), device=weight.device, dtype=weight.dtype)
        with evaluating(network), _layers_named(network, recorder), recorder:
            output = network(image, *inputs)
    recorder.leave("", output)
    return Recording(tuple(recorder.operations), recorder.output_shapes)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self.output_shapes: dict[str, tuple[int, ...]] = {}
        self.running = [REST]  # the layers entered and not left
        self._owners: dict[StorageWeakRef, list[nn.Parameter]] = {}  # weak references, for memory to be freed in time
        for parameter in network.parameters():
            self._owners.setdefault(storage_of(parameter), []).append(parameter)
        self._depths: dict[StorageWeakRef, int] = {}
        self._read: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        name = _plain_name(func._schema.name)
        written = [value for value in tree_leaves(out) if isinstance(value, Tensor)]
        read = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        known = {storage_of(value) for value in read}
        is_view = not func._schema.is_mutable and all(storage_of(value) in known for value in written)
        if written and not is_view and name not in FREE:
            self._enter(func, name, args, kwargs or {}, out, written, read[1:] if name in OVERWRITING else read)
        return out

    def leave(self, layer: str, output: object) -> None:
        """Notes what a layer returned."""
        tensors = [value for value in tree_leaves(output) if isinstance(value, Tensor)]
        if tensors:
            self.output_shapes[layer] = tuple(tensors[0].shape[1:])

    def _enter(
        self,
        func: Any,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Any,
        written: list[Tensor],
        read: list[Tensor],
    ) -> None:
        depth = 1 + max((self._depths.get(storage_of(value), 0) for value in (*read, *written)), default=0)
        for value in written:
            self._depths[storage_of(value)] = depth
        weights = {id(weight): weight.numel() for value in read for weight in self._weights_in(value)}
        convolution = _convolution(args, written[0]) if name == "convolution" else None
        count = flop_registry.get(func._overloadpacket)
        multiply_adds = int(count(*args, **kwargs, out_val=out)) // 2 if count else 0
        self.operations.append(
            Operation(
                name=name,
                kind=kind_of(name, convolution, is_product=count is not None),
                layer=self.running[-1],
                output_shape=tuple(written[0].shape[1:]),
                multiply_adds=multiply_adds,
                parameters=sum(weights.values()),
                new_parameters=sum(size for key, size in weights.items() if key not in self._read),
                # The first output alone: others are indices of a pooling or statistics, for the backward pass only.
                memory_access_elements=sum(map(_elements, read)) + written[0].numel(),
                output_elements=written[0].numel(),
                depth=depth,
                convolution=convolution,
            )
        )
        self._read |= weights.keys()

    def _weights_in(self, value: Tensor) -> list[nn.Parameter]:
        owners = self._owners.get(storage_of(value), [])
        return [owner for owner in owners if owner is value] or owners


@contextmanager
def _layers_named(network: nn.Module, recorder: _Recorder) -> Iterator[None]:
    """Tells the recorder which layer runs."""

    def enter(name: str, *_: object) -> None:
        recorder.running.append(name)

    def leave(name: str, *call: object) -> None:
        recorder.running.pop()
        recorder.leave(name, call[-1])

    with ExitStack() as hooks:
        for name, part in _parts(network):
            hooks.enter_context(part.register_forward_pre_hook(partial(enter, name)))
            hooks.enter_context(part.register_forward_hook(partial(leave, name)))
        yield


def _parts(module: nn.Module, prefix: str = "", *, listed: bool = False) -> Iterator[tuple[str, nn.Module]]:
    for name, part in module.named_children():
        inside = listed or name in PARTS
        if inside and isinstance(part, nn.ModuleList | nn.Sequential):
            yield from _parts(part, f"{prefix}{name}.", listed=True)
        else:
            yield f"{prefix}{name}", part


def storage_of(value: Tensor) -> StorageWeakRef:
    """Returns what tells whether two tensors are views of one memory, and does not keep it."""
    return StorageWeakRef(value.untyped_storage())  # type: ignore[no-untyped-call]


def _elements(value: Tensor) -> int:
    """Elements in memory: an expanded axis holds one."""
    return math.prod(size for size, stride in zip(value.shape, value.stride(), strict=True) if stride or not size)


def _plain_name(name: str) -> str:
    name = name.removeprefix("aten::").removesuffix("_with_indices").strip("_")
    return "batch_norm" if name.endswith("batch_norm") else name


def _convolution(args: tuple[Any, ...], out: Tensor) -> Convolution:
    x, weight, groups = args[0], args[1], args[8]
    return Convolution(
        in_channels=x.shape[1],
        out_channels=out.shape[1],
        groups=groups,
        kernel_elements=math.prod(weight.shape[2:]),
        in_pixels=math.prod(x.shape[2:]),
        out_pixels=math.prod(out.shape[2:]),
    )
