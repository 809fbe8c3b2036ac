"""What every mixer costs: weights, arithmetic, and measured time, while it trains and hardened for inference.

A learned permutation is to cost at inference what the channel shuffle costs. So all mixers are timed in turns, and each
against the channel shuffle of the same rounds.
"""

import copy
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from nas.compute.timing import median_ratio, time_in_turns, timing
from nas.runs.seeds import derive_seed
from nas.studies.demonstrations.settings import MixerCostSettings
from search_spaces.mixers import MIXERS, Mixer
from search_spaces.shuffles import build_mixer

REFERENCE = "channel_shuffle"
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
PRODUCTS = {"mul", "div", "lerp", "addcmul", "_softmax"}
"""Element-wise operations with a multiplication or division for every element that they write."""


def run(settings: MixerCostSettings, *, seed: int, on_row: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Measures all mixers.

    Args:
        settings: What is measured.
        seed: Of weights and feature maps. Times differ from run to run all the same.
        on_row: Called with each row, one a mixer, C, batch size and memory format.

    Returns:
        JSON-ready: `settings`, the number of `threads`, and `rows`. A row has `mixer`, `channels`, `batch_size`,
        `memory_format`, what `counts` returns, the medians `train_ms` of a training step and `inference_ms` of a
        forward pass hardened, the ranges of both, and `train_ratio` and `inference_ratio`, the medians over the rounds
        of the time over that of the channel shuffle.

    Raises:
        ValueError: If a mixer cannot have so many channels or groups.
    """
    device = torch.device(settings.device)
    names = list(dict.fromkeys((REFERENCE, *(settings.mixers or MIXERS))))
    figures: dict[str, Any] = {"settings": asdict(settings), "threads": torch.get_num_threads(), "rows": []}
    for channels in settings.channels:
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(seed, "mixer_costs", channels))
            groups = settings.groups if channels % settings.groups == 0 else 1
            pairs = {name: _soft_and_hard(name, channels, groups, device) for name in names}
            image = torch.randn((1, channels, settings.image_size, settings.image_size), device=device)
            counted = {name: counts(*pair, image=image) for name, pair in pairs.items()}
            for batch_size in settings.batch_sizes:
                images = torch.randn((batch_size, *image.shape[1:]), device=device)
                for memory_format in settings.memory_formats:
                    placed = images.to(memory_format=FORMATS[memory_format])
                    case = {"channels": channels, "batch_size": batch_size, "memory_format": memory_format}
                    for name, times in _time(pairs, placed, settings, device).items():
                        row = {"mixer": name, **case, **counted[name], **times}
                        figures["rows"].append(row)
                        on_row(row)
    return figures


def counts(soft: nn.Module, hard: nn.Module, *, image: Tensor) -> dict[str, int]:
    """Returns the sizes of a mixer and its arithmetic for one image.

    Args:
        soft: The mixer that trains.
        hard: The same, hardened.
        image: (1, C, H, W), on their device.

    Returns:
        `parameters` that train; `hard_numbers`, parameters and buffers of the hardened mixer, indices included. Of a
        forward pass `train_multiply_adds` and `hard_multiply_adds`, those of convolutions and matrix products, which
        torch's FLOP counter sees; and `train_products` and `hard_products`, the multiplications and divisions of
        element-wise operations (`PRODUCTS`), which it does not. Additions alone, exponentials, comparisons and moved
        elements are in neither.
    """
    sizes = {
        "parameters": sum(parameter.numel() for parameter in soft.parameters()),
        "hard_numbers": sum(value.numel() for value in (*hard.parameters(), *hard.buffers())),
    }
    for prefix, mixer in (("train", soft), ("hard", hard)):
        with torch.set_grad_enabled(mixer is soft), _Products() as products, FlopCounterMode(display=False) as flops:
            mixer(image)
        sizes[f"{prefix}_multiply_adds"] = flops.get_total_flops() // 2
        sizes[f"{prefix}_products"] = products.count
        if isinstance(mixer, Mixer):
            mixer.project()
    return sizes


def training_step(mixer: nn.Module, images: Tensor, gradient: Tensor) -> None:
    """Takes a forward and a backward pass through a mixer and what comes with them: its penalty, and its projection.

    The gradients by the images are computed too, since a mixer stands amid a network. No optimizer steps.

    Args:
        mixer: In training mode.
        images: (N, C, H, W), requiring gradients.
        gradient: Of the loss by the mixer's output, of the same shape.
    """
    images.grad = None
    mixer.zero_grad()
    roots, gradients = [mixer(images)], [gradient]
    penalty = mixer.regularization() if isinstance(mixer, Mixer) else None
    if penalty is not None and penalty.requires_grad:
        roots.append(penalty)
        gradients.append(torch.ones_like(penalty))
    torch.autograd.backward(roots, gradients)
    if isinstance(mixer, Mixer):
        mixer.project()


def inference(mixer: nn.Module, images: Tensor) -> None:
    """Takes a forward pass through a hardened mixer in inference mode."""
    with torch.inference_mode():
        mixer(images)


class _Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the elements that operations in `PRODUCTS` write."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__.removesuffix("_") in PRODUCTS:
            self.count += out.numel()
        return out


def _soft_and_hard(name: str, channels: int, groups: int, device: torch.device) -> tuple[nn.Module, nn.Module]:
    soft = build_mixer(name, channels, groups).to(device)
    twin = copy.deepcopy(soft)  # hardening may return the mixer itself, or parts of it
    hard = twin.harden() if isinstance(twin, Mixer) else twin
    return soft.train(), hard.eval()


def _time(
    pairs: dict[str, tuple[nn.Module, nn.Module]], images: Tensor, settings: MixerCostSettings, device: torch.device
) -> dict[str, dict[str, float]]:
    leaf, gradient = images.clone().requires_grad_(), torch.randn_like(images)
    work = {
        "train": {name: partial(training_step, soft, leaf, gradient) for name, (soft, _) in pairs.items()},
        "inference": {name: partial(inference, hard, images) for name, (_, hard) in pairs.items()},
    }
    rows: dict[str, dict[str, float]] = {name: {} for name in pairs}
    for prefix, pieces in work.items():
        # Each runs twice and the second run counts. The first would be timed with what its predecessor left in the
        # caches: one and the same permutation then takes 0.5 or 0.8 of the reference, by its place in the order.
        twice = {f"{name}{turn}": piece for name, piece in pieces.items() for turn in (" before", "")}
        times = time_in_turns(twice, rounds=settings.rounds, warmup=settings.warmup, device=device)
        for name, row in rows.items():
            summary = timing(times[name])
            row[f"{prefix}_ms"] = summary.median_ms
            row[f"{prefix}_min_ms"], row[f"{prefix}_max_ms"] = summary.min_ms, summary.max_ms
            row[f"{prefix}_ratio"] = median_ratio(times[name], times[REFERENCE])
    return rows
