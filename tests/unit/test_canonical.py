import itertools
import random
import time
import timeit

import pytest

from search_spaces.canonical import canonical_cell
from search_spaces.genotype import Block, CellGenotype
from search_spaces.shufflenas import PAPER_OPS
from tests.conftest import make_cell

CONV, POOL, IDENTITY = "conv_1x1", "max_pool_3x3", "identity"
Pairs = list[tuple[int, str]]


def cell_of(*blocks: Pairs, num_inputs: int = 1, outputs: tuple[int, ...] | None = None) -> CellGenotype:
    """A cell of blocks that are lists of (input, op) pairs."""
    return CellGenotype(
        blocks=tuple(Block(tuple(source for source, _ in pairs), tuple(op for _, op in pairs)) for pairs in blocks),
        num_inputs=num_inputs,
        outputs=outputs,
    )


def key(*blocks: Pairs, num_inputs: int = 1, outputs: tuple[int, ...] | None = None, merge="sum", strided=False):
    return canonical_cell(cell_of(*blocks, num_inputs=num_inputs, outputs=outputs), strided=strided, merge=merge)


def test_two_sums_may_share_a_weighted_result_or_have_one_each():
    shared = key([(0, CONV)], [(0, IDENTITY), (1, IDENTITY)], outputs=(1, 2), merge="concat")
    separate = key([(0, CONV)], [(0, IDENTITY), (0, CONV)], outputs=(1, 2), merge="concat")
    assert shared != separate


def test_a_result_shared_by_sums_is_told_from_two_results_behind_later_ops():
    shared = key([(0, CONV)], [(0, IDENTITY), (1, IDENTITY)], [(1, POOL), (2, POOL)])
    separate = key([(0, CONV)], [(0, IDENTITY), (0, CONV)], [(1, POOL), (2, POOL)])
    assert shared != separate


def test_adding_two_identities_is_twice_the_value_and_not_the_value():
    single, double = key([(0, IDENTITY)]), key([(0, IDENTITY), (0, IDENTITY)])
    assert single != double
    assert double == key([(0, IDENTITY)], [(0, IDENTITY), (1, IDENTITY)])
    assert double == key([(0, IDENTITY)], [(0, IDENTITY)])  # two outputs are added too


def test_identities_double_a_value_64_times_without_trouble():
    doubling = [[(node, IDENTITY)] * 2 for node in range(64)]
    assert key(*doubling) == key(*doubling[:-1], [(63, IDENTITY), (63, IDENTITY)])
    assert key(*doubling) != key(*doubling[:-1], [(63, IDENTITY)])


@pytest.mark.parametrize(("op", "merged"), [(POOL, True), (CONV, False)])
def test_only_weight_free_ops_on_one_value_are_merged(op, merged):
    two = key([(0, op)], [(0, op)], [(1, CONV), (2, "sep_conv_3x3")])
    one = key([(0, op)], [(1, CONV), (1, "sep_conv_3x3")])
    assert (two == one) is merged


def test_weight_free_ops_are_merged_on_equal_sums_of_different_blocks():
    first = key([(0, CONV)], [(0, IDENTITY), (1, IDENTITY)], [(1, IDENTITY), (0, IDENTITY)], [(2, POOL), (3, POOL)])
    second = key([(0, CONV)], [(0, IDENTITY), (1, IDENTITY)], [(2, POOL), (2, POOL)])
    assert first == second


def test_weight_free_ops_stay_apart_on_values_of_different_weights():
    assert key([(0, CONV)], [(1, POOL), (1, POOL)]) != key([(0, CONV)], [(0, CONV)], [(1, POOL), (2, POOL)])


def test_ops_count_as_arbitrary_functions():
    pool = "avg_pool_3x3"
    pooled_sum = key([(0, CONV)], [(0, "sep_conv_3x3")], [(1, IDENTITY), (2, IDENTITY)], [(3, pool)])
    sum_of_pools = key([(0, CONV)], [(0, "sep_conv_3x3")], [(1, pool), (2, pool)])
    assert pooled_sum != sum_of_pools


def test_blocks_without_effect_on_the_output_do_not_count():
    used = [(0, CONV)]
    dead = [[(0, POOL)], [(2, CONV), (1, IDENTITY)]]
    assert key(used, *dead, outputs=(1,)) == key(used)
    assert key(used, *dead, outputs=(1, 2)) != key(used)


def test_a_dead_user_does_not_tell_apart_the_values_it_reads():
    reads_one = key([(0, CONV)], [(0, CONV)], [(1, POOL)], outputs=(1, 2), merge="concat")
    assert reads_one == key([(0, CONV)], [(0, CONV)], merge="concat")


