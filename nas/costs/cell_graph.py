"""The graph of a cell as guideline G3 of ShuffleNet V2 sees it (Ma et al. 2018, arXiv:1807.11164, §2).

"Network fragmentation reduces degree of parallelism": many small ops side by side or in a row are slower than few large
ones. This is the graph alone; no weights, no channels.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from search_spaces.genotype import IDENTITIES, CellGenotype


@dataclass(frozen=True, slots=True)
class CellShape:
    """The graph of a cell. Identities that return their input are not ops here, nor are edges on no path to an output.

    Attributes:
        num_ops: Ops that compute.
        branches: Most ops of which none waits for another, so that all could run at once.
        longest_path_ops: Ops in the longest chain.
        loose_ends: Blocks that no other reads.
        outputs: Nodes merged into the cell's output.
        additions: Element-wise additions if the outputs are summed, those inside blocks included.
    """

    num_ops: int
    branches: int
    longest_path_ops: int
    loose_ends: int
    outputs: int
    additions: int


def cell_shape(cell: CellGenotype, *, strided: bool = False) -> CellShape:
    """Measures the graph of a cell.

    Args:
        cell: Any number of inputs, and of ops a block.
        strided: Whether it is a reduction cell, in which an identity of a cell's input computes.
    """
    ancestors: list[int] = []  # by op, a bit for each op that it waits for
    depths: list[int] = []  # by op, ops in the longest chain that ends with it
    producers: defaultdict[int, set[int]] = defaultdict(set)  # by node, ops whose outputs it is the sum of
    edges = cell.live_edges
    for number, _, source, op in edges:
        own = producers[cell.num_inputs + number]
        if op in IDENTITIES and not (strided and source < cell.num_inputs):
            own |= producers[source]
            continue
        own.add(len(ancestors))
        waits = 0
        for producer in producers[source]:
            waits |= ancestors[producer] | 1 << producer
        depths.append(1 + max((depths[producer] for producer in producers[source]), default=0))
        ancestors.append(waits)
    summands = len(cell.output_nodes) + len(edges) - len({edge[0] for edge in edges})
    return CellShape(
        num_ops=len(ancestors),
        branches=_largest_antichain(ancestors),
        longest_path_ops=max(depths, default=0),
        loose_ends=len(cell.loose_ends),
        outputs=len(cell.output_nodes),
        additions=summands - 1,
    )


def _largest_antichain(ancestors: Sequence[int]) -> int:
    """Returns how many elements of a partial order are at most pairwise incomparable.

    By Dilworth's theorem that is the least number of chains that cover all, and so their number less a maximum matching
    of elements with later ones (Fulkerson, 1956).

    Args:
        ancestors: By element, a bit for every earlier one, transitively closed.
    """
    import numpy as np
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    if not ancestors:
        return 0
    waits = np.array([[bits >> earlier & 1 for earlier in range(len(ancestors))] for bits in ancestors])
    matched = maximum_bipartite_matching(csr_array(waits)) >= 0
    return len(ancestors) - int(matched.sum())
