import gc
import json
import time

import pytest

from search_spaces.genotype import Block, CellGenotype, Genotype
from search_spaces.notations import darts_notation, parse_enas, parse_naslib, parse_nni, read_notation

WORDS = {
    **{"s3": "sep_conv_3x3", "s5": "sep_conv_5x5", "s7": "sep_conv_7x7", "d3": "dil_conv_3x3", "d5": "dil_conv_5x5"},
    **{"m3": "max_pool_3x3", "a3": "avg_pool_3x3", "id": "identity", "c7": "conv_7x1_1x7"},
}


def cell(wiring: str, outputs: tuple[int, ...]) -> CellGenotype:
    """A cell written as in the papers: `s3@1+s3@0, id@0+s3@1`."""
    blocks = []
    for block in wiring.split(", "):
        edges = [edge.split("@") for edge in block.split("+")]
        blocks.append(Block(tuple(int(node) for _, node in edges), tuple(WORDS[op] for op, _ in edges)))
    return CellGenotype(tuple(blocks), mixer="identity", num_inputs=2, outputs=outputs)


ALL = (2, 3, 4, 5)
DARTS_V1 = Genotype(
    "nasnet",
    cell("s3@1+s3@0, id@0+s3@1, id@0+s3@1, s3@0+id@2", ALL),
    cell("m3@0+m3@1, id@2+m3@0, m3@0+id@2, id@2+a3@0", ALL),
)
DARTS_V2 = Genotype(
    "nasnet",
    cell("s3@0+s3@1, s3@0+s3@1, s3@1+id@0, id@0+d3@2", ALL),
    cell("m3@0+m3@1, id@2+m3@1, m3@0+id@2, id@2+m3@1", ALL),
)
AMOEBANET = Genotype(
    "nasnet",
    cell("a3@0+m3@1, s3@0+s5@2, s3@0+a3@3, s3@1+id@1, id@0+a3@1", (4, 5, 6)),
    cell("a3@0+s3@1, m3@0+s7@2, s7@0+a3@1, m3@0+m3@1, c7@0+s3@5", (3, 4, 6)),
)
DARTS_V1_TEXT = (
    "DARTS_V1 = Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0), ('sep_conv_3x3', 1), "
    "('skip_connect', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 2)], normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 0), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('avg_pool_3x3', 0)], reduce_concat=[2, 3, 4, 5])"
)
DARTS_V2_TEXT = """
  Genotype(
    normal=(("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("sep_conv_3x3", 1),
            ["sep_conv_3x3", 1], ["skip_connect", 0], ["skip_connect", 0], ["dil_conv_3x3", 2],),
    normal_concat=range(2, 6),
    reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1),
            ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)],
    reduce_concat = (2, 3, 4, 5),
  )
"""
AMOEBANET_TEXT = """AmoebaNet = Genotype(normal = [('avg_pool_3x3', 0), ('max_pool_3x3', 1), ('sep_conv_3x3', 0),
('sep_conv_5x5', 2), ('sep_conv_3x3', 0), ('avg_pool_3x3', 3), ('sep_conv_3x3', 1), ('skip_connect', 1),
('skip_connect', 0), ('avg_pool_3x3', 1), ], normal_concat = [4, 5, 6], reduce = [('avg_pool_3x3', 0),
('sep_conv_3x3', 1), ('max_pool_3x3', 0), ('sep_conv_7x7', 2), ('sep_conv_7x7', 0), ('avg_pool_3x3', 1),
('max_pool_3x3', 0), ('max_pool_3x3', 1), ('conv_7x1_1x7', 0), ('sep_conv_3x3', 5), ], reduce_concat = [3, 4, 6])"""
ENAS = Genotype(
    "nasnet",
    cell("a3@0+s3@0, id@0+s5@0, id@0+s5@1, s3@1+s5@0, a3@0+s5@1", (2, 3, 4, 5, 6)),
    cell("s3@1+s3@1, m3@0+a3@0, s5@1+s5@3, s3@1+id@0, m3@0+s5@1", (2, 4, 5, 6)),
)  # the final cell of melodyguan/enas
ENAS_NORMAL, ENAS_REDUCTION = "0 2 0 0 0 4 0 1 0 4 1 1 1 0 0 1 0 2 1 1", "1 0 1 0 0 3 0 2 1 1 3 1 1 0 0 4 0 3 1 1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [(DARTS_V1_TEXT, DARTS_V1), (DARTS_V2_TEXT, DARTS_V2), (AMOEBANET_TEXT, AMOEBANET)],
    ids=["DARTS_V1", "DARTS_V2", "AmoebaNet"],
)
def test_published_darts_genotypes_are_read(text, expected):
    assert read_notation(text) == expected