def test_an_input_may_be_an_output():
    assert key([(0, CONV)], outputs=(0,)) == key([(0, IDENTITY)])
    assert key([(0, CONV)], outputs=(0, 1)) == key([(0, CONV), (0, IDENTITY)])


def test_an_input_merged_into_the_output_of_a_strided_cell_passes_a_reduction_of_its_own():
    assert key([(0, POOL)], outputs=(0, 1), strided=True) == key([(0, IDENTITY)], [(0, POOL)], strided=True)
    # what the pool reads is one reduction, what is merged another
    once = key([(0, IDENTITY)], [(1, POOL)], outputs=(1, 2), strided=True)
    twice = key([(0, IDENTITY)], [(1, POOL)], outputs=(0, 2), strided=True)
    assert once != twice


def test_a_strided_identity_is_weighted_and_a_later_one_vanishes():
    twice = key([(0, IDENTITY)], [(0, IDENTITY)], [(1, POOL), (2, POOL)], strided=True)
    once = key([(0, IDENTITY)], [(1, POOL), (1, POOL)], strided=True)
    assert twice != once
    assert key([(0, IDENTITY)], [(1, IDENTITY)], [(2, CONV)], strided=True) == key(
        [(0, IDENTITY)], [(1, CONV)], strided=True
    )
    assert key([(0, IDENTITY)], [(1, CONV)], strided=True) != key([(0, CONV)], strided=True)


def test_strided_and_other_cells_differ():
    assert key([(0, CONV)], strided=True) != key([(0, CONV)], strided=False)


def test_inputs_are_not_interchangeable():
    assert key([(0, CONV), (1, POOL)], num_inputs=2) != key([(1, CONV), (0, POOL)], num_inputs=2)
    assert key([(0, IDENTITY)], num_inputs=2) != key([(1, IDENTITY)], num_inputs=2)


def test_a_sum_does_not_tell_which_block_added_and_a_concatenation_does():
    one_block, two_blocks = [[(0, CONV), (0, POOL)]], [[(0, CONV)], [(0, POOL)]]
    assert key(*one_block) == key(*two_blocks)
    assert key(*one_block, merge="concat") != key(*two_blocks, merge="concat")


def test_the_order_of_concatenated_outputs_does_not_count_but_their_number_does():
    blocks = [[(0, CONV)], [(0, POOL)]]
    assert key(*blocks, outputs=(2, 1), merge="concat") == key(*reversed(blocks), outputs=(2, 1), merge="concat")
    assert key([(0, POOL)], [(0, POOL)], merge="concat") != key([(0, POOL)], merge="concat")


def test_ties_are_broken_alike_whatever_the_order_of_blocks():
    # c, c', c'', d reads c + c', d' reads c' + c'': which of the three is in the middle is for the search to find
    keys = set()
    for a, b, c in itertools.permutations((1, 2, 3)):
        edges = [[(a, IDENTITY), (b, IDENTITY)], [(c, IDENTITY), (b, IDENTITY)]]
        keys.add(key(*[[(0, CONV)]] * 3, *edges, [(4, POOL), (5, POOL)]))
    assert len(keys) == 1


def graph_cell(num_points: int, edges: list[tuple[int, int]], order: list[int]) -> CellGenotype:
    """One convolution a point and one pooled sum an edge: two such cells are one exactly if the graphs are."""
    points = [[(0, CONV)]] * num_points
    sums = [[(1 + order[a], IDENTITY), (1 + order[b], IDENTITY)] for a, b in edges]
    pools = [[(1 + num_points + edge, POOL)] for edge in range(len(sums))]
    return cell_of(*points, *sums, *pools)


def cycle(length: int, first: int = 0) -> list[tuple[int, int]]:
    return [(first + i, first + (i + 1) % length) for i in range(length)]


REGULAR_GRAPHS = {
    "of 6 points": (6, cycle(6), cycle(3) + cycle(3, 3)),
    "of 14 points": (14, cycle(3) + cycle(4, 3) + cycle(7, 7), cycle(3) + cycle(5, 3) + cycle(6, 8)),
    "cubic": (
        6,
        [(a, b) for a in range(3) for b in range(3, 6)],  # bipartite
        cycle(3) + cycle(3, 3) + [(0, 3), (1, 4), (2, 5)],  # prism
    ),
}


