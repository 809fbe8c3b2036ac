"""What hardened permutations cost a whole network at inference, beside the fixed channel shuffle.

Four copies of one network are timed in turns: with the fixed shuffle and with a random permutation after every layer,
each as it is trained (concatenate, then mix) and as `nas.models.inference.ready.for_inference` makes it ready.
"""

import copy
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import nn

from nas.compute.timing import median_ratio, time_in_turns, timing
from nas.models.inference.ready import for_inference
from nas.models.shufflenasnet import ShuffleNASNet
from nas.models.shufflenets import ShuffleNetV2
from nas.runs.seeds import seed_everything
from nas.studies.demonstrations.settings import ModelCostSettings
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Genotype
from search_spaces.mixers import Permutation
from search_spaces.published import PUBLISHED
from search_spaces.shuffles import ChannelShuffle

FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@torch.inference_mode()
def run(settings: ModelCostSettings, *, seed: int, on_row: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Times every model at every batch size in every memory format.

    Rows hold the median of the fixed shuffle in milliseconds, the medians over the rounds of three ratios to the fixed
    shuffle as it is trained, and of the folded permutations to the folded shuffle.

    Returns:
        `rows`, and `threads`.
    """
    rows = []
    device = torch.device(settings.device)
    for name, memory_format in product(settings.models, settings.memory_formats):
        seed_everything(seed)
        network, genotype = build_model(name)
        copies = {
            label: copied.to(device=device, memory_format=FORMATS[memory_format])  # type: ignore[call-overload]
            for label, copied in _copies(network, genotype).items()
        }
        for batch_size in settings.batch_sizes:
            images = torch.randn((batch_size, 3, settings.image_size, settings.image_size), device=device)
            images = images.to(memory_format=FORMATS[memory_format])
            work = {label: partial(copied, images, genotype) for label, copied in copies.items()}
            times = time_in_turns(work, rounds=settings.rounds, warmup=settings.warmup, device=device)
            row = {
                "model": name,
                "memory_format": memory_format,
                "batch_size": batch_size,
                "shuffle_ms": timing(times["shuffle"]).median_ms,
                "hardened_ratio": median_ratio(times["hardened"], times["shuffle"]),
                "folded_shuffle_ratio": median_ratio(times["folded shuffle"], times["shuffle"]),
                "folded_hardened_ratio": median_ratio(times["folded hardened"], times["shuffle"]),
                "both_folded_ratio": median_ratio(times["folded hardened"], times["folded shuffle"]),
            }
            rows.append(row)
            on_row(row)
    return {"rows": rows, "threads": torch.get_num_threads()}


def build_model(name: str) -> tuple[nn.Module, Genotype | None]:
    """Makes a model of `ModelCostSettings.models` in evaluation mode, with its genotype."""
    if name == "shufflenet_v2":
        return ShuffleNetV2(num_classes=10, macro="cifar").eval(), None
    cell = PUBLISHED[name]
    candidates = genotype_candidates(cell.genotype)
    return ShuffleNASNet(candidates, in_channels=3, num_classes=10, **cell.models[0].settings).eval(), cell.genotype


def _copies(network: nn.Module, genotype: Genotype | None) -> dict[str, nn.Module]:
    hardened = copy.deepcopy(network)
    for module in list(hardened.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, ChannelShuffle):
                setattr(module, name, Permutation(torch.randperm(child.channels)))
    return {
        "shuffle": network,
        "hardened": hardened,
        "folded shuffle": for_inference(network, genotype),
        "folded hardened": for_inference(hardened, genotype),
    }
