"""The search space of ShuffleNASNet (Laube & Zell 2018, arXiv:1812.02975, §III-A).

A cell has B blocks; a block is one op on one input, the cell's input or an earlier block. The channel count never
changes inside a cell, and the output is the sum of the loose ends. So the space of B blocks contains that of B − 1:
any block can be followed by an identity without changing the function.
"""

from collections.abc import Hashable, Iterable, Sequence

from search_spaces.canonical import canonical_cell
from search_spaces.cells import CellCandidates, check_choices
from search_spaces.genotype import Block, CellGenotype, Decision, Genotype
from search_spaces.space import CELLS, check_actions, check_cells, index_of

PAPER_OPS = ("sep_conv_3x3", "sep_conv_5x5", "max_pool_3x3", "min_pool_3x3", "identity", "conv_1x1")


class ShuffleNASSpace:
    """The decisions of ShuffleNASNet: for every block of both cells an input and an op, then perhaps a mixer.

    Args:
        blocks: B, the blocks of a cell.
        ops: Names in the op table; the default is the paper's six.
        mixers: Names in the mixer table. With more than one, each cell type decides on its mixer.
        output: `loose_ends` merges the blocks that no other reads, `all` merges every block (§IV-D).

    Raises:
        ValueError: If an argument is out of range or names something unknown.
    """

    def __init__(
        self,
        *,
        blocks: int = 5,
        ops: Sequence[str] = PAPER_OPS,
        mixers: Sequence[str] = ("channel_shuffle",),
        output: str = "loose_ends",
    ) -> None:
        check_choices(blocks=blocks, ops=ops, mixers=mixers, output=output)
        self.name = "shufflenas"
        self.blocks = blocks
        self.ops = tuple(ops)
        self.mixers = tuple(mixers)
        self.output = output
        self.decisions = tuple(decision for cell in CELLS for decision in self._cell_decisions(cell))

    def _cell_decisions(self, cell: str) -> Iterable[Decision]:
        for step in range(self.blocks):
            inputs = ("cell input", *(f"block {i}" for i in range(step)))
            yield Decision(group=cell, step=step, kind="input", choices=inputs)
            yield Decision(group=cell, step=step, kind="op", choices=self.ops)
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
        pairs = [(actions[2 * i], actions[2 * i + 1]) for i in range(self.blocks)]
        return CellGenotype(
            blocks=tuple(Block(inputs=(source,), ops=(self.ops[op],)) for source, op in pairs),
            mixer=self.mixers[actions[-1]] if len(self.mixers) > 1 else self.mixers[0],
            outputs=tuple(range(1, self.blocks + 1)) if self.output == "all" else None,
        )

    def encode(self, genotype: Genotype) -> tuple[int, ...]:
        """Returns the actions that describe `genotype`; the inverse of `decode`.

        Raises:
            ValueError: If the genotype is not in this space.
        """
        cells = check_cells(genotype, space=self.name, num_inputs=1, num_edges=1)
        actions = tuple(action for cell in cells.values() for action in self._encode_cell(cell))
        if self.decode(actions) != genotype:
            raise ValueError(f"the genotype merges other nodes than output={self.output} does")
        return actions

    def _encode_cell(self, cell: CellGenotype) -> Iterable[int]:
        if len(cell.blocks) != self.blocks:
            raise ValueError(f"the space has {self.blocks} blocks a cell, the genotype {len(cell.blocks)}")
        for block in cell.blocks:
            yield block.inputs[0]
            yield index_of(self.ops, block.ops[0], "op")
        mixer = index_of(self.mixers, cell.mixer, "mixer")
        if len(self.mixers) > 1:
            yield mixer

    def candidates(self) -> dict[str, CellCandidates]:
        """Returns what a supernet of this space holds, by cell name."""
        edges = frozenset(
            (block, 0, source, op) for block in range(self.blocks) for source in range(block + 1) for op in self.ops
        )
        outputs = frozenset(range(1, self.blocks + 1))
        candidates = CellCandidates(
            edges=edges, outputs=outputs, mixers=frozenset(self.mixers), fixed_outputs=self.output == "all"
        )
        return dict.fromkeys(CELLS, candidates)

    def canonical(self, genotype: Genotype) -> Hashable:
        """Returns a key that two genotypes share exactly if they compute the same family of functions.

        Identities vanish, weight-free ops on the same value are one, and the order of blocks does not count.
        """
        return tuple(
            (canonical_cell(cell, strided=name == "reduction"), cell.mixer)
            for name, cell in check_cells(genotype, space=self.name, num_inputs=1, num_edges=1).items()
        )
