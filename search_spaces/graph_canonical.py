"""The canonical form of a labelled directed graph: equal exactly for isomorphic graphs.

The least certificate over the orders of the vertices that colour refinement leaves open (McKay & Piperno 2014,
arXiv:1301.1493, §2: individualisation and refinement, with pruning by automorphisms and node invariants).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

Arcs = list[list[tuple[int, int]]]
"""For each vertex of the graph its arcs as (label, other end)."""

View = tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]
"""What a vertex sees: (label, colour of the other end) of its arcs below and of those above, each sorted."""

Certificate = tuple[tuple[tuple[int, ...], tuple[tuple[int, int], ...]], ...]
"""For each vertex, in canonical order, its label and its arcs as (label, place of the other end)."""


def canonical_certificate(graph: "LabelledGraph") -> Certificate:
    """Returns the certificate that exactly the graphs isomorphic to this one share."""
    search = _Search(graph)
    partition = _Partition.of_labels(graph)
    search.visit(partition, (), (partition.shape,))
    assert search.best is not None
    return search.best[1]


@dataclass(frozen=True, slots=True)
class LabelledGraph:
    """A directed graph with labels at its vertices and arcs.

    Attributes:
        labels: Of each vertex.
        below: The arcs from each vertex.
        above: The same arcs, listed at the vertex where they end.
    """

    labels: list[tuple[int, ...]]
    below: Arcs
    above: Arcs

    def certificate(self, places: Sequence[int]) -> Certificate:
        """Returns the whole graph as data, its vertices numbered by `places`."""
        certificate: list[tuple[tuple[int, ...], tuple[tuple[int, int], ...]]] = [((), ())] * len(places)
        for vertex, place in enumerate(places):
            arcs = sorted([(label, places[end]) for label, end in self.below[vertex]])
            certificate[place] = (self.labels[vertex], tuple(arcs))
        return tuple(certificate)


@dataclass(slots=True)
class _Partition:
    """An ordered partition of a graph's vertices.

    Attributes:
        colours: Of each vertex the place of its class's first member, so that a discrete partition is an order.
        classes: The members of each colour's class.
    """

    colours: list[int]
    classes: dict[int, list[int]] = field(default_factory=dict)

    @classmethod
    def of_labels(cls, graph: LabelledGraph) -> "_Partition":
        """Returns the coarsest equitable partition that sorts the vertices by label."""
        partition = cls([0] * len(graph.labels), {0: list(range(len(graph.labels)))})
        by_label: dict[tuple[int, ...], list[int]] = {}
        for vertex, label in enumerate(graph.labels):
            by_label.setdefault(label, []).append(vertex)
        partition._split(0, [by_label[label] for label in sorted(by_label)])
        partition._refine(graph, range(len(graph.labels)))
        return partition

    @property
    def shape(self) -> tuple[int, ...]:
        """The colours in use, which tell the sizes of the classes."""
        return tuple(sorted(self.classes))

    def individualised(self, graph: LabelledGraph, vertex: int) -> "_Partition":
        """Returns the coarsest equitable refinement with `vertex` alone in a class, put after the rest of its own."""
        finer = _Partition(self.colours.copy(), self.classes.copy())
        colour = self.colours[vertex]
        finer._split(colour, [[other for other in self.classes[colour] if other != vertex], [vertex]])
        finer._refine(graph, _neighbours(graph, [vertex]))
        return finer

    def _split(self, colour: int, parts: list[list[int]]) -> list[int]:
        """Replaces a class by its parts in order; returns the vertices whose colour changed."""
        self.classes[colour] = parts[0]
        start = colour + len(parts[0])
        for part in parts[1:]:
            self.classes[start] = part
            for vertex in part:
                self.colours[vertex] = start
            start += len(part)
        return [vertex for part in parts[1:] for vertex in part]

    def _refine(self, graph: LabelledGraph, affected: Iterable[int]) -> None:
        """Splits classes until the members of each see the same colours.

        Args:
            graph: The graph that is seen.
            affected: Vertices that may see other colours than before; all others of one class see the same.
        """
        while affected:
            by_colour: dict[int, list[int]] = {}
            for vertex in affected:
                by_colour.setdefault(self.colours[vertex], []).append(vertex)
            # All views are taken before the first split: the result must not depend on the order of the classes.
            splits = [
                (colour, parts)
                for colour, members in by_colour.items()
                if len(self.classes[colour]) > 1 and len(parts := self._parts(graph, colour, members)) > 1
            ]
            affected = _neighbours(graph, [vertex for colour, parts in splits for vertex in self._split(colour, parts)])

    def _parts(self, graph: LabelledGraph, colour: int, affected: list[int]) -> list[list[int]]:
        """Returns a class's members by what they see, in order; the members not `affected` all see the same."""
        by_view: dict[View, list[int]] = {}
        for vertex in affected:
            by_view.setdefault(self._view(graph, vertex), []).append(vertex)
        if len(affected) < len(self.classes[colour]):
            excluded = set(affected)
            rest = [vertex for vertex in self.classes[colour] if vertex not in excluded]
            by_view.setdefault(self._view(graph, rest[0]), []).extend(rest)
        return [by_view[view] for view in sorted(by_view)]

    def _view(self, graph: LabelledGraph, vertex: int) -> View:
        colours = self.colours
        return (
            tuple(sorted([(label, colours[end]) for label, end in graph.below[vertex]])),
            tuple(sorted([(label, colours[end]) for label, end in graph.above[vertex]])),
        )