def test_the_order_inside_a_pair_is_kept():
    first = read_notation(DARTS_V1_TEXT).normal.blocks[0]
    assert (first.inputs, first.ops) == ((1, 0), ("sep_conv_3x3", "sep_conv_3x3"))
    last = read_notation(DARTS_V1_TEXT).normal.blocks[3]
    assert (last.inputs, last.ops) == ((0, 2), ("sep_conv_3x3", "identity"))


def test_darts_notation_writes_what_darts_writes():
    assert f"DARTS_V1 = {darts_notation(DARTS_V1)}" == DARTS_V1_TEXT


def test_darts_notation_makes_implicit_outputs_explicit():
    loose = CellGenotype(DARTS_V2.normal.blocks, mixer="identity", num_inputs=2)
    text = darts_notation(Genotype("nasnet", loose, loose))
    assert read_notation(text).normal.outputs == (3, 4, 5)


@pytest.mark.parametrize(
    ("genotype", "message"),
    [
        (Genotype("nasnet", DARTS_V1.normal), "reduction cell"),
        (Genotype("nasnet", DARTS_V1.normal, CellGenotype(DARTS_V1.normal.blocks, num_inputs=2)), "reduce: .*mixer"),
        (Genotype("n", CellGenotype((Block((0,), ("identity",)),), "identity"), DARTS_V1.normal), "normal: .*inputs"),
        (
            Genotype("n", CellGenotype((Block((0,), ("identity",)),), "identity", 2), DARTS_V1.normal),
            "normal: .*two edges a block, block 0 has 1",
        ),
        (
            Genotype("n", CellGenotype((Block((0, 1), ("identity", "x'")),), "identity", 2), DARTS_V1.normal),
            "no word for the op .* block 0",
        ),
    ],
)
def test_darts_notation_refuses_what_it_cannot_say(genotype, message):
    with pytest.raises(ValueError, match=message):
        darts_notation(genotype)


@pytest.mark.parametrize(
    "text",
    [
        f"{ENAS_NORMAL} {ENAS_REDUCTION}",
        f"[{ENAS_NORMAL}]\n[{ENAS_REDUCTION}]\n",
        f"{ENAS_NORMAL}\n\n{ENAS_REDUCTION}",
        f"[[{ENAS_NORMAL.replace(' ', ', ')}], [{ENAS_REDUCTION.replace(' ', ', ')}]]",
        f"([{ENAS_NORMAL[:19]}\n {ENAS_NORMAL[19:]}], ({ENAS_REDUCTION}))",
    ],
    ids=["one line", "log", "two lines", "nested lists", "wrapped list"],
)
def test_enas_sequences_are_read_however_they_are_bracketed(text):
    assert parse_enas(text) == read_notation(text) == ENAS


def test_enas_outputs_hold_the_inputs_that_no_block_reads():
    genotype = parse_enas("[1 0 1 1 2 2 2 3]\n[0 4 0 4]")
    assert genotype.normal.outputs == (0, 3)
    assert genotype.reduction == cell("id@0+id@0", (1, 2))


def hub_fields(*, in_list: bool, reduction: str = "reduce") -> dict[str, object]:
    """DARTS_V2 as NNI's model hub has it."""
    fields: dict[str, object] = {"width": 36, "depth": 20}
    for name, cell in (("normal", DARTS_V2.normal), (reduction, DARTS_V2.reduction)):
        for node, block in enumerate(cell.blocks, start=2):
            for slot, (op, source) in enumerate(zip(block.ops, block.inputs, strict=True)):
                fields[f"{name}/op_{node}_{slot}"] = "skip_connect" if op == "identity" else op
                fields[f"{name}/input_{node}_{slot}"] = [source] if in_list else source
    return fields


