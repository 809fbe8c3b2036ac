"""Devices that need not be there: torch's fake tensors, which have a shape and a device but no numbers, watched.

An operation whose result depends on numbers raises, and so does one that would lay out memory by them. Of two devices
torch's fake tensors let more pass than a device would, so all operations are checked here as well.
"""

import contextlib
import itertools
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from nas.training import sgd

ACCELERATOR = torch.device("lazy", 0)
"""Stands for an accelerator where gradients are wanted: the one that torch lets backward run for without a driver."""
CUDA = torch.device("cuda", 0)
CPU = torch.device("cpu")
PROJECT = Path(__file__).parents[1]
PRODUCT = tuple(str(PROJECT / package) for package in ("nas", "search_spaces", "controllers"))
READS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.equal.default)
"""Operations by which the host learns numbers."""


class MixedDevicesError(AssertionError):
    """Tensors of two devices met in one operation."""


class Watch(TorchDispatchMode):
    """Notes who waits for the device, and refuses tensors of two devices.

    Args:
        device: The device.

    Attributes:
        number: What every number is that is read, so that the work goes on.
        waits: Who read a number on the device, or copied a tensor between it and the host: functions of the product in
            the order in which they did so, each once in a row.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.number = 0
        self.waits: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.ops.prim.device.default:  # most of all calls
            return function(*args)
        if function in READS:
            if args[0].device == self.device:
                self.note()
            return True if function is torch.ops.aten.equal.default else self.number
        if function is torch.ops.aten._to_copy.default:
            self.note_copy(args[0].device, kwargs.get("device") or args[0].device, **kwargs)
        elif function is torch.ops.aten.copy_.default:
            self.note_copy(args[1].device, args[0].device, non_blocking=len(args) > 2 and args[2])
        else:
            check_devices(function, (*args, *kwargs.values()))
        return function(*args, **kwargs)

    def note_copy(self, source: torch.device, target: torch.device, *, non_blocking: bool = False, **_: Any) -> None:
        if source.type != target.type and (target.type == "cpu" or not non_blocking):
            self.note()

    def note(self) -> None:
        who = reader()
        if self.waits[-1:] != [who]:
            self.waits.append(who)

    @torch.no_grad()
    def move(self, module: nn.Module) -> nn.Module:
        """Does what `module.to(device)` would do, and like it leaves alone what is no weight nor buffer."""
        fakes: dict[int, Tensor] = {}

        def fake(tensor: Tensor) -> Tensor:
            if id(tensor) not in fakes:
                empty = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=self.device)
                parameter = isinstance(tensor, nn.Parameter)
                fakes[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if parameter else empty
            return fakes[id(tensor)]

        for part in module.modules():
            for held in (part._parameters, part._buffers):
                held.update({name: fake(tensor) for name, tensor in held.items() if tensor is not None})
        return module


class FakeGenerator(torch.Generator):
    """A generator on the CPU that says that it is on another device."""

    def __new__(cls, device: torch.device | str = "cpu") -> "FakeGenerator":
        return super().__new__(cls)

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.named = torch.device(device)

    @property
    def device(self) -> torch.device:
        return self.named


@contextlib.contextmanager
def fake_tensors(device: torch.device) -> Iterator[Watch]:
    """Within the context tensors are fake, and none may be used that was made outside of it; watches a device."""
    autocast = torch.autocast

    def fake_autocast(device: str, **options: Any) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext() if device == ACCELERATOR.type else autocast(device, **options)

    with (
        mock.patch.object(torch, "autocast", fake_autocast),
        mock.patch.object(torch.cuda.amp.common, "amp_definitely_not_available", return_value=False),
        mock.patch.object(torch.cuda, "is_bf16_supported", return_value=True),
        mock.patch.object(torch, "Generator", FakeGenerator),
        mock.patch.object(torch, "_fused_sgd_", check_fused_step),
        mock.patch(
            "torch.optim.optimizer._get_fused_kernels_supported_devices", return_value=["cpu", ACCELERATOR.type]
        ),
        mock.patch.object(sgd, "_segments", sgd._segments.__wrapped__),  # what it keeps is fake only within
        FakeTensorMode(allow_non_fake_inputs=False),
        Watch(device) as watch,
    ):
        yield watch


def check_devices(function: Any, given: Iterable[Any], *, numbers: bool = False) -> None:
    """Raises if tensors of two devices meet; those of shape () are handed to kernels as numbers and may, or may not."""
    devices: set[torch.device] = set()
    for value in given:
        for tensor in value if isinstance(value, list | tuple) else [value]:
            if isinstance(tensor, Tensor) and (numbers or tensor.ndim):
                devices.add(tensor.fake_device if isinstance(tensor, FakeTensor) else tensor.device)
    if len(devices) > 1:
        raise MixedDevicesError(f"{function} meets tensors of two devices, {' and '.join(map(str, devices))}")


def check_fused_step(*lists: list[Tensor], lr: float | Tensor, found_inf: Tensor | None, **_: Any) -> None:
    """Checks what torch's fused step is given: all on one device, in one shape for each weight."""
    check_devices("the fused step", [*itertools.chain.from_iterable(lists), lr, found_inf], numbers=True)
    for tensors in zip(*lists, strict=True):
        assert len({tensor.shape for tensor in tensors}) == 1


def reader() -> str:
    """Returns the function of the product, or else of the tests, that is at work."""
    names = []
    frame = sys._getframe(2)
    while frame is not None:
        names.append((frame.f_code.co_filename, frame.f_code.co_qualname))
        frame = frame.f_back
    product = [name for file, name in names if file.startswith(PRODUCT)]
    return product[0] if product else next(name for file, name in names if "tests" in file and file != __file__)
