"""Measuring how long a model takes for a batch, on the device it is meant for."""

import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from nas.runtime import Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Time of a forward pass.

    Attributes:
        batch_size: Images in a pass.
        median_ms: Over the repeats.
        p95_ms: 95th percentile over the repeats.
        images_per_second: At the median.
        repeats: Passes timed.
    """

    batch_size: int
    median_ms: float
    p95_ms: float
    images_per_second: float
    repeats: int

    def to_dict(self) -> dict[str, Any]:
        """Returns the figures as JSON-ready data."""
        return asdict(self)


@torch.inference_mode()
def measure_latency(
    model: nn.Module,
    *,
    image_shape: tuple[int, int, int],
    batch_size: int,
    warmup: int,
    repeats: int,
    runtime: Runtime,
) -> Latency:
    """Times forward passes of a model on random images, each on its own.

    Args:
        model: Maps (N, C, H, W) to logits; on the runtime's device, in evaluation mode.
        image_shape: (C, H, W).
        batch_size: N.
        warmup: Passes before the first timed one.
        repeats: Passes timed.
        runtime: Device, number format and memory format.

    Raises:
        ValueError: If a count is out of range.
    """
    for name, value, least in (("batch_size", batch_size, 1), ("warmup", warmup, 0), ("repeats", repeats, 1)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    memory_format = torch.channels_last if runtime.channels_last else torch.contiguous_format
    images = torch.randn((batch_size, *image_shape), device=runtime.device).to(memory_format=memory_format)
    times = torch.tensor(
        [_time_pass(model, images, runtime) for _ in range(warmup + repeats)][warmup:], dtype=torch.float64
    )
    median_ms = times.quantile(0.5).item()
    return Latency(
        batch_size=batch_size,
        median_ms=median_ms,
        p95_ms=times.quantile(0.95).item(),
        images_per_second=1000 * batch_size / median_ms,
        repeats=repeats,
    )


def _time_pass(model: nn.Module, images: torch.Tensor, runtime: Runtime) -> float:
    """Returns the milliseconds of one pass, the device idle before and after."""
    cuda = runtime.device.type == "cuda"
    with torch.autocast(runtime.device.type, dtype=runtime.autocast, enabled=runtime.autocast is not None):
        if cuda:
            torch.cuda.synchronize(runtime.device)
        started = time.perf_counter_ns()
        model(images)
        if cuda:
            torch.cuda.synchronize(runtime.device)
    return (time.perf_counter_ns() - started) / 1e6
