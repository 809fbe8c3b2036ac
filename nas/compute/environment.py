"""A record of a run's environment: machine, versions, code. Results may change with what differs between two."""

import functools
import hashlib
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from nas import __version__
from nas.compute.device import Runtime

PACKAGES = (
    *("torch", "torchvision", "numpy", "scipy", "scikit-learn", "hydra-core", "omegaconf", "wandb"),
    *("onnx", "onnxscript", "onnxruntime", "pillow", "safetensors", "pyyaml", "vl-convert-python"),
)
SOURCES = ("nas", "search_spaces", "controllers", "conf")
RESULTS_DEPEND_ON = (
    *("device", "device_name", "autocast", "channels_last", "graphs", "compile", "threads", "distributed", "python"),
    *("cuda", "cpu_capability"),
)


def environment(runtime: Runtime, *, seed: int) -> dict[str, Any]:
    """Returns what one needs to know to repeat a run: versions, device, seed, commit, command."""
    cuda = runtime.device.type == "cuda"
    ranks, sharing = runtime.ranks, runtime.ranks.settings
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "seed": seed,
        "device": str(runtime.device),
        "device_name": torch.cuda.get_device_name(runtime.device) if cuda else _processor(),
        "autocast": None if runtime.autocast is None else runtime.number_format,
        "channels_last": runtime.channels_last,
        "graphs": runtime.graphs,
        "compile": runtime.compile,
        "threads": torch.get_num_threads(),
        "distributed": None
        if ranks.alone
        else f"{ranks.size} ranks, sampling {sharing.sampling}, average {sharing.average}, bn {sharing.batch_norm}",
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cuda": torch.version.cuda if cuda else None,
        "packages": {"shufflenas": __version__}
        | {name: next((one.version for one in metadata.distributions(name=name)), None) for name in PACKAGES}
        | {"torch": torch.__version__},
        "git_commit": _git_commit(),
        "code_sha256": code_digest(),
    }


def environment_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Returns in which ways that can change results two environments differ, as `torch 2.11.0 → 2.12.0`."""

    def facts(environment: Mapping[str, Any]) -> dict[str, Any]:
        chosen = {name: environment.get(name) for name in RESULTS_DEPEND_ON}
        packages = environment.get("packages")
        return {**chosen, **(packages if isinstance(packages, dict) else {}), "code": environment.get("code_sha256")}

    before, after = facts(old), facts(new)
    return [
        f"{name} {str(before.get(name))[:40]} → {str(after.get(name))[:40]}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]


@functools.cache
def code_digest() -> str:
    """Returns a digest of this package's own source and settings; a commit says nothing of changed files."""
    root, digest = Path(__file__).parents[2], hashlib.sha256()
    for path in sorted(path for top in SOURCES for path in (root / top).rglob("*") if path.suffix in (".py", ".yaml")):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _git_commit() -> str | None:
    """Returns the commit of the source tree, with "+" if it was changed; None outside a repository."""
    source = Path(__file__).parents[2]
    if not (source / ".git").exists():
        return None
    describe = ["git", "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty=+"]
    try:
        found = subprocess.run(describe, cwd=source, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
