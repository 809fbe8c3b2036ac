"""The layered layout of a cell's figure: how large its boxes are, and where they and the edges stand.

A layered drawing (Sugiyama, Tagawa and Toda, 1981; Gansner et al., "A Technique for Drawing Directed Graphs", 1993): a
node stands in the layer of its longest path from the inputs, and a value that skips layers passes each in a lane of its
own. What is minimised is first the crossings, then the sideways way of the links.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations, pairwise
from statistics import mean, median

MAX_NAME = 24  # characters shown of a name
CHIP, CHARACTER = 26, 7  # px: height of an op's box, width of a character
NUMBER, PLUS, PAD = 16, 18, 6  # px: widths of a node's number, of a plus sign, and of the space around a block
KIND = 36  # px: width of the word that tells a mixer from an op
LANE = 4  # how much more a lane is to be straight than another link
SWEEPS = 24  # of the layout, alternately down and up

Item = tuple[int, int]  # what a node takes of a layer, (node, layer): its box, and further down its lane
Link = tuple[Item, Item, int]  # from an item to one of the next layer, arriving so many px right of its middle
Pulls = Mapping[Item, list[tuple[Item, int]]]  # an item's neighbours, and how far from each it wants to be


@dataclass(frozen=True, slots=True)
class Node:
    """One box: what it is, the nodes it reads and the names it shows."""

    role: str
    inputs: tuple[int, ...]
    names: tuple[str, ...]

    @property
    def chips(self) -> list[int]:
        """Widths of the coloured boxes, one a name, in px."""
        before = NUMBER if self.role == "block" and len(self.names) == 1 else KIND if self.role == "mixer" else 0
        return [(CHARACTER * len(box_label(name)) + 20 + before) // 2 * 2 for name in self.names]

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


def layers_of(nodes: Sequence[Node]) -> list[int]:
    """Returns the layer of each node, its longest path from the inputs; the merge stands below all before it."""
    depth: list[int] = []
    for node in nodes:
        before = depth if node.role == "merge" else [depth[source] for source in node.inputs]
        depth.append(1 + max(before, default=-1))
    return depth


def arrange(nodes: Sequence[Node], depth: Sequence[int]) -> tuple[list[Node], list[Link], dict[Item, int], int]:
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
        arranged.append(Node(node.role, tuple(node.inputs[i] for i in order), names))
    links = _links(arranged, depth)
    middle = _swept(middle, links, half, reorder=False)
    mixer, output = len(nodes) - 2, len(nodes) - 1  # alone in their layers, so they can stand under the merge
    middle |= {(number, depth[number]): middle[mixer - 1, depth[mixer] - 1] for number in (mixer, output)}
    left = min(middle[item] - half[item] for item in half)
    width = round(max(middle[item] + half[item] for item in half) - left)
    return arranged, links, {item: round(middle[item] - left) for item in half}, width


def _links(nodes: Sequence[Node], depth: Sequence[int]) -> list[Link]:
    """Returns every edge in pieces from layer to layer; the readers of one value share its lane."""
    links: list[Link] = []
    for number, node in enumerate(nodes):
        for index, source in enumerate(node.inputs):
            lane = [(source, layer) for layer in range(depth[source], depth[number])]
            links += [(upper, lower, 0) for upper, lower in pairwise(lane)]
            links.append((lane[-1], (number, depth[number]), node.port(index)))
    return list(dict.fromkeys(links))


def _swept(
    middle: dict[Item, float], links: Sequence[Link], half: Mapping[Item, int], *, reorder: bool
) -> dict[Item, float]:
    """Moves items towards their neighbours, layer by layer, and keeps the fewest crossings and shortest links."""
    return min(_sweeps(middle, links, half, reorder=reorder), key=lambda moved: _cost(moved, links))


def _sweeps(
    middle: dict[Item, float], links: Sequence[Link], half: Mapping[Item, int], *, reorder: bool
) -> Iterator[dict[Item, float]]:
    """Yields the middles of the items after each sweep."""
    above: Pulls = {item: [] for item in half}
    below: Pulls = {item: [] for item in half}
    for upper, lower, port in links:
        weight = LANE if upper[0] == lower[0] else 1
        above[lower].extend([(upper, -port)] * weight)
        below[upper].extend([(lower, port)] * weight)
    both = {item: above[item] + below[item] for item in half}
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
        yield middle


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


def box_label(name: str) -> str:
    """Returns a name as a box of the figure shows it."""
    return re.sub(r"(?<=\d)x(?=\d)", "×", shown(name)).replace("_", " ")


def shown(name: str) -> str:
    """Returns a name printable and cut to `MAX_NAME` characters."""
    name = printable(name)
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"


def printable(text: str) -> str:
    """Replaces what a terminal would obey and XML forbids, since names may come from a stranger's file."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)
