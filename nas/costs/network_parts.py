"""The parts that a network is made of, and those that a genotype's path takes.

A part is known by what it computes and on which shape, not by where it stands, so that what was measured of it once
holds wherever it recurs. Parameters and multiply-adds are sums over the parts of a path, and latency nearly is.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.costs.network_layers import (
    CellNetwork,
    PlacedCell,
    Shape,
    Shapes,
    cells_of,
    fixed_modules,
    layers_of,
    shapes_of,
)
from nas.models.hardening import harden_mixers
from nas.models.inference.ready import permutation_of
from nas.models.macro import reduction_cell
from nas.models.shufflenasnet import NormalLayer, ShuffleNASNet
from nas.models.stacked_cells import StackedCells
from search_spaces.cells import CellCandidates
from search_spaces.genotype import IDENTITIES, NONE, CellGenotype, Edge, Genotype


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of work on one feature map.

    Attributes:
        kind: `op`, `add`, `merge`, `join`, `mixer`, `stem`, `shortcut`, `calibration`, `reduction`, `norm` or `head`.
        name: The op's or mixer's name, or the layers that it is made of.
        reads: (C, H, W) of what it reads; of the first of several.
        channels: Channels that it writes.
        stride: 1, 2 or more.
    """

    kind: str
    name: str
    reads: Shape
    channels: int
    stride: int = 1

    @property
    def key(self) -> str:
        """The part as text, such as `op conv_1x1 10x32x32 to 10 channels, stride 1`."""
        shape = "x".join(map(str, self.reads))
        return f"{self.kind} {self.name} {shape} to {self.channels} channels, stride {self.stride}"


