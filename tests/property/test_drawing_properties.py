import re
import xml.etree.ElementTree as ET
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from nas.reporting.cells.drawing import genotype_svg, genotype_text
from search_spaces.genotype import Block, CellGenotype, Genotype

SVG = "{http://www.w3.org/2000/svg}"
FRAME = {"input", "merge", "mixer", "output"}
FAMILIES = {"separable", "conv", "pool", "identity", "none", "other"}
OPS = [
    *("sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7", "dil_sep_conv_3x3", "conv_1x1", "conv_7x1_1x7", "nor_conv_3x3"),
    *("max_pool_3x3", "min_pool_3x3", "avg_pool_3x3", "identity", "skip_connect", "none"),
]


@st.composite
def cells(draw: st.DrawFn) -> CellGenotype:
    num_inputs = draw(st.integers(1, 2))
    arity = draw(st.integers(1, 2))
    blocks = []
    for node in range(num_inputs, num_inputs + draw(st.integers(1, 10))):
        inputs = draw(st.lists(st.integers(0, node - 1), min_size=arity, max_size=arity))
        ops = draw(st.lists(st.sampled_from(OPS), min_size=arity, max_size=arity))
        blocks.append(Block(tuple(inputs), tuple(ops)))
    nodes = st.integers(0, num_inputs + len(blocks) - 1)
    outputs = draw(st.none() | st.lists(nodes, min_size=1, unique=True).map(tuple))
    mixer = draw(st.sampled_from(["channel_shuffle", "identity", "auto_shuffle"]))
    return CellGenotype(tuple(blocks), mixer, num_inputs, outputs)


genotypes = st.builds(Genotype, st.just("a space"), cells(), st.none() | cells())


def rectangles(group: ET.Element, roles: set[str]) -> list[tuple[int, int, int, int]]:
    """Left, top, right and bottom of the boxes of these roles."""
    found = [rect for rect in group.iter(f"{SVG}rect") if rect.get("class") in roles]
    sides = [[int(rect.get(side, "")) for side in ("x", "y", "width", "height")] for rect in found]
    return [(x, y, x + width, y + height) for x, y, width, height in sides]


def node_boxes(group: ET.Element) -> list[tuple[int, int, int, int]]:
    """The outermost box of every node: the blocks', then those of the cell's frame."""
    blocks = [rectangles(block, {"pair"}) or rectangles(block, FAMILIES) for block in group.findall(f"{SVG}g")]
    assert all(len(found) == 1 for found in blocks)
    frame = [rect for rect in group.findall(f"{SVG}rect") if rect.get("class") in FRAME]
    own = ET.Element("own")
    own.extend(frame)
    return [found[0] for found in blocks] + rectangles(own, FRAME)


def points(path: str) -> list[tuple[float, float]]:
    """Samples the lines and curves of an edge."""
    found: list[tuple[float, float]] = []
    x = y = 0.0
    for command, rest in re.findall(r"([MVC])([^MVC]*)", path):
        numbers = [float(number) for number in rest.split()]
        if command == "M":
            x, y = numbers
            continue
        x1, y1, x2, y2, x3, y3 = numbers if command == "C" else (x, y, x, numbers[0], x, numbers[0])
        for t in (step / 24 for step in range(25)):
            a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
            found.append((a * x + b * x1 + c * x2 + d * x3, a * y + b * y1 + c * y2 + d * y3))
        x, y = x3, y3
    return found


@given(genotypes)
def test_svg_shows_every_op_of_every_block(genotype):
    root = ET.fromstring(genotype_svg(genotype))
    for group, cell in zip(root.findall(f"{SVG}g"), genotype.cells.values(), strict=True):
        drawn = [block.findtext(f"{SVG}title") for block in group.findall(f"{SVG}g")]
        for node, (text, block) in enumerate(zip(drawn, cell.blocks, strict=True), start=cell.num_inputs):
            number, terms = text.split(": ")
            edges = zip(block.ops, block.inputs, strict=True)
            assert number == f"node {node}"
            assert Counter(terms.split(" + ")) == Counter(f"{op} of {source}" for op, source in edges)
        shown = Counter(text.text for text in group.iter(f"{SVG}text") if text.get("class") == "name")
        assert (
            not Counter(re.sub(r"(\d)x(\d)", r"\1×\2", op).replace("_", " ") for b in cell.blocks for op in b.ops)
            - shown
        )


@given(genotypes)
def test_svg_boxes_lie_apart_and_on_the_page(genotype):
    root = ET.fromstring(genotype_svg(genotype))
    page = int(root.get("width")), int(root.get("height"))
    for group, cell in zip(root.findall(f"{SVG}g"), genotype.cells.values(), strict=True):
        found = node_boxes(group)
        assert len(found) == len(cell.blocks) + cell.num_inputs + 3
        for index, (left, top, right, bottom) in enumerate(found):
            assert all(right < x or x2 < left or bottom < y or y2 < top for x, y, x2, y2 in found[index + 1 :])
        x, y = map(int, re.findall(r"\d+", group.get("transform")))
        assert min(left for left, _, _, _ in found) >= 0
        assert max(right for _, _, right, _ in found) + x <= page[0]
        assert max(bottom for _, _, _, bottom in found) + y <= page[1]


@given(genotypes)
def test_svg_edges_cross_no_box(genotype):
    root = ET.fromstring(genotype_svg(genotype))
    for group in root.findall(f"{SVG}g"):
        found = node_boxes(group)
        for path in group.findall(f"{SVG}path"):
            if path.get("class") == "edge":
                for x, y in points(path.get("d")):
                    assert not any(
                        left < x < right and top + 0.01 < y < bottom - 0.01 for left, top, right, bottom in found
                    )


@given(genotypes)
def test_text_names_every_edge_within_eighty_columns(genotype):
    for unicode, arrow in ((True, "←"), (False, "<-")):
        text = genotype_text(genotype, unicode=unicode)
        assert max(len(line) for line in text.splitlines()) <= 80
        edges = Counter(re.findall(rf"(\w+) +{arrow} (\d+)", text))
        blocks = [block for cell in genotype.cells.values() for block in cell.blocks]
        assert edges == Counter((op, str(node)) for b in blocks for op, node in zip(b.ops, b.inputs, strict=True))


@given(cells())
def test_text_rails_alone_say_what_every_node_reads(cell):
    lines = genotype_text(Genotype("a space", cell)).splitlines()[1:]
    rows = [re.split(r"\w", line)[0] for line in lines if re.search(r"[○●◆×].*\w", line)]
    wiring = [(), *[()] * (cell.num_inputs - 1), *(block.inputs for block in cell.blocks), cell.output_nodes]
    rails: dict[int, int] = {}  # the node whose rail runs in each column
    for number, (row, inputs) in enumerate(zip(rows, wiring, strict=False)):
        own = re.search(r"[○●◆×]", row).start()
        read = {rails[column] for column, sign in enumerate(row) if sign in "├┼┤╰┴╯"}
        read |= {rails[own]} if own in rails else set()
        assert read == set(inputs)
        rails = {column: node for column, node in rails.items() if row[column] not in "╰┴╯○●◆×"}
        rails |= {} if row[own] == "×" else {own: number}


@given(genotypes)
def test_equal_genotypes_give_equal_drawings(genotype):
    twin = Genotype.from_json(genotype.to_json())
    assert genotype_svg(twin) == genotype_svg(genotype)
    assert genotype_text(twin) == genotype_text(genotype)
