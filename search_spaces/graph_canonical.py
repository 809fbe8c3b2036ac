"""The canonical form of a labelled directed graph: equal exactly for isomorphic graphs.

The least certificate over the orders of the vertices that colour refinement leaves open (McKay & Piperno 2014,
arXiv:1301.1493, §2: individualisation and refinement, with pruning by automorphisms and node invariants).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any

Arcs = list[list[tuple[int, int]]]
"""For each vertex of the graph its arcs as (label, other end)."""

Certificate = tuple[tuple[tuple[int, ...], tuple[tuple[int, int], ...]], ...]
"""For each vertex, in canonical order, its label and its arcs as (label, place of the other end)."""


def canonical_certificate(graph: "LabelledGraph") -> Certificate:
    """Returns the certificate that exactly the graphs isomorphic to this one share."""
    partition = _Partition.of_labels(graph)
    search = _Search(graph)
    search.visit(partition, (), (partition.shape,))
    assert search.best is not None
    return search.best[1]


@dataclass(frozen=True, slots=True)
class LabelledGraph:
    """A directed graph with labels at its vertices and arcs.

    Attributes:
        labels: The label of each vertex.
        below: The arcs from each vertex.
        above: The same arcs, listed at the vertex where they end.
    """

    labels: list[tuple[int, ...]]
    below: Arcs
    above: Arcs

    def certificate(self, order: Sequence[int], places: Sequence[int]) -> Certificate:
        """Returns the whole graph as data, its vertices in an order, in which each has its place."""
        return tuple(
            (self.labels[vertex], tuple(sorted([(label, places[end]) for label, end in self.below[vertex]])))
            for vertex in order
        )

    def view(self, vertex: int, colours: Sequence[int]) -> Any:
        """Returns what a vertex sees: the labels of its arcs with the colours of their other ends."""
        return (
            sorted([(label, colours[end]) for label, end in self.below[vertex]]),
            sorted([(label, colours[end]) for label, end in self.above[vertex]]),
        )

    def neighbours(self, vertices: Iterable[int]) -> set[int]:
        """Returns the other ends of the arcs of some vertices."""
        return {end for vertex in vertices for arcs in (self.below[vertex], self.above[vertex]) for _, end in arcs}


@dataclass(slots=True)
class _Partition:
    """An ordered partition of a graph's vertices.

    Attributes:
        graph: The graph.
        colours: For each vertex the place of its class's first member, so that a discrete partition is an order.
        classes: The members of each colour's class.
    """

    graph: LabelledGraph
    colours: list[int]
    classes: dict[int, list[int]]

    @classmethod
    def of_labels(cls, graph: LabelledGraph) -> "_Partition":
        """Returns the coarsest equitable partition that sorts the vertices by label."""
        vertices = sorted(range(len(graph.labels)), key=graph.labels.__getitem__)
        partition = cls(graph, [0 for _ in vertices], {})
        partition._split(0, [[*alike] for _, alike in groupby(vertices, key=graph.labels.__getitem__)])
        partition.refine(vertices)
        return partition

    @property
    def shape(self) -> tuple[int, ...]:
        """The colours in use, which tell the sizes of the classes."""
        return tuple(sorted(self.classes))

    def individualised(self, vertex: int) -> "_Partition":
        """Returns the coarsest equitable refinement with `vertex` alone in a class, put after the rest of its own."""
        finer = _Partition(self.graph, self.colours.copy(), self.classes.copy())
        colour = self.colours[vertex]
        finer._split(colour, [[other for other in self.classes[colour] if other != vertex], [vertex]])
        finer.refine(self.graph.neighbours([vertex]))
        return finer

    def refine(self, affected: Iterable[int]) -> None:
        """Splits classes until the members of each see the same.

        Args:
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
                if len(self.classes[colour]) > 1 and len(parts := self._parts(colour, members)) > 1
            ]
            affected = self.graph.neighbours(
                [vertex for colour, parts in splits for vertex in self._split(colour, parts)]
            )

    def _split(self, colour: int, parts: list[list[int]]) -> list[int]:
        """Replaces a class by its parts in order; returns the vertices whose colour changed."""
        for part in parts:
            self.classes[colour] = part
            for vertex in part:
                self.colours[vertex] = colour
            colour += len(part)
        return [vertex for part in parts[1:] for vertex in part]

    def _parts(self, colour: int, affected: list[int]) -> list[list[int]]:
        """Returns a class's members by what they see, in order; the members not `affected` all see the same."""
        seen = [(self.graph.view(vertex, self.colours), [vertex]) for vertex in affected]
        rest = [*set(self.classes[colour]).difference(affected)]
        if rest:
            seen.append((self.graph.view(rest[0], self.colours), rest))
        seen.sort(key=itemgetter(0))
        return [[vertex for _, members in alike for vertex in members] for _, alike in groupby(seen, key=itemgetter(0))]


