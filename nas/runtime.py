"""The machine a run happens on: device, threads and number format."""

import os
from dataclasses import dataclass

import torch
from torch import nn

from nas.allocator import keep_freed_memory
from nas.console import note
from nas.distributed.ranks import ALONE, Ranks
from nas.graphs import CudaGraphs, Recorder

STEPS_WORTH_COMPILING = 20_000
AUTOCAST = {"auto": None, "off": None, "bf16": torch.bfloat16, "fp16": torch.float16}


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

    def place(self, network: nn.Module) -> nn.Module:
        """Moves a network to the device, in the memory format chosen."""
        memory_format = torch.channels_last if self.channels_last else torch.contiguous_format
        placed: nn.Module = network.to(device=self.device, memory_format=memory_format)  # type: ignore[call-overload]
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


def devices_here() -> list[str]:
    """Returns the names of the devices that this machine has, the CPU first."""
    cuda = [f"cuda:{number}" for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


def make_runtime(
    *,
    device: str = "auto",
    threads: int | None = None,
    autocast: str = "auto",
    channels_last: bool = True,
    graphs: bool | str = "auto",
    compile: bool | str = "auto",
    keep_memory: bool = True,
    deterministic: bool = False,
) -> Runtime:
    """Chooses the device and sets what torch keeps globally.

    Args:
        device: `auto` takes the first CUDA device if there is one, else the CPU; else a torch device name.
        threads: CPU threads within an op; None leaves torch's choice.
        autocast: `off`, `bf16`, `fp16`, or `auto`: bf16 on a CUDA device that has it.
        channels_last: Faster on CPUs and tensor cores alike.
        graphs: Whether steps are recorded as CUDA graphs; `auto` does so on CUDA devices.
        compile: Whether retraining compiles the network; `auto` does so for long trainings on CUDA devices.
        keep_memory: Whether memory once freed is kept for the next step (`nas.allocator`).
        deterministic: Refuse nondeterministic kernels (slower on a GPU; the CPU needs no flag).

    Raises:
        ValueError: If a value is unknown or the device is not there.
    """
    if threads is not None:
        if threads < 1:
            raise ValueError(f"runtime.threads must be at least 1, got {threads}")
        torch.set_num_threads(threads)
    for name, value in (("graphs", graphs), ("compile", compile)):
        if value not in (True, False, "auto"):
            raise ValueError(f"runtime.{name} must be true, false or auto, got {value!r}")
    if autocast not in AUTOCAST:
        raise ValueError(f"runtime.autocast must be one of {', '.join(AUTOCAST)}, got {autocast!r}")
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
    dtype = AUTOCAST[autocast]
    if chosen.type == "cuda":
        torch.backends.cudnn.benchmark = not deterministic
        torch.set_float32_matmul_precision("high")
        if autocast == "auto" and torch.cuda.is_bf16_supported():
            dtype = torch.bfloat16
    elif graphs is True:
        note(f"CUDA graphs need a CUDA device; on {chosen} steps run as they stand")
    if keep_memory:
        keep_freed_memory()
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    return Runtime(
        device=chosen,
        autocast=dtype,
        channels_last=channels_last,
        graphs=chosen.type == "cuda" and bool(graphs),
        compile=compile,
    )