@pytest.mark.parametrize("in_list", [False, True])
@pytest.mark.parametrize("reduction", ["reduce", "reduction"])
@pytest.mark.parametrize("write", [json.dumps, str, lambda fields: json.dumps(fields, indent=2)])
def test_nni_hub_exports_are_read(in_list, reduction, write):
    text = write(hub_fields(in_list=in_list, reduction=reduction))
    assert parse_nni(text) == read_notation(text) == DARTS_V2


def test_nni_hub_literal_text_of_darts_v2_is_read():
    text = """{'normal/op_2_0': 'sep_conv_3x3', 'normal/op_2_1': 'sep_conv_3x3', 'normal/input_2_0': [0],
    'normal/input_2_1': [1], 'normal/op_3_0': 'sep_conv_3x3', 'normal/op_3_1': 'sep_conv_3x3', 'normal/input_3_0': [0],
    'normal/input_3_1': [1], 'normal/op_4_0': 'sep_conv_3x3', 'normal/op_4_1': 'skip_connect', 'normal/input_4_0': [1],
    'normal/input_4_1': [0], 'normal/op_5_0': 'skip_connect', 'normal/op_5_1': 'dil_conv_3x3', 'normal/input_5_0': [0],
    'normal/input_5_1': [2], 'reduce/op_2_0': 'max_pool_3x3', 'reduce/op_2_1': 'max_pool_3x3', 'reduce/input_2_0': [0],
    'reduce/input_2_1': [1], 'reduce/op_3_0': 'skip_connect', 'reduce/op_3_1': 'max_pool_3x3', 'reduce/input_3_0': [2],
    'reduce/input_3_1': [1], 'reduce/op_4_0': 'max_pool_3x3', 'reduce/op_4_1': 'skip_connect', 'reduce/input_4_0': [0],
    'reduce/input_4_1': [2], 'reduce/op_5_0': 'skip_connect', 'reduce/op_5_1': 'max_pool_3x3', 'reduce/input_5_0': [2],
    'reduce/input_5_1': [1]}"""
    assert parse_nni(text) == DARTS_V2


def hub_text(wiring: str, **further: str) -> str:
    fields = {
        f"{name}/{kind}_{node}_{slot}": value
        for name in ("normal", "reduce")
        for node, block in enumerate(cell(wiring, (2,)).blocks, start=2)
        for slot in range(2)
        for kind, value in (("op", block.ops[slot]), ("input", block.inputs[slot]))
    }
    return json.dumps(fields | further).replace("identity", "skip_connect")


def test_nni_outputs_are_all_of_four_blocks_and_the_loose_ends_of_five():
    four, five = "s3@0+s3@1, s3@2+s3@1, s3@1+id@0, id@0+d3@2", "s3@0+s3@0, s3@2+s3@0, s3@2+id@0, id@0+d3@2, a3@0+a3@4"
    assert parse_nni(hub_text(four)).normal.outputs == (2, 3, 4, 5)
    assert parse_nni(hub_text(four, merge_op="loose_end")).normal.outputs == (3, 4, 5)
    assert parse_nni(hub_text(five)).reduction == cell(five, (3, 5, 6)), "node 1 is unread, but no block"
    assert parse_nni(hub_text(five, merge_op="all")).normal.outputs == (2, 3, 4, 5, 6)


