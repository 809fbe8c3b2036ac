"""Walking through a network of cells: its layers, the cells in them, the modules around these, and all shapes."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nas.costs.operations import tensors_in
from nas.models.derived import evaluating
from nas.models.nasbench201 import NASBench201Network, ResidualReduction
from nas.models.shufflenasnet import ReductionLayer, ShuffleNASNet
from nas.models.stacked_cells import StackedCells, StackedLayer
from search_spaces.cells import Cell
from search_spaces.genotype import Genotype

Shape = tuple[int, int, int]
"""(C, H, W) of one image or feature map."""

CellNetwork = ShuffleNASNet | StackedCells | NASBench201Network


@dataclass(frozen=True, slots=True)
class PlacedCell:
    """A cell of the network, and where it stands.

    Attributes:
        module: Holds the candidates.
        name: `normal` or `reduction`.
        reads: (C, H, W) of its inputs.
    """

    module: Cell
    name: str
    reads: Shape

    @property
    def inside(self) -> Shape:
        """Shape (C, H, W) of its blocks."""
        channels, height, width = self.reads
        stride = 2 if self.module.strided else 1
        return channels, -(-height // stride), -(-width // stride)


def layers_of(network: CellNetwork) -> Iterator[tuple[Any, str]]:
    """Yields the layers that have cells, each with the name of its cell."""
    for layer in network.layers:
        if isinstance(layer, ResidualReduction):
            continue
        reduces = isinstance(layer, ReductionLayer) or (isinstance(layer, StackedLayer) and layer.reducing)
        yield layer, "reduction" if reduces else "normal"


def cells_of(network: CellNetwork, shapes: "Shapes") -> list[PlacedCell]:
    """Returns all cells; a shortcut that is a cell counts."""
    return [
        PlacedCell(module, name, shapes[module][0])
        for layer, name in layers_of(network)
        for module in (layer.cell, getattr(layer, "shortcut", None))
        if isinstance(module, Cell)
    ]


def fixed_modules(network: CellNetwork) -> Iterator[tuple[str, nn.Module]]:
    """Yields the modules that every genotype's path takes, head and mixers apart, each with its kind."""
    yield "stem", network.stem
    if isinstance(network, StackedCells):
        yield "stem", network.second_stem
    if isinstance(network, NASBench201Network):
        yield "norm", network.norm
        yield from (("reduction", layer) for layer in network.layers if isinstance(layer, ResidualReduction))
    for layer, _ in layers_of(network):
        if isinstance(layer, StackedLayer):
            yield from (("calibration", one) for one in (layer.calibrate_older, layer.calibrate_newer, layer.base))
        elif isinstance(layer, ReductionLayer) and not isinstance(layer.shortcut, Cell):
            yield "shortcut", layer.shortcut


Shapes = dict[Any, tuple[Shape, Shape]]
"""(C, H, W) of what a module read first and of what it wrote."""


@torch.no_grad()
def shapes_of(network: nn.Module, genotype: Genotype, image_shape: Shape) -> Shapes:
    """Runs a network once, in evaluation mode, and notes the shapes of all feature maps."""
    shapes: Shapes = {}

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        read, written = tensors_in(inputs), tensors_in(output)
        if read and written and read[0].ndim == written[0].ndim == 4:
            shapes[module] = _shape(read[0]), _shape(written[0])

    device = next(network.parameters()).device
    with evaluating(network), ExitStack() as hooks:
        for module in network.modules():
            hooks.enter_context(module.register_forward_hook(note))
        network(torch.zeros((1, *image_shape), device=device), genotype)
    return shapes


def _shape(x: Tensor) -> Shape:
    _, channels, height, width = x.shape
    return channels, height, width
