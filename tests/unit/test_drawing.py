import xml.etree.ElementTree as ET

import pytest

from nas.reporting.cells.drawing import genotype_svg, genotype_text
from search_spaces.genotype import Block, CellGenotype, Genotype

SVG = "{http://www.w3.org/2000/svg}"
SKIPS = CellGenotype(
    blocks=(
        Block((0,), ("sep_conv_5x5",)),
        Block((1,), ("max_pool_3x3",)),
        Block((0,), ("sep_conv_3x3",)),
        Block((2,), ("conv_1x1",)),
        Block((1,), ("identity",)),
    )
)
NASNET_A = CellGenotype(
    blocks=(
        Block((1, 0), ("sep_conv_5x5", "sep_conv_3x3")),
        Block((0, 0), ("sep_conv_5x5", "sep_conv_3x3")),
        Block((1, 0), ("avg_pool_3x3", "identity")),
        Block((0, 0), ("avg_pool_3x3", "avg_pool_3x3")),
        Block((1, 1), ("sep_conv_3x3", "identity")),
    ),
    mixer="identity",
    num_inputs=2,
)


def chain(*ops: str) -> CellGenotype:
    return CellGenotype(tuple(Block((node,), (op,)) for node, op in enumerate(ops)))


def labels(svg: str, role: str) -> list[str]:
    return [text.text or "" for text in ET.fromstring(svg).iter(f"{SVG}text") if text.get("class") == role]


def boxes(svg: str, role: str) -> list[ET.Element]:
    return [rect for rect in ET.fromstring(svg).iter(f"{SVG}rect") if rect.get("class") == role]


def test_text_draws_the_rails_of_a_cell_with_skips():
    assert genotype_text(Genotype("shufflenas", SKIPS)) == (
        "normal cell\n"
        "○       0  cell input\n"
        "├─●     1  sep_conv_5x5 ← 0\n"
        "│ ├─●   2  max_pool_3x3 ← 1\n"
        "◆ │ │   3  sep_conv_3x3 ← 0\n"
        "│ │ ◆   4  conv_1x1     ← 2\n"
        "│ ◆ │   5  identity     ← 1\n"
        "○─┴─╯      sum of ◆ 3, 4, 5\n"
        "○          channel_shuffle (mixer)\n"
        "○          cell output\n"
    )


def test_text_tells_rails_that_are_read_from_rails_that_are_passed():
    lines = genotype_text(Genotype("nasnet", NASNET_A)).splitlines()
    assert lines[3] == "├─┼─◆       2  sep_conv_5x5 ← 1 + sep_conv_3x3 ← 0"  # reads both inputs
    assert lines[4] == "├─│─│─◆     3  sep_conv_5x5 ← 0 + sep_conv_3x3 ← 0"  # reads the first, passes two rails


def test_text_of_a_chain_is_one_rail():
    lines = genotype_text(Genotype("shufflenas", chain("conv_1x1", "identity"))).splitlines()
    assert [line[:2].strip() for line in lines[1:]] == ["○", "●", "◆", "○", "○", "○"]


def test_text_keeps_to_ascii_on_request():
    text = genotype_text(Genotype("shufflenas", chain("conv_é")), unicode=False)
    assert text.isascii()
    assert "@   1  conv_? <- 0\n" in text
    assert "sum of @ 1\n" in text


def test_text_gives_up_the_rails_when_they_are_too_many():
    star = CellGenotype(tuple(Block((0,), ("identity",)) for _ in range(40)))
    lines = genotype_text(Genotype("shufflenas", star)).splitlines()
    assert lines[40] == "39  identity ← 0"
    assert max(map(len, lines)) <= 80


def test_text_continues_a_long_block_on_the_next_line():
    block = Block((0,) * 6, ("dil_sep_conv_3x3",) * 6)
    lines = genotype_text(Genotype("shufflenas", CellGenotype((block,)))).splitlines()
    assert sum(line.count("dil_sep_conv_3x3 ← 0") for line in lines) == 6
    assert lines[2].startswith("◆   1  dil_sep_conv_3x3")
    assert lines[3].startswith("│      dil_sep_conv_3x3")


