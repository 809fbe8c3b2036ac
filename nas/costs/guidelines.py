"""A network under the four guidelines of ShuffleNet V2 (Ma et al. 2018, arXiv:1807.11164, §2), as JSON-ready figures.

The guidelines name what makes a network slower than its multiply-adds suggest: G1 unequal channel widths, G2 many
groups, G3 fragmentation, G4 element-wise operations. ShuffleNASNet's search space was drawn up by them
(arXiv:1812.02975, §II).
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from torch import nn

from nas.costs.operation_costs import Operation, layer_cost
from nas.costs.operations import record_operations
from search_spaces.genotype import IDENTITIES, CellGenotype, Genotype


def examine(network: nn.Module, genotype: Genotype | None, *, image_shape: tuple[int, int, int]) -> dict[str, Any]:
    """Checks a network by one recorded forward pass, in evaluation mode, of one image.

    Args:
        network: Any device, "meta" included.
        genotype: The path to check; None for a network that takes images alone.
        image_shape: (C, H, W).

    Returns:
        `layers`, what `layer_cost` returns of each in the order in which they ran; `total`, the same of the network;
        and of each guideline:

        - `equal_widths` (G1): of the convolutions without groups, 1x1 and larger, `num_convolutions`; the
          `equal_width_share` with c1 = c2; `memory_access_ratio`, their memory access over the least possible for the
          same multiply-adds and resolution, at least 1; `worst`, that with the largest ratio: `layer`, `in_channels`,
          `out_channels`, `memory_access_ratio`.
        - `groups` (G2): of the grouped convolutions, depthwise ones apart, `num_convolutions`; their
          `multiply_adds_share`; the `largest_groups`; `memory_access_ratio`, their memory access over that without
          groups at the same input and multiply-adds.
        - `fragmentation` (G3): by name the `cells`, see `cell_shape`; the number of `kernels` and of
          `sequential_kernels`, those in the longest chain.
        - `element_wise` (G4): `memory_access_share` and `kernels_share` of the network's;
          `memory_access_share_with_depthwise` convolutions, which the paper counts among them; `kernels_by_name`, most
          memory access first.

    Raises:
        ValueError: If the image shape is not three numbers of at least 1.
    """
    operations, shapes = record_operations(network, *([] if genotype is None else [genotype]), image_shape=image_shape)
    by_layer: dict[str, list[Operation]] = {}
    for operation in operations:
        by_layer.setdefault(operation.layer, []).append(operation)
    cells = {} if genotype is None else genotype.cells
    return {
        "layers": [layer_cost(name, own, shapes.get(name, own[-1].output_shape)) for name, own in by_layer.items()],
        "total": layer_cost("total", operations, shapes.get("", ())),
        "equal_widths": _equal_widths(operations),
        "groups": _groups(operations),
        "fragmentation": {
            "cells": {name: cell_shape(cell, strided=name == "reduction") for name, cell in cells.items()},
            "kernels": len(operations),
            "sequential_kernels": max((operation.depth for operation in operations), default=0),
        },
        "element_wise": _element_wise(operations),
    }


def cell_shape(cell: CellGenotype, *, strided: bool = False) -> dict[str, int]:
    """Measures the graph of a cell: "network fragmentation reduces degree of parallelism" (G3).

    Identities that return their input are no ops here, nor are edges on no path to an output.

    Args:
        cell: Any number of inputs, and of ops a block.
        strided: Whether it is a reduction cell, in which an identity of a cell's input computes.

    Returns:
        `num_ops`, which compute; `branches`, the most ops of which none waits for another, so that all could run at
        once; `longest_path_ops`, the ops in the longest chain; `loose_ends`, blocks that no other reads; `outputs`,
        nodes merged into the cell's output; `additions`, element-wise, if the outputs are summed, those inside blocks
        included.
    """
    waits: list[set[int]] = []  # by op, the ops that it waits for
    depths: list[int] = []  # by op, ops in the longest chain that ends with it
    producers: defaultdict[int, set[int]] = defaultdict(set)  # by node, ops whose outputs it is the sum of
    edges = cell.live_edges
    for number, _, source, op in edges:
        own, before = producers[cell.num_inputs + number], producers[source]
        if op in IDENTITIES and not (strided and source < cell.num_inputs):
            own |= before
            continue
        own.add(len(waits))
        waits.append(before.union(*(waits[producer] for producer in before)))
        depths.append(1 + max((depths[producer] for producer in before), default=0))
    return {
        "num_ops": len(waits),
        "branches": _largest_antichain(waits),
        "longest_path_ops": max(depths, default=0),
        "loose_ends": len(cell.loose_ends),
        "outputs": len(cell.output_nodes),
        "additions": len(cell.output_nodes) + len(edges) - len({edge[0] for edge in edges}) - 1,
    }


def _largest_antichain(earlier: Sequence[set[int]]) -> int:
    """Returns how many elements of a partial order, each with all that are `earlier`, are at most incomparable.

    By Dilworth's theorem that is the least number of chains that cover all, and so their number less a maximum matching
    of elements with later ones (Fulkerson, 1956).
    """
    import numpy as np
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    if not earlier:
        return 0
    graph = csr_array(np.array([[other in own for other in range(len(earlier))] for own in earlier], dtype=int))
    return len(earlier) - int((maximum_bipartite_matching(graph) >= 0).sum())


def _equal_widths(operations: Sequence[Operation]) -> dict[str, Any]:
    found = [(one.layer, one.convolution) for one in operations if one.convolution and one.convolution.groups == 1]
    widths: list[dict[str, Any]] = [
        {
            "layer": layer,
            "in_channels": sizes.in_channels,
            "out_channels": sizes.out_channels,
            "memory_access_ratio": sizes.memory_access_elements / sizes.least_memory_access_elements,
        }
        for layer, sizes in found
    ]
    accessed = sum(sizes.memory_access_elements for _, sizes in found)
    equal = sum(sizes.in_channels == sizes.out_channels for _, sizes in found)
    return {
        "num_convolutions": len(found),
        "equal_width_share": _share(equal, len(found), empty=1.0),
        "memory_access_ratio": _share(accessed, sum(one.least_memory_access_elements for _, one in found), empty=1.0),
        "worst": max(widths, key=lambda one: one["memory_access_ratio"], default=None),
    }


def _groups(operations: Sequence[Operation]) -> dict[str, Any]:
    grouped = [operation for operation in operations if operation.kind == "grouped conv"]
    sizes = [operation.convolution for operation in grouped if operation.convolution]
    accessed = sum(size.memory_access_elements for size in sizes)
    every = sum(operation.multiply_adds for operation in operations)
    return {
        "num_convolutions": len(grouped),
        "multiply_adds_share": _share(sum(operation.multiply_adds for operation in grouped), every),
        "largest_groups": max((size.groups for size in sizes), default=1),
        "memory_access_ratio": _share(accessed, sum(one.ungrouped_memory_access_elements for one in sizes), empty=1.0),
    }


def _element_wise(operations: Sequence[Operation]) -> dict[str, Any]:
    kernels = Counter(operation.name for operation in operations if operation.kind == "element-wise")
    by_name, by_kind = Counter[str](), Counter[str]()
    for operation in operations:
        by_kind[operation.kind] += operation.memory_access_elements
        by_name[operation.name] += operation.memory_access_elements if operation.kind == "element-wise" else 0
    total, accessed = by_kind.total(), by_kind["element-wise"]
    return {
        "memory_access_share": _share(accessed, total),
        "kernels_share": _share(kernels.total(), len(operations)),
        "memory_access_share_with_depthwise": _share(accessed + by_kind["depthwise conv"], total),
        "kernels_by_name": {name: kernels[name] for name, _ in by_name.most_common() if name in kernels},
    }


def _share(part: float, whole: float, *, empty: float = 0.0) -> float:
    return part / whole if whole else empty
