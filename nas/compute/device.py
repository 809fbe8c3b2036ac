"""The machine a run happens on: device, threads and number format."""

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from nas.compute.cuda_graphs import CudaGraphs, Recorder
from nas.compute.distributed.ranks import ALONE, Ranks
from nas.compute.settings import RuntimeSettings
from nas.runs.console import note

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # parameters of mallopt in <malloc.h>


def keep_freed_memory() -> bool:
    """Tells the C library not to give freed memory back to the system.

    By default glibc maps fresh pages for every tensor above 32 MB, and shrinks its heap whenever enough of it is free.
    A training step frees all its activations at its end, so the next one would wait for the system to clear the same
    pages again: a tenth to a third of a step on the CPU. What the process once needed it keeps until it ends.

    Returns:
        Whether the C library is one that can keep it.
    """
    if platform.system() != "Linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # a C library other than glibc
        return False
    return bool(mallopt(TRIM_THRESHOLD, -1)) and bool(mallopt(MMAP_MAX, 0))


STEPS_WORTH_COMPILING = 20_000
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class Runtime:
    """How tensors are placed and computed.

    Attributes:
        device: Where images and weights live.
        autocast: Data type of forward passes; None stays in float32.
        channels_last: Whether weights are laid out channels-last, as the images are.
        graphs: Whether steps are recorded as CUDA graphs and replayed.
        compile: Whether long trainings compile their network: true, false, or `auto`, where it is known to pay.
        ranks: The processes that work together.
    """

    device: torch.device
    autocast: torch.dtype | None
    channels_last: bool
    graphs: bool = False
    compile: bool | str = False
    ranks: Ranks = ALONE

    @property
    def memory_format(self) -> torch.memory_format:
        """How weights and images are laid out."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def number_format(self) -> str:
        """What forward passes compute in: `float32`, or the data type of autocast."""
        return str(self.autocast or torch.float32).removeprefix("torch.")

    def place(self, network: nn.Module) -> nn.Module:
        """Moves a network to the device, in the memory format chosen."""
        placed: nn.Module = network.to(device=self.device, memory_format=self.memory_format)  # type: ignore[call-overload]
        return placed

    def recorder(self) -> Recorder | None:
        """Returns what records steps on the device; None if they are not to be recorded."""
        return CudaGraphs(self.device) if self.graphs else None

    def compiles(self, *, steps: int) -> bool:
        """Whether a training of that many steps compiles its network.

        With `auto`, long ones on a CUDA device do. On the CPU compiling takes minutes and gains nothing
        (`results/published/performance.md`).
        """
        if self.compile == "auto":
            return self.device.type == "cuda" and steps >= STEPS_WORTH_COMPILING
        return bool(self.compile)


def num_cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busy_cores(device: torch.device) -> int:
    """Returns the cores that torch keeps busy in this process: its threads on a CPU, one beside another device."""
    return torch.get_num_threads() if device.type == "cpu" else 1


@contextmanager
def threads_set(threads: int | None) -> Iterator[int]:
    """Lets torch compute with so many threads while the context lasts, None keeps their number; gives it."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if threads is None else threads)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def devices_here() -> list[str]:
    """Returns the names of the devices that this machine has, the CPU first."""
    cuda = [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def make_runtime(settings: RuntimeSettings | None = None, *, device: str = "auto") -> Runtime:
    """Chooses the device and sets what torch keeps globally.

    Args:
        settings: What torch is to do with the device; None takes the defaults.
        device: `auto` takes the first CUDA device if there is one, else the CPU; else a torch device name.

    Raises:
        ValueError: If the device is not there.
    """
    settings = settings or RuntimeSettings()
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, ImportError) as error:
        # Of other devices torch's own words are long, and about its build.
        reason = f" ({str(error).splitlines()[0].split('. ')[0]})" if device.startswith("cuda") else ""
        raise ValueError(
            f"device {device!r} is not available{reason}; there are {', '.join(devices_here())}"
        ) from error
    dtype = DTYPES.get(settings.autocast)
    if chosen.type == "cuda":
        torch.backends.cudnn.benchmark = not settings.deterministic
        torch.set_float32_matmul_precision("high")
        if settings.autocast == "auto" and torch.cuda.is_bf16_supported():
            dtype = torch.bfloat16
    elif settings.graphs is True:
        note(f"CUDA graphs need a CUDA device; on {chosen} steps run as they stand")
    if settings.keep_memory:
        keep_freed_memory()
    if settings.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if torch.are_deterministic_algorithms_enabled() != settings.deterministic:  # setting it takes torch seconds
        torch.use_deterministic_algorithms(settings.deterministic)
    return Runtime(
        device=chosen,
        autocast=dtype,
        channels_last=settings.channels_last,
        graphs=chosen.type == "cuda" and bool(settings.graphs),
        compile=settings.compile,
    )
