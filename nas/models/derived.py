"""What is done with a network whatever its architecture: bind it to a genotype, move weights, count."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.genotype import Genotype


class DerivedModel(nn.Module):
    """A network bound to its genotype: maps images to logits, for everything that expects an ordinary module.

    Args:
        network: Holds the genotype's edges.
        genotype: The path to compute; None for a network without choices.
    """

    def __init__(self, network: nn.Module, genotype: Genotype | None) -> None:
        super().__init__()
        self.network = network
        self.genotype = genotype

    def forward(self, images: Tensor) -> Tensor:
        """Maps (N, C, H, W) to logits (N, num_classes)."""
        logits: Tensor = self.network(images, self.genotype)
        return logits


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
    training = network.training
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros((1, *image_shape), device=device), *inputs)
    network.train(training)
    return int(counter.get_total_flops()) // 2
