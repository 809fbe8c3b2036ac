"""Measuring models side by side: every backend, precision and batch size checked first, then all timed in rounds."""

import copy
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nas.compute.device import Runtime
from nas.costs.latency.backends import BACKENDS, PRECISIONS, Pass
from nas.costs.latency.measurement import speedup, summarise, time_interleaved
from nas.costs.latency.peak_memory import MIB, held_bytes, live_bytes, with_peak
from nas.runs.console import progress
from nas.runs.seeds import derive_seed

TOLERANCES = {"fp32": 1e-3, "fp16": 3e-2, "bf16": 0.2}
"""Largest difference allowed to the logits of the network as trained, by the largest logit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyModel:
    """A model for inference and what it must compute.

    Attributes:
        model: Maps images (N, C, H, W) to logits, in float32 and evaluation mode, on the runtime's device.
        expected: Logits (N, num_classes) of the network as trained, in evaluation mode, on the CPU.
    """

    model: nn.Module
    expected: Tensor


Prepared = tuple[Pass, dict[str, Any]]
"""A pass that has been found right, and its row so far."""


@dataclass(slots=True)
class Comparison:
    """Models, backends, precisions and batch sizes to be timed together.

    Attributes:
        models: By name.
        images: (N, C, H, W), given on the CPU; N is the largest batch size.
        batch_sizes: Numbers of images in a pass.
        backends: Names in the table of backends.
        precisions: Names of number formats; weights and images are cast, since autocast would add casts of its own.
        runtime: Device and memory format.
        note: Is given a line before anything that takes long, and one on what is left out, with the reason.
        left_out: What was left out, and the reason.
    """

    models: Mapping[str, ReadyModel]
    images: Tensor
    batch_sizes: Sequence[int]
    backends: Sequence[str]
    precisions: Sequence[str]
    runtime: Runtime
    note: Callable[[str], None]
    left_out: list[dict[str, str]] = field(default_factory=list)
    _todo: list[tuple[str, str, str, nn.Module]] = field(init=False)  # backend, precision, name, and the model cast

    def __post_init__(self) -> None:
        self.images = self.images.to(self.runtime.device).contiguous(memory_format=self.runtime.memory_format)
        ways = [way for way in itertools.product(self.backends, self.precisions) if self._works(*way)]
        cast = {
            (name, precision): ready.model
            if precision == "fp32"
            else copy.deepcopy(ready.model).to(dtype=PRECISIONS[precision])
            for name, ready in self.models.items()
            for precision in dict.fromkeys(precision for _, precision in ways)
        }
        self._todo = [(*way, name, cast[name, way[1]]) for way in ways for name in self.models]

    def prepare(self, *, threads: int) -> list[Prepared]:
        """Prepares and checks every pass; what a backend cannot do is noted and left out.

        Raises:
            RuntimeError: If logits are not those of the network as trained.
        """
        prepared: list[Prepared] = []
        sizes = ", ".join(map(str, self.batch_sizes))
        with progress("preparing", total=len(self._todo)) as bar:
            for number, (backend, precision, name, model) in enumerate(self._todo, start=1):
                if verb := BACKENDS[backend].verb:
                    position = f"({number}/{len(self._todo)})"
                    self.note(f"{verb} {name} in {precision} for {backend}, batch sizes {sizes} {position}")
                row = {"model": name, "backend": backend, "precision": precision, "threads": threads}
                for batch_size in self.batch_sizes:
                    images = self.images[:batch_size].to(PRECISIONS[precision])
                    try:
                        run, logits, measured = self._tried(backend, model, images)
                    except Exception as error:
                        if (backend, precision) == ("eager", "fp32"):
                            raise
                        self._leave_out(f"{name}, {backend} in {precision}", error)
                        break
                    difference = self._checked(logits, row, batch_size)
                    measured |= {"largest_difference": difference, "batch_size": batch_size}
                    prepared.append((run, {**row, **measured}))
                bar.advance()
        return prepared

    def _tried(self, backend: str, model: nn.Module, images: Tensor) -> tuple[Pass, Tensor, dict[str, Any]]:
        """Prepares a pass and takes it; returns it, its logits, and what was measured: seconds and MiB."""
        device = self.runtime.device
        weights = held_bytes([*model.parameters(), *model.buffers()])
        started = time.perf_counter()
        run, peak = with_peak(partial(BACKENDS[backend].prepare, model, images), device)
        seconds = time.perf_counter() - started
        logits = run()
        if (device.type, backend) == ("cpu", "eager"):
            peak = live_bytes(model, images)
        elif device.type == "cuda" and backend != "cuda_graph":
            _, peak = with_peak(run, device)
        memory = None if peak is None else (weights + peak) / MIB
        return run, logits, {"prepare_seconds": seconds, "peak_memory_mib": memory}

    def _works(self, backend: str, precision: str) -> bool:
        reason = BACKENDS[backend].lack(self.runtime.device, precision)
        if reason is not None:
            self._leave_out(f"{backend} in {precision}", reason)
        return reason is None

    def _leave_out(self, what: str, reason: object) -> None:
        line = (str(reason).strip().splitlines() or [type(reason).__name__])[0]
        self.left_out.append({"what": what, "reason": line})
        self.note(f"left out {what}: {line}")

    def _checked(self, logits: Tensor, row: Mapping[str, Any], batch_size: int) -> float:
        """Returns the largest difference by the largest logit."""
        got, expected = logits.float().cpu(), self.models[row["model"]].expected[:batch_size]
        difference = ((got - expected).abs().max() / expected.abs().max()).item()
        allowed = TOLERANCES[row["precision"]]
        if not difference <= allowed:
            raise RuntimeError(
                f"{row['model']}, {row['backend']} in {row['precision']}, batch size {batch_size}, differs by "
                f"{difference:.3g} of the largest logit from the network as trained; allowed: {allowed:g}"
            )
        return difference


def timed_rows(
    prepared: Sequence[Prepared],
    *,
    rounds: int,
    warmup: int,
    seconds: float,
    references: Sequence[str],
    seed: int,
    runtime: Runtime,
    advance: Callable[[], None],
) -> list[dict[str, Any]]:
    """Times passes in rounds and compares each with the references' at the same batch size, backend and precision."""
    with torch.inference_mode():
        times = time_interleaved(
            [run for run, _ in prepared],
            rounds=rounds,
            warmup=warmup,
            seconds=seconds,
            seed=derive_seed(seed, "orders"),
            device=runtime.device,
            advance=advance,
        )
    keys = [tuple(row[key] for key in ("model", "backend", "precision", "batch_size")) for _, row in prepared]
    by_key = dict(zip(keys, times, strict=True))
    rows = []
    for (_, row), key in zip(prepared, keys, strict=True):
        compared = {
            reference: speedup(by_key[key], by_key[reference, *key[1:]], seed=derive_seed(seed, "bootstrap", reference))
            for reference in references
            if (reference, *key[1:]) in by_key
        }
        rows.append({**row, **summarise(by_key[key], batch_size=key[3]), "speedup": compared})
    return rows


@contextmanager
def exact_float32() -> Iterator[None]:
    """Keeps TensorFloat32 out of float32 on CUDA devices while the context lasts."""
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)
