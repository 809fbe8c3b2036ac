"""What all foreign genotype notations share: words for ops, limits, and the way from edges to a checked cell.

The target is the space `nasnet`: node 0 is layer k-2, node 1 layer k-1, blocks count from node 2, no mixer.
"""

from collections.abc import Sequence
from typing import TypeGuard

from search_spaces.genotype import MAX_BLOCKS, MAX_NAME_LENGTH, Block, CellGenotype

SPACE = "nasnet"
NUM_INPUTS = 2
EDGES_PER_BLOCK = 2
MAX_TEXT_LENGTH = 20_000
KNOWN_OPS = (
    *("sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7", "dil_conv_3x3", "dil_conv_5x5", "conv_7x1_1x7"),
    *("avg_pool_3x3", "max_pool_3x3", "min_pool_3x3", "identity", "conv_1x1"),
)
SKIP = "skip_connect"
ZERO_OPS = ("none", "zero")

Edge = tuple[object, object]  # (op word, input node), both unchecked


def check_length(text: str) -> None:
    """Refuses texts over 20,000 characters, before anything looks at them.

    Raises:
        ValueError: If `text` is longer.
    """
    if len(text) > MAX_TEXT_LENGTH:
        raise ValueError(f"the notation is {len(text)} characters long, more than {MAX_TEXT_LENGTH}")


def shown(value: object) -> str:
    """Returns untrusted `value` as Python would write it, cut to a length that fits a message."""
    text = value[: MAX_NAME_LENGTH + 1] if isinstance(value, str) else value
    written = ascii(text)  # no control characters reach a terminal
    return written if len(written) <= MAX_NAME_LENGTH else f"{written[:MAX_NAME_LENGTH]}…"


def word_of_number(number: object, *, words: Sequence[str], where: str) -> str:
    """Returns the op word of that number in a tool's table.

    Raises:
        ValueError: If `number` is not one of 0 … len(words) - 1.
    """
    if not is_integer(number) or number not in range(len(words)):
        table = ", ".join(f"{i} {word}" for i, word in enumerate(words))
        raise ValueError(f"{where}: op numbers are {table}; got {shown(number)}")
    return words[number]


def is_integer(value: object) -> TypeGuard[int]:
    """Whether `value` is a whole number; truth values are none here."""
    return isinstance(value, int) and not isinstance(value, bool)


def cell_of_edges(edges: Sequence[Edge], *, where: str, outputs: Sequence[int] | None = None) -> CellGenotype:
    """Builds a cell whose blocks are consecutive pairs of edges.

    Args:
        edges: (op word, input node) in the order of the notation, two a block.
        where: What to call the cell in a message.
        outputs: Nodes merged into the output; None means every block.

    Raises:
        ValueError: If the number of edges is odd, zero or too large, an op is unknown, an input is no earlier node,
            or an output no node of the cell; the message names the edge or the block.
    """
    if not edges or len(edges) % EDGES_PER_BLOCK or len(edges) > EDGES_PER_BLOCK * MAX_BLOCKS:
        raise ValueError(f"{where} needs two edges a block and 1 to {MAX_BLOCKS} blocks, got {len(edges)} edges")
    checked = [_checked_edge(edge, index, where=f"{where}[{index}]") for index, edge in enumerate(edges)]
    blocks = tuple(
        Block(inputs=(first[1], second[1]), ops=(first[0], second[0]))
        for first, second in zip(checked[::2], checked[1::2], strict=True)
    )
    nodes = range(NUM_INPUTS, NUM_INPUTS + len(blocks))
    try:
        return CellGenotype(
            blocks=blocks,
            mixer="identity",
            num_inputs=NUM_INPUTS,
            outputs=tuple(nodes if outputs is None else outputs),
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _checked_edge(edge: Edge, index: int, *, where: str) -> tuple[str, int]:
    word, source = edge
    if word in ZERO_OPS:
        raise ValueError(f"{where}: the op {shown(word)} means no edge, and a block needs both of its edges")
    name = "identity" if word == SKIP else word
    if not isinstance(name, str) or name not in KNOWN_OPS:
        raise ValueError(f"{where}: unknown op {shown(word)}; known: {', '.join((*KNOWN_OPS, SKIP))}")
    node = NUM_INPUTS + index // EDGES_PER_BLOCK
    if not is_integer(source) or not 0 <= source < node:
        raise ValueError(f"{where}: an edge into node {node} reads one of 0 … {node - 1}, got {shown(source)}")
    return name, source
