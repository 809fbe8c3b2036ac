"""A reward of one's own: accuracy, less a price for every convolution of the normal cell."""


def thrifty(score, genotype, *, price):
    """Returns the reward."""
    return score.accuracy - price * sum("conv" in op for block in genotype.normal.blocks for op in block.ops)