OLD_NNI = {
    **{
        "normal_n2_p0": "sepconv5x5",
        "normal_n2_p1": "sepconv3x3",
        "normal_n2_switch": ["normal_n2_p0", "normal_n2_p1"],
    },
    **{"normal_n3_p0": "skipconnect", "normal_n3_p1": [], "normal_n3_p2": "dilconv3x3"},
    "normal_n3_switch": ["normal_n3_p0", "normal_n3_p2"],
    **{"reduce_n2_p0": "maxpool", "reduce_n2_p1": "avgpool", "reduce_n2_switch": ["reduce_n2_p0", "reduce_n2_p1"]},
    **{"reduce_n3_p0": [], "reduce_n3_p1": "dilconv5x5", "reduce_n3_p2": "sepconv3x3"},
    "reduce_n3_switch": ["reduce_n3_p1", "reduce_n3_p2"],
}
OLD_NUMBERS = {
    **{"normal_n2_p0": 4, "normal_n2_p1": 3, "normal_n2_switch": [0, 1]},
    **{"normal_n3_p0": 2, "normal_n3_p1": 6, "normal_n3_p2": 5, "normal_n3_switch": [0, 2]},
    **{"reduce_n2_p0": 0, "reduce_n2_p1": 1, "reduce_n2_switch": [0, 1]},
    **{"reduce_n3_p0": 0, "reduce_n3_p1": 6, "reduce_n3_p2": 3, "reduce_n3_switch": [1, 2]},
}


@pytest.mark.parametrize("fields", [OLD_NNI, OLD_NUMBERS], ids=["words", "numbers"])
def test_older_nni_exports_are_read(fields):
    expected = Genotype("nasnet", cell("s5@0+s3@1, id@0+d3@2", (2, 3)), cell("m3@0+a3@1, d5@1+s3@2", (2, 3)))
    assert read_notation(json.dumps(fields)) == expected


NASLIB_COMPACT = (
    "(((0, 3), (1, 4), (0, 0), (2, 1), (3, 2), (1, 5), (0, 6), (4, 2)), "
    "((0, 0), (1, 0), (2, 2), (0, 0), (0, 0), (2, 2), (2, 2), (0, 1)))"
)
NASLIB = Genotype("nasnet", cell("s3@0+s5@1, m3@0+a3@2, id@3+d3@1, d5@0+id@4", ALL), DARTS_V1.reduction)


@pytest.mark.parametrize("text", [NASLIB_COMPACT, NASLIB_COMPACT.replace("(", "[").replace(")", "]")])
def test_naslib_compact_form_is_read(text):
    assert parse_naslib(text) == read_notation(text) == NASLIB


def test_naslib_genotype_text_is_read_with_the_outputs_it_means():
    right = darts_notation(NASLIB)
    early = right.replace("normal_concat=[2, 3, 4, 5]", "normal_concat=[2, 3, 4, 5, 6]").replace(
        "reduce_concat=[2, 3, 4, 5]", "reduce_concat=[4, 5, 6]"
    )
    assert early.count("6]") == 2
    assert parse_naslib(right) == parse_naslib(early) == read_notation(early) == NASLIB


def test_nasnets_own_outputs_are_left_alone():
    five = "s5@1+s3@0, s5@0+s3@0, a3@1+id@0, a3@0+a3@0, s3@1+id@1"
    nasnet = Genotype("nasnet", cell(five, (2, 3, 4, 5, 6)), cell("s5@1+s7@0, " * 4 + "s3@0+m3@1", (4, 5, 6)))
    assert read_notation(darts_notation(nasnet)) == nasnet


def darts(normal: str = "[('sep_conv_3x3', 0), ('sep_conv_3x3', 1)]", concat: str = "[2]", more: str = "") -> str:
    reduce = "[('sep_conv_3x3', 0), ('sep_conv_3x3', 1)]"
    return f"Genotype(normal={normal}, normal_concat={concat}, reduce={reduce}, reduce_concat=[2]{more})"


