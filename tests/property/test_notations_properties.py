import json

from hypothesis import example, given
from hypothesis import strategies as st

from search_spaces.genotype import Block, CellGenotype, Genotype
from search_spaces.notation_parts import KNOWN_OPS
from search_spaces.notations import (
    ENAS_OPS,
    darts_notation,
    parse_enas,
    parse_naslib,
    parse_nni,
    read_notation,
)

READERS = (read_notation, parse_enas, parse_nni, parse_naslib)
PIECES = [
    *("Genotype(", "normal=", "normal_concat=", "reduce=", "reduce_concat=", "range(", "(", ")", "[", "]", "{", "}"),
    *(",", " ", "\n", "0", "1", "2", "-1", "999", "'sep_conv_3x3'", '"skip_connect"', "'none'", ":", "=", "NAME = "),
    *(
        "'normal/op_2_0'",
        "'normal/input_2_0'",
        "'normal_n2_p0'",
        "'normal_n2_switch'",
        "('sep_conv_3x3', 1)",
        "0 0 0 0",
    ),
]


@st.composite
def cells(draw: st.DrawFn, ops: tuple[str, ...] = KNOWN_OPS) -> CellGenotype:
    blocks = []
    for node in range(2, 2 + draw(st.integers(1, 12))):
        inputs = draw(st.tuples(st.integers(0, node - 1), st.integers(0, node - 1)))
        blocks.append(Block(inputs, draw(st.tuples(st.sampled_from(ops), st.sampled_from(ops)))))
    outputs = draw(st.lists(st.integers(0, 1 + len(blocks)), min_size=1, unique=True))
    return CellGenotype(tuple(blocks), "identity", 2, tuple(outputs))


genotypes = st.builds(Genotype, st.just("nasnet"), cells(), cells())


@given(genotypes, st.sampled_from(["", "A = ", "  DARTS_V2=\n"]))
def test_darts_notation_round_trip_keeps_everything(genotype, name):
    text = name + darts_notation(genotype)
    assert read_notation(text) == genotype
    assert read_notation(text.replace("'", '"').replace(", ", ",\n  ")) == genotype


def wiring(genotype: Genotype) -> list[tuple[Block, ...]]:
    return [cell.blocks for cell in genotype.cells.values()]


@given(cells(ENAS_OPS), cells(ENAS_OPS))
def test_enas_numbers_give_back_the_wiring_and_unread_outputs(normal, reduction):
    lines = [
        " ".join(
            f"{i} {ENAS_OPS.index(op)}" for block in cell.blocks for i, op in zip(block.inputs, block.ops, strict=True)
        )
        for cell in (normal, reduction)
    ]
    genotype = read_notation("\n".join(f"[{line}]" for line in lines))
    assert wiring(genotype) == [normal.blocks, reduction.blocks]
    for cell in genotype.cells.values():
        read = {i for block in cell.blocks for i in block.inputs}
        assert set(cell.outputs) == set(range(2 + len(cell.blocks))) - read


@given(cells(), cells())
def test_nni_hub_fields_give_back_the_wiring(normal, reduction):
    fields = {
        f"{name}/{kind}_{node}_{slot}": value
        for name, cell in (("normal", normal), ("reduce", reduction))
        for node, block in enumerate(cell.blocks, start=2)
        for slot in range(2)
        for kind, value in (("op", block.ops[slot]), ("input", [block.inputs[slot]]))
    }
    assert wiring(read_notation(json.dumps(fields))) == [normal.blocks, reduction.blocks]


@given(st.text() | st.lists(st.sampled_from(PIECES)).map("".join))
@example("9" * 5000)
def test_any_text_gives_a_genotype_or_a_value_error(text):
    for read in READERS:
        try:
            genotype = read(text)
        except ValueError:
            continue
        assert isinstance(genotype, Genotype)


@given(genotypes, st.data())
def test_a_damaged_notation_gives_a_genotype_or_a_value_error(genotype, data):
    text = darts_notation(genotype)
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 20)))
    damaged = text[:start] + data.draw(st.sampled_from(["", *PIECES])) + text[stop:]
    try:
        cells_read = read_notation(damaged).cells.values()
    except ValueError:
        return
    assert all(op in KNOWN_OPS for cell in cells_read for block in cell.blocks for op in block.ops)
