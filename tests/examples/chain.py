"""A search space from outside: every block reads the one before it, so that only the ops are chosen."""

from collections.abc import Hashable, Sequence

from search_spaces.cells import CellCandidates
from search_spaces.genotype import Block, CellGenotype, Decision, Genotype
from search_spaces.space import CELLS, check_actions

MIXER = "channel_shuffle"


class ChainSpace:
    """An op for every block of both cells.

    Args:
        blocks: Of a cell.
        ops: Names in the op table.
    """

    def __init__(self, *, blocks: int, ops: Sequence[str]) -> None:
        self.name = "chain"
        self.blocks = blocks
        self.ops = tuple(ops)
        self.decisions = tuple(
            Decision(group=cell, step=step, kind="op", choices=self.ops) for cell in CELLS for step in range(blocks)
        )

    def decode(self, actions: Sequence[int]) -> Genotype:
        """Returns the genotype that the actions describe."""
        check_actions(self.decisions, actions)
        half = len(actions) // 2
        return Genotype(self.name, normal=self._chain(actions[:half]), reduction=self._chain(actions[half:]))

    def _chain(self, actions: Sequence[int]) -> CellGenotype:
        blocks = tuple(Block(inputs=(i,), ops=(self.ops[action],)) for i, action in enumerate(actions))
        return CellGenotype(blocks=blocks, mixer=MIXER)

    def encode(self, genotype: Genotype) -> tuple[int, ...]:
        """Returns the actions that describe a genotype."""
        blocks = [block for cell in genotype.cells.values() for block in cell.blocks]
        return tuple(self.ops.index(block.ops[0]) for block in blocks)

    def canonical(self, genotype: Genotype) -> Hashable:
        """Returns the ops: no two chains are taken to compute the same."""
        return genotype.cells["normal"], genotype.cells["reduction"]

    def candidates(self) -> dict[str, CellCandidates]:
        """Returns what a supernet holds: every op in every place."""
        edges = frozenset((step, 0, step, op) for step in range(self.blocks) for op in self.ops)
        cell = CellCandidates(edges=edges, outputs=frozenset({self.blocks}), mixers=frozenset({MIXER}))
        return dict.fromkeys(CELLS, cell)
