"""The search spaces of two cells made of blocks: their decisions, and the way from answers to a genotype and back."""

from collections.abc import Hashable, Iterable, Sequence

from search_spaces.canonical import canonical_cell
from search_spaces.cells import CellCandidates
from search_spaces.genotype import MAX_BLOCKS, Block, CellGenotype, Decision, Genotype, unread_nodes
from search_spaces.ops import find_op
from search_spaces.shuffles import check_mixer
from search_spaces.space import CELLS, check_actions, index_of


class CellSpace:
    """Of every block of both cells the inputs and then the ops are decided, and perhaps the mixer of each cell.

    Args:
        blocks: B, the blocks of a cell.
        ops: Names in the op table; by default those of the paper.
        mixers: Names in the mixer table; by default that of the paper. With more than one, each cell type decides on
            its mixer.
        output: `loose_ends` merges the nodes that no block reads, `all` merges every block.

    Attributes:
        name: The name of the space.
        inputs: What each input of a cell is called.
        num_edges: Inputs, and ops, of a block.
        passes_inputs: Whether an input that no block reads is a loose end as well.
        merge: How cells are compared, see `search_spaces.canonical.canonical_cell`.

    Raises:
        ValueError: If an argument is out of range or names something unknown, or there is no mixer.
    """

    name: str
    inputs: tuple[str, ...]
    num_edges: int
    passes_inputs: bool
    merge: str
    ops: tuple[str, ...]
    mixers: tuple[str, ...]

    def __init__(
        self,
        *,
        blocks: int = 5,
        ops: Sequence[str] | None = None,
        mixers: Sequence[str] | None = None,
        output: str = "loose_ends",
    ) -> None:
        if not 1 <= blocks <= MAX_BLOCKS:
            raise ValueError(f"blocks must lie in 1 … {MAX_BLOCKS}, got {blocks}")
        if output not in ("loose_ends", "all"):
            raise ValueError(f"output must be loose_ends or all, got {output!r}")
        self.blocks = blocks
        self.ops = self.ops if ops is None else tuple(ops)
        self.mixers = self.mixers if mixers is None else tuple(mixers)
        self.output = output
        for op in self.ops:
            find_op(op)
        for mixer in self.mixers:
            check_mixer(mixer)
        if not self.mixers:
            raise ValueError("mixers must name at least one mixer")
        self.slots = range(self.num_edges)
        edges = [
            slice(first, first + self.num_edges) for first in range(0, 2 * blocks * self.num_edges, self.num_edges)
        ]
        self._places = list(zip(edges[::2], edges[1::2], strict=True))  # of each block's inputs and ops among actions
        self.decisions = tuple(decision for cell in CELLS for decision in self._cell_decisions(cell))

    def _cell_decisions(self, cell: str) -> Iterable[Decision]:
        for step in range(self.blocks):
            nodes = (*self.inputs, *(f"block {i}" for i in range(step)))
            for slot in self.slots:
                yield Decision(group=cell, step=step, kind="input", choices=nodes, slot=slot)
            for slot in self.slots:
                yield Decision(group=cell, step=step, kind="op", choices=self.ops, slot=slot)
        if len(self.mixers) > 1:
            yield Decision(group=cell, step=self.blocks, kind="mixer", choices=self.mixers)

    def decode(self, actions: Sequence[int]) -> Genotype:
        """Returns the genotype that the actions describe."""
        check_actions(self.decisions, actions)
        half = len(actions) // 2
        return Genotype(
            space=self.name,
            normal=self._decode_cell(actions[:half]),
            reduction=self._decode_cell(actions[half:]),
        )

    def _decode_cell(self, actions: Sequence[int]) -> CellGenotype:
        named = self.ops.__getitem__
        blocks = tuple([Block(tuple(actions[read]), tuple(map(named, actions[ops]))) for read, ops in self._places])
        mixer = self.mixers[actions[-1]] if len(self.mixers) > 1 else self.mixers[0]
        return CellGenotype(blocks, mixer, len(self.inputs), self._outputs(blocks))

    def _outputs(self, blocks: Sequence[Block]) -> tuple[int, ...] | None:
        if self.output != "all" and not self.passes_inputs:
            return None
        nodes = range(len(self.inputs) + len(blocks))
        return tuple(nodes[len(self.inputs) :]) if self.output == "all" else unread_nodes(blocks, nodes)

    def encode(self, genotype: Genotype) -> tuple[int, ...]:
        """Returns the actions that describe `genotype`."""
        actions = tuple(action for cell in self._cells(genotype).values() for action in self._encode_cell(cell))
        if self.decode(actions) != genotype:
            raise ValueError(f"the genotype merges other nodes than output={self.output} does")
        return actions

    def _cells(self, genotype: Genotype) -> dict[str, CellGenotype]:
        """Returns the two cells of a genotype by name; raises ValueError if it has others than this space."""
        cells = genotype.cells
        if genotype.space != self.name or tuple(cells) != CELLS:
            raise ValueError(
                f"expected a genotype of the space {self.name} with a normal and a reduction cell, "
                f"got {genotype.space!r} with {', '.join(cells)}"
            )
        inputs, edges = len(self.inputs), len(self.slots)
        for name, cell in cells.items():
            if cell.num_inputs != inputs or any(len(block.ops) != edges for block in cell.blocks):
                raise ValueError(f"the {name} cell needs inputs: {inputs}, and ops a block: {edges}")
        return cells

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
        inputs, passes = len(self.inputs), self.passes_inputs and self.output == "loose_ends"
        edges = frozenset(
            (block, slot, source, op)
            for block in range(self.blocks)
            for slot in self.slots
            for source in range(inputs + block)
            for op in self.ops
        )
        candidates = CellCandidates(
            edges=edges,
            outputs=frozenset(range(0 if passes else inputs, inputs + self.blocks)),
            mixers=frozenset(self.mixers),
            num_inputs=inputs,
            fixed_outputs=self.output == "all",
        )
        return dict.fromkeys(CELLS, candidates)

    def canonical(self, genotype: Genotype) -> Hashable:
        """Returns a key that two genotypes share exactly if they compute the same family of functions.

        Identities vanish, weight-free ops on the same value are one, and the order of blocks does not count.
        """
        return tuple(
            (canonical_cell(cell, strided=name == "reduction", merge=self.merge), cell.mixer)
            for name, cell in self._cells(genotype).items()
        )
