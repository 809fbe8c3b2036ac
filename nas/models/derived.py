"""Networks of any architecture: bound to a genotype, given shared weights, counted."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.genotype import Genotype


class DerivedModel(nn.Module):
    """A network bound to its genotype: maps images to logits, for everything that expects an ordinary module.

    Args:
        network: Holds the genotype's edges.
        genotype: The path to compute; None for a network without choices.
        normalize: What is done to the images first; None takes them as normalised.
    """

    def __init__(self, network: nn.Module, genotype: Genotype | None, normalize: nn.Module | None = None) -> None:
        super().__init__()
        self.normalize = normalize
        self.network = network
        self.genotype = genotype

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N, C, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.network(images if self.normalize is None else self.normalize(images), self.genotype)
        return logits


def model_size(network: nn.Module, genotype: Genotype | None, *, image_shape: tuple[int, int, int]) -> dict[str, int]:
    """Returns `parameters` and `multiply_adds` of a network and a path through it."""
    return {
        "parameters": count_parameters(network),
        "multiply_adds": count_multiply_adds(network, genotype, image_shape=image_shape),
    }


def copy_shared_weights(target: nn.Module, source: Mapping[str, Tensor]) -> None:
    """Copies into `target` every parameter and buffer that `source`, a supernet's state dict, holds under its name.

    Raises:
        ValueError: If a name is missing or a shape differs: the two were built with different settings.
    """
    own = target.state_dict()
    for name, value in own.items():
        if name not in source:
            raise ValueError(f"the supernet's weights lack {name}: it was built with other settings")
        if source[name].shape != value.shape:
            raise ValueError(
                f"{name} has shape {tuple(source[name].shape)} in the supernet and {tuple(value.shape)} here: "
                "both need the same network settings"
            )
    target.load_state_dict({name: source[name] for name in own})


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Evaluation mode; afterwards every module has its own mode again, frozen ones among training ones too."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def count_parameters(network: nn.Module) -> int:
    """Returns the number of weights of a network; for a supernet, of all its candidates together.

    An auxiliary head, which only training uses, does not count, as in papers.
    """
    return sum(weight.numel() for name, weight in network.named_parameters() if not name.startswith("auxiliary."))


def count_multiply_adds(network: nn.Module, *inputs: Genotype | None, image_shape: tuple[int, int, int]) -> int:
    """Returns the multiply-adds of the convolutions and matrix products for one image.

    Args:
        network: Any device, "meta" included.
        inputs: What it takes after the images, such as a genotype: the path to count.
        image_shape: (C, H, W).
    """
    device = next((weight.device for weight in network.parameters()), None)
    with torch.no_grad(), evaluating(network), FlopCounterMode(display=False) as counter:
        network(torch.zeros((1, *image_shape), device=device), *inputs)
    return int(counter.get_total_flops()) // 2
