"""Pictures of a genotype: an SVG figure for pages and papers, and plain characters for the terminal.

The figure is a layered drawing, see `nas.reporting.cells.layout`. Edges bend only between layers, so none crosses a
box. Equal genotypes give equal text.
"""

import textwrap
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from xml.sax.saxutils import escape

from nas.reporting.cells.layout import CHIP, KIND, NUMBER, PLUS, Node, arrange, box_label, layers_of, printable, shown
from search_spaces.genotype import CellGenotype, Genotype

MAX_COLUMNS = 80  # of the terminal drawing
MAX_RAILS = 16  # next to each other in the terminal drawing; beyond that the text stands alone
MAX_ROW = 1100  # px of cells side by side; wider ones are stacked
MARGIN = 20  # px of space around and between the cells
EMPTY = -1  # a column of the terminal drawing without a rail

# The Okabe-Ito palette, safe for colour-blind readers: on a light page, on a dark one.
PALETTE = {
    "separable": ("#0072b2", "#56b4e9"),
    "conv": ("#d55e00", "#f0884a"),
    "pool": ("#009e73", "#3fc796"),
    "identity": ("#7d8590", "#9aa4af"),
    "other": ("#b0578d", "#e08fc0"),
    "mixer": ("#b58900", "#f0c649"),
}
STYLE = (
    "text{font:12px Helvetica,Arial,sans-serif;fill:#1f2328;text-anchor:middle}.page{fill:#fff}"
    ".title{font-size:15px;font-weight:bold}.cell{font-weight:bold}.number,.kind{font-size:10px}"
    ".number,.plus,.kind{fill:#6e7781}"
    ".pair{fill:#818b98;fill-opacity:.08;stroke:#818b98}.input,.merge,.output{fill:none;stroke:#57606a}"
    ".edge{fill:none;stroke:#57606a;stroke-width:1.4}.head{fill:#57606a}"
    ".halo{fill:none;stroke:#fff;stroke-width:5}.none{fill:none;stroke:#7d8590;stroke-dasharray:3}"
    + "".join(f".{name}{{fill:{on[0]};fill-opacity:.14;stroke:{on[0]}}}" for name, on in PALETTE.items())
    + "@media (prefers-color-scheme:dark){text{fill:#e6edf3}.page{fill:#0d1117}.halo{stroke:#0d1117}"
    ".number,.plus,.kind,.head{fill:#9aa4af}.input,.merge,.output,.edge{stroke:#9aa4af}"
    + "".join(f".{name}{{fill:{on[1]};stroke:{on[1]}}}" for name, on in PALETTE.items())
    + "}"
)


