"""The pair-block space of NASNet, ENAS and DARTS, in which the published baselines live.

A cell reads the two layers before it. A block is the sum of two ops, each on one of the cell's inputs or on an earlier
block (Zoph et al. 2018, arXiv:1707.07012, §2.2; ENAS, arXiv:1802.03268, §2.4; DARTS, arXiv:1806.09055, §2.1).
"""

from collections.abc import Hashable, Iterable, Sequence

from search_spaces.canonical import canonical_cell
from search_spaces.cells import CellCandidates, check_choices
from search_spaces.genotype import Block, CellGenotype, Decision, Genotype
from search_spaces.space import CELLS, check_actions, check_cells, index_of

ENAS_OPS = ("sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3", "identity")
NUM_INPUTS = 2
SLOTS = (0, 1)


class NASNetSpace:
    """The decisions of a pair-block cell: for every block two inputs, then two ops, in the order of ENAS's controller.

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
        check_choices(blocks=blocks, ops=ops, mixers=mixers, output=output)
        self.name = "nasnet"
        self.blocks = blocks
        self.ops = tuple(ops)
        self.mixers = tuple(mixers)
        self.output = output
        self.decisions = tuple(decision for cell in CELLS for decision in self._cell_decisions(cell))

    def _cell_decisions(self, cell: str) -> Iterable[Decision]:
        for step in range(self.blocks):
            inputs = ("layer k-2", "layer k-1", *(f"block {i}" for i in range(step)))
            for slot in SLOTS:
                yield Decision(group=cell, step=step, kind="input", choices=inputs, slot=slot)
            for slot in SLOTS:
                yield Decision(group=cell, step=step, kind="op", choices=self.ops, slot=slot)
        if len(self.mixers) > 1:
            yield Decision(group=cell, step=self.blocks, kind="mixer", choices=self.mixers)

    def decode(self, actions: Sequence[int]) -> Genotype:
        """Returns the genotype that the actions, one a decision, describe.

        Raises:
            ValueError: If their number or one of them is out of range.
        """
        check_actions(self.decisions, actions)
        half = len(actions) // 2
        return Genotype(
            space=self.name,
            normal=self._decode_cell(actions[:half]),
            reduction=self._decode_cell(actions[half:]),
        )

    def _decode_cell(self, actions: Sequence[int]) -> CellGenotype:
        blocks = tuple(
            Block(
                inputs=tuple(actions[4 * i : 4 * i + 2]), ops=tuple(self.ops[a] for a in actions[4 * i + 2 : 4 * i + 4])
            )
            for i in range(self.blocks)
        )
        return CellGenotype(
            blocks=blocks,
            mixer=self.mixers[actions[-1]] if len(self.mixers) > 1 else self.mixers[0],
            num_inputs=NUM_INPUTS,
            outputs=self._outputs(blocks),
        )

    def _outputs(self, blocks: Sequence[Block]) -> tuple[int, ...]:
        nodes = range(NUM_INPUTS + len(blocks))
        if self.output == "all":
            return tuple(nodes[NUM_INPUTS:])
        read = {source for block in blocks for source in block.inputs}
        return tuple(node for node in nodes if node not in read)

    def encode(self, genotype: Genotype) -> tuple[int, ...]:
        """Returns the actions that describe `genotype`; the inverse of `decode`.

        Raises:
            ValueError: If the genotype is not in this space.
        """
        cells = check_cells(genotype, space=self.name, num_inputs=NUM_INPUTS, num_edges=len(SLOTS))
        actions = tuple(action for cell in cells.values() for action in self._encode_cell(cell))
        if self.decode(actions) != genotype:
            raise ValueError(f"the genotype merges other nodes than output={self.output} does")
        return actions

    def _encode_cell(self, cell: CellGenotype) -> Iterable[int]:
        if len(cell.blocks) != self.blocks:
            raise ValueError(f"the space has {self.blocks} blocks a cell, the genotype {len(cell.blocks)}")
        for block in cell.blocks:
            yield from block.inputs
            yield from (index_of(self.ops, op, "op") for op in block.ops)
        mixer = index_of(self.mixers, cell.mixer, "mixer")
        if len(self.mixers) > 1:
            yield mixer

    def candidates(self) -> dict[str, CellCandidates]:
        """Returns what a supernet of this space holds, by cell name."""
        edges = frozenset(
            (block, slot, source, op)
            for block in range(self.blocks)
            for slot in SLOTS
            for source in range(NUM_INPUTS + block)
            for op in self.ops
        )
        first_output = NUM_INPUTS if self.output == "all" else 0
        candidates = CellCandidates(
            edges=edges,
            outputs=frozenset(range(first_output, NUM_INPUTS + self.blocks)),
            mixers=frozenset(self.mixers),
            num_inputs=NUM_INPUTS,
            fixed_outputs=self.output == "all",
        )
        return dict.fromkeys(CELLS, candidates)

    def canonical(self, genotype: Genotype) -> Hashable:
        """Returns a key that two genotypes share exactly if they compute the same family of functions.

        The outputs count as a multiset of values, which holds for a concatenation that weights follow. With merge `sum`
        two genotypes of different keys can still compute the same, never two of one key something different.
        """
        cells = check_cells(genotype, space=self.name, num_inputs=NUM_INPUTS, num_edges=len(SLOTS))
        return tuple(
            (canonical_cell(cell, strided=name == "reduction", merge="concat"), cell.mixer)
            for name, cell in cells.items()
        )