def test_the_smallest_darts_text_is_read():
    assert read_notation(darts()).normal == cell("s3@0+s3@1", (2,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (darts("[('none', 0), ('sep_conv_3x3', 1)]"), r"normal\[0\]: the op 'none' means no edge"),
        (darts("[('sep_conv_3x3', 0), ('zero', 1)]"), r"normal\[1\]: the op 'zero' means no edge"),
        (darts("[('sep_conv_9x9', 0), ('sep_conv_3x3', 1)]"), r"normal\[0\]: unknown op 'sep_conv_9x9'; known: sep"),
        (darts("[(3, 0), ('sep_conv_3x3', 1)]"), r"normal\[0\]: unknown op 3"),
        (darts("[('sep_conv_3x3', 0), ('sep_conv_3x3', 2)]"), r"normal\[1\]: an edge into node 2 reads one of 0 … 1"),
        (darts("[('sep_conv_3x3', 0), ('sep_conv_3x3', '1')]"), r"normal\[1\]: an edge into node 2"),
        (darts("[('sep_conv_3x3', 0), ('sep_conv_3x3', -1)]"), r"unexpected '-' at character 55"),
        (darts("[('sep_conv_3x3', 0)]"), "normal needs two edges a block and 1 to 64 blocks, got 1 edges"),
        (darts("[]"), "got 0 edges"),
        (darts("[" + "('sep_conv_3x3', 0)," * 130 + "]"), "got 130 edges"),
        (darts("[('sep_conv_3x3', 0, 1), ('sep_conv_3x3', 1)]"), r"normal\[0\] must be a pair"),
        (darts("'sep_conv_3x3'"), "normal must be a list of pairs"),
        (darts(concat="[3]"), r"normal: outputs must lie in 0 … 2"),
        (darts(concat="[]"), "normal: outputs must name at least one node"),
        (darts(concat="[2, 2]"), "normal: outputs must name .* each once"),
        (darts(concat="['2']"), "normal_concat must be a list of nodes"),
        (darts(concat="2"), "normal_concat must be a list of nodes"),
        (darts(concat="range(2, 10000000000)"), r"unexpected '10000000000' at character"),
        (darts(concat="range(2, 999)"), "range gives 997 numbers, more than 128"),
        (darts(concat="range(1, 2, 3)"), "range takes one or two whole numbers"),
        (darts(concat="range('2')"), "range takes one or two whole numbers"),
        (darts(concat="range(*[2])"), r"unexpected '\*'"),
        (darts(more=", normal=[]"), "the field 'normal' comes twice"),
        (darts(more=", range=2"), "with the fields normal, normal_concat, reduce, reduce_concat, got .*'range'"),
        (darts(more=", **{'a': 1}"), r"unexpected '\*'"),
        (darts(more=") (1"), "no literal: Call at line 1"),
        (darts(more=")[1]+(1"), r"unexpected '\+'"),
        ("Genotype(normal=[1][1])", "no literal: Subscript at line 1"),
        (darts(more="), (1"), "expected Genotype"),
        ("Genotype()", "got none"),
        ("Genotype(1, 2)", "no literal: Call"),
        ("Genotype", "no literal: Name"),
        ("Genotype(normal=[", "no literal: .*never closed"),
        ("A = B = Genotype()", "unexpected 'A'"),
    ],
)
def test_bad_darts_texts_are_refused_with_what_and_where(text, message):
    with pytest.raises(ValueError, match=message):
        read_notation(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 2 0 0", "one sequence or two lists; got 1 of 4 numbers"),
        ("0 2 0 0 1 1 1", "got 1 of 7 numbers"),
        ("[0 2 0 0] [0 1 1]", "got 2 of 4, 3 numbers"),
        ("[0 2 0 0] [0 1 1 1] [0 0 0 0]", "got 3 of 4, 4, 4 numbers"),
        ("[0 2 0 0] [0 1 1 1", r"unexpected '\[0111' beside"),
        ("[0 2 0 0] and [0 1 1 1]", "unexpected 'and' beside"),
        ("0 2 0 -1 0 0 0 0", "number 3 of ENAS's sequence must be 0 … 999, got '-1'"),
        ("0 2 0 x 0 0 0 0", "number 3 .* got 'x'"),
        ("0 2 0 ² 0 0 0 0", "number 3 of"),
        ("0 2 0 5 0 0 0 0", r"normal\[1\]: op numbers are 0 sep_conv_3x3, .* got 5"),
        ("0 2 0 0 2 0 0 0", r"reduce\[0\]: an edge into node 2 reads one of 0 … 1, got 2"),
        ("[] []", "normal needs two edges a block .* got 0 edges"),
        ("", "got 0 of"),
        ("0 " * 600, "normal needs two edges .* got 150 edges"),
    ],
)
def test_bad_enas_texts_are_refused_with_what_and_where(text, message):
    with pytest.raises(ValueError, match=message):
        parse_enas(text)