def genotype_svg(genotype: Genotype, *, title: str = "", merge: str = "sum") -> str:
    """Draws the cells of a genotype as a self-contained SVG figure for light and dark pages.

    Args:
        genotype: What to draw.
        title: Heading of the figure; none if empty.
        merge: What joins the loose ends, `"sum"` or `"concat"`.

    Returns:
        The text of the file, with `width`, `height` and `viewBox` in px.
    """
    figures = [_cell_svg(_nodes(cell, merge)) for cell in genotype.cells.values()]
    widths = [width for _, width, _ in figures]
    row = sum(widths) + 3 * MARGIN * (len(figures) - 1)
    stacked = row > MAX_ROW
    content = max(widths) if stacked else row
    page = max(content, 9 * len(title)) + 2 * MARGIN
    x, y, bottom, body = (page - content) // 2, MARGIN + (34 if title else 0), 0, ""
    for name, (figure, width, height) in zip(genotype.cells, figures, strict=True):
        left, heading = (page - width) // 2 if stacked else x, 28 if len(figures) > 1 else 0
        body += _text("cell", left + width // 2, y + 9, f"{name} cell") if heading else ""
        body += f'<g transform="translate({left},{y + heading})">{figure}</g>'
        bottom = max(bottom, y + heading + height)
        x, y = (x, bottom + 2 * MARGIN) if stacked else (x + width + 3 * MARGIN, y)
    size = f'width="{page}" height="{bottom + MARGIN}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {page} {bottom + MARGIN}" role="img">'
        f"<title>{escape(printable(title or genotype.space))}</title><style>{STYLE}</style>"
        f'<rect class="page" {size}/>'
        + (_text("title", page // 2, MARGIN + 10, title) if title else "")
        + f"{body}</svg>\n"
    )


def genotype_text(genotype: Genotype, *, unicode: bool = True, merge: str = "sum") -> str:
    """Draws the cells of a genotype in plain characters, at most 80 columns wide.

    Each node is a line. Its value runs down the page as a rail until the last node that reads it; ├ ┼ ┤ read a rail
    and ╰ ┴ ╯ end it, while a line broken by │ passes behind. ◆ marks the nodes that are merged into the output, and
    × those that nothing reads.

    Args:
        genotype: What to draw.
        unicode: Whether the terminal shows more than ASCII.
        merge: What joins the loose ends, `"sum"` or `"concat"`.
    """
    lines: list[str] = []
    for name, cell in genotype.cells.items():
        nodes = _nodes(cell, merge)
        lines += [f"{name} cell", *_cell_lines(nodes, arrow="←" if unicode else "<-"), ""]
    text = "\n".join(lines)
    if not unicode:
        text = text.translate(str.maketrans("│─├┤┼╰╯┴●◆○×", "|-++++++*@ox"))
        text = text.encode("ascii", "replace").decode("ascii")
    return text


def _nodes(cell: CellGenotype, merge: str) -> list[Node]:
    count = cell.num_inputs
    inputs = ["cell input"] if count == 1 else [f"k-{age}" for age in range(count, 0, -1)]
    end = count + len(cell.blocks)
    return [
        *(Node("input", (), (name,)) for name in inputs),
        *(Node("block", block.inputs, block.ops) for block in cell.blocks),
        Node("merge", cell.output_nodes, (merge,)),
        Node("mixer", (end,), (cell.mixer,)),
        Node("output", (end + 1,), ("cell output",)),
    ]


def _cell_lines(nodes: Sequence[Node], *, arrow: str) -> list[str]:
    drawn = _rails(nodes)
    graph_width = max(len(row) for row, _ in drawn) + 2
    if graph_width > 2 * MAX_RAILS:
        drawn, graph_width = [("", "")] * len(nodes), 0
    name_width = max(len(shown(name)) for node in nodes if node.role == "block" for name in node.names)
    lines = []
    for number, (node, (row, below)) in enumerate(zip(nodes, drawn, strict=True)):
        if node.role == "block":
            terms = zip(node.names, node.inputs, strict=True)
            text = " + ".join(
                f"{shown(name):<{name_width}} {arrow} {source}".replace(" ", "\xa0") for name, source in terms
            )
        else:
            text = shown(node.names[0]) + (" (mixer)" if node.role == "mixer" else "")
            text += " of ◆ " + ", ".join(map(str, node.inputs)) if node.role == "merge" else ""
        label = f"{number:>2}" if node.role in ("input", "block") else "  "
        wrapped = textwrap.wrap(text, MAX_COLUMNS - graph_width - 4, break_on_hyphens=False)
        lines.append(f"{row:<{graph_width}}{label}  {wrapped[0]}")
        lines += [f"{below:<{graph_width}}    {line}" for line in wrapped[1:]]
    return [line.replace("\xa0", " ").rstrip() for line in lines]


def _rails(nodes: Sequence[Node]) -> list[tuple[str, str]]:
    """Returns the rails on the line of each node, and those that continue below it."""
    last = {source: number for number, node in enumerate(nodes) for source in node.inputs}
    merged = next(node.inputs for node in nodes if node.role == "merge")
    rails: list[int] = []  # the node whose value runs in each column, or EMPTY
    drawn = []
    for number, node in enumerate(nodes):
        reads = [column for column, source in enumerate(rails) if source in node.inputs]
        ending = [column for column in reads if last[rails[column]] == number]
        rails.append(EMPTY)
        own = ending[0] if ending else rails.index(EMPTY)
        first, end = min([own, *reads]), max([own, *reads])
        mark = "◆" if number in merged else "●" if node.role == "block" else "○"
        mark = mark if number in last or node.role == "output" else "×"
        row = ""
        for column, source in enumerate(rails):
            side = 0 if column == first else 2 if column == end else 1
            if column == own:
                row += mark
            elif column in reads:
                row += ("╰┴╯" if column in ending else "├┼┤")[side]
            else:
                row += "│" if source != EMPTY else "─" if first < column < end else " "
            row += "─" if first <= column < end else " "
        rails = [EMPTY if column in ending else source for column, source in enumerate(rails)]
        rails[own] = number if number in last else EMPTY
        while rails and rails[-1] == EMPTY:
            rails.pop()
        drawn.append((row.rstrip(), " ".join(" " if source == EMPTY else "│" for source in rails)))
    return drawn


def _cell_svg(nodes: Sequence[Node]) -> tuple[str, int, int]:
    """Returns the figure of a cell with its width and height in px."""
    depth = layers_of(nodes)
    nodes, links, middle, width = arrange(nodes, depth)
    tall, reach = [0] * (max(depth) + 1), [0] * (max(depth) + 1)
    for node, layer in zip(nodes, depth, strict=True):
        tall[layer] = max(tall[layer], node.size[1])
    for upper, (number, layer), port in links:
        reach[layer] = max(reach[layer], abs(middle[upper] - middle[number, layer] - port))
    gaps = [30 + min(40, way // 10) for way in reach[1:]]  # the further edges go sideways, the more room
    top = list(accumulate((height + gap for height, gap in zip(tall, gaps, strict=False)), initial=0))
    lines: defaultdict[int, str] = defaultdict(str)
    heads = ""
    for (source, above), (target, below), port in links:
        x0, x1, y0, y1 = middle[source, above], middle[target, below] + port, top[above] + tall[above], top[below]
        start = y0 - (tall[above] - nodes[source].size[1]) // 2 if above == depth[source] else y0
        end = y1 + (tall[below] if source == target else (tall[below] - nodes[target].size[1]) // 2 - 4)
        lines[source] += f"M{x0} {start}V{y0}C{x0} {(y0 + y1) // 2} {x1} {(y0 + y1) // 2} {x1} {min(y1, end)}V{end}"
        heads += "" if source == target else f"M{x1 - 4} {end - 4}h8l-4 8z"
    body = "".join(f'<path class="halo" d="{d}"/><path class="edge" d="{d}"/>' for _, d in sorted(lines.items()))
    body += f'<path class="head" d="{heads}"/>'
    for number, (node, layer) in enumerate(zip(nodes, depth, strict=True)):
        body += _box(node, number, middle[number, layer], top[layer] + tall[layer] // 2)
    return body, width, top[-1] + tall[-1]


def _box(node: Node, number: int, x: int, y: int) -> str:
    """Draws a node around the point (x, y): its number, then the ops it adds up, each in its own colour."""
    width, height = node.size
    left, top = x - width // 2, y - height // 2
    if node.role == "mixer":
        body = _rect("mixer", left, top, width, height, 6) + _text("kind", left + 10 + KIND // 2, y + 4, "mixer")
        return body + _text("name", x + KIND // 2, y + 4, box_label(node.names[0]))
    if node.role != "block":
        return _rect(node.role, left, top, width, height, CHIP // 2) + _text("name", x, y + 4, box_label(node.names[0]))
    terms = " + ".join(f"{name} of {source}" for name, source in zip(node.names, node.inputs, strict=True))
    body = f"<g><title>{escape(printable(f'node {number}: {terms}'))}</title>"
    single = len(node.names) == 1
    body += "" if single else _rect("pair", left, top, width, height, 9)
    for index, (name, chip) in enumerate(zip(node.names, node.chips, strict=True)):
        middle = x + node.port(index)
        body += _rect(_family(name), middle - chip // 2, y - CHIP // 2, chip, CHIP, 6)
        body += _text("name", middle + (NUMBER // 2 if single else 0), y + 4, box_label(name))
        body += _text("plus", middle - chip // 2 - PLUS // 2, y + 4, "+") if index else ""
    return body + _text("number", left + 12, y + 4, str(number)) + "</g>"


def _rect(role: str, x: int, y: int, width: int, height: int, corner: int) -> str:
    return f'<rect class="{role}" x="{x}" y="{y}" width="{width}" height="{height}" rx="{corner}"/>'


def _text(role: str, x: int, y: int, text: str) -> str:
    return f'<text class="{role}" x="{x}" y="{y}">{escape(printable(text))}</text>'


def _family(op: str) -> str:
    if op == "none":  # no connection: where it is, nothing comes through
        return op
    known = {"sep": "separable", "conv": "conv", "pool": "pool", "identity": "identity", "skip": "identity"}
    return next((family for part, family in known.items() if part in op), "other")
