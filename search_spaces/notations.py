"""Cells in the notations of other tools, read without evaluating anything and written for DARTS.

Every reader of this module returns a `Genotype` of the space `nasnet` with explicit outputs, takes at most 20,000
characters, and raises ValueError for whatever it does not understand. `parse_nni` has a module of its own, and so has
`parse_arch_string` of NAS-Bench-201, which is a space of its own.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from search_spaces.genotype import CellGenotype, Genotype, unread_nodes
from search_spaces.nasbench201 import parse_arch_string
from search_spaces.notation_nni import parse_nni
from search_spaces.notation_parts import (
    EDGES_PER_BLOCK,
    GENOTYPE_FIELDS,
    KNOWN_OPS,
    NUM_INPUTS,
    SKIP,
    SPACE,
    Literal,
    cell_of_edges,
    check_length,
    read_literal,
    shown,
    word_of_number,
)

__all__ = ["darts_notation", "parse_enas", "parse_naslib", "parse_nni", "read_notation"]

ENAS_OPS = ("sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3", "identity")
NUMBERS_PER_BLOCK = 2 * EDGES_PER_BLOCK
NASLIB_OPS = (
    *("max_pool_3x3", "avg_pool_3x3", SKIP),
    *("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
)
NASLIB_CONCATS = {"normal_concat": [2, 3, 4, 5, 6], "reduce_concat": [4, 5, 6]}
NASLIB_EDGES = 8
ASSIGNMENT = re.compile(r"\A\s*[A-Za-z_]\w{0,63}\s*=\s*(?=Genotype\b)", re.ASCII)
CELLS = ("normal", "reduce")
INNERMOST_LIST = r"\[[^\[\]]*\]"


def read_notation(text: str) -> Genotype:
    """Reads a cell in whichever of the notations of this module it is written.

    Raises:
        ValueError: If it looks like none of them, or breaks a rule of the one it looks like.
    """
    check_length(text)
    start = text.strip()
    for pattern, read in READERS.items():
        if re.match(pattern, start, re.DOTALL):
            return read(text)
    raise ValueError(
        "no known notation: DARTS and NASLib write Genotype(normal=[('sep_conv_3x3', 1), …), NNI a dictionary, "
        "ENAS numbers such as 0 2 0 0 …, NASLib also ((0, 3), …), NAS-Bench-201 |op~0|+…; "
        f"this starts with {shown(start[:20])}"
    )


def parse_naslib(text: str) -> Genotype:
    """Reads DARTS's Genotype text, which NASLib writes too, or NASLib's compact form.

    `Genotype(normal=[('sep_conv_3x3', 1), …], normal_concat=range(2, 6), reduce=…, reduce_concat=…)`, also written by
    P-DARTS, PC-DARTS and others: two consecutive entries make a node, kept in their order; `NAME = ` may stand before
    it. Compact: `(((input, op), …), ((input, op), …))`.

    Ops are numbered as in NASLib's present code: 0 max pool, 1 average pool, 2 skip, 3 and 4 separable, 5 and 6
    dilated convolutions. Early versions counted a `none` first, and a text does not show which it is: numbers of those
    must be lowered by one before. The output of the compact form is all blocks. Early versions also wrote Genotype
    texts of four blocks with the outputs [2, 3, 4, 5, 6] and [4, 5, 6], NASNet's by mistake; they mean all blocks.
    Sources: quark0/darts, `cnn/genotypes.py`; automl/NASLib, `naslib/search_spaces/darts/conversions.py`.

    Raises:
        ValueError: If the text is neither form, or a cell is not valid.
    """
    if "Genotype" in text:
        fields = _genotype_fields(text)
        pairs = {name: _pairs(fields[name], where=name) for name in CELLS}
        if all(len(pairs[name]) == NASLIB_EDGES for name in CELLS) and fields.items() >= NASLIB_CONCATS.items():
            fields |= {name: [2, 3, 4, 5] for name in NASLIB_CONCATS}
        normal, reduction = (
            cell_of_edges(pairs[name], where=name, outputs=_outputs(fields[f"{name}_concat"], where=f"{name}_concat"))
            for name in CELLS
        )
    else:
        cells = read_literal(text)
        if not isinstance(cells, list) or len(cells) != 2:
            raise ValueError("NASLib's compact form is a pair of cells, each ((input, op), …)")
        normal, reduction = (
            _numbered_cell(_pairs(entries, where=where), words=NASLIB_OPS, where=where)
            for entries, where in zip(cells, CELLS, strict=True)
        )
    return Genotype(space=SPACE, normal=normal, reduction=reduction)


def parse_enas(text: str) -> Genotype:
    """Reads ENAS's numbers `input op input op …`, four a block.

    Either one sequence, normal cell then reduction cell of the same size, or two lists or lines, one a cell; brackets
    and commas are optional. Ops: 0 and 1 separable 3x3 and 5x5, 2 average pool, 3 max pool, 4 identity. As in ENAS's
    code the output is every node that no block reads, the cell's inputs included. Source: melodyguan/enas,
    `src/cifar10/micro_child.py` (`_fixed_layer`, `_fixed_combine`).

    Raises:
        ValueError: If a word is no number, the count does not fit, or a cell is not valid.
    """
    check_length(text)
    groups = [_numbers(group) for group in _number_groups(text)]
    if len(groups) == 1 and len(groups[0]) % (2 * NUMBERS_PER_BLOCK) == 0:
        middle = len(groups[0]) // 2
        groups = [groups[0][:middle], groups[0][middle:]]
    if len(groups) != 2 or any(len(group) % NUMBERS_PER_BLOCK for group in groups):
        raise ValueError(
            "ENAS writes two cells of four numbers a block, in one sequence or two lists; got "
            f"{len(groups)} of {', '.join(str(len(group)) for group in groups[:4])} numbers"
        )
    normal, reduction = (
        _numbered_cell([*zip(numbers[::2], numbers[1::2], strict=True)], words=ENAS_OPS, where=where)
        for numbers, where in zip(groups, CELLS, strict=True)
    )
    return Genotype(space=SPACE, normal=_with_unread(normal), reduction=_with_unread(reduction))


def darts_notation(genotype: Genotype) -> str:
    """Writes a genotype as DARTS does; `read_notation` is the inverse for the space `nasnet` (the text names no space).

    Raises:
        ValueError: If the notation cannot say it: no reduction cell, not two inputs, a mixer, a block without two
            edges, or an op without a word there.
    """
    if genotype.reduction is None:
        raise ValueError("DARTS's notation needs a reduction cell")
    parts = [
        f"{name}={_darts_edges(cell, where=name)}, {name}_concat={list(cell.output_nodes)}"
        for name, cell in (("normal", genotype.normal), ("reduce", genotype.reduction))
    ]
    return f"Genotype({', '.join(parts)})"


def _genotype_fields(text: str) -> dict[str, Literal]:
    fields = read_literal(ASSIGNMENT.sub(lambda found: " " * len(found[0]), text, count=1))
    if not isinstance(fields, dict) or set(fields) != set(GENOTYPE_FIELDS):
        got = ", ".join(map(shown, fields)) if isinstance(fields, dict) else type(fields).__name__
        raise ValueError(f"expected Genotype(…) with the fields {', '.join(GENOTYPE_FIELDS)}, got {got or 'none'}")
    return fields


def _pairs(entries: Literal, *, where: str) -> list[tuple[Literal, Literal]]:
    if not isinstance(entries, list):
        raise ValueError(f"{where} must be a list of pairs, got {shown(entries)}")
    pairs = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, list) or len(entry) != 2:
            raise ValueError(f"{where}[{index}] must be a pair, got {shown(entry)}")
        pairs.append((entry[0], entry[1]))
    return pairs


def _outputs(nodes: Literal, *, where: str) -> list[int]:
    if not isinstance(nodes, list) or not all(isinstance(node, int) for node in nodes):
        raise ValueError(f"{where} must be a list of nodes, got {shown(nodes)}")
    return [node for node in nodes if isinstance(node, int)]


def _number_groups(text: str) -> list[str]:
    """The innermost lists; without brackets, the lines that are not empty."""
    text = text.translate(str.maketrans("()", "[]"))
    groups = re.findall(INNERMOST_LIST, text)
    if not groups:
        return [line for line in text.splitlines() if line.strip()]
    rest = re.sub(r"[\s,]", "", re.sub(INNERMOST_LIST, "", text))
    if rest not in ("", "[]"):
        raise ValueError(f"unexpected {shown(rest)} beside ENAS's lists of numbers")
    return [group[1:-1] for group in groups]


def _numbers(group: str) -> list[int]:
    words = group.replace(",", " ").split()
    for index, word in enumerate(words):
        if not re.fullmatch(r"[0-9]{1,3}", word):
            raise ValueError(f"number {index} of ENAS's sequence must be 0 … 999, got {shown(word)}")
    return [int(word) for word in words]


def _numbered_cell(pairs: Sequence[tuple[object, object]], *, words: Sequence[str], where: str) -> CellGenotype:
    """Builds a cell of pairs of an input and the number of an op."""
    numbered = enumerate(pairs)
    edges = [(word_of_number(op, words=words, where=f"{where}[{index}]"), source) for index, (source, op) in numbered]
    return cell_of_edges(edges, where=where)


def _with_unread(cell: CellGenotype) -> CellGenotype:
    """Returns the cell with every node that no block reads as its output, inputs included."""
    return replace(cell, outputs=unread_nodes(cell.blocks, range(NUM_INPUTS + len(cell.blocks))))


def _darts_edges(cell: CellGenotype, *, where: str) -> list[tuple[str, int]]:
    if cell.num_inputs != NUM_INPUTS or cell.mixer != "identity":
        raise ValueError(
            f"{where}: DARTS's notation knows cells of {NUM_INPUTS} inputs without a mixer, got "
            f"{cell.num_inputs} and {shown(cell.mixer)}"
        )
    edges = []
    for index, block in enumerate(cell.blocks):
        if len(block.ops) != EDGES_PER_BLOCK:
            raise ValueError(f"{where}: DARTS's notation needs two edges a block, block {index} has {len(block.ops)}")
        for op, source in zip(block.ops, block.inputs, strict=True):
            if op not in KNOWN_OPS:
                raise ValueError(f"{where}: DARTS's notation has no word for the op {shown(op)} of block {index}")
            edges.append((SKIP if op == "identity" else op, source))
    return edges


READERS: dict[str, Callable[[str], Genotype]] = {
    r"\{": parse_nni,
    r"\|": parse_arch_string,
    r".*Genotype": parse_naslib,
    r"(?:[\[(]\s*){3}": parse_naslib,
    r"[\[(\s]*[0-9]": parse_enas,
}
"""The readers by how a text in their notation begins; the first that fits reads it."""
