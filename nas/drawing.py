"""Pictures of a genotype: an SVG figure for pages and papers, and plain characters for the terminal.

The figure is a layered drawing (Sugiyama, Tagawa and Toda, 1981; Gansner et al., "A Technique for Drawing Directed
Graphs", 1993): a node stands in the layer of its longest path from the inputs, and a value that skips layers passes
each in a lane of its own. Edges bend only between layers, so none crosses a box. Equal genotypes give equal text.
"""

import re
import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations, pairwise
from math import inf
from statistics import mean, median
from xml.sax.saxutils import escape

from search_spaces.genotype import CellGenotype, Genotype

MAX_COLUMNS = 80  # of the terminal drawing
MAX_RAILS = 16  # beside each other in the terminal drawing; beyond that the text stands alone
MAX_NAME = 24  # characters shown of a name
MAX_ROW = 1100  # px of cells side by side; wider ones are stacked
CHIP, CHARACTER = 26, 7  # px: height of an op's box, width of a character
NUMBER, PLUS, PAD, MARGIN = 16, 18, 6, 20  # px: widths of a node's number, of a plus sign, and of spaces
EMPTY = -1  # a column of the terminal drawing without a rail
LANE = 4  # how much more a lane is to be straight than another link
SWEEPS = 24  # of the layout, alternately down and up

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
    ".title{font-size:15px;font-weight:bold}.cell{font-weight:bold}.number{font-size:10px}.number,.plus{fill:#6e7781}"
    ".pair{fill:#818b98;fill-opacity:.08;stroke:#818b98}.input,.merge,.output{fill:none;stroke:#57606a}"
    ".edge{fill:none;stroke:#57606a;stroke-width:1.4}.head{fill:#57606a}"
    ".halo{fill:none;stroke:#fff;stroke-width:5}"
    + "".join(f".{name}{{fill:{on[0]};fill-opacity:.14;stroke:{on[0]}}}" for name, on in PALETTE.items())
    + "@media (prefers-color-scheme:dark){text{fill:#e6edf3}.page{fill:#0d1117}.halo{stroke:#0d1117}"
    ".number,.plus,.head{fill:#9aa4af}.input,.merge,.output,.edge{stroke:#9aa4af}"
    + "".join(f".{name}{{fill:{on[1]};stroke:{on[1]}}}" for name, on in PALETTE.items())
    + "}"
)

Item = tuple[int, int]  # what a node takes of a layer, (node, layer): its box, and further down its lane
Link = tuple[Item, Item, int]  # from an item to one of the next layer, arriving so many px right of its middle
Pulls = Mapping[Item, list[tuple[Item, int]]]  # an item's neighbours, and how far from each it wants to be


