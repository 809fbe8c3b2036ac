"""Tables of how long the parts of networks take on a device, measured once and kept on disk.

A table holds under one set of conditions: device, threads, number format, memory format, batch size, version of torch.
Each set has a file of its own; what a search needs and the file lacks is measured and added.
"""

import copy
import fcntl
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.compute.device import Runtime
from nas.compute.environment import environment
from nas.compute.timing import steady_times, time_in_turns, timing
from nas.costs.network_parts import Part
from nas.models.inference.batch_norm_folding import fold_batch_norm
from nas.runs.checkpoints import write_json

CHAIN_MS = 0.3  # a part shorter than this is run so often in a row that the chain takes this long
MAX_CHAIN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Everything but the work itself that a latency depends on.

    Attributes:
        device_name: Name of the processor or GPU.
        threads: CPU threads within an op.
        number_format: `float32`, or the data type of autocast.
        channels_last: Memory format.
        batch_size: Images in a pass.
        torch: Version of torch.
    """

    device_name: str
    threads: int
    number_format: str
    channels_last: bool
    batch_size: int
    torch: str

    @property
    def file_name(self) -> str:
        """The name of the table's file."""
        layout = "channels-last" if self.channels_last else "contiguous"
        words = (self.device_name, f"torch {self.torch}", self.number_format, layout, f"{self.threads} threads")
        return re.sub(r"[^a-z0-9.+-]+", "_", " ".join((*words, f"batch {self.batch_size}")).lower()) + ".json"


@dataclass(slots=True)
class LatencyTable:
    """Latencies of parts under one set of conditions, and corrections of sums over them.

    Attributes:
        conditions: The conditions under which they hold.
        parts: By the part's key what `nas.compute.timing.Timing` has, in ms.
        corrections: By a text that names a network and a space: slope, intercept and what they come from.
    """

    conditions: Conditions
    parts: dict[str, dict[str, float]] = field(default_factory=dict)
    corrections: dict[str, dict[str, Any]] = field(default_factory=dict)

    def latency_ms(self, part: Part) -> float:
        """Returns the time of a part: the shortest of all rounds, since other programs only ever add to it.

        Raises:
            ValueError: If the part is not in the table.
        """
        if part.key not in self.parts:
            raise ValueError(f"the latency table lacks the part {part.key}")
        return self.parts[part.key]["min_ms"]


def conditions_of(runtime: Runtime, *, batch_size: int) -> Conditions:
    """Returns the conditions that hold now."""
    return Conditions(
        device_name=environment(runtime, seed=0)["device_name"],
        threads=torch.get_num_threads(),
        number_format=runtime.number_format,
        channels_last=runtime.channels_last,
        batch_size=batch_size,
        torch=str(torch.__version__),
    )


@contextmanager
def opened_table(folder: Path, conditions: Conditions) -> Iterator[LatencyTable]:
    """Gives the table of a folder for these conditions, and writes it back if something was added to it.

    One process at a time has it, so that nothing is measured twice, and not by two at once.

    Raises:
        ValueError: If the file there is not a table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / conditions.file_name
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        table = read_table(path) if path.exists() else LatencyTable(conditions)
        before = len(table.parts), len(table.corrections)
        yield table
        if before != (len(table.parts), len(table.corrections)):
            write_json(path, asdict(table))


def read_table(path: Path) -> LatencyTable:
    """Reads a table.

    Raises:
        ValueError: If the file is not a table.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        table = LatencyTable(Conditions(**data["conditions"]), dict(data["parts"]), dict(data["corrections"]))
        times = [entry["min_ms"] for entry in table.parts.values()]
        lines = [one[key] for one in table.corrections.values() for key in ("slope", "intercept")]
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is not a latency table ({error!r}); delete it, to have it measured") from None
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in [*times, *lines]):
        raise ValueError(f"{path} holds a time that is not a number; delete it, to have it measured")
    if min(times, default=1.0) <= 0:
        raise ValueError(f"{path} holds a time of 0 or less; delete it, to have it measured")
    return table


@torch.inference_mode()
def measure_parts(
    prototypes: Mapping[Part, nn.Module], *, batch_size: int, rounds: int, runtime: Runtime
) -> dict[str, dict[str, float]]:
    """Times parts in turns, each as a chain of passes on one input, long against what the clock resolves.

    Args:
        prototypes: A module for every part, in evaluation mode; what is timed is a copy with batch norm folded.
        batch_size: N of the inputs.
        rounds: How often each chain is timed.
        runtime: Device, number format and memory format.

    Returns:
        By the part's key what `nas.compute.timing.Timing` has for one pass, in ms, and the length of the `chain`.
    """
    chains: dict[str, Callable[[], object]] = {}
    lengths: dict[str, int] = {}
    with autocasting(runtime):
        for part, prototype in prototypes.items():
            module = copy.deepcopy(prototype)
            fold_batch_norm(module)
            module = runtime.place(module)
            images = random_images((batch_size, *part.reads), runtime)
            trials = time_in_turns({"part": partial(module, images)}, rounds=2, warmup=1, device=runtime.device)["part"]
            lengths[part.key] = max(1, min(MAX_CHAIN, math.ceil(CHAIN_MS / min(trials))))
            chains[part.key] = partial(run_chain, module, images, lengths[part.key])
        times = steady_times(chains, rounds=rounds, device=runtime.device)
    return {
        key: {**asdict(timing([time / lengths[key] for time in values])), "chain": lengths[key]}
        for key, values in times.items()
    }


def autocasting(runtime: Runtime) -> torch.autocast:
    """Returns the context of forward passes; weights are cast in every pass, as in a network that runs once."""
    return torch.autocast(
        runtime.device.type, dtype=runtime.autocast, enabled=runtime.autocast is not None, cache_enabled=False
    )


def random_images(shape: tuple[int, ...], runtime: Runtime) -> Tensor:
    """Returns normal noise (N, C, H, W) on the device, in the memory format of the network."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return noise.to(runtime.device, memory_format=runtime.memory_format)


def run_chain(module: nn.Module, images: Tensor, length: int) -> None:
    """Runs a module several times on the same images."""
    for _ in range(length):
        module(images)
