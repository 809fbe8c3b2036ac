"""The canonical key of a cell against brute force, and what must not change it."""

import hashlib
import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces.canonical import canonical_cell
from search_spaces.genotype import Block, CellGenotype

OPS = ("conv_1x1", "sep_conv_3x3", "max_pool_3x3", "avg_pool_3x3", "identity")
WEIGHTED = ("conv_1x1", "sep_conv_3x3")
PRIME = 2**61 - 1


@st.composite
def cells(draw, *, max_blocks: int = 8, ops: tuple[str, ...] = OPS) -> CellGenotype:
    num_inputs = draw(st.integers(1, 2))
    blocks = []
    for node in range(num_inputs, num_inputs + draw(st.integers(1, max_blocks))):
        edges = draw(st.lists(st.tuples(st.integers(0, node - 1), st.sampled_from(ops)), min_size=1, max_size=3))
        blocks.append(Block(*map(tuple, zip(*edges, strict=True))))
    nodes = st.integers(0, num_inputs + len(blocks) - 1)
    outputs = draw(st.none() | st.lists(nodes, min_size=1, max_size=4, unique=True).map(tuple))
    return CellGenotype(tuple(blocks), num_inputs=num_inputs, outputs=outputs)


def renamed(cell: CellGenotype, order: list[int], choose: Callable[[list[int]], list[int]] = list) -> CellGenotype:
    """The cell with block `order[i]` as its i-th block, `choose` ordering the edges of a block and the outputs."""
    places = {node: node for node in range(cell.num_inputs)}
    places |= {cell.num_inputs + block: cell.num_inputs + place for place, block in enumerate(order)}
    blocks = []
    for number in order:
        block = cell.blocks[number]
        slots = choose(list(range(len(block.ops))))
        blocks.append(
            Block(tuple(places[block.inputs[slot]] for slot in slots), tuple(block.ops[slot] for slot in slots))
        )
    outputs = None if cell.outputs is None else tuple(choose([places[node] for node in cell.outputs]))
    return CellGenotype(tuple(blocks), num_inputs=cell.num_inputs, outputs=outputs)


def reordered(cell: CellGenotype, rng: random.Random) -> CellGenotype:
    """The cell with its blocks in another order that is possible, and its edges and outputs shuffled."""
    order: list[int] = []
    while len(order) < len(cell.blocks):
        known = {*range(cell.num_inputs), *(cell.num_inputs + block for block in order)}
        ready = [b for b, block in enumerate(cell.blocks) if b not in order and known.issuperset(block.inputs)]
        order.append(rng.choice(ready))
    return renamed(cell, order, lambda items: rng.sample(items, len(items)))


@settings(max_examples=100)
@given(cells(), st.randoms(use_true_random=False), st.booleans(), st.sampled_from(["sum", "concat"]))
def test_another_order_of_blocks_edges_and_outputs_keeps_the_key(cell, rng, strided, merge):
    other = reordered(cell, rng)
    assert canonical_cell(other, strided=strided, merge=merge) == canonical_cell(cell, strided=strided, merge=merge)


def cell_of_graph(num_points: int, edges: list[tuple[int, int]]) -> CellGenotype:
    """One convolution a point, and one sum an edge, pooled: two such cells are one exactly if the graphs are."""
    points = [Block((0,), ("conv_1x1",))] * num_points
    sums = [Block((1 + a, 1 + b), ("identity", "identity")) for a, b in edges]
    pools = [Block((1 + num_points + i,), ("max_pool_3x3",)) for i in range(len(edges))]
    return CellGenotype((*points, *sums, *pools))


