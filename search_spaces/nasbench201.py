"""The cell of NAS-Bench-201 (Dong & Yang 2020, arXiv:2001.00326, §2.1): six edges, one of five ops on each.

All 15,625 cells were trained by the authors, so that a search can look up what others must train, and shared weights
(`nas.models.nasbench201`) can be compared with the truth. A cell is known there by its architecture string,
`|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.
"""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from search_spaces.genotype import NONE, Block, CellGenotype, Decision, Genotype
from search_spaces.space import check_actions, index_of

if TYPE_CHECKING:
    from search_spaces.cells import CellCandidates

SKIP = "skip_connect"
OPS = (NONE, SKIP, "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NAME = "nasbench201"
NUM_BLOCKS = 3
MAX_TEXT_LENGTH = 256


class NASBench201Space:
    """Six decisions, the op on each edge, node by node and edges in the order of their sources.

    Node 0 is the cell's input; each of the three blocks sums an op of every earlier node, and the last is the output.
    As in the paper there is one kind of cell. An LSTM policy shares one vocabulary among the edges, and learns what all
    have in common before it learns what tells them apart.
    """

    def __init__(self) -> None:
        self.name = NAME
        self.ops = OPS
        self.decisions = tuple(
            Decision(group="normal", step=block, kind="op", choices=OPS, slot=source)
            for block in range(NUM_BLOCKS)
            for source in range(block + 1)
        )

    def decode(self, actions: Sequence[int]) -> Genotype:
        """Returns the genotype that the actions describe."""
        check_actions(self.decisions, actions)
        return _genotype([OPS[action] for action in actions])

    def encode(self, genotype: Genotype) -> tuple[int, ...]:
        """Returns the actions that describe `genotype`."""
        return tuple(map(OPS.index, _edge_ops(genotype)))

    def canonical(self, genotype: Genotype) -> Hashable:
        """Returns a key that two genotypes share exactly if they compute the same family of functions.

        See `search_spaces.canonical.canonical_cell`. There are 5,260 families; the 6,466 that the paper counts are of
        another relation, neither finer nor coarser.
        """
        from search_spaces.canonical import canonical_cell  # imports torch, which reading a cell needs not

        _edge_ops(genotype)  # only to check it
        return canonical_cell(genotype.normal, strided=False)

    def candidates(self) -> "dict[str, CellCandidates]":
        """Returns what a supernet of this space holds: every op of every edge."""
        from search_spaces.cells import CellCandidates  # imports torch

        edges = frozenset(
            (block, source, source, op) for block in range(NUM_BLOCKS) for source in range(block + 1) for op in OPS[1:]
        )
        outputs, mixers = frozenset((NUM_BLOCKS,)), frozenset(("identity",))
        return {"normal": CellCandidates(edges=edges, outputs=outputs, mixers=mixers)}


def arch_string(genotype: Genotype) -> str:
    """Returns a genotype as NAS-Bench-201 writes it, such as `|none~0|+|none~0|none~1|+|none~0|none~1|none~2|`.

    Raises:
        ValueError: If the genotype is not in this space.
    """
    a, b, c, d, e, f = _edge_ops(genotype)
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def parse_arch_string(text: str) -> Genotype:
    """Reads what `arch_string` writes; spaces around it do not count.

    Raises:
        ValueError: If the text is too long, names an unknown op, or is not of that form.
    """
    if len(text) > MAX_TEXT_LENGTH:
        raise ValueError(f"an architecture string has at most {MAX_TEXT_LENGTH} characters, got {len(text)}")
    nodes = text.strip().split("+")
    edges = [node[1:-1].split("|") for node in nodes if len(node) > 1 and node[0] == node[-1] == "|"]
    if [len(node) for node in edges] != [1, 2, 3] or len(nodes) != NUM_BLOCKS:
        raise ValueError(f"expected |op~0|+|op~0|op~1|+|op~0|op~1|op~2|, got {text!r}")
    ops = []
    for block, node in enumerate(edges):
        for source, edge in enumerate(node):
            op, _, number = edge.partition("~")
            if number != str(source):
                raise ValueError(f"edge {source} of node {block + 1} must end in ~{source}, got {edge!r} in {text!r}")
            ops.append(OPS[index_of(OPS, op, "op")])
    return _genotype(ops)


def function_text(genotype: Genotype, node: int = NUM_BLOCKS) -> str:
    """Returns what a node computes as it is written, without edges that no path takes; empty for a node of zeros.

    Sums are sorted and not flattened, so that cells which compute the same may have several texts.

    Raises:
        ValueError: If the genotype is not in this space.
    """
    _edge_ops(genotype)  # only to check it
    if node == 0:
        return "x"
    block = genotype.normal.blocks[node - 1]
    terms = []
    for source, op in zip(block.inputs, block.ops, strict=True):
        if op != NONE and (text := function_text(genotype, source)):
            terms.append(text if op == SKIP else f"{OPS.index(op)}({text})")
    return f"[{'+'.join(sorted(terms))}]" if terms else ""


def _genotype(ops: Sequence[str]) -> Genotype:
    blocks = (Block((0,), (ops[0],)), Block((0, 1), tuple(ops[1:3])), Block((0, 1, 2), tuple(ops[3:6])))
    return Genotype(space=NAME, normal=CellGenotype(blocks=blocks, mixer="identity", outputs=(NUM_BLOCKS,)))


def _edge_ops(genotype: Genotype) -> tuple[str, ...]:
    """Returns the ops on the six edges; raises ValueError for a genotype of another space or another form."""
    cell = genotype.normal
    if genotype.space != NAME or genotype.reduction is not None:
        raise ValueError(f"expected a genotype of the space {NAME} with a normal cell only, got {genotype.space!r}")
    if tuple(block.inputs for block in cell.blocks) != ((0,), (0, 1), (0, 1, 2)):
        raise ValueError(f"in the space {NAME} each of {NUM_BLOCKS} blocks reads every earlier node in order")
    if (cell.mixer, cell.num_inputs, cell.outputs) != ("identity", 1, (NUM_BLOCKS,)):
        raise ValueError(f"a cell of the space {NAME} has one input, the output ({NUM_BLOCKS},) and the mixer identity")
    ops = tuple(op for block in cell.blocks for op in block.ops)
    for op in ops:
        index_of(OPS, op, "op")  # only to check it
    return ops
