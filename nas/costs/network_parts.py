"""What a network is made of, part by part, and which parts a genotype's path takes.

A part is known by what it computes and on which shape, not by where it stands, so that what was measured of it once
holds wherever it recurs. Parameters and multiply-adds are sums over the parts of a path, and latency nearly is.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn

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
from nas.costs.part_modules import Add, Head, Join, Merge, inference_form
from nas.models.inference.ready import permutation_of
from nas.models.macro import reduction_cell
from nas.models.shufflenasnet import NormalLayer, ShuffleNASNet
from nas.models.stacked_cells import StackedCells
from search_spaces.cells import CellCandidates
from search_spaces.genotype import CellGenotype, Edge, Genotype


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of work on one feature map.

    Attributes:
        kind: `op`, `add`, `merge`, `join`, `mixer`, `stem`, `shortcut`, `calibration` or `head`.
        name: The op's or mixer's name, or the layers that it is made of.
        reads: (C, H, W) of what it reads; of the first of several.
        channels: Of what it writes.
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
        network: A ShuffleNASNet or StackedCells, supernet or derived model. It is run once, in evaluation mode.
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
        if not isinstance(network, ShuffleNASNet | StackedCells):
            raise ValueError(
                f"the parts of a {type(network).__name__} are not known; take network=shufflenasnet, enas or darts"
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

    def of(self, genotype: Genotype) -> Counter[Part]:
        """Returns the parts of a genotype's path, and how often each occurs.

        Raises:
            ValueError: If the genotype has no reduction cell, or ops or mixers that the network does not hold.
        """
        parts = Counter(self.fixed)
        try:
            for placed in self.cells:
                cell = genotype.normal if placed.name == "normal" else reduction_cell(genotype)
                parts.update(self._cell_parts(placed, cell))
            for name, cell in genotype.cells.items():
                parts.update(self.mixers[name, cell.mixer])
        except KeyError as error:
            raise ValueError(f"the network does not hold {error} of the genotype") from None
        return parts

    def _cell_parts(self, placed: PlacedCell, cell: CellGenotype) -> Iterator[Part]:
        for edge in cell.edges:
            yield from self._edge_part(placed, edge)
            if edge[1] > 0:  # a block's second edge
                yield self._add_part(placed)
        yield from self._merge_parts(placed, len(cell.output_nodes))
        for node in cell.output_nodes:
            yield from self._passed_part(placed, node)

    def _edge_part(self, placed: PlacedCell, edge: Edge) -> list[Part]:
        """Returns the part that an edge computes; none for an identity of stride 1."""
        cell, (_, _, source, op) = placed.module, edge
        reduces = cell._reduces(edge)
        if op == "identity" and not reduces:
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
        return self._held(Part("add", "2 nodes", placed.inside, placed.inside[0]), Add())

    def _merge_parts(self, placed: PlacedCell, count: int) -> list[Part]:
        cell, channels = placed.module, placed.inside[0]
        if cell.merge == "sum":
            norm = [] if cell.merge_bn is None else [self._module_part("merge", cell.merge_bn, placed.inside, channels)]
            return [self._add_part(placed)] * (count - 1) + norm
        if cell.merge == "concat" and count * channels != cell.out_channels:
            return []  # no genotype of this network has so many outputs
        part = Part("merge", f"{cell.merge} of {count}", placed.inside, cell.out_channels)
        convolves = cell.merge_weights is not None
        return [self._held(part, Merge(count, channels, convolves=convolves, batch_norm=cell.merge_bn))]

    def _fixed_parts(self, network: CellNetwork, shapes: Shapes) -> Iterator[Part]:
        """Yields what every path takes: stem, what stands beside the cells, head."""
        for kind, module in fixed_modules(network):
            if not isinstance(module, nn.Identity):
                reads, (channels, height, _) = shapes[module]
                yield self._module_part(kind, module, reads, channels, stride=round(reads[1] / height))
        for layer, _ in layers_of(network):
            reads = shapes[layer][0]
            if self.folds:
                channels = reads[0] // 2 if isinstance(layer, NormalLayer) else reads[0]
                yield self._held(Part("join", "2 slices", reads, channels), Join(channels))
        relu = not isinstance(network, StackedCells) or network.macro == "enas"
        reads = shapes[network.layers[-1]][1]
        name = "relu, mean, linear" if relu else "mean, linear"
        head = Part("head", name, reads, network.classifier.out_features)
        yield self._held(head, Head(network.classifier, relu=relu))

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