def changed(fields: dict[str, object], **changes: object) -> str:
    new = {**fields, **{name.replace("__", "/"): value for name, value in changes.items()}}
    return json.dumps({name: value for name, value in new.items() if value != "remove"})


HUB = hub_fields(in_list=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed(HUB, normal__op_2_0="none"), r"normal\[0\]: the op 'none'"),
        (changed(HUB, normal__op_2_0="conv_3x3"), r"normal\[0\]: unknown op 'conv_3x3'"),
        (changed(HUB, normal__op_2_0=["sep_conv_3x3"]), r"normal\[0\]: unknown op"),
        (changed(HUB, normal__op_3_1="remove"), "lacks the field 'normal/op_3_1'"),
        (changed(HUB, reduce__input_4_0="remove"), "lacks the field 'reduce/input_4_0'"),
        (changed(HUB, normal__op_7_0="identity"), "lacks the field 'normal/op_6_0'"),
        (changed(HUB, normal__op_2_2="identity"), "unknown field 'normal/op_2_2'"),
        (changed(HUB, height=3), "unknown field 'height'"),
        (changed(HUB, normal__input_2_0=[0, 1]), r"normal\[0\]: an edge into node 2"),
        (changed(HUB, normal__input_2_0=[2]), r"normal\[0\]: an edge into node 2 reads one of 0 … 1, got 2"),
        (changed(HUB, normal__input_2_0=[-1]), r"unexpected '-' at character"),
        (changed(HUB, normal__input_2_0=True), r"unexpected 'true' at character"),
        (changed({"normal/op_2_0": "identity"}), "lacks the field 'normal/input_2_0'"),
        (
            json.dumps({name: value for name, value in HUB.items() if "reduce" not in name}),
            "no field like 'reduce/op_2_0'",
        ),
        ("{}", "no field like 'normal_n2_switch'"),
        ("{1: 2}", "a field must be named by a text, got 1"),
        ("{**{}}", r"unexpected '\*'"),
        ("{'a': 1, 'a': 2}", "the field 'a' comes twice"),
        ("{'a'}", "no literal: Set"),
        ("{'a' for}", "unexpected 'for'"),
        ("[]", "must be a dictionary, got list"),
        (changed(OLD_NNI, normal_n2_switch="remove"), "lacks the field 'normal_n2_switch'"),
        (changed(OLD_NNI, normal_n3_switch=["normal_n3_p0"]), "normal_n3_switch must list the two edges"),
        (changed(OLD_NNI, normal_n3_switch=["normal_n3_p0", "normal_n3_p1"]), r"normal\[3\]: unknown op \[\]"),
        (changed(OLD_NNI, normal_n3_switch=["normal_n3_p0", "reduce_n3_p1"]), "must choose of normal_n3_p0"),
        (changed(OLD_NNI, normal_n3_switch=[0, 3]), "normal_n3_switch must choose of normal_n3_p0, .* got 3"),
        (changed(OLD_NNI, normal_n3_switch=[0, [1]]), "normal_n3_switch must choose of"),
        (changed(OLD_NNI, normal_n3_p0="none"), r"normal\[2\]: the op 'none'"),
        (changed(OLD_NNI, normal_n3_p0=7), "normal_n3_p0: op numbers are 0 maxpool"),
        (changed(OLD_NNI, normal_n3_p3="maxpool"), "unknown field 'normal_n3_p3'"),
    ],
)
def test_bad_nni_texts_are_refused_with_what_and_where(text, message):
    with pytest.raises(ValueError, match=message):
        parse_nni(text)


