import pytest

from nas.models.derived import count_parameters
from nas.models.hardening import harden_mixers
from nas.models.shufflenasnet import ShuffleNASNet
from nas.studies.table_i import TABLE_I
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Genotype
from search_spaces.ops import find_op
from search_spaces.published import FROM_PAPERS, PUBLISHED
from search_spaces.shufflenas import ShuffleNASSpace

SHUFFLENASNETS = [
    (name, model) for name, cell in PUBLISHED.items() for model in cell.models if model.network == "shufflenasnet"
]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cells_survive_json_and_have_known_ops(name):
    genotype = PUBLISHED[name].genotype
    assert Genotype.from_json(genotype.to_json()) == genotype
    for cell in genotype.cells.values():
        for block in cell.blocks:
            for op in block.ops:
                find_op(op)


@pytest.mark.parametrize(("name", "model"), SHUFFLENASNETS)
def test_shufflenasnets_have_the_parameters_that_are_told_of_them(name, model):
    candidates = genotype_candidates(PUBLISHED[name].genotype)
    network = ShuffleNASNet(candidates, in_channels=3, num_classes=10, **model.settings)
    harden_mixers(network)
    assert count_parameters(network) == model.parameters


def test_the_reconstructed_counts_are_the_papers():
    ours = [model.parameters for name, model in SHUFFLENASNETS if name in FROM_PAPERS]
    assert ours == [236_196, 470_880, 801_152, 1_786_656, 3_095_936]


@pytest.mark.parametrize("name", ["shufflenasnet_a", "shufflenasnet_b"])
def test_the_reconstructed_cells_are_in_the_papers_space_and_said_to_be_ours(name):
    space = ShuffleNASSpace()
    assert space.decode(space.encode(PUBLISHED[name].genotype)) == PUBLISHED[name].genotype
    assert "ours" in PUBLISHED[name].source


def test_enas_final_cell_is_the_published_arc():
    arc = "0 2 0 0 0 4 0 1 0 4 1 1 1 0 0 1 0 2 1 1", "1 0 1 0 0 3 0 2 1 1 3 1 1 0 0 4 0 3 1 1"
    ops = ("sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3", "identity")
    for cell, text in zip(PUBLISHED["enas"].genotype.cells.values(), arc, strict=True):
        numbers = [n for block in cell.blocks for edge in zip(block.inputs, block.ops, strict=True) for n in edge]
        assert [n if isinstance(n, int) else ops.index(n) for n in numbers] == [int(n) for n in text.split()]


def test_the_table_has_every_published_model_once():
    models = [model for cell in FROM_PAPERS.values() for model in cell.models]
    assert sorted(map(id, models)) == sorted(id(row.model) for row in TABLE_I if row.model is not None)
    ours = [row for row in TABLE_I if row.method == "ShuffleNASNet-A"]
    assert [(row.cells, row.filters, row.error, row.cutout_error) for row in ours] == [
        ("12+2", 36, 4.93, 4.31),
        ("15+2", 48, 4.40, 3.85),
        ("15+2", 64, 4.10, 3.49),
    ]
