"""The machine a run happens on: device, threads, number format, random streams, and a record of all that."""

import functools
import hashlib
import os
import platform
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nas.allocator import keep_freed_memory
from nas.console import note
from nas.distributed.ranks import ALONE, Ranks
from nas.graphs import CudaGraphs, Recorder

PACKAGES = (
    "shufflenas",
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "hydra-core",
    "omegaconf",
    "wandb",
    "onnx",
    "onnxscript",
    "onnxruntime",
    "pillow",
    "safetensors",
    "pyyaml",
    "matplotlib",
)
SOURCES = ("nas", "search_spaces", "controllers", "conf")
RESULTS_DEPEND_ON = (
    *("device", "device_name", "autocast", "channels_last", "graphs", "compile", "threads", "distributed", "python"),
)
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
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} is not available: {str(error).splitlines()[0]}") from error
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


def derive_seed(seed: int, *stream: str | int) -> int:
    """Returns a seed in [0, 2⁶³) for a named stream of random numbers, such as `derive_seed(0, "epoch", 7)`.

    Every epoch starts from seeds of its own. So a resumed run draws exactly what an uninterrupted one would have, with
    no generator state to save.
    """
    digest = hashlib.sha256(repr((seed, *stream)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_everything(seed: int) -> None:
    """Seeds the global generators of Python, NumPy and torch on every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def environment(runtime: Runtime, *, seed: int) -> dict[str, Any]:
    """Returns what one needs to know to repeat a run: versions, device, seed, commit, command."""
    cuda = runtime.device.type == "cuda"
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "seed": seed,
        "device": str(runtime.device),
        "device_name": torch.cuda.get_device_name(runtime.device) if cuda else _processor(),
        "autocast": None if runtime.autocast is None else str(runtime.autocast).removeprefix("torch."),
        "channels_last": runtime.channels_last,
        "graphs": runtime.graphs,
        "compile": runtime.compile,
        "threads": torch.get_num_threads(),
        "distributed": _described(runtime.ranks),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cuda": torch.version.cuda if cuda else None,
        "packages": {name: _version(name) for name in PACKAGES} | {"torch": torch.__version__},
        "git_commit": _git_commit(),
        "code_sha256": code_digest(),
    }


def _described(ranks: Ranks) -> str | None:
    """Returns in words how several processes share the work; None for one alone."""
    settings = ranks.settings
    if ranks.alone:
        return None
    return f"{ranks.size} ranks, sampling {settings.sampling}, average {settings.average}, bn {settings.batch_norm}"


def environment_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns in which ways that can change results two environments differ, as `torch 2.11.0 → 2.12.0`."""

    def facts(environment: Mapping[str, Any]) -> dict[str, Any]:
        chosen = {name: environment.get(name) for name in (*RESULTS_DEPEND_ON, "cuda", "cpu_capability")}
        packages = environment.get("packages")
        return {**chosen, **(packages if isinstance(packages, dict) else {}), "code": environment.get("code_sha256")}

    before, after = facts(old), facts(new)
    return [
        f"{name} {_short(before.get(name))} → {_short(after.get(name))}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]


@functools.cache
def code_digest() -> str:
    """Returns a digest of this package's own source and settings, which a commit does not tell of changed files."""
    root, digest = Path(__file__).parent.parent, hashlib.sha256()
    for path in sorted(path for top in SOURCES for path in (root / top).rglob("*") if path.suffix in (".py", ".yaml")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _short(value: object) -> str:
    return str(value)[:40]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _git_commit() -> str | None:
    """Returns the commit of the source tree, with "+" if it was changed; None outside a repository."""
    source = Path(__file__).parent.parent
    if not (source / ".git").exists():
        return None
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=source, capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=source,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")
