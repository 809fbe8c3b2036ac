"""Costs of every mixer by itself, and of hardened permutations in a whole network at inference.

A learned permutation is to cost at inference what the channel shuffle costs. So everything is timed in turns, and each
against the channel shuffle of the same rounds.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nas.compute.timing import median_ratio, time_in_turns, timing
from nas.models.inference.ready import for_inference
from nas.models.shufflenasnet import ShuffleNASNet
from nas.models.shufflenets import ShuffleNetV2
from nas.runs.seeds import derive_seed, seed_everything
from nas.studies.demonstrations.rows import Rows, demonstration
from nas.studies.demonstrations.settings import MixerCostSettings, ModelCostSettings, TimingSettings
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Genotype
from search_spaces.mixers import MIXERS, Mixer, Permutation
from search_spaces.published import PUBLISHED
from search_spaces.shuffles import ChannelShuffle, build_mixer

REFERENCE = "channel_shuffle"
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
PRODUCTS = ("mul", "mul_", "div", "div_", "lerp", "lerp_", "addcmul", "addcmul_", "_softmax")
"""Element-wise operations with a multiplication or division for every element that they write."""


@demonstration()
def mixer_costs(settings: MixerCostSettings, *, seed: int) -> Rows:
    """What every mixer costs: weights, arithmetic, and measured time, while it trains and hardened for inference.

    A row is of a mixer, C, batch size and memory format. It has `mixer`, `channels`, `batch_size`, `memory_format`,
    what `counts` returns, the medians `train_ms` of a training step and `inference_ms` of a forward pass hardened, the
    ranges of both, and `train_ratio` and `inference_ratio`, the medians over the rounds of the time over that of the
    channel shuffle. The seed is that of weights and feature maps.

    Returns:
        The number of `threads`.

    Raises:
        ValueError: If a mixer cannot have so many channels or groups.
    """
    device = torch.device(settings.device)
    names = list(dict.fromkeys((REFERENCE, *(settings.mixers or MIXERS))))
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
                    case = {"channels": channels, "batch_size": batch_size, "memory_format": memory_format}
                    timed = _time(pairs, images.to(memory_format=FORMATS[memory_format]), settings)
                    yield from ({"mixer": name, **case, **counted[name], **timed[name]} for name in names)
    return {"threads": torch.get_num_threads()}


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
    elementwise = [getattr(torch.ops.aten, name) for name in PRODUCTS]
    sizes = {
        "parameters": sum(parameter.numel() for parameter in soft.parameters()),
        "hard_numbers": sum(value.numel() for value in (*hard.parameters(), *hard.buffers())),
    }
    for prefix, mixer in (("train", soft), ("hard", hard)):
        counter = FlopCounterMode(display=False, custom_mapping=dict.fromkeys(elementwise, _elements))
        with torch.set_grad_enabled(mixer is soft), counter:
            mixer(image)
        counted = counter.get_flop_counts().get("Global", {})
        products = sum(count for operation, count in counted.items() if operation in elementwise)
        multiply_adds = (counter.get_total_flops() - products) // 2
        sizes |= {f"{prefix}_multiply_adds": multiply_adds, f"{prefix}_products": products}
        if isinstance(mixer, Mixer):
            mixer.project()
    return sizes


def _elements(*_: object, out_shape: Sequence[int], **__: object) -> int:
    return math.prod(out_shape)


def training_step(mixer: nn.Module, images: Tensor, gradient: Tensor) -> None:
    """Takes a forward and a backward pass through a mixer and what comes with them: its penalty, and its projection.

    The gradients by the images are computed too, since a mixer stands amid a network. No optimizer steps.

    Args:
        mixer: In training mode.
        images: (N, C, H, W), requiring gradients.
        gradient: Gradient of the loss by the mixer's output, of the same shape.
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


def _soft_and_hard(name: str, channels: int, groups: int, device: torch.device) -> tuple[nn.Module, nn.Module]:
    soft = build_mixer(name, channels, groups).to(device)
    twin = copy.deepcopy(soft)  # hardening may return the mixer itself, or parts of it
    hard = twin.harden() if isinstance(twin, Mixer) else twin
    return soft.train(), hard.eval()


