import pytest
import torch

from controllers.lstm import LSTMPolicy
from controllers.uniform import Uniform
from search_spaces.genotype import Block, CellGenotype, Genotype
from search_spaces.nasnet import NASNetSpace
from search_spaces.published import PUBLISHED
from search_spaces.space import size


def test_a_block_asks_for_two_inputs_then_for_two_ops():
    space = NASNetSpace(blocks=2)
    assert [decision.name for decision in space.decisions[4:8]] == [
        "normal.1.input",
        "normal.1.input.1",
        "normal.1.op",
        "normal.1.op.1",
    ]
    assert space.decisions[4].choices == ("layer k-2", "layer k-1", "block 0")
    assert len({decision.name for decision in space.decisions}) == 16


def test_the_size_of_enas_space():
    # ENAS, §2.4: (5 · (B-2)!)² for one cell counted otherwise; here (2·3·4·5·6)² inputs and 5^10 ops a cell.
    assert size(NASNetSpace()) == (720**2 * 5**10) ** 2


@pytest.mark.parametrize("name", ["enas", "nasnet_a"])
def test_published_cells_of_loose_ends_are_in_the_space(name):
    genotype = PUBLISHED[name].genotype
    ops = sorted({op for cell in genotype.cells.values() for block in cell.blocks for op in block.ops})
    space = NASNetSpace(ops=ops)
    assert space.decode(space.encode(genotype)) == genotype


@pytest.mark.parametrize("name", ["pnas_5", "darts_v1", "darts_v2"])
def test_published_cells_that_merge_all_blocks_are_in_the_space(name):
    genotype = PUBLISHED[name].genotype
    ops = sorted({op for cell in genotype.cells.values() for block in cell.blocks for op in block.ops})
    space = NASNetSpace(blocks=len(genotype.normal.blocks), ops=ops, output="all")
    assert space.decode(space.encode(genotype)) == genotype


def test_an_input_that_no_block_reads_is_merged_into_loose_ends_only():
    actions = [0, 0, 0, 0] * 2
    assert NASNetSpace(blocks=1).decode(actions).normal.outputs == (1, 2)
    assert NASNetSpace(blocks=1, output="all").decode(actions).normal.outputs == (2,)


def test_the_lstm_policy_learns_its_log_probabilities():
    space = NASNetSpace(blocks=3, mixers=("identity", "channel_shuffle"))
    policy = LSTMPolicy(space.decisions)
    samples = policy.sample(4)
    assert torch.allclose(policy.log_prob(samples.actions), samples.log_prob, atol=1e-5)
    for row in samples.actions.tolist():
        assert list(space.encode(space.decode(row))) == row


def test_swapping_the_edges_of_a_block_keeps_the_canonical_key():
    space = NASNetSpace(blocks=3)
    for row in Uniform(space.decisions).sample(20).actions.tolist():
        swapped = [row[i + shift] for i in range(0, len(row), 4) for shift in (1, 0, 3, 2)]
        assert space.canonical(space.decode(row)) == space.canonical(space.decode(swapped))


def test_the_order_of_the_cells_inputs_counts():
    space = NASNetSpace(blocks=1)
    older, newer = (space.decode([source, source, 0, 0] * 2) for source in (0, 1))
    assert space.canonical(older) != space.canonical(newer)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"blocks": 0}, "blocks must lie in 1 … 64"),
        ({"output": "some"}, "output must be loose_ends or all"),
        ({"ops": ("sep",)}, "unknown op 'sep'"),
        ({"mixers": ("mix",)}, "unknown mixer 'mix'"),
        ({"mixers": ()}, "at least one mixer"),
    ],
)
def test_impossible_spaces_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        NASNetSpace(**settings)


def test_genotypes_of_other_spaces_are_refused(genotype):
    with pytest.raises(ValueError, match="expected a genotype of the space nasnet"):
        NASNetSpace(blocks=4).encode(genotype)
    cell = CellGenotype(blocks=(Block((0,), ("identity",)),), num_inputs=2, mixer="identity")
    with pytest.raises(ValueError, match="needs inputs: 2, and ops a block: 2"):
        NASNetSpace(blocks=1).canonical(Genotype(space="nasnet", normal=cell, reduction=cell))


def test_a_genotype_that_merges_other_nodes_is_refused():
    space = NASNetSpace(blocks=1, output="all")
    with pytest.raises(ValueError, match="merges other nodes than output=all"):
        space.encode(NASNetSpace(blocks=1).decode([0, 0, 0, 0] * 2))