@pytest.mark.parametrize("name", REGULAR_GRAPHS)
def test_regular_graphs_that_colour_refinement_leaves_in_one_colour_are_told_apart(name):
    num_points, first, second = REGULAR_GRAPHS[name]
    rng = random.Random(0)
    keys = [
        {
            canonical_cell(
                graph_cell(num_points, rng.sample(edges, len(edges)), rng.sample(range(num_points), num_points)),
                strided=False,
            )
            for _ in range(6)
        }
        for edges in (first, second)
    ]
    assert [len(same) for same in keys] == [1, 1]
    assert keys[0] != keys[1]


def test_strongly_regular_graphs_of_the_same_parameters_are_told_apart():
    """The rook's graph and Shrikhande's, both srg(16, 6, 2, 2): even pairs of points look alike to refinement."""
    points = list(itertools.product(range(4), repeat=2))
    steps = {(1, 0), (3, 0), (0, 1), (0, 3), (1, 1), (3, 3)}
    pairs = list(itertools.combinations(points, 2))
    rook = [(a, b) for a, b in pairs if a[0] == b[0] or a[1] == b[1]]
    shrikhande = [(a, b) for a, b in pairs if ((a[0] - b[0]) % 4, (a[1] - b[1]) % 4) in steps]
    keys = []
    for edges in (rook, shrikhande):
        assert len(edges) == 48
        numbered = [(points.index(a), points.index(b)) for a, b in edges]
        # No room for 48 pools: the sums are the outputs of a concatenation.
        for order in (range(16), [(5 * i + 3) % 16 for i in range(16)]):
            sums = [[(1 + order[a], IDENTITY), (1 + order[b], IDENTITY)] for a, b in numbered]
            keys.append(key(*[[(0, CONV)]] * 16, *sums, merge="concat"))
    assert keys[0] == keys[1]
    assert keys[2] == keys[3]
    assert keys[0] != keys[2]


SYMMETRIC = {
    "64 equal blocks": [[(0, CONV)]] * 64,
    "32 equal chains of two": [[(0, CONV)]] * 32 + [[(1 + i, CONV)] for i in range(32)],
    "21 equal chains of three": [[(0, CONV)]] * 21 + [[(1 + i, CONV)] for i in range(42)],
    "a binary tree": [[(0, CONV)]] + [[((i + 1) // 2, CONV)] for i in range(1, 63)],
    "64 equal blocks in a row": [[(i, CONV)] * 64 for i in range(64)],
    "cycles of several lengths": [[(0, CONV)]] * 30
    + [
        [(1 + a, IDENTITY), (1 + b, IDENTITY)]
        for a, b in cycle(3) + cycle(3, 3) + cycle(6, 6) + cycle(3, 12) + cycle(6, 15) + cycle(3, 21) + cycle(6, 24)
    ],
}


@pytest.mark.parametrize("name", SYMMETRIC)
@pytest.mark.parametrize("merge", ["sum", "concat"])
def test_symmetric_cells_take_less_than_a_second(name, merge):
    seconds = timeit.repeat(lambda: key(*SYMMETRIC[name], merge=merge), timer=time.process_time, number=1, repeat=3)
    assert min(seconds) < 1.0


def test_cells_of_one_op_a_block_are_told_apart_alike_for_every_merge():
    """A space of such cells need not know how the network merges."""
    sums: dict[object, set[object]] = {}
    concatenations: dict[object, set[object]] = {}
    choices = [list(itertools.product(range(block + 1), (CONV, POOL, IDENTITY))) for block in range(3)]
    for pairs in itertools.product(*choices):
        for strided in (False, True):
            cell = make_cell(*pairs)
            total = canonical_cell(cell, strided=strided, merge="sum")
            concatenated = canonical_cell(cell, strided=strided, merge="concat")
            sums.setdefault(total, set()).add(concatenated)
            concatenations.setdefault(concatenated, set()).add(total)
    assert 100 < len(sums) == len(concatenations)
    assert all(len(others) == 1 for others in (*sums.values(), *concatenations.values()))


def test_the_key_is_nested_tuples_of_integers_and_texts():
    def flat(part):
        assert isinstance(part, (int, str, tuple))
        return [leaf for child in part for leaf in flat(child)] if isinstance(part, tuple) else [part]

    assert {leaf for leaf in flat(key([(0, CONV)], [(1, POOL)])) if isinstance(leaf, str)} == {CONV, POOL}


def test_every_op_of_the_paper_has_a_key_of_its_own():
    assert len({key([(0, op)], strided=strided) for op in PAPER_OPS for strided in (False, True)}) == 12


def test_an_unknown_op_is_refused():
    with pytest.raises(ValueError, match="unknown op 'conv_9x9'"):
        key([(0, "conv_9x9")])
