"""Putting the channels between the modules of a network into other orders, exactly, by permuting weights.

Whatever a convolution writes can be written in any order by permuting its rows, and read in any order by permuting its
columns; batch norm, pools, depthwise convolutions and activations treat every channel by itself. `freedom` says which
orders a module allows, `reorder` changes its weights.

An order is a tensor (C,): position i holds the channel that used to be `order[i]`.
"""

from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor, nn

from search_spaces.batch_norm import BATCH_NORMS
from search_spaces.cells import Cell
from search_spaces.genotype import IDENTITIES, CellGenotype, Edge
from search_spaces.kaleidoscope import FixedLinear
from search_spaces.mixers import Permutation
from search_spaces.ops import FactorizedReduction, MaxPool, MinPool, PointwiseConv
from search_spaces.permutations import inverse_permutation
from search_spaces.shuffles import DenseMixer, IdentityMixer

CHANNELWISE = (*BATCH_NORMS, nn.ReLU, nn.Identity, nn.MaxPool2d, nn.AvgPool2d, MaxPool, MinPool, IdentityMixer)
DENSE = (nn.Conv2d, PointwiseConv, nn.Linear, DenseMixer, FixedLinear, Permutation)


class Level(IntEnum):
    """Which orders of C channels are allowed; a higher level allows fewer."""

    ANY = 0
    HALVES = 1  # the first ⌈C / 2⌉ stay first
    FIXED = 2

    def labels(self, channels: int) -> list[int]:
        """Returns a label a channel; allowed are the orders in which the labels ascend."""
        middle = channels - channels // 2
        return [0 if self is Level.ANY else i if self is Level.FIXED else int(i >= middle) for i in range(channels)]


class Freedom(NamedTuple):
    """The orders that a module allows.

    Attributes:
        entering: Allowed orders of the channels that it reads.
        leaving: Allowed orders of the channels that it writes.
        tied: Whether it must write them in the order in which it reads them.
    """

    entering: Level
    leaving: Level
    tied: bool


class BoundCell(nn.Module):
    """A cell with the ops of one genotype and no others.

    Args:
        module: Holds the ops of the genotype, and perhaps more, which are taken out of it.
        genotype: The path to compute.

    Raises:
        ValueError: If the cell lacks an op of the genotype.
    """

    def __init__(self, module: Cell, genotype: CellGenotype) -> None:
        super().__init__()
        self.module = module
        self.genotype = genotype
        keys = {module._key(edge) for edge in genotype.edges}
        if missing := keys - set(module.ops):
            raise ValueError(f"the network does not hold {', '.join(sorted(missing))} of the genotype")
        for key in set(module.ops) - keys:
            del module.ops[key]

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to what the cell returns."""
        out: Tensor = self.module([x], self.genotype)
        return out

    def node(self, edge: Edge) -> int:
        """Returns the node that an edge's op writes."""
        return edge[0] + self.genotype.num_inputs

    def passes(self, edge: Edge) -> bool:
        """Whether an edge hands its input on, without a module."""
        return edge[3] in IDENTITIES and not self.module._reduces(edge)

    def groups(self) -> tuple[list[int], list[Level]]:
        """Finds which nodes must have one order; the cell's output counts as one more node, the last.

        Returns:
            The number of its group for every node, and the orders that each group allows.
        """
        outputs = self.genotype.output_nodes
        last = self.genotype.num_inputs + len(self.genotype.blocks)
        group, level = list(range(last + 1)), [Level.ANY] * (last + 1)

        def connect(source: int, node: int, freedom: Freedom) -> None:
            level[group[source]] = max(level[group[source]], freedom.entering)
            level[group[node]] = max(level[group[node]], freedom.leaving)
            if freedom.tied:
                level[group[source]] = max(level[group[source]], level[group[node]])
                group[:] = [group[source] if number == group[node] else number for number in group]

        for edge in self.genotype.live_edges:
            tied = TIED if self.passes(edge) else freedom(self.module.ops[self.module._key(edge)])
            connect(edge[2], self.node(edge), tied)
        for node in outputs if self.module.merge_weights is None else ():
            reduced = self.module.passed_inputs[str(node)] if self.reduced(node) else None
            connect(node, last, TIED if reduced is None else freedom(reduced))
        return group, level

    def reduced(self, node: int) -> bool:
        """Whether an output node passes a factorized reduction."""
        return self.module.strided and node < self.module.num_inputs


