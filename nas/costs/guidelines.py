"""How an architecture stands under the four guidelines of ShuffleNet V2 (Ma et al. 2018, arXiv:1807.11164, §2).

They say what makes a network slow beside its multiply-adds: G1 unequal channel widths, G2 many groups,
G3 fragmentation, G4 element-wise operations. ShuffleNASNet's search space was drawn up by them (arXiv:1812.02975, §II).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from nas.costs.cell_graph import CellShape, cell_shape
from nas.costs.operation_costs import LayerCost, Operation, layer_cost
from nas.costs.operations import record_operations
from search_spaces.genotype import Genotype


@dataclass(frozen=True, slots=True)
class ConvolutionWidths:
    """A convolution and its channels.

    Attributes:
        layer: Where it is.
        in_channels: c1.
        out_channels: c2.
        memory_access_ratio: Memory access over the least possible, at least 1.
    """

    layer: str
    in_channels: int
    out_channels: int
    memory_access_ratio: float


@dataclass(frozen=True, slots=True)
class EqualWidths:
    """G1, equal channel widths minimise memory access: convolutions without groups, 1x1 and larger.

    Attributes:
        num_convolutions: How many there are.
        equal_width_share: Of them with c1 = c2, in [0, 1]; 1 if there are none.
        memory_access_ratio: Their memory access over the least possible for the same multiply-adds and resolution, of
            the sums, at least 1.
        worst: The one with the largest ratio.
    """

    num_convolutions: int
    equal_width_share: float
    memory_access_ratio: float
    worst: ConvolutionWidths | None


@dataclass(frozen=True, slots=True)
class Groups:
    """G2, many groups raise memory access: grouped convolutions, depthwise ones apart.

    Attributes:
        num_convolutions: How many there are.
        multiply_adds_share: Of the network's, in [0, 1].
        largest_groups: Most groups; 1 if there are none.
        memory_access_ratio: Their memory access over that without groups at the same input and multiply-adds, of the
            sums; 1 if there are none.
    """

    num_convolutions: int
    multiply_adds_share: float
    largest_groups: int
    memory_access_ratio: float


@dataclass(frozen=True, slots=True)
class Fragmentation:
    """G3, fragmentation reduces the degree of parallelism.

    Attributes:
        cells: By name; empty without genotype.
        kernels: Operations of the network.
        sequential_kernels: Those in the longest chain, each waiting for the one before.
    """

    cells: dict[str, CellShape]
    kernels: int
    sequential_kernels: int


@dataclass(frozen=True, slots=True)
class ElementWise:
    """G4, element-wise operations are not negligible.

    Attributes:
        memory_access_share: Of the network's, in [0, 1].
        kernels_share: Of the network's, in [0, 1].
        memory_access_share_with_depthwise: The first with depthwise convolutions, which the paper counts among them.
        kernels_by_name: How many of each operation, most memory access first.
    """

    memory_access_share: float
    kernels_share: float
    memory_access_share_with_depthwise: float
    kernels_by_name: dict[str, int]


@dataclass(frozen=True, slots=True)
class Guidelines:
    """The check of one network on one image.

    Attributes:
        layers: In the order in which they ran.
        total: Their sum.
        equal_widths: G1.
        groups: G2.
        fragmentation: G3.
        element_wise: G4.
    """

    layers: tuple[LayerCost, ...]
    total: LayerCost
    equal_widths: EqualWidths
    groups: Groups
    fragmentation: Fragmentation
    element_wise: ElementWise


def examine(network: nn.Module, genotype: Genotype | None, *, image_shape: tuple[int, int, int]) -> Guidelines:
    """Checks a network by one recorded forward pass, in evaluation mode, of one image.

    Args:
        network: Any device, "meta" included.
        genotype: The path to check; None for a network that takes images alone.
        image_shape: (C, H, W).

    Raises:
        ValueError: If the image shape is not three numbers of at least 1.
    """
    recording = record_operations(network, *([] if genotype is None else [genotype]), image_shape=image_shape)
    operations, shapes = recording.operations, recording.output_shapes
    cells = {} if genotype is None else genotype.cells
    by_layer: dict[str, list[Operation]] = {}
    for operation in operations:
        by_layer.setdefault(operation.layer, []).append(operation)
    return Guidelines(
        layers=tuple(layer_cost(name, own, shapes.get(name, own[-1].output_shape)) for name, own in by_layer.items()),
        total=layer_cost("total", operations, shapes.get("", ())),
        equal_widths=_equal_widths(operations),
        groups=_groups(operations),
        fragmentation=Fragmentation(
            cells={name: cell_shape(cell, strided=name == "reduction") for name, cell in cells.items()},
            kernels=len(operations),
            sequential_kernels=max((operation.depth for operation in operations), default=0),
        ),
        element_wise=_element_wise(operations),
    )


def _equal_widths(operations: Sequence[Operation]) -> EqualWidths:
    found = [
        (operation.layer, operation.convolution)
        for operation in operations
        if operation.convolution is not None and operation.convolution.groups == 1
    ]
    reached = [_ratio(sizes.memory_access_elements, sizes.least_memory_access_elements) for _, sizes in found]
    widths = [
        ConvolutionWidths(layer, sizes.in_channels, sizes.out_channels, ratio)
        for (layer, sizes), ratio in zip(found, reached, strict=True)
    ]
    return EqualWidths(
        num_convolutions=len(found),
        equal_width_share=_ratio(sum(one.in_channels == one.out_channels for one in widths), len(widths)),
        memory_access_ratio=_ratio(
            sum(sizes.memory_access_elements for _, sizes in found),
            sum(sizes.least_memory_access_elements for _, sizes in found),
        ),
        worst=max(widths, key=lambda one: one.memory_access_ratio, default=None),
    )


def _groups(operations: Sequence[Operation]) -> Groups:
    grouped = [operation for operation in operations if operation.kind == "grouped conv"]
    sizes = [operation.convolution for operation in grouped if operation.convolution is not None]
    return Groups(
        num_convolutions=len(grouped),
        multiply_adds_share=_share(
            sum(operation.multiply_adds for operation in grouped),
            sum(operation.multiply_adds for operation in operations),
        ),
        largest_groups=max((size.groups for size in sizes), default=1),
        memory_access_ratio=_ratio(
            sum(size.memory_access_elements for size in sizes),
            sum(size.ungrouped_memory_access_elements for size in sizes),
        ),
    )


def _element_wise(operations: Sequence[Operation]) -> ElementWise:
    kernels: Counter[str] = Counter()
    access: Counter[str] = Counter()
    depthwise = 0
    for operation in operations:
        if operation.kind == "element-wise":
            kernels[operation.name] += 1
            access[operation.name] += operation.memory_access_elements
        elif operation.kind == "depthwise conv":
            depthwise += operation.memory_access_elements
    total = sum(operation.memory_access_elements for operation in operations)
    return ElementWise(
        memory_access_share=_share(access.total(), total),
        kernels_share=_share(kernels.total(), len(operations)),
        memory_access_share_with_depthwise=_share(access.total() + depthwise, total),
        kernels_by_name={name: kernels[name] for name, _ in access.most_common()},
    )


def _ratio(value: float, least: float) -> float:
    """Returns `value` over its least, 1 if there is nothing to compare."""
    return value / least if least else 1.0


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
