"""The search space of ShuffleNASNet (Laube & Zell 2018, arXiv:1812.02975, §III-A).

A cell has B blocks; a block is one op on one input, the cell's input or an earlier block. The channel count never
changes inside a cell, and the output is the sum of the loose ends. So the space of B blocks contains that of B − 1:
any block can be followed by an identity without changing the function.
"""

from search_spaces.cell_space import CellSpace

PAPER_OPS = ("sep_conv_3x3", "sep_conv_5x5", "max_pool_3x3", "min_pool_3x3", "identity", "conv_1x1")


class ShuffleNASSpace(CellSpace):
    """The decisions of ShuffleNASNet: for every block of both cells an input and an op, then perhaps a mixer."""

    name = "shufflenas"
    inputs = ("cell input",)
    num_edges = 1
    passes_inputs = False
    merge = "sum"
    ops = PAPER_OPS
    mixers = ("channel_shuffle",)
