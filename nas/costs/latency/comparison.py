"""Measuring models side by side: every backend, precision and batch size checked first, then all timed in rounds."""

import copy
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nas.compute.device import Runtime
from nas.costs.latency.backends import BACKENDS, PRECISIONS, Pass
from nas.costs.latency.measurement import speedup, summarise, time_interleaved
from nas.costs.latency.peak_memory import MIB, PeakMemory, held_bytes, live_bytes
from nas.runs.console import Bar, progress
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


class Prepared(NamedTuple):
    """A pass that has been found right, and its row so far."""

    run: Pass
    row: dict[str, Any]


@dataclass(slots=True)
class Comparison:
    """Models, backends, precisions and batch sizes to be timed together.

    Attributes:
        models: By name.
        images: (N, C, H, W), given on the CPU; N is the largest batch size.
        batch_sizes: Of a pass each.
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
    _ways: list[tuple[str, str]] = field(init=False)
    _cast: dict[tuple[str, str], nn.Module] = field(init=False)

    def __post_init__(self) -> None:
        self.images = self.images.to(self.runtime.device).contiguous(memory_format=self.runtime.memory_format)
        self._ways = [pair for pair in itertools.product(self.backends, self.precisions) if self._works(*pair)]
        self._cast = {
            (name, precision): ready.model
            if precision == "fp32"
            else copy.deepcopy(ready.model).to(dtype=PRECISIONS[precision])
            for name, ready in self.models.items()
            for precision in dict.fromkeys(precision for _, precision in self._ways)
        }

    def prepare(self, *, threads: int) -> list[Prepared]:
        """Prepares and checks every pass; what a backend cannot do is noted and left out.

        Raises:
            RuntimeError: If logits are not those of the network as trained.
        """
        todo = list(itertools.product(self._ways, self.models))
        with progress("preparing", total=len(todo) * len(self.batch_sizes)) as bar:
            return list(self._prepared(todo, bar, threads=threads))

    def _prepared(self, todo: Sequence[tuple[tuple[str, str], str]], bar: Bar, *, threads: int) -> Iterator[Prepared]:
        """Yields the passes of every way and model, the ways outermost."""
        for number, ((backend, precision), name) in enumerate(todo):
            if verb := BACKENDS[backend].verb:
                sizes = ", ".join(map(str, self.batch_sizes))
                self.note(f"{verb} {name} in {precision} for {backend}, batch sizes {sizes} ({number + 1}/{len(todo)})")
            for done, batch_size in enumerate(self.batch_sizes, start=number * len(self.batch_sizes)):
                bar.reach(done)
                images = self.images[:batch_size].to(PRECISIONS[precision])
                row: dict[str, Any] = {"model": name, "backend": backend, "precision": precision, "threads": threads}
                model = self._cast[name, precision]
                started = time.perf_counter()
                try:
                    with PeakMemory(self.runtime.device) as preparing:
                        run = BACKENDS[backend].prepare(model, images)
                    row["prepare_seconds"] = time.perf_counter() - started
                    logits = run()
                except Exception as error:
                    if (backend, precision) == ("eager", "fp32"):
                        raise
                    self._leave_out(f"{name}, {backend} in {precision}", error)
                    break
                row["largest_difference"] = self._checked(logits, row, batch_size)
                peak = preparing if backend == "cuda_graph" else None
                row["peak_memory_mib"] = self._peak_memory(model, images, run, peak, backend=backend)
                yield Prepared(run=run, row={**row, "batch_size": batch_size})

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
        if not difference <= TOLERANCES[row["precision"]]:
            raise RuntimeError(
                f"{row['model']}, {row['backend']} in {row['precision']}, batch size {batch_size}, differs by "
                f"{difference:.3g} of the largest logit from the network as trained; "
                f"allowed: {TOLERANCES[row['precision']]:g}"
            )
        return difference

    def _peak_memory(
        self, model: nn.Module, images: Tensor, run: Pass, preparing: PeakMemory | None, *, backend: str
    ) -> float | None:
        """Returns the most memory of a pass and the weights, in MiB; None where it is not known."""
        weights = held_bytes([*model.parameters(), *model.buffers()])
        if self.runtime.device.type == "cuda":
            if preparing is None:
                with PeakMemory(self.runtime.device) as preparing:
                    run()
            return None if preparing.num_bytes is None else (weights + preparing.num_bytes) / MIB
        return (weights + live_bytes(model, images)) / MIB if backend == "eager" else None


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
            [one.run for one in prepared],
            rounds=rounds,
            warmup=warmup,
            seconds=seconds,
            seed=derive_seed(seed, "orders"),
            device=runtime.device,
            advance=advance,
        )
    keys = [tuple(one.row[key] for key in ("model", "backend", "precision", "batch_size")) for one in prepared]
    by_key = dict(zip(keys, times, strict=True))
    rows = []
    for one, key in zip(prepared, keys, strict=True):
        compared = {
            reference: speedup(by_key[key], by_key[reference, *key[1:]], seed=derive_seed(seed, "bootstrap", reference))
            for reference in references
            if (reference, *key[1:]) in by_key
        }
        rows.append({**one.row, **summarise(by_key[key], batch_size=key[3]), "speedup": compared})
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
