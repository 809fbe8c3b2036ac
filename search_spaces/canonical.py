"""The canonical form of a cell: a key that two genotypes share exactly if their cells compute the same functions.

A search meets one architecture under many names: blocks in another order, identities on the way, two pools of one
value. The key tells how many different architectures were found. It is made in three steps: the cell becomes values
(sums) of terms (ops applied to values), these become a small labelled graph, and the graph gets its canonical
certificate.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import lru_cache

from search_spaces.genotype import IDENTITIES, NONE, CellGenotype
from search_spaces.graph_canonical import Arcs, LabelledGraph, canonical_certificate
from search_spaces.ops import find_op

Value = tuple[tuple[int, int], ...]
"""A sum: (number of a term, how often it is added), by number."""

Term = int | tuple[str, Value]
"""The number of a cell input, or an op and the value that it reads."""


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
    merged = [cell.output_nodes] if merge == "sum" else [(node,) for node in cell.output_nodes]
    outputs = Counter(terms.sum((node, "identity") for node in nodes) for nodes in merged)
    ops, graph = _graph(terms.terms, outputs)
    return strided, ops, canonical_certificate(graph)


class _Terms:
    """A cell written as sums of terms; equal weight-free terms are one.

    Attributes:
        terms: The terms, by number.
        nodes: The values of the cell's nodes.
    """

    def __init__(self, cell: CellGenotype, *, strided: bool) -> None:
        self._reducing = cell.num_inputs if strided else 0  # nodes below it are read at stride 2
        self._weight_free: dict[Term, int] = {}
        self.terms: list[Term] = [*range(cell.num_inputs)]
        self.nodes: list[Value] = [((number, 1),) for number in range(cell.num_inputs)]
        for block in cell.blocks:
            self.nodes.append(self.sum(zip(block.inputs, block.ops, strict=True)))

    def sum(self, edges: Iterable[tuple[int, str]]) -> Value:
        """Returns the sum of what edges yield, each an op applied to a node."""
        total: Counter[int] = Counter()
        for source, op in edges:
            total.update(dict(self._yielded(source, op)))
        return tuple(sorted(total.items()))

    def _yielded(self, source: int, op: str) -> Value:
        read = self.nodes[source]
        if op == NONE or not read:
            return ()
        weight_free = find_op(op).weight_free
        if op in IDENTITIES:
            if source >= self._reducing:
                return read
            weight_free = False  # a factorized reduction
        term = self._weight_free.setdefault((op, read), len(self.terms)) if weight_free else len(self.terms)
        if term == len(self.terms):
            self.terms.append((op, read))
        return ((term, 1),)


def _graph(terms: Sequence[Term], outputs: Mapping[Value, int]) -> tuple[tuple[str, ...], LabelledGraph]:
    """Returns the ops' names and the graph of what the outputs depend on.

    Its vertices are values, which have an arc for each bundle they hold, labelled by how often, and bundles, which have
    an arc for each op, labelled by its number, to the value it reads. A bundle is a class of terms that occur the same
    number of times in every value. Terms of one bundle can trade places, so keeping them apart would only add
    symmetries.
    """
    live = [*outputs]
    occurrences: defaultdict[int, list[tuple[Value, int]]] = defaultdict(list)
    for value in live:  # to which the values on the way to the outputs are added
        for number, count in value:
            occurrences[number].append((value, count))
            term = terms[number]
            if not isinstance(term, int) and term[1] not in live:
                live.append(term[1])
    bundles: defaultdict[tuple[tuple[Value, int], ...], list[Term]] = defaultdict(list)
    for number, places in occurrences.items():
        bundles[tuple(places)].append(terms[number])
    ops = tuple(sorted({term[0] for members in bundles.values() for term in members if not isinstance(term, int)}))
    vertices = {value: vertex for vertex, value in enumerate(live, start=len(bundles))}
    labels: list[tuple[int, ...]] = []
    below: Arcs = [[] for _ in range(len(bundles) + len(live))]
    for vertex, (held_by, members) in enumerate(bundles.items()):
        labels.append((0, *sorted(term for term in members if isinstance(term, int))))
        below[vertex] = [(ops.index(term[0]), vertices[term[1]]) for term in members if not isinstance(term, int)]
        for value, count in held_by:
            below[vertices[value]].append((count, vertex))
    labels += [(1, outputs.get(value, 0)) for value in live]
    above: Arcs = [[] for _ in below]
    for vertex, arcs in enumerate(below):
        for label, end in arcs:
            above[end].append((label, vertex))
    return ops, LabelledGraph(labels, below, above)