@settings(max_examples=15)
@given(st.lists(st.integers(3, 5), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_cells_of_cycles_share_a_key_exactly_if_they_have_the_same_lengths(lengths, rng):
    """Each point is on two edges, so refinement alone tells nothing; every tie must be broken by search."""

    def key(lengths: list[int]) -> Hashable:
        first = [sum(lengths[:i]) for i in range(len(lengths))]
        edges = [(f + i, f + (i + 1) % n) for f, n in zip(first, lengths, strict=True) for i in range(n)]
        return canonical_cell(reordered(cell_of_graph(sum(lengths), edges), rng), strided=False)

    keys = {key(rng.sample(lengths, len(lengths))) for _ in range(3)}
    assert len(keys) == 1
    assert key([*lengths[:-1], lengths[-1] + 1]) not in keys
    if len(lengths) > 1:
        assert key([*lengths[:-2], lengths[-2] + lengths[-1]]) not in keys


def with_identity(cell: CellGenotype, number: int, moves: list[bool]) -> CellGenotype:
    """The cell with an identity put behind block `number`, which some of that block's readers, or all, read instead."""
    node = cell.num_inputs + number
    readers = itertools.cycle(moves)
    blocks = list(cell.blocks[: number + 1])
    blocks.append(Block((node,), ("identity",)))
    for block in cell.blocks[number + 1 :]:
        inputs = [node + next(readers) if source == node else source + (source > node) for source in block.inputs]
        blocks.append(Block(tuple(inputs), block.ops))
    # The outputs are written out: a loose end moves on to the identity, and no other node becomes one.
    loose_end = cell.outputs is None and node in cell.loose_ends
    outputs = tuple(end + (end > node or (end == node and loose_end)) for end in cell.output_nodes)
    return CellGenotype(tuple(blocks), num_inputs=cell.num_inputs, outputs=outputs)


@settings(max_examples=100)
@given(cells(), st.data(), st.booleans(), st.sampled_from(["sum", "concat"]))
def test_an_identity_put_behind_a_block_keeps_the_key(cell, data, strided, merge):
    number = data.draw(st.integers(0, len(cell.blocks) - 1))
    padded = with_identity(cell, number, data.draw(st.lists(st.booleans(), min_size=1, max_size=4)))
    assert canonical_cell(padded, strided=strided, merge=merge) == canonical_cell(cell, strided=strided, merge=merge)


@given(cells(), st.data())
def test_a_dead_block_keeps_the_key(cell, data):
    sources = data.draw(st.lists(st.integers(0, cell.num_inputs + len(cell.blocks) - 1), min_size=1, max_size=3))
    dead = Block(tuple(sources), tuple(data.draw(st.sampled_from(OPS)) for _ in sources))
    longer = CellGenotype((*cell.blocks, dead), num_inputs=cell.num_inputs, outputs=cell.output_nodes)
    assert canonical_cell(longer, strided=False) == canonical_cell(cell, strided=False)


def weights_of(cell: CellGenotype, *, strided: bool) -> list[tuple[int, int]]:
    """Names of the weights: (node, slot) of weighted edges, (node, −1) for the reduction of an input that is merged."""
    weights = [(node, -1) for node in cell.output_nodes if strided and node < cell.num_inputs]
    for node, block in enumerate(cell.blocks, start=cell.num_inputs):
        for slot, (source, op) in enumerate(zip(block.inputs, block.ops, strict=True)):
            if op in WEIGHTED or (op == "identity" and strided and source < cell.num_inputs):
                weights.append((node, slot))
    return weights


def applied(op: str, weight: int, value: int) -> int:
    """An op as an arbitrary function of its weight and its input, with values in a finite field."""
    digest = hashlib.blake2b(f"{op} {weight} {value}".encode(), digest_size=16).digest()
    return int.from_bytes(digest, "big") % PRIME


def evaluated(cell: CellGenotype, weights: dict[tuple[int, int], int], *, strided: bool, merge: str) -> tuple[int, ...]:
    """The cell's output for the given weights, step by step as the network computes it."""
    values = [applied("cell input", 0, i) for i in range(cell.num_inputs)]
    for node, block in enumerate(cell.blocks, start=cell.num_inputs):
        total = 0
        for slot, (source, op) in enumerate(zip(block.inputs, block.ops, strict=True)):
            if op == "identity" and not (strided and source < cell.num_inputs):
                total += values[source]
            else:
                total += applied(op, weights.get((node, slot), -1), values[source])
        values.append(total % PRIME)
    outputs = [
        applied("identity", weights[node, -1], values[node]) if (node, -1) in weights else values[node]
        for node in cell.output_nodes
    ]
    return (sum(outputs) % PRIME,) if merge == "sum" else tuple(sorted(outputs))


def brute_force_key(cell: CellGenotype, *, strided: bool, merge: str) -> tuple[int, ...]:
    """The least output over all ways to hand one set of weights to the edges that count."""
    names = weights_of(cell, strided=strided)
    plain = dict.fromkeys(names, 0)
    output = evaluated(cell, plain, strided=strided, merge=merge)
    live = [name for name in names if evaluated(cell, plain | {name: 1}, strided=strided, merge=merge) != output]
    return min(
        evaluated(cell, plain | dict(zip(live, order, strict=True)), strided=strided, merge=merge)
        for order in itertools.permutations(range(len(live)))
    )


def assert_same_classes(pairs: Iterable[tuple[Hashable, Hashable]], *, at_least: int) -> None:
    """Both keys of the pairs tell the same things apart: at least so many, and fewer than there are."""
    first, second, total = defaultdict(set), defaultdict(set), 0
    for one, other in pairs:
        first[one].add(other)
        second[other].add(one)
        total += 1
    assert all(len(others) == 1 for others in (*first.values(), *second.values()))
    assert at_least <= len(first) < total


@pytest.mark.parametrize("strided", [False, True])
def test_cells_of_one_op_a_block_share_a_key_exactly_if_they_compute_the_same_functions(strided):
    ops = ("conv_1x1", "max_pool_3x3", "identity")
    wirings = itertools.product(*([(node, op) for node in range(block + 1) for op in ops] for block in range(4)))
    every = [CellGenotype(tuple(Block((node,), (op,)) for node, op in wiring)) for wiring in wirings]
    assert_same_classes(
        (
            (canonical_cell(cell, strided=strided), brute_force_key(cell, strided=strided, merge="sum"))
            for cell in every
        ),
        at_least=200,
    )


@pytest.mark.parametrize("merge", ["sum", "concat"])
@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize(("num_blocks", "num_edges"), [(2, 2), (3, 2), (5, 1)])
def test_any_small_cells_share_a_key_exactly_if_they_compute_the_same_functions(merge, strided, num_blocks, num_edges):
    rng = random.Random(num_blocks)
    drawn = []
    while len(drawn) < 500:
        num_inputs = rng.choice((1, 2))
        blocks = []
        for node in range(num_inputs, num_inputs + num_blocks):
            edges = range(rng.randint(1, num_edges))
            ops = tuple(rng.choice(("conv_1x1", "max_pool_3x3", "identity")) for _ in edges)
            blocks.append(Block(tuple(rng.randrange(node) for _ in edges), ops))
        nodes = range(num_inputs + num_blocks)
        outputs = rng.choice((None, tuple(rng.sample(nodes, rng.randint(1, 3)))))
        cell = CellGenotype(tuple(blocks), num_inputs=num_inputs, outputs=outputs)
        if len(weights_of(cell, strided=strided)) <= 4:
            drawn += [cell, reordered(cell, rng)]
    assert_same_classes(
        (
            (canonical_cell(cell, strided=strided, merge=merge), brute_force_key(cell, strided=strided, merge=merge))
            for cell in drawn
        ),
        at_least=50,
    )


def least_order(cell: CellGenotype) -> tuple[tuple[tuple[int, str], ...], ...]:
    """The least description of the cell over all orders of its blocks, edges sorted."""
    descriptions = []
    for order in itertools.permutations(range(len(cell.blocks))):
        place = {cell.num_inputs + block: cell.num_inputs + i for i, block in enumerate(order)}
        place |= {node: node for node in range(cell.num_inputs)}
        blocks = [cell.blocks[number] for number in order]
        descriptions.append(
            tuple(
                tuple(sorted((place[source], op) for source, op in zip(block.inputs, block.ops, strict=True)))
                for block in blocks
            )
        )
    return min(descriptions)


@pytest.mark.parametrize(("num_blocks", "max_edges"), [(4, 1), (3, 2), (4, 2)])
def test_concatenated_cells_of_weighted_ops_share_a_key_exactly_if_their_blocks_can_be_renamed(num_blocks, max_edges):
    rng = random.Random(1)
    choices = []
    for block in range(num_blocks):
        edges = list(itertools.product(range(block + 1), WEIGHTED))
        several = [itertools.combinations_with_replacement(edges, n) for n in range(1, max_edges + 1)]
        choices.append([Block(*map(tuple, zip(*chosen, strict=True))) for pick in several for chosen in pick])
    every = (
        list(itertools.product(*choices))
        if max_edges * num_blocks < 8
        else [tuple(rng.choice(choice[:6]) for choice in choices) for _ in range(1500)]
    )
    assert_same_classes(
        (
            (canonical_cell(CellGenotype(blocks), strided=False, merge="concat"), least_order(CellGenotype(blocks)))
            for blocks in every
        ),
        at_least=100,
    )
