"""One network class: the supernet's path and the derived model are the same function."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from controllers.uniform import Uniform
from nas.models.derived import copy_shared_weights
from nas.models.shufflenasnet import ShuffleNASNet
from search_spaces.cells import Cell, genotype_candidates
from search_spaces.genotype import Block, CellGenotype, Genotype
from search_spaces.shufflenas import ShuffleNASSpace

SETTINGS = {"in_channels": 1, "num_classes": 3, "filters": 8, "cells_per_stage": 1}
SPACE = ShuffleNASSpace(blocks=4, mixers=("channel_shuffle", "identity"))


def genotypes(space: ShuffleNASSpace) -> st.SearchStrategy[Genotype]:
    return st.tuples(*(st.integers(0, len(d.choices) - 1) for d in space.decisions)).map(space.decode)


@given(genotypes(SPACE))
def test_encode_inverts_decode(genotype):
    assert SPACE.decode(SPACE.encode(genotype)) == genotype
    assert Genotype.from_json(genotype.to_json()) == genotype


@given(genotypes(SPACE), st.sampled_from(["sum", "concat_conv1x1"]), st.sampled_from(["op", "edge"]), st.booleans())
def test_a_path_of_the_supernet_is_bitwise_the_derived_model(genotype, merge, sharing, training):
    torch.manual_seed(1)
    supernet = ShuffleNASNet(SPACE.candidates(), merge=merge, sharing=sharing, **SETTINGS)
    derived = ShuffleNASNet(genotype_candidates(genotype), merge=merge, sharing=sharing, **SETTINGS)
    copy_shared_weights(derived, supernet.state_dict())
    supernet.train(training)
    derived.train(training)
    images = torch.randn(3, 1, 8, 8)
    outputs = []
    for network in (supernet, derived):
        torch.manual_seed(2)
        outputs.append(network(images, genotype, drop_prob=0.3 if training else 0.0))
    assert torch.equal(*outputs)


def appended(cell: CellGenotype, node: int) -> CellGenotype:
    """The cell with an identity that reads a loose end, as its last block."""
    return CellGenotype(blocks=(*cell.blocks, Block((node,), ("identity",))), mixer=cell.mixer)


@pytest.mark.parametrize("blocks", range(1, 9))
@pytest.mark.parametrize("merge_batch_norm", [False, True])
def test_a_cell_padded_with_an_identity_is_exactly_the_same_function(blocks, merge_batch_norm):
    torch.manual_seed(blocks)
    space, larger = ShuffleNASSpace(blocks=blocks), ShuffleNASSpace(blocks=blocks + 1)
    for actions in Uniform(space.decisions).sample(5).actions.tolist():
        genotype = space.decode(actions)
        assert genotype.reduction is not None
        images = torch.randn(2, 1, 8, 8)
        network = ShuffleNASNet(genotype_candidates(genotype), merge_batch_norm=merge_batch_norm, **SETTINGS)
        for end, reduction_end in zip(
            genotype.normal.loose_ends, reversed(genotype.reduction.loose_ends), strict=False
        ):
            padded = Genotype(
                space="shufflenas",
                normal=appended(genotype.normal, end),
                reduction=appended(genotype.reduction, reduction_end),
            )
            larger.encode(padded)
            wider = ShuffleNASNet(genotype_candidates(padded), merge_batch_norm=merge_batch_norm, **SETTINGS)
            wider.load_state_dict(network.state_dict())
            assert torch.equal(wider(images, padded), network(images, genotype))
            assert larger.canonical(padded) == space.canonical(genotype)


def inserted(cell: CellGenotype, at: int) -> CellGenotype:
    """The cell with an identity put before block `at`, on the way from that block's input."""

    def shift(node: int) -> int:
        return node + (node > at)

    blocks = [Block((shift(block.inputs[0]),), block.ops) for block in cell.blocks]
    blocks.insert(at, Block(cell.blocks[at].inputs, ("identity",)))
    blocks[at + 1] = Block((at + 1,), cell.blocks[at].ops)
    return CellGenotype(blocks=tuple(blocks), mixer=cell.mixer)


@given(genotypes(SPACE), st.integers(0, 3))
def test_an_identity_inserted_in_the_middle_changes_nothing(genotype, at):
    torch.manual_seed(3)
    cell, padded = genotype.normal, inserted(genotype.normal, at)
    normal = [genotype_candidates(Genotype("shufflenas", c, genotype.reduction))["normal"] for c in (cell, padded)]
    small, large = (Cell(4, candidates, strided=False) for candidates in normal)
    for weight, other in zip(small.parameters(), large.parameters(), strict=True):
        other.data.copy_(weight.data)
    x = torch.randn(2, 4, 6, 6)
    assert torch.equal(small([x], cell), large([x], padded))


@given(st.permutations(range(4)), genotypes(SPACE))
def test_renaming_independent_blocks_keeps_the_canonical_key(order, genotype):
    cell = genotype.normal
    star = CellGenotype(blocks=tuple(Block((0,), block.ops) for block in cell.blocks), mixer=cell.mixer)
    renamed = CellGenotype(blocks=tuple(star.blocks[i] for i in order), mixer=cell.mixer)
    keys = {SPACE.canonical(Genotype("shufflenas", c, genotype.reduction)) for c in (star, renamed)}
    assert len(keys) == 1