def _neighbours(graph: LabelledGraph, vertices: Iterable[int]) -> set[int]:
    return {end for vertex in vertices for arcs in (graph.below[vertex], graph.above[vertex]) for _, end in arcs}


class _Search:
    """The search tree over the ways to break ties, and the smallest certificate at its leaves.

    A node is a path of individualised vertices. Leaves of equal certificates prove an automorphism, and of two siblings
    that an automorphism exchanges only one is visited. A node whose classes are not those of the best leaf's path is
    compared by them alone.

    Attributes:
        best: The least (shapes of the partitions on the path, certificate) so far.
    """

    def __init__(self, graph: LabelledGraph) -> None:
        self.best: tuple[tuple[tuple[int, ...], ...], Certificate] | None = None
        self._graph = graph
        self._leaves: dict[Certificate, tuple[tuple[int, ...], list[int]]] = {}
        self._automorphisms: list[dict[int, int]] = []

    def visit(self, partition: _Partition, path: tuple[int, ...], shapes: tuple[tuple[int, ...], ...]) -> int:
        """Searches the subtree at `path`; returns the length of the path to go on at, a shorter one."""
        if self.best is not None and shapes > self.best[0][: len(shapes)]:
            return len(path) - 1
        if len(partition.classes) == len(partition.colours):
            return self._leaf(partition, path, shapes)
        _, colour = min((len(members), colour) for colour, members in partition.classes.items() if len(members) > 1)
        orbits = _Orbits(path, self._automorphisms)
        visited: list[int] = []
        for vertex in partition.classes[colour]:
            if visited and orbits.meets(vertex, visited):
                continue
            finer = partition.individualised(self._graph, vertex)
            resume = self.visit(finer, (*path, vertex), (*shapes, finer.shape))
            if resume < len(path):
                return resume
            visited.append(vertex)
        return len(path) - 1

    def _leaf(self, partition: _Partition, path: tuple[int, ...], shapes: tuple[tuple[int, ...], ...]) -> int:
        certificate = self._graph.certificate(partition.colours)
        order = [partition.classes[place][0] for place in range(len(partition.colours))]
        if certificate in self._leaves:
            earlier_path, earlier_order = self._leaves[certificate]
            self._automorphisms.append({a: b for a, b in zip(earlier_order, order, strict=True) if a != b})
            # It maps the sibling at which the paths part to this one, so the rest of this subtree holds nothing new.
            return next(depth for depth, (a, b) in enumerate(zip(earlier_path, path, strict=False)) if a != b)
        self._leaves[certificate] = path, order
        if self.best is None or (shapes, certificate) < self.best:
            self.best = shapes, certificate
        return len(path) - 1


class _Orbits:
    """The orbits of vertices under those automorphisms found so far, and later, that fix a path.

    Args:
        path: The vertices to be fixed.
        automorphisms: Of each the vertices that it moves; may grow.
    """

    def __init__(self, path: tuple[int, ...], automorphisms: list[dict[int, int]]) -> None:
        self._fixed = set(path)
        self._automorphisms = automorphisms
        self._num_seen = 0
        self._parents: dict[int, int] = {}

    def meets(self, vertex: int, others: Iterable[int]) -> bool:
        """Whether a known automorphism, or several in turn, maps one of `others` to `vertex`."""
        for automorphism in self._automorphisms[self._num_seen :]:
            if self._fixed.isdisjoint(automorphism):
                for source, image in automorphism.items():
                    self._parents[self._root(source)] = self._root(image)
        self._num_seen = len(self._automorphisms)
        root = self._root(vertex)
        return any(self._root(other) == root for other in others)

    def _root(self, vertex: int) -> int:
        while (parent := self._parents.get(vertex, vertex)) != vertex:
            self._parents[vertex] = self._parents.get(parent, parent)  # halves the way for the next time
            vertex = parent
        return vertex
