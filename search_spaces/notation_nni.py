"""Cells exported by NNI: the model hub's format (2.8 and later) and that of the older DARTS example.

Sources: microsoft/nni, `nni/nas/hub/pytorch/nasnet.py` (`DARTS.load_searched_model`), `nni/nas/nn/pytorch/cell.py`,
`examples/nas/oneshot/darts/model.py`, `nni/retiarii/oneshot/pytorch/darts.py`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace

from search_spaces.genotype import CellGenotype, Genotype
from search_spaces.notation_parts import (
    EDGES_PER_BLOCK,
    NUM_INPUTS,
    SPACE,
    Edge,
    cell_of_edges,
    read_literal,
    shown,
    word_of_number,
)

MACRO_FIELDS = ("width", "depth")  # the hub exports them next to the cells; they are no part of a cell
NODES_OF_HUB_DARTS = 4
OLD_OPS = {
    "maxpool": "max_pool_3x3",
    "avgpool": "avg_pool_3x3",
    "skipconnect": "skip_connect",
    "sepconv3x3": "sep_conv_3x3",
    "sepconv5x5": "sep_conv_5x5",
    "dilconv3x3": "dil_conv_3x3",
    "dilconv5x5": "dil_conv_5x5",
}  # in the order of the example's list, by whose numbers some versions export

MERGE_FIELD = "merge_op"


def parse_nni(text: str) -> Genotype:
    """Reads the dictionary NNI exports, as JSON or as Python prints it.

    Hub keys are `normal/op_2_0`, `normal/input_2_0`, … and `reduce/…` (`reduction/…` is understood too), an input is a
    number or a list of one; `width` and `depth` are skipped. Older keys are `normal_n2_p0` (the op on the edge from
    node 0 into node 2, as word or number, `[]` when unused) and `normal_n2_switch` (the two edges kept, as names or
    numbers). NNI's older example has a batch norm after pools, which this project's pools have not.

    Which nodes make the output, `"all"` blocks or the `"loose_end"` blocks that no other block reads, the export does
    not tell; a field `merge_op` added to it does. Without it: all for older exports and for hub cells of four blocks
    (the hub's DARTS), loose ends for other hub cells (its NASNet, ENAS and AmoebaNet). So the hub's PNAS, five blocks,
    needs `"merge_op": "all"`.

    Raises:
        ValueError: If the text is no such dictionary, lacks a field, has one too many, or describes no valid cell.
    """
    fields = read_literal(text)  # the JSON NNI writes here holds texts, numbers, lists: Python's literals as well
    if not isinstance(fields, dict):
        raise ValueError(f"NNI's export must be a dictionary, got {type(fields).__name__}")
    chosen = fields.get(MERGE_FIELD)
    if chosen not in (None, "all", "loose_end"):
        raise ValueError(f"{MERGE_FIELD} must be 'all' or 'loose_end', got {shown(chosen)}")
    from_hub = any("/" in name for name in fields)
    reduction = "reduction" if any(name.startswith("reduction/") for name in fields) else "reduce"
    edges = _hub_edges if from_hub else _old_edges
    known: set[str] = {MERGE_FIELD, *(MACRO_FIELDS if from_hub else ())}
    cells = [cell_of_edges(edges(fields, cell, known=known), where=cell) for cell in ("normal", reduction)]
    if unknown := [name for name in fields if name not in known]:
        raise ValueError(f"unknown field {shown(unknown[0])} in NNI's dictionary, or one of no block")
    normal, reduced = (_merged(cell, merge=chosen, from_hub=from_hub) for cell in cells)
    return Genotype(space=SPACE, normal=normal, reduction=reduced)


def _merged(cell: CellGenotype, *, merge: object, from_hub: bool) -> CellGenotype:
    if merge is None:
        merge = "loose_end" if from_hub and len(cell.blocks) != NODES_OF_HUB_DARTS else "all"
    return cell if merge == "all" else replace(cell, outputs=cell.loose_ends)


def _nodes(fields: Mapping[str, object], like: str) -> range:
    """The nodes of a cell, counted by a field every node has; a gap then shows as a lacking field."""
    count = sum(re.fullmatch(like.replace("2", "[0-9]+", 1), name) is not None for name in fields)
    if count == 0:
        raise ValueError(f"NNI's dictionary has no field like {like!r}")
    return range(NUM_INPUTS, NUM_INPUTS + count)


def _field(fields: Mapping[str, object], name: str, *, known: set[str]) -> object:
    if name not in fields:
        raise ValueError(f"NNI's dictionary lacks the field {name!r}")
    known.add(name)
    return fields[name]


def _hub_edges(fields: Mapping[str, object], cell: str, *, known: set[str]) -> list[Edge]:
    edges: list[Edge] = []
    for node in _nodes(fields, f"{cell}/op_2_0"):
        for slot in range(EDGES_PER_BLOCK):
            word = _field(fields, f"{cell}/op_{node}_{slot}", known=known)
            source = _field(fields, f"{cell}/input_{node}_{slot}", known=known)
            edges.append((word, source[0] if isinstance(source, list) and len(source) == 1 else source))
    return edges


def _old_edges(fields: Mapping[str, object], cell: str, *, known: set[str]) -> list[Edge]:
    edges: list[Edge] = []
    for node in _nodes(fields, f"{cell}_n2_switch"):
        switch = f"{cell}_n{node}_switch"
        chosen = _field(fields, switch, known=known)
        if not isinstance(chosen, list) or len(chosen) != EDGES_PER_BLOCK:
            raise ValueError(f"{switch} must list the two edges that node {node} keeps, got {shown(chosen)}")
        names = {f"{cell}_n{node}_p{source}": source for source in range(node)}
        known.update(names)
        for choice in chosen:
            source = choice if isinstance(choice, int) else names.get(str(choice))
            if source is None or not 0 <= source < node:
                raise ValueError(f"{switch} must choose of {', '.join(names)} or their numbers, got {shown(choice)}")
            name = f"{cell}_n{node}_p{source}"
            edges.append((_old_word(_field(fields, name, known=known), where=name), source))
    return edges


def _old_word(value: object, *, where: str) -> object:
    word = word_of_number(value, words=tuple(OLD_OPS), where=where) if isinstance(value, int) else value
    return OLD_OPS.get(word, word) if isinstance(word, str) else word