@dataclass(frozen=True, slots=True)
class _Node:
    """One box: what it is, the nodes it reads and the names it shows."""

    role: str
    inputs: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def chips(self) -> list[int]:
        """Widths of the coloured boxes, one a name, in px."""
        number = NUMBER if self.role == "block" and len(self.names) == 1 else 0
        return [(CHARACTER * len(_label(name)) + 20 + number) // 2 * 2 for name in self.names]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in px."""
        if len(self.names) == 1:
            return max(self.chips[0], 2 * self.port(len(self.inputs) - 1) + CHIP), CHIP
        return sum(self.chips) + PLUS * (len(self.names) - 1) + NUMBER + 2 * PAD, CHIP + 2 * PAD

    def port(self, index: int) -> int:
        """How far right of the box's middle the edge of input `index` arrives, in px."""
        if len(self.names) == 1:  # the merge may have many inputs, all others have one at most
            spread = len(self.inputs) - 1
            return (2 * index - spread) * min(14, 280 // max(spread, 1)) // 2
        return NUMBER + PAD + sum(self.chips[:index]) + PLUS * index + (self.chips[index] - self.size[0]) // 2


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
        f"<title>{escape(_printable(title or genotype.space))}</title><style>{STYLE}</style>"
        f'<rect class="page" {size} rx="6"/>'
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


def _nodes(cell: CellGenotype, merge: str) -> list[_Node]:
    count = cell.num_inputs
    inputs = ["cell input"] if count == 1 else [f"k-{age}" for age in range(count, 0, -1)]
    end = count + len(cell.blocks)
    return [
        *(_Node("input", (), (name,)) for name in inputs),
        *(_Node("block", block.inputs, block.ops) for block in cell.blocks),
        _Node("merge", cell.output_nodes, (merge,)),
        _Node("mixer", (end,), (cell.mixer,)),
        _Node("output", (end + 1,), ("cell output",)),
    ]


def _cell_lines(nodes: Sequence[_Node], *, arrow: str) -> list[str]:
    drawn = _rails(nodes)
    graph_width = max(len(row) for row, _ in drawn) + 2
    if graph_width > 2 * MAX_RAILS:
        drawn, graph_width = [("", "")] * len(nodes), 0
    name_width = max(len(_shown(name)) for node in nodes if node.role == "block" for name in node.names)
    lines = []
    for number, (node, (row, below)) in enumerate(zip(nodes, drawn, strict=True)):
        if node.role == "block":
            terms = zip(node.names, node.inputs, strict=True)
            text = " + ".join(
                f"{_shown(name):<{name_width}} {arrow} {source}".replace(" ", "\xa0") for name, source in terms
            )
        else:
            text = _shown(node.names[0]) + (" (mixer)" if node.role == "mixer" else "")
            text += " of ◆ " + ", ".join(map(str, node.inputs)) if node.role == "merge" else ""
        label = f"{number:>2}" if node.role in ("input", "block") else "  "
        wrapped = textwrap.wrap(text, MAX_COLUMNS - graph_width - 4, break_on_hyphens=False)
        lines.append(f"{row:<{graph_width}}{label}  {wrapped[0]}")
        lines += [f"{below:<{graph_width}}    {line}" for line in wrapped[1:]]
    return [line.replace("\xa0", " ").rstrip() for line in lines]


def _rails(nodes: Sequence[_Node]) -> list[tuple[str, str]]:
    """Returns of each node the rails on its line and those that go on below it."""
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


def _links(nodes: Sequence[_Node], depth: Sequence[int]) -> list[Link]:
    """Returns every edge in pieces from layer to layer; the readers of one value share its lane."""
    links: list[Link] = []
    for number, node in enumerate(nodes):
        for index, source in enumerate(node.inputs):
            lane = [(source, layer) for layer in range(depth[source], depth[number])]
            links += [(upper, lower, 0) for upper, lower in pairwise(lane)]
            links.append((lane[-1], (number, depth[number]), node.port(index)))
    return list(dict.fromkeys(links))


def _arranged(nodes: Sequence[_Node], depth: Sequence[int]) -> tuple[list[_Node], list[Link], dict[Item, int], int]:
    """Returns the nodes with their ops in the order of their sources, the links, the items' middles and the width."""
    links = _links(nodes, depth)
    half = {lower: 9 for _, lower, _ in links}  # the room an item takes to either side, in px
    half |= {(number, depth[number]): node.size[0] // 2 + 12 for number, node in enumerate(nodes)}
    middle = {item: float(index) for index, item in enumerate(half)}
    middle = _swept(middle, [(upper, lower, 0) for upper, lower, _ in links], half, reorder=True)
    arranged = []
    for node, layer in zip(nodes, depth, strict=True):
        order = sorted(range(len(node.inputs)), key=lambda i: middle[node.inputs[i], layer - 1])
        names = tuple(node.names[i] for i in order) if len(node.names) > 1 else node.names
        arranged.append(_Node(node.role, tuple(node.inputs[i] for i in order), names))
    links = _links(arranged, depth)
    middle = _swept(middle, links, half, reorder=False)
    mixer, output = len(nodes) - 2, len(nodes) - 1  # alone in their layers, so they can stand under the merge
    middle |= {(number, depth[number]): middle[mixer - 1, depth[mixer] - 1] for number in (mixer, output)}
    left = min(middle[item] - half[item] for item in half)
    width = round(max(middle[item] + half[item] for item in half) - left)
    return arranged, links, {item: round(middle[item] - left) for item in half}, width


def _swept(
    middle: dict[Item, float], links: Sequence[Link], half: Mapping[Item, int], *, reorder: bool
) -> dict[Item, float]:
    """Moves items towards their neighbours, layer by layer, and keeps the fewest crossings and shortest links."""
    above: Pulls = {item: [] for item in half}
    below: Pulls = {item: [] for item in half}
    for upper, lower, port in links:
        weight = LANE if upper[0] == lower[0] else 1
        above[lower].extend([(upper, -port)] * weight)
        below[upper].extend([(lower, port)] * weight)
    both = {item: above[item] + below[item] for item in half}
    best, least = middle, (inf, inf)
    layers = range(max(layer for _, layer in half) + 1)
    for sweep in range(SWEEPS):
        middle = dict(middle)
        order, pulls = (layers[::-1], below) if sweep % 2 else (layers, above)
        pulls = pulls if reorder else both
        for layer in order:
            items = sorted((item for item in half if item[1] == layer), key=middle.__getitem__)
            wants = {i: [middle[other] + shift for other, shift in pulls[i]] or [middle[i]] for i in items}
            items = sorted(items, key=lambda item: mean(wants[item])) if reorder else items
            offsets = list(accumulate((half[a] + half[b] for a, b in pairwise(items)), initial=0))
            places = _isotonic([[want - offset for want in wants[i]] for i, offset in zip(items, offsets, strict=True)])
            middle |= {i: place + offset for i, place, offset in zip(items, places, offsets, strict=True)}
        cost = _cost(middle, links)
        if cost < least:
            best, least = middle, cost
    return best


def _cost(middle: Mapping[Item, float], links: Sequence[Link]) -> tuple[float, float]:
    """Returns the number of crossings and the sideways way of all links."""
    gaps = defaultdict(list)
    length = 0.0
    for upper, lower, port in links:
        gaps[upper[1]].append((middle[upper], middle[lower] + port))
        length += abs(middle[upper] - middle[lower] - port) * (LANE if upper[0] == lower[0] else 1)
    pairs = [pair for gap in gaps.values() for pair in combinations(gap, 2)]
    return sum((a - c) * (b - d) < 0 for (a, b), (c, d) in pairs), length


def _isotonic(wants: Sequence[Sequence[float]]) -> list[float]:
    """Returns non-decreasing places near what each item wants (pool adjacent violators, by medians)."""
    pools: list[tuple[int, list[float]]] = []
    for want in wants:
        count, values = 1, list(want)
        while pools and median(pools[-1][1]) > median(values):
            more, earlier = pools.pop()
            count, values = count + more, earlier + values
        pools.append((count, values))
    return [median(values) for count, values in pools for _ in range(count)]


def _cell_svg(nodes: Sequence[_Node]) -> tuple[str, int, int]:
    """Returns the figure of a cell with its width and height in px."""
    depth: list[int] = []
    for node in nodes:
        before = depth if node.role == "merge" else [depth[source] for source in node.inputs]
        depth.append(1 + max(before, default=-1))
    nodes, links, middle, width = _arranged(nodes, depth)
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


def _box(node: _Node, number: int, x: int, y: int) -> str:
    """Draws a node around the point (x, y): its number, then the ops it adds up, each in its own colour."""
    width, height = node.size
    left, top = x - width // 2, y - height // 2
    if node.role != "block":
        corner = 6 if node.role == "mixer" else CHIP // 2
        return _rect(node.role, left, top, width, height, corner) + _text("name", x, y + 4, _label(node.names[0]))
    terms = " + ".join(f"{name} of {source}" for name, source in zip(node.names, node.inputs, strict=True))
    body = f"<g><title>{escape(_printable(f'node {number}: {terms}'))}</title>"
    single = len(node.names) == 1
    body += "" if single else _rect("pair", left, top, width, height, 9)
    for index, (name, chip) in enumerate(zip(node.names, node.chips, strict=True)):
        middle = x + node.port(index)
        body += _rect(_family(name), middle - chip // 2, y - CHIP // 2, chip, CHIP, 6)
        body += _text("name", middle + (NUMBER // 2 if single else 0), y + 4, _label(name))
        body += _text("plus", middle - chip // 2 - PLUS // 2, y + 4, "+") if index else ""
    return body + _text("number", left + 12, y + 4, str(number)) + "</g>"


def _rect(role: str, x: int, y: int, width: int, height: int, corner: int) -> str:
    return f'<rect class="{role}" x="{x}" y="{y}" width="{width}" height="{height}" rx="{corner}"/>'


def _text(role: str, x: int, y: int, text: str) -> str:
    return f'<text class="{role}" x="{x}" y="{y}">{escape(_printable(text))}</text>'


def _family(op: str) -> str:
    known = {"sep": "separable", "conv": "conv", "pool": "pool", "identity": "identity", "skip": "identity"}
    return next((family for part, family in known.items() if part in op), "other")


def _label(name: str) -> str:
    return re.sub(r"(?<=\d)x(?=\d)", "×", _shown(name)).replace("_", " ")


def _shown(name: str) -> str:
    name = _printable(name)
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"


def _printable(text: str) -> str:
    """Replaces what a terminal would obey and XML forbids, since names may come from a stranger's file."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