def test_both_drawings_name_the_merge_the_mixer_and_the_inputs():
    genotype = Genotype("nasnet", NASNET_A)
    svg, text = genotype_svg(genotype, merge="concat"), genotype_text(genotype, merge="concat")
    assert {"k-2", "k-1", "concat", "identity", "cell output"} <= set(labels(svg, "name"))
    assert len(boxes(svg, "mixer")) == len(labels(svg, "kind")) == 1
    assert "concat of ◆ 2, 3, 4, 5, 6" in text
    assert "identity (mixer)" in text


def test_svg_states_its_size_and_draws_light_and_dark():
    svg = genotype_svg(Genotype("shufflenas", SKIPS), title="a cell")
    root = ET.fromstring(svg)
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    assert "@media (prefers-color-scheme:dark)" in svg
    assert labels(svg, "title") == ["a cell"]
    assert labels(genotype_svg(Genotype("shufflenas", SKIPS)), "title") == []


@pytest.mark.parametrize(
    ("op", "family"),
    [
        ("sep_conv_3x3", "separable"),
        ("dil_sep_conv_3x3", "separable"),
        ("conv_7x1_1x7", "conv"),
        ("nor_conv_3x3", "conv"),
        ("min_pool_3x3", "pool"),
        ("identity", "identity"),
        ("skip_connect", "identity"),
        ("none", "none"),
        ("blur_3x3", "other"),
    ],
)
def test_svg_colours_an_op_by_its_family(op, family):
    assert len(boxes(genotype_svg(Genotype("shufflenas", chain(op))), family)) == 1


def test_svg_writes_names_as_words():
    assert "conv 7×1 1×7" in labels(genotype_svg(Genotype("shufflenas", chain("conv_7x1_1x7"))), "name")


def test_svg_joins_a_pair_with_a_plus_and_orders_it_like_its_inputs():
    svg = genotype_svg(Genotype("nasnet", NASNET_A))
    assert len(boxes(svg, "pair")) == len(labels(svg, "plus")) == 5
    first = ET.fromstring(svg).find(f".//{SVG}g/{SVG}g/{SVG}title")
    assert first is not None
    assert first.text == "node 2: sep_conv_3x3 of 0 + sep_conv_5x5 of 1"


def test_svg_sets_small_cells_side_by_side_and_stacks_wide_ones():
    def offsets(genotype):
        figures = [g.get("transform") for g in ET.fromstring(genotype_svg(genotype)).findall(f"{SVG}g")]
        return [tuple(map(int, figure[len("translate(") : -1].split(","))) for figure in figures]

    (left, top), (right, same) = offsets(Genotype("shufflenas", SKIPS, chain("identity")))
    assert left < right
    assert top == same
    (_, upper), (_, lower) = offsets(Genotype("nasnet", NASNET_A, NASNET_A))
    assert upper < lower


def test_svg_draws_nodes_that_lead_nowhere():
    cell = CellGenotype(SKIPS.blocks, num_inputs=1, outputs=(0, 2))
    svg = genotype_svg(Genotype("shufflenas", cell))
    assert labels(svg, "number") == ["1", "2", "3", "4", "5"]
    assert "sum of ◆ 0, 2" in genotype_text(Genotype("shufflenas", cell))


def test_names_from_a_strangers_file_neither_break_the_xml_nor_reach_the_terminal():
    genotype = Genotype("</title>", chain("<b>&\x1b[31m\x00\ud800", "x" * 64))
    svg = genotype_svg(genotype, title='"<&>"')
    assert labels(svg, "title") == ['"<&>"']
    assert svg.encode("utf-8")
    assert "\x1b" not in genotype_text(genotype)
    assert max(map(len, genotype_text(genotype).splitlines())) <= 80