def test_nni_merge_must_be_known():
    with pytest.raises(ValueError, match="merge_op must be 'all' or 'loose_end', got 'some'"):
        parse_nni(json.dumps({**HUB, "merge_op": "some"}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(((0, 7), (1, 0)), ((0, 0), (1, 0)))", r"normal\[0\]: op numbers are 0 max_pool_3x3, .* got 7"),
        ("(((0, 0), (1, 0)), ((0, 0), (2, 0)))", r"reduce\[1\]: an edge into node 2 reads one of 0 … 1, got 2"),
        ("(((0, 0), (1, 0), (1, 1)), ((0, 0), (1, 0)))", "normal .* got 3 edges"),
        ("(((0, 0), (1, 0)), ((0, 0), 1))", r"reduce\[1\] must be a pair"),
        ("(((0, 0), (1, 0)),)", "pair of cells"),
        ("(((0, -1), (1, 0)), ((0, 0), (1, 0)))", "unexpected '-' at character 6"),
        ("(((0, 'identity'), (1, 0)), ((0, 0), (1, 0)))", r"normal\[0\]: op numbers"),
    ],
)
def test_bad_naslib_texts_are_refused_with_what_and_where(text, message):
    for read in (parse_naslib, read_notation):
        with pytest.raises(ValueError, match=message):
            read(text)


def test_an_unknown_notation_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"DARTS and NASLib write .* ENAS numbers .* starts with 'resnet18'"):
        read_notation("resnet18")


HOSTILE = [
    "__import__('os').system('touch harm')",
    "Genotype(normal=__import__('os').system('touch harm'), normal_concat=[], reduce=[], reduce_concat=[])",
    "Genotype.__class__.__mro__",
    "Genotype(normal=[x for x in range(999)])",
    "Genotype(normal=[range for range in range(999)])",
    "(((lambda: 0)()))",
    "{'a': exec('1')}",
    "{'normal/op_2_0': open('/etc/passwd')}",
    "Genotype(normal=9**9**9)",
    "Genotype(normal=range(0, 999999999))",
    "Genotype(normal=f'{1}')",
    "Genotype(normal='\\x41')",
    "Genotype(normal='\x00')",
    "Genotype(normal=\x00)",
    "Genotype(normal='\ud800')",
    "Genotype(normal=00)",
    "Genotype(normal=(range:=1))",
    "Genotype(" * 2_000,
    "[" * 19_000,
    "(((" + "[" * 10**6,
    "Genotype" + "(" * 10**6,
    "{" * 19_000,
    '{"a":' * 3_000,
    "(((1" + "[1]" * 6_000,
    "Genotype" + "(1)" * 6_000,
    "Genotype" + "[1]" * 6_000,
    "Genotype" + "==1" * 6_000,
    "Genotype(normal=[" + "range(999)," * 1_700 + "])",
    "(((" + "0," * 9_900 + ")))",
    "[" + "range(128)," * 1_700 + "]",
    "Genotype(normal=[" + "range(128)," * 1_700 + "])",
    " " * 19_000 + "Genotype",
    "A" * 19_000 + "=Genotype",
    "1" * 19_999,
    "0 " * 9_999,
    "0 0 0 0 " * 2_400,
    "[0]" * 6_000,
    "'" * 19_999,
    "{'" + "a" * 19_000 + "': 1}",
    "Genotype(not not not 1)",
    "Genotype\\\n()",
    "Genotype()  # comment",
    "Genotype();Genotype()",
    "Genotype()\nGenotype()",
    "²",
    "٣ ٣ ٣ ٣ ٣ ٣ ٣ ٣",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:30]))
@pytest.mark.parametrize("read", [read_notation, parse_enas, parse_nni, parse_naslib])
def test_hostile_texts_are_refused_at_once(text, read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gc.disable()  # lest a collection of garbage comes while the text is read
    start = time.process_time()  # the clock on the wall counts other programs too
    try:
        with pytest.raises(ValueError, match=r".") as caught:
            read(text)
        assert time.process_time() - start < 1
    finally:
        gc.enable()
    assert type(caught.value) is ValueError, "a codec's own error is no message for a user"
    assert len(str(caught.value)) < 1_000
    assert not list(tmp_path.iterdir())
