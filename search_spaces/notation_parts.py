"""The parts that all readers of foreign notations share: literals out of untrusted text, and cells out of edges.

Nothing is evaluated. Three fences stand one behind the other: only known words, short numbers, quoted texts and
brackets may appear at all; brackets nest a few levels deep; and of the syntax tree only a handful of node types is
walked, everything else is refused.

Cells are those of the space `nasnet`: node 0 is layer k-2, node 1 layer k-1, blocks count from node 2, no mixer.
"""

import ast
import re
import warnings
from collections.abc import Sequence

from search_spaces.genotype import MAX_BLOCKS, MAX_NAME_LENGTH, Block, CellGenotype

MAX_TEXT_LENGTH = 20_000
MAX_FILE_LENGTH = 200_000
MAX_NESTING = 8
MAX_RANGE = 2 * MAX_BLOCKS
GENOTYPE_FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")
WORDS = ("Genotype", "range", *GENOTYPE_FIELDS)
TOKEN = re.compile(
    rf"""'[^'\\\n]*'|"[^"\\\n]*"|(?:{"|".join(WORDS)}|[0-9]{{1,3}})(?!\w)|[:,=]|\s+"""
    r"""|(?P<opens>[\[({])|(?P<closes>[\])}])|(?P<unknown>\w+|.)"""
)
SPACE = "nasnet"
NUM_INPUTS = 2
EDGES_PER_BLOCK = 2
KNOWN_OPS = (
    *("sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7", "dil_conv_3x3", "dil_conv_5x5", "conv_7x1_1x7"),
    *("avg_pool_3x3", "max_pool_3x3", "min_pool_3x3", "identity", "conv_1x1"),
)
SKIP = "skip_connect"
ZERO_OPS = ("none", "zero")

Literal = int | str | list["Literal"] | dict[str, "Literal"]
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


def read_literal(text: str) -> Literal:
    """Returns the value that `text` writes down; tuples and ranges become lists, `Genotype(...)` its fields.

    Raises:
        ValueError: If `text` is over 20,000 characters, nests more than 8 brackets, or holds anything but literals;
            the message says what and where.
    """
    check_length(text)
    depth = 0
    for token in TOKEN.finditer(text):
        if token["unknown"]:
            raise ValueError(
                f"unexpected {shown(token[0])} at character {token.start()}; numbers up to 999 and the words "
                f"{', '.join(WORDS)} are understood"
            )
        depth += bool(token["opens"]) - bool(token["closes"])
        if depth > MAX_NESTING:
            raise ValueError(f"more than {MAX_NESTING} brackets inside each other at character {token.start()}")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else type(error).__name__
        raise ValueError(f"the notation is no literal: {reason}") from None
    return _value(tree.body)


def named_genotypes(text: str) -> dict[str, str]:
    """Returns by name the text of every `NAME = Genotype(...)` of a Python file such as DARTS's `genotypes.py`.

    `OTHER = NAME` gives a genotype a second name. Whatever else is in the file is passed over, nothing is evaluated,
    and the texts are yet to be read; what is no Python, or longer than 200,000 characters, has none.
    """
    found: dict[str, str] = {}
    if len(text) > MAX_FILE_LENGTH:
        return found
    try:
        with warnings.catch_warnings(action="ignore"):  # of the file's own code
            tree = ast.parse(text)
        for statement in tree.body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=ast.Name(id="Genotype")) as value):
                    found[name] = ast.unparse(value)
                case ast.Assign(targets=[ast.Name(id=name)], value=ast.Name(id=other)) if other in found:
                    found[name] = found[other]
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return {}
    return found


def _value(node: ast.expr) -> Literal:
    match node:
        case ast.Constant(value=int() | str() as value):
            return value
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            return [_value(element) for element in elements]
        case ast.Dict(keys=keys, values=values):
            names = [None if key is None else _value(key) for key in keys]
            return _fields(list(zip(names, values, strict=True)))
        case ast.Call(func=ast.Name(id="range"), args=bounds, keywords=[]):
            return _range([_value(bound) for bound in bounds])
        case ast.Call(func=ast.Name(id="Genotype"), args=[], keywords=keywords):
            return _fields([(keyword.arg, keyword.value) for keyword in keywords])
    where = f"line {node.lineno}, column {node.col_offset}"
    raise ValueError(f"the notation is no literal: {type(node).__name__} at {where}")


def _fields(pairs: Sequence[tuple[Literal | None, ast.expr]]) -> dict[str, Literal]:
    fields: dict[str, Literal] = {}
    for name, value in pairs:
        if not isinstance(name, str):
            raise ValueError(f"a field must be named by a text, got {shown(name)} on line {value.lineno}")
        if name in fields:
            raise ValueError(f"the field {shown(name)} comes twice, again on line {value.lineno}")
        fields[name] = _value(value)
    return fields


def _range(bounds: Sequence[Literal]) -> list[Literal]:
    numbers = [bound for bound in bounds if isinstance(bound, int)]
    if len(numbers) != len(bounds) or len(numbers) not in (1, 2):
        raise ValueError(f"range takes one or two whole numbers, got {shown(list(bounds))}")
    values = range(*numbers)
    if len(values) > MAX_RANGE:
        raise ValueError(f"range gives {len(values)} numbers, more than {MAX_RANGE}")
    return list(values)


def word_of_number(number: object, *, words: Sequence[str], where: str) -> str:
    """Returns the op word of that number in a tool's table.

    Raises:
        ValueError: If `number` is not one of 0 … len(words) - 1.
    """
    if not isinstance(number, int) or number not in range(len(words)):
        table = ", ".join(f"{i} {word}" for i, word in enumerate(words))
        raise ValueError(f"{where}: op numbers are {table}; got {shown(number)}")
    return words[number]


def cell_of_edges(edges: Sequence[Edge], *, where: str, outputs: Sequence[int] | None = None) -> CellGenotype:
    """Builds a cell whose blocks are consecutive pairs of edges.

    Args:
        edges: (op word, input node) in the order of the notation, two a block.
        where: The name of the cell in messages.
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
        return CellGenotype(blocks, "identity", NUM_INPUTS, tuple(nodes if outputs is None else outputs))
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
    if not isinstance(source, int) or not 0 <= source < node:
        raise ValueError(f"{where}: an edge into node {node} reads one of 0 … {node - 1}, got {shown(source)}")
    return name, source