class NetworkParts:
    """The parts of a network of cells, and those that a genotype's path takes.

    Args:
        network: Supernet or derived model, run once, in evaluation mode.
        candidates: What it was built of, by cell name.
        genotype: Any of its genotypes, for that run.
        image_shape: (C, H, W).

    Attributes:
        prototypes: A module, in the form for inference, for every part that any genotype may take.

    Raises:
        ValueError: If the network is of another class.
    """

    def __init__(
        self,
        network: nn.Module,
        candidates: Mapping[str, CellCandidates],
        *,
        genotype: Genotype,
        image_shape: Shape,
    ) -> None:
        if not isinstance(network, CellNetwork):
            raise ValueError(
                f"the parts of a {type(network).__name__} are not known; "
                "take network=shufflenasnet, enas, darts or nasbench201"
            )
        shapes = shapes_of(network, genotype, image_shape)
        self.folds = isinstance(network, ShuffleNASNet)
        self.prototypes: dict[Part, nn.Module] = {}
        self.fixed = Counter(self._fixed_parts(network, shapes))
        self.cells = cells_of(network, shapes)
        self.mixers = {(cell, name): Counter[Part]() for cell, own in candidates.items() for name in own.mixers}
        self._count_mixers(network, shapes)
        for placed in self.cells:
            offered = candidates[placed.name]
            for edge in offered.edges:
                self._edge_part(placed, edge)
            for count in range(1, len(offered.outputs) + 1):
                self._merge_parts(placed, count)
            for node in offered.outputs:
                self._passed_part(placed, node)
            self._add_part(placed)

    def of(self, genotype: Genotype, *, unused: bool = False) -> Counter[Part]:
        """Returns the parts of a genotype's path, and how often each occurs.

        Args:
            genotype: The path.
            unused: Whether ops that the derived model holds and does not compute count too.

        Raises:
            ValueError: If the genotype has no reduction cell, or ops or mixers that the network does not hold.
        """
        parts = Counter(self.fixed)
        try:
            for placed in self.cells:
                cell = genotype.normal if placed.name == "normal" else reduction_cell(genotype)
                parts.update(self._cell_parts(placed, cell, cell.edges if unused else cell.live_edges))
            for name, cell in genotype.cells.items():
                parts.update(self.mixers[name, cell.mixer])
        except KeyError as error:
            raise ValueError(f"the network does not hold {error} of the genotype") from None
        return parts

    def _cell_parts(self, placed: PlacedCell, cell: CellGenotype, edges: Sequence[Edge]) -> Iterator[Part]:
        written: set[int] = set()
        for edge in edges:
            yield from self._edge_part(placed, edge)
            if edge[0] in written:
                yield self._add_part(placed)
            written.add(edge[0])
        yield from self._merge_parts(placed, len(cell.output_nodes))
        for node in cell.output_nodes:
            yield from self._passed_part(placed, node)

    def _edge_part(self, placed: PlacedCell, edge: Edge) -> list[Part]:
        """Returns the part that an edge computes; none for an identity of stride 1, or where there is no edge."""
        cell, (_, _, source, op) = placed.module, edge
        reduces = cell._reduces(edge)
        if op == NONE or (op in IDENTITIES and not reduces):
            return []
        reads = placed.reads if source < cell.num_inputs else placed.inside
        return [self._held(Part("op", op, reads, reads[0], 2 if reduces else 1), cell.ops[cell._key(edge)])]

    def _passed_part(self, placed: PlacedCell, node: int) -> list[Part]:
        """Returns the part that brings a merged input of a strided cell to its resolution, if the node is one."""
        if str(node) not in placed.module.passed_inputs:
            return []
        reduction = placed.module.passed_inputs[str(node)]
        return [self._module_part("shortcut", reduction, placed.reads, placed.reads[0], stride=2)]

    def _add_part(self, placed: PlacedCell) -> Part:
        return self._held(Part("add", "2 nodes", placed.inside, placed.inside[0]), Between(lambda x: x + x))

    def _merge_parts(self, placed: PlacedCell, count: int) -> list[Part]:
        cell, channels = placed.module, placed.inside[0]
        if cell.merge == "sum":
            norm = [] if cell.merge_bn is None else [self._module_part("merge", cell.merge_bn, placed.inside, channels)]
            return [self._add_part(placed)] * (count - 1) + norm
        if cell.merge == "concat" and count * channels != cell.out_channels:
            return []  # no genotype of this network has so many outputs
        weights = [] if cell.merge_weights is None else [torch.zeros(channels, channels, 1, 1) for _ in range(count)]
        merge = Between(partial(_merged, count), nn.ParameterList(weights), cell.merge_bn or nn.Identity())
        return [self._held(Part("merge", f"{cell.merge} of {count}", placed.inside, cell.out_channels), merge)]

    def _fixed_parts(self, network: CellNetwork, shapes: Shapes) -> Iterator[Part]:
        """Yields what every path takes: stem, the modules around the cells, head."""
        for kind, module in fixed_modules(network):
            if not isinstance(module, nn.Identity):
                reads, (channels, height, _) = shapes[module]
                yield self._module_part(kind, module, reads, channels, stride=round(reads[1] / height))
        for layer, _ in layers_of(network):
            reads = shapes[layer][0]
            if self.folds:
                channels = reads[0] // 2 if isinstance(layer, NormalLayer) else reads[0]
                yield self._held(Part("join", "2 slices", reads, channels), Between(partial(_joined, channels)))
        relu = not isinstance(network, StackedCells) or network.macro == "enas"
        name = "relu, mean, linear" if relu else "mean, linear"
        reads = shapes[network.layers[-1]][1]
        head = Between(partial(_head, relu=relu), network.classifier)
        yield self._held(Part("head", name, reads, network.classifier.out_features), head)

    def _count_mixers(self, network: CellNetwork, shapes: Shapes) -> None:
        """Counts the mixers that inference carries out; permutations of a ShuffleNASNet are folded away."""
        for layer, cell in layers_of(network):
            reads = shapes[layer][1]
            for name, mixer in layer.mixers.items():
                if not (self.folds and permutation_of(inference_form(mixer)) is not None):
                    self.mixers[cell, name][self._held(Part("mixer", name, reads, reads[0]), mixer)] += 1

    def _module_part(self, kind: str, module: nn.Module, reads: Shape, channels: int, *, stride: int = 1) -> Part:
        leaves = [type(leaf).__name__ for leaf in module.modules() if not list(leaf.children())]
        return self._held(Part(kind, "+".join(leaves), reads, channels, stride), module)

    def _held(self, part: Part, module: nn.Module) -> Part:
        if part not in self.prototypes:
            self.prototypes[part] = inference_form(module)
        return part


def inference_form(module: nn.Module) -> nn.Module:
    """Returns a copy of a part of a network as inference has it: mixers exact, in evaluation mode."""
    held = nn.ModuleList([copy.deepcopy(module)]).eval()
    harden_mixers(held, linear_maps=True)
    return held[0]


class Between(nn.Module):
    """What a network does between its modules, as a module, so that it can be timed by itself.

    Args:
        compute: Maps a feature map (N, C, H, W) and the modules to the result.
        parts: The modules that it takes.
    """

    def __init__(self, compute: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.compute = compute
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to what `compute` returns of it."""
        return self.compute(x, *self.parts)


def _joined(channels: int, x: Tensor) -> Tensor:
    """Joins slices of two earlier outputs, as a folded layer reads them, to (N, `channels`, H, W)."""
    first = channels // 2
    return torch.cat([x.narrow(1, 0, first), x.narrow(1, x.shape[1] - channels + first, channels - first)], dim=1)


def _merged(num_values: int, x: Tensor, weights: nn.ParameterList, batch_norm: Callable[[Tensor], Tensor]) -> Tensor:
    """Merges a cell's outputs by concatenation, with relu and a 1x1 convolution if there are weights of one."""
    merged = torch.cat([x] * num_values, dim=1)
    if len(weights):
        merged = F.conv2d(F.relu(merged), torch.cat(list(weights), dim=1))
    return batch_norm(merged)


def _head(x: Tensor, classifier: Callable[[Tensor], Tensor], *, relu: bool) -> Tensor:
    return classifier((F.relu(x) if relu else x).mean(dim=(2, 3)))