def _time(
    pairs: dict[str, tuple[nn.Module, nn.Module]], images: Tensor, settings: TimingSettings
) -> dict[str, dict[str, float]]:
    leaf, gradient = images.clone().requires_grad_(), torch.randn_like(images)
    work = {
        "train": {name: partial(training_step, soft, leaf, gradient) for name, (soft, _) in pairs.items()},
        "inference": {name: partial(_infer, hard, images) for name, (_, hard) in pairs.items()},
    }
    rows: dict[str, dict[str, float]] = {name: {} for name in pairs}
    for prefix, pieces in work.items():
        # Each runs twice and the second run counts. The first would be timed with what its predecessor left in the
        # caches: one and the same permutation then takes 0.5 or 0.8 of the reference, by its place in the order.
        twice = {f"{name}{turn}": piece for name, piece in pieces.items() for turn in (" before", "")}
        times = _in_turns(twice, settings)
        for name, row in rows.items():
            summary = timing(times[name])
            row |= {
                f"{prefix}_ms": summary.median_ms,
                f"{prefix}_min_ms": summary.min_ms,
                f"{prefix}_max_ms": summary.max_ms,
                f"{prefix}_ratio": median_ratio(times[name], times[REFERENCE]),
            }
    return rows


def _in_turns(work: Mapping[str, Callable[[], object]], settings: TimingSettings) -> dict[str, list[float]]:
    return time_in_turns(work, rounds=settings.rounds, warmup=settings.warmup, device=torch.device(settings.device))


@torch.inference_mode()
def _infer(network: nn.Module, *inputs: object) -> None:
    network(*inputs)


@demonstration()
def model_costs(settings: ModelCostSettings, *, seed: int) -> Rows:
    """What hardened permutations cost a whole network at inference, compared with the fixed channel shuffle.

    Four copies of one network are timed in turns: with the fixed shuffle and with a random permutation after every
    layer, each as it is trained (concatenate, then mix) and as `nas.models.inference.ready.for_inference` makes it
    ready. Rows hold the median of the fixed shuffle in milliseconds, the medians over the rounds of three ratios to the
    fixed shuffle as it is trained, and of the folded permutations to the folded shuffle.

    Returns:
        The number of `threads`.
    """
    for name, memory_format in product(settings.models, settings.memory_formats):
        seed_everything(seed)
        network, genotype = build_model(name)
        where: Any = {"device": settings.device, "memory_format": FORMATS[memory_format]}
        copies = {label: copied.to(**where) for label, copied in four_copies(network, genotype).items()}
        for batch_size in settings.batch_sizes:
            images = torch.randn((batch_size, 3, settings.image_size, settings.image_size)).to(**where)
            work = {label: partial(_infer, copied, images, genotype) for label, copied in copies.items()}
            times = _in_turns(work, settings)
            yield {
                **{"model": name, "memory_format": memory_format, "batch_size": batch_size},
                "shuffle_ms": timing(times["shuffle"]).median_ms,
                "hardened_ratio": median_ratio(times["hardened"], times["shuffle"]),
                "folded_shuffle_ratio": median_ratio(times["folded shuffle"], times["shuffle"]),
                "folded_hardened_ratio": median_ratio(times["folded hardened"], times["shuffle"]),
                "both_folded_ratio": median_ratio(times["folded hardened"], times["folded shuffle"]),
            }
    return {"threads": torch.get_num_threads()}


def build_model(name: str) -> tuple[nn.Module, Genotype | None]:
    """Makes a model of `ModelCostSettings.models` in evaluation mode, with its genotype."""
    if name == "shufflenet_v2":
        return ShuffleNetV2(num_classes=10, macro="cifar").eval(), None
    cell = PUBLISHED[name]
    candidates = genotype_candidates(cell.genotype)
    return ShuffleNASNet(candidates, in_channels=3, num_classes=10, **cell.models[0].settings).eval(), cell.genotype


def four_copies(network: nn.Module, genotype: Genotype | None) -> dict[str, nn.Module]:
    """Returns a network with fixed shuffles and with random permutations, each as it is and folded."""
    hardened = copy.deepcopy(network)
    for name, shuffle in network.named_modules():
        if isinstance(shuffle, ChannelShuffle):
            hardened.set_submodule(name, Permutation(torch.randperm(shuffle.channels)))
    return {
        "shuffle": network,
        "hardened": hardened,
        "folded shuffle": for_inference(network, genotype),
        "folded hardened": for_inference(hardened, genotype),
    }