TIED = Freedom(Level.ANY, Level.ANY, tied=True)
FREE = Freedom(Level.ANY, Level.ANY, tied=False)
UNKNOWN = Freedom(Level.FIXED, Level.FIXED, tied=False)


def freedom(module: nn.Module) -> Freedom:
    """Returns which orders a module allows; one of another type than those known here allows none."""
    if isinstance(module, BoundCell):
        group, level = module.groups()
        return Freedom(level[group[0]], level[group[-1]], tied=group[0] == group[-1])
    if type(module).forward is nn.Sequential.forward:
        whole = TIED
        for part in module.children():
            then = freedom(part)
            both = max(whole.leaving, then.entering) if whole.tied or then.tied else Level.ANY
            entering = max(whole.entering, both) if whole.tied else whole.entering
            leaving = max(then.leaving, both) if then.tied else then.leaving
            whole = Freedom(entering, leaving, tied=whole.tied and then.tied)
        return whole
    if type(module) is FactorizedReduction:
        return Freedom(Level.ANY, Level.HALVES, tied=False)
    if isinstance(module, nn.Conv2d) and type(module) in DENSE and module.groups > 1:
        return TIED if module.groups == module.in_channels == module.out_channels else UNKNOWN
    return FREE if type(module) in DENSE else TIED if type(module) in CHANNELWISE else UNKNOWN


@torch.no_grad()
def reorder(module: nn.Module, entering: Tensor | None, leaving: Tensor | None) -> None:
    """Changes the weights of a module, in place, to read and write its channels in other orders.

    Args:
        module: Allows these orders, see `freedom`.
        entering: (C,), of the channels that it reads; None leaves them as they are.
        leaving: (C',), of those that it writes.
    """
    if isinstance(module, BoundCell):
        _reorder_cell(module, entering, leaving)
    elif type(module).forward is nn.Sequential.forward:
        parts = list(module.children())
        dense = [i for i, part in enumerate(parts) if not freedom(part).tied]
        for i, part in enumerate(parts):
            before = entering if not dense or i <= dense[0] else leaving if i > dense[-1] else None
            after = leaving if not dense or i >= dense[-1] else entering if i < dense[0] else None
            reorder(part, before, after)
    elif isinstance(module, FactorizedReduction):
        middle = module.even.out_channels
        reorder(module.even, entering, None if leaving is None else leaving[:middle])
        reorder(module.odd, entering, None if leaving is None else leaving[middle:] - middle)
        reorder(module.bn, leaving, leaving)
    elif isinstance(module, Permutation):
        _permute(module.index, leaving, dim=0)
        if entering is not None:
            module.index.copy_(inverse_permutation(entering.to(module.index.device))[module.index])
    elif isinstance(module, DENSE):
        depthwise = isinstance(module, nn.Conv2d) and module.groups > 1
        _permute(module.weight, None if depthwise else entering, dim=1)
        _permute(module.weight, leaving, dim=0)
        _permute(getattr(module, "bias", None), leaving, dim=0)
    elif isinstance(module, nn.BatchNorm2d):
        for values in (module.weight, module.bias, module.running_mean, module.running_var):
            _permute(values, leaving, dim=0)


def _reorder_cell(cell: BoundCell, entering: Tensor | None, leaving: Tensor | None) -> None:
    module, (group, _) = cell.module, cell.groups()
    orders = {group[0]: entering, group[-1]: leaving}
    for edge in cell.genotype.live_edges:
        if not cell.passes(edge):
            reorder(module.ops[module._key(edge)], orders.get(group[edge[2]]), orders.get(group[cell.node(edge)]))
    for node in cell.genotype.output_nodes:
        order = orders.get(group[node])
        if cell.reduced(node):
            order = None if module.merge_weights is not None else leaving
            reorder(module.passed_inputs[str(node)], orders.get(group[node]), order)
        if module.merge_weights is not None:
            _permute(module.merge_weights[str(node)], order, dim=1)
            _permute(module.merge_weights[str(node)], leaving, dim=0)
    if module.merge_bn is not None:
        reorder(module.merge_bn, leaving, leaving)


def _permute(values: Tensor | nn.Module | None, order: Tensor | None, *, dim: int) -> None:
    if isinstance(values, Tensor) and order is not None:
        values.copy_(values.index_select(dim, order.to(values.device)))
