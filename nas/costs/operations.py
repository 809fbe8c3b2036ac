"""Recording of a forward pass, operation by operation: arithmetic, weights, memory traffic, and dependencies.

The pass is recorded below the modules, where every tensor operation of torch passes, so that functional calls, skipped
candidates and copies count as they are run. On the device "meta" nothing is allocated or computed.
"""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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


def record_operations(
    network: nn.Module, *inputs: object, image_shape: tuple[int, int, int]
) -> tuple[list[Operation], dict[str, tuple[int, ...]]]:
    """Records the forward pass of one image in evaluation mode; every module's mode is as before afterwards.

    Args:
        network: Any device, "meta" included.
        inputs: What `network` takes after the images.
        image_shape: (C, H, W).

    Returns:
        The operations in the order in which they ran, views left out; and the output shapes by layer, without the batch
        axis, the network's own under the empty name.

    Raises:
        ValueError: If the image shape is not three numbers of at least 1.
    """
    if len(image_shape) != 3 or min(image_shape) < 1:
        raise ValueError(f"image_shape must be three numbers of at least 1, got {tuple(image_shape)}")
    recorder = _Recorder(network)
    # In inference mode torch hands over composite operations, convolutions by other names among them.
    with torch.inference_mode(False), torch.no_grad(), evaluating(network), _layers_named(network, recorder):
        weight = next(network.parameters(), torch.empty(0))
        image = torch.zeros((1, *image_shape), device=weight.device, dtype=weight.dtype)
        with recorder:
            network(image, *inputs)
    return recorder.operations, recorder.output_shapes


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, network: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self.output_shapes: dict[str, tuple[int, ...]] = {}
        self.running: list[str] = []  # the layers entered and not left, the network first
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
        written, read = tensors_in(out), tensors_in((args, kwargs))
        known = {storage_of(value) for value in read}
        is_view = not func._schema.is_mutable and all(storage_of(value) in known for value in written)
        if not written or is_view or name in FREE:
            return out
        read = read[1:] if name in OVERWRITING else read
        depth = 1 + max((self._depths.get(storage_of(value), 0) for value in (*read, *written)), default=0)
        self._depths |= {storage_of(value): depth for value in written}
        weights = {  # of several that share memory, the one that is read, or all if a view of them is
            id(owner): owner.numel()
            for value in read
            for owner in self._owners.get(storage_of(value), ())
            if owner is value or not isinstance(value, nn.Parameter)
        }
        convolution = _convolution(args, written[0]) if name == "convolution" else None
        count = flop_registry.get(func._overloadpacket)
        self.operations.append(
            Operation(
                name=name,
                kind=kind_of(name, convolution, is_product=count is not None),
                layer=self.running[-1] or REST,
                output_shape=tuple(written[0].shape[1:]),
                multiply_adds=int(count(*args, **(kwargs or {}), out_val=out)) // 2 if count else 0,
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
        return out


@contextmanager
def _layers_named(network: nn.Module, recorder: _Recorder) -> Iterator[None]:
    """Lets the recorder know which layer runs, and what shape its output has."""

    def enter(name: str, *_: object) -> None:
        recorder.running.append(name)

    def leave(name: str, *call: object) -> None:
        recorder.running.pop()
        recorder.output_shapes.update((name, tuple(value.shape[1:])) for value in tensors_in(call[-1])[:1])

    with ExitStack() as hooks:
        for name, part in [("", network), *_parts(network)]:
            hooks.enter_context(part.register_forward_pre_hook(partial(enter, name)))
            hooks.enter_context(part.register_forward_hook(partial(leave, name)))
        yield


def _parts(module: nn.Module, prefix: str = "", *, listed: bool = False) -> Iterator[tuple[str, nn.Module]]:
    for name, part in module.named_children():
        if (listed or name in PARTS) and isinstance(part, nn.ModuleList | nn.Sequential):
            yield from _parts(part, f"{prefix}{name}.", listed=True)
        else:
            yield f"{prefix}{name}", part


def tensors_in(values: object) -> list[Tensor]:
    """Returns the tensors in nested lists, tuples and dictionaries."""
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


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
