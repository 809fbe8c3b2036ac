"""The pair-block space of NASNet, ENAS and DARTS, in which the published baselines live.

A cell reads the two layers before it. A block is the sum of two ops, each on one of the cell's inputs or on an earlier
block (Zoph et al. 2018, arXiv:1707.07012, §2.2; ENAS, arXiv:1802.03268, §2.4; DARTS, arXiv:1806.09055, §2.1).
"""

from collections.abc import Sequence

from search_spaces.cell_space import CellSpace

ENAS_OPS = ("sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3", "identity")


class NASNetSpace(CellSpace):
    """The decisions of a pair-block cell: for every block two inputs, then two ops, in the order of ENAS's controller.

    Two genotypes are compared with their outputs as a multiset of values, which holds for a concatenation that weights
    follow. With merge `sum` two of different keys can still compute the same, never two of one key something different.

    Args:
        blocks: B, the blocks of a cell.
        ops: Names in the op table; the default is ENAS's five.
        mixers: Names in the mixer table. With more than one, each cell type decides on its mixer.
        output: `loose_ends` merges every node that no block reads, cell inputs included (ENAS); `all` merges every
            block (DARTS).

    Raises:
        ValueError: If an argument is out of range or names something unknown.
    """

    def __init__(
        self,
        *,
        blocks: int = 5,
        ops: Sequence[str] = ENAS_OPS,
        mixers: Sequence[str] = ("identity",),
        output: str = "loose_ends",
    ) -> None:
        super().__init__(
            "nasnet",
            inputs=("layer k-2", "layer k-1"),
            num_edges=2,
            blocks=blocks,
            ops=ops,
            mixers=mixers,
            output=output,
            passes_inputs=True,
            merge="concat",
        )