@dataclass(slots=True)
class _Search:
    """The search tree over the ways to break ties, and the smallest certificate at its leaves.

    A node is a path of individualised vertices. Leaves of equal certificates prove an automorphism, and of two siblings
    that an automorphism exchanges only one is visited. A node whose classes are not those of the best leaf's path is
    compared by them alone.

    Attributes:
        graph: The graph.
        best: The least (shapes of the partitions on the path, certificate) so far.
        leaves: By certificate the path to its first leaf, and the vertices in the order found there.
        automorphisms: The automorphisms found so far, each by the vertices that it moves.
    """

    graph: LabelledGraph
    best: tuple[tuple[tuple[int, ...], ...], Certificate] | None = None
    leaves: dict[Certificate, tuple[tuple[int, ...], list[int]]] = field(default_factory=dict)
    automorphisms: list[dict[int, int]] = field(default_factory=list)

    def visit(self, partition: _Partition, path: tuple[int, ...], shapes: tuple[tuple[int, ...], ...]) -> int:
        """Searches the subtree at `path`; returns the length of the path to continue at, a shorter one."""
        if self.best is not None and shapes > self.best[0][: len(shapes)]:
            return len(path) - 1
        if len(partition.classes) == len(partition.colours):
            return self._leaf(partition, path, shapes)
        _, colour = min((len(members), colour) for colour, members in partition.classes.items() if len(members) > 1)
        visited: list[int] = []
        covered: set[int] = set()
        for vertex in partition.classes[colour]:
            if vertex not in covered:
                finer = partition.individualised(vertex)
                resume = self.visit(finer, (*path, vertex), (*shapes, finer.shape))
                if resume < len(path):
                    return resume
                visited.append(vertex)
                covered = self._orbits(visited, path)
        return len(path) - 1

    def _leaf(self, partition: _Partition, path: tuple[int, ...], shapes: tuple[tuple[int, ...], ...]) -> int:
        order = [partition.classes[place][0] for place in range(len(partition.colours))]
        certificate = self.graph.certificate(order, partition.colours)
        if certificate in self.leaves:
            earlier_path, earlier_order = self.leaves[certificate]
            self.automorphisms.append({a: b for a, b in zip(earlier_order, order, strict=True) if a != b})
            # It maps the sibling at which the paths part to this one, so the rest of this subtree holds nothing new.
            return next(depth for depth, (a, b) in enumerate(zip(earlier_path, path, strict=False)) if a != b)
        self.leaves[certificate] = path, order
        if self.best is None or (shapes, certificate) < self.best:
            self.best = shapes, certificate
        return len(path) - 1

    def _orbits(self, vertices: Sequence[int], path: Sequence[int]) -> set[int]:
        """Returns what the automorphisms that fix a path, one or several in turn, make of some vertices."""
        fixing = [moved for moved in self.automorphisms if moved.keys().isdisjoint(path)]
        reached, pending = set(vertices), [*vertices]
        while pending:
            vertex = pending.pop()
            images = {moved[vertex] for moved in fixing if vertex in moved} - reached
            reached |= images
            pending += images
        return reached
