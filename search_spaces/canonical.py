"""The canonical form of a cell: a key that two genotypes share exactly if their cells compute the same functions.

A search meets one architecture under many names: blocks in another order, identities on the way, two pools of one
value. The key tells how many different architectures were found. It is made in three steps: the cell becomes values
(sums) of terms (ops applied to values), these become a small labelled graph, and the graph gets its canonical
certificate.
"""

from collections.abc import Hashable, Iterable
from functools import lru_cache

from search_spaces.genotype import IDENTITIES, NONE, CellGenotype
from search_spaces.graph_canonical import Arcs, LabelledGraph, canonical_certificate
from search_spaces.ops import find_op

Value = tuple[tuple[int, int], ...]
"""A sum: (number of a term, how often it is added), by number."""

INPUT = ""  # the "op" of a term that is a cell input; op names are never empty


@lru_cache(maxsize=100_000)
def canonical_cell(cell: CellGenotype, *, strided: bool, merge: str = "sum") -> Hashable:
    """Returns nested tuples, equal for two cells exactly if they compute the same family of functions.

    The family is that of all weights; batch norm and drop-path are left out. Blocks without effect on the output do not
    count, nor does the order of blocks, edges and outputs; the cell's inputs keep their numbers. An identity of stride
    1 adds its source's value itself. Weight-free ops on one value are one; a weighted op has weights of its own on each
    edge, shared where identities carry its result to several sums. A strided identity is a factorized reduction, with
    weights, and so is what an input passes that is an output of a strided cell.

    The op `none` takes its edge away. A block or output that no edge reaches is zero, and so is an op of zero, which
    for convolutions holds as long as their batch norm does not shift.

    An op counts as an arbitrary function of its input: nothing is identified that holds only because of what an op
    computes. So average pooling of a sum differs from the sum of average pools, max pooling of x + x from twice that
    of x, two 1x1 convolutions of one value from one, and a value merged twice by concatenation from the value merged
    once, although the weights that follow could make up for it.

    Args:
        cell: With any number of inputs, and of edges a block.
        strided: Whether the ops that read a cell input have stride 2.
        merge: `sum` adds the output nodes; anything else stands for a concatenation followed by weights of its own, for
            which the outputs are a multiset of values. Keys are comparable for one kind of merge.

    Raises:
        ValueError: If an op is unknown.
    """
    terms = _Terms(cell, strided=strided)
    ops, graph = _graph(terms, terms.outputs(cell, merge=merge))
    return strided, ops, canonical_certificate(graph)


class _Terms:
    """A cell written as sums of terms; equal sums have one number, equal weight-free terms too.

    Attributes:
        terms: Of each term its op and the number of the value that it reads, or `INPUT` and the cell input.
        values: The sums by number.
        nodes: Numbers of the values of the cell's nodes.
    """

    def __init__(self, cell: CellGenotype, *, strided: bool) -> None:
        self._reducing = cell.num_inputs if strided else 0  # nodes below it are read at stride 2
        self._numbers: dict[Value, int] = {}
        self._weight_free: dict[tuple[str, int], int] = {}
        self.terms: list[tuple[str, int]] = [(INPUT, i) for i in range(cell.num_inputs)]
        self.values: list[Value] = []
        self.nodes = [self._number({i: 1}) for i in range(cell.num_inputs)]
        for block in cell.blocks:
            total: dict[int, int] = {}
            for source, op in zip(block.inputs, block.ops, strict=True):
                self._add(total, source, op)
            self.nodes.append(self._number(total))

    def outputs(self, cell: CellGenotype, *, merge: str) -> dict[int, int]:
        """Returns the numbers of the values that are merged, each with how often it is; for a sum, of the sum."""
        merged: dict[int, int] = {}
        for node in cell.output_nodes:
            # Only identities: as plain ones they hand on the node's value, as strided ones a reduced cell input.
            passed: dict[int, int] = {}
            self._add(passed, node, "identity")
            added = passed if merge == "sum" else {self._number(passed): 1}
            for number, count in added.items():
                merged[number] = merged.get(number, 0) + count
        return {self._number(merged): 1} if merge == "sum" else merged

    def _add(self, total: dict[int, int], source: int, op: str) -> None:
        """Adds what an edge yields, the op applied to node `source`."""
        if op == NONE or not self.values[self.nodes[source]]:
            return
        weight_free = find_op(op).weight_free
        if op in IDENTITIES:
            if source >= self._reducing:
                for term, count in self.values[self.nodes[source]]:
                    total[term] = total.get(term, 0) + count
                return
            weight_free = False  # a factorized reduction
        read = (op, self.nodes[source])
        term = self._weight_free.setdefault(read, len(self.terms)) if weight_free else len(self.terms)
        if term == len(self.terms):
            self.terms.append(read)
        total[term] = total.get(term, 0) + 1

    def _number(self, total: dict[int, int]) -> int:
        value = tuple(sorted(total.items()))
        number = self._numbers.setdefault(value, len(self.values))
        if number == len(self.values):
            self.values.append(value)
        return number


def _graph(terms: _Terms, outputs: dict[int, int]) -> tuple[tuple[str, ...], LabelledGraph]:
    """Returns the ops' names and the graph of what the outputs depend on.

    Its vertices are values, which have an arc for each bundle they hold, labelled by how often, and bundles, which have
    an arc for each op, labelled by its number, to the value it reads. A bundle is a class of terms that occur the same
    number of times in every value. Terms of one bundle can trade places, so keeping them apart would only add
    symmetries.
    """
    live = _live_values(terms, outputs)
    occurrences: dict[int, list[tuple[int, int]]] = {}
    for number in live:
        for term, count in terms.values[number]:
            occurrences.setdefault(term, []).append((number, count))
    bundles: dict[tuple[tuple[int, int], ...], list[tuple[str, int]]] = {}
    for term, places in occurrences.items():
        bundles.setdefault(tuple(places), []).append(terms.terms[term])
    ops = tuple(sorted({terms.terms[term][0] for term in occurrences} - {INPUT}))
    op_numbers = {op: number for number, op in enumerate(ops)}
    vertices = {number: vertex for vertex, number in enumerate(live, start=len(bundles))}
    labels: list[tuple[int, ...]] = []
    below: Arcs = [[] for _ in range(len(bundles) + len(live))]
    for vertex, (held_by, members) in enumerate(bundles.items()):
        labels.append((0, *sorted(source for op, source in members if op == INPUT)))
        below[vertex] = [(op_numbers[op], vertices[source]) for op, source in members if op != INPUT]
        for number, count in held_by:
            below[vertices[number]].append((count, vertex))
    labels += [(1, outputs.get(number, 0)) for number in live]
    above: Arcs = [[] for _ in below]
    for vertex, arcs in enumerate(below):
        for label, end in arcs:
            above[end].append((label, vertex))
    return ops, LabelledGraph(labels, below, above)


def _live_values(terms: _Terms, outputs: Iterable[int]) -> list[int]:
    """Returns the numbers of the values that are merged or read on the way to the output, ascending."""
    live = set(outputs)
    pending = list(live)
    while pending:
        for term, _ in terms.values[pending.pop()]:
            op, source = terms.terms[term]
            if op != INPUT and source not in live:
                live.add(source)
                pending.append(source)
    return sorted(live)
