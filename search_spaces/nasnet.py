"""The pair-block space of NASNet, ENAS and DARTS, in which the published baselines live.

A cell reads the two layers before it. A block is the sum of two ops, each on one of the cell's inputs or on an earlier
block (Zoph et al. 2018, arXiv:1707.07012, §2.2; ENAS, arXiv:1802.03268, §2.4; DARTS, arXiv:1806.09055, §2.1).
"""

from search_spaces.cell_space import CellSpace

ENAS_OPS = ("sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3", "identity")


class NASNetSpace(CellSpace):
    """The decisions of a pair-block cell: for every block two inputs, then two ops, in the order of ENAS's controller.

    Among its loose ends are cell inputs (ENAS); DARTS merges all blocks. Two genotypes are compared with their outputs
    as a multiset of values, which holds for a concatenation that weights follow. With merge `sum` two of different keys
    can still compute the same, never two of one key something different.
    """

    name = "nasnet"
    inputs = ("layer k-2", "layer k-1")
    num_edges = 2
    passes_inputs = True
    merge = "concat"
    ops = ENAS_OPS
    mixers = ("identity",)
