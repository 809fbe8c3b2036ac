import itertools
import math
from collections import defaultdict

import pytest
import torch

from search_spaces.cells import Cell, drop_path
from search_spaces.genotype import CellGenotype, Genotype
from search_spaces.ops import OPS
from search_spaces.shufflenas import ShuffleNASSpace
from search_spaces.space import size
from tests.conftest import make_cell


def genotype_of(cell: CellGenotype) -> Genotype:
    return Genotype(space="shufflenas", normal=cell, reduction=make_cell((0, "conv_1x1")))


@pytest.mark.parametrize("blocks", [1, 2, 5, 7])
def test_size_counts_inputs_and_ops_of_both_cells(blocks):
    assert size(ShuffleNASSpace(blocks=blocks)) == (math.factorial(blocks) * 6**blocks) ** 2


def test_a_second_mixer_is_a_decision_of_each_cell():
    space = ShuffleNASSpace(blocks=2, mixers=("channel_shuffle", "identity"))
    assert [d.name for d in space.decisions if d.kind == "mixer"] == ["normal.2.mixer", "reduction.2.mixer"]
    genotype = space.decode([0, 0, 1, 1, 1, 0, 0, 0, 0, 0])
    assert (genotype.normal.mixer, genotype.reduction.mixer) == ("identity", "channel_shuffle")


def test_decode_reads_input_and_op_of_each_block():
    space = ShuffleNASSpace(blocks=2)
    genotype = space.decode([0, 5, 1, 2, 0, 4, 0, 0])
    assert genotype.normal == make_cell((0, "conv_1x1"), (1, "max_pool_3x3"))
    assert genotype.reduction == make_cell((0, "identity"), (0, "sep_conv_3x3"))


@pytest.mark.parametrize(
    ("actions", "message"),
    [([0] * 7, "expected 8 actions, got 7"), ([1] + [0] * 7, "normal.0.input has choices 0 … 0")],
)
def test_actions_out_of_range_are_refused(actions, message):
    with pytest.raises(ValueError, match=message):
        ShuffleNASSpace(blocks=2).decode(actions)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"blocks": 0}, "blocks must lie in 1 … 64, got 0"),
        ({"ops": ("conv_9x9",)}, "unknown op 'conv_9x9'"),
        ({"ops": ()}, "no choices"),
        ({"mixers": ()}, "at least one mixer"),
        ({"mixers": ("blend",)}, "unknown mixer 'blend'"),
        ({"output": "some"}, "output must be loose_ends or all"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ShuffleNASSpace(**arguments)


def test_a_genotype_of_another_size_is_not_encoded(genotype):
    with pytest.raises(ValueError, match="space has 5 blocks a cell, the genotype 4"):
        ShuffleNASSpace(blocks=5).encode(genotype)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # identities vanish
        ([(0, "conv_1x1"), (1, "identity")], [(0, "identity"), (1, "conv_1x1")]),
        # the order of blocks does not count
        ([(0, "conv_1x1"), (0, "max_pool_3x3")], [(0, "max_pool_3x3"), (0, "conv_1x1")]),
        # two weight-free ops on one value are one
        (
            [(0, "max_pool_3x3"), (0, "max_pool_3x3"), (1, "conv_1x1"), (2, "sep_conv_3x3")],
            [(0, "max_pool_3x3"), (1, "conv_1x1"), (1, "sep_conv_3x3"), (2, "identity")],
        ),
    ],
)
def test_equivalent_cells_share_a_canonical_key(first, second):
    space = ShuffleNASSpace()
    assert space.canonical(genotype_of(make_cell(*first))) == space.canonical(genotype_of(make_cell(*second)))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # x + x is not x
        ([(0, "identity"), (0, "identity")], [(0, "identity"), (1, "identity")]),
        # two convolutions have weights of their own
        (
            [(0, "conv_1x1"), (1, "max_pool_3x3"), (1, "min_pool_3x3")],
            [(0, "conv_1x1"), (0, "conv_1x1"), (1, "max_pool_3x3"), (2, "min_pool_3x3")],
        ),
        # another op, another order of ops
        ([(0, "conv_1x1"), (1, "max_pool_3x3")], [(0, "max_pool_3x3"), (1, "conv_1x1")]),
    ],
)
def test_different_cells_have_different_canonical_keys(first, second):
    space = ShuffleNASSpace()
    assert space.canonical(genotype_of(make_cell(*first))) != space.canonical(genotype_of(make_cell(*second)))


def test_a_strided_identity_has_weights_and_does_not_vanish():
    space = ShuffleNASSpace()
    normal = make_cell((0, "conv_1x1"))
    keys = {
        space.canonical(Genotype(space="shufflenas", normal=normal, reduction=make_cell(*pairs)))
        for pairs in ([(0, "identity"), (1, "conv_1x1")], [(0, "conv_1x1"), (1, "identity")])
    }
    assert len(keys) == 2


@pytest.mark.parametrize("strided", [False, True])
def test_cells_of_one_key_compute_the_same_and_others_do_not(strided):
    """Every cell of two blocks, each op given one set of weights wherever it stands."""
    space = ShuffleNASSpace(blocks=2)
    module = Cell(4, space.candidates()["normal"], strided=strided, sharing="edge").eval().double()
    first: dict[tuple[str, int], torch.nn.Module] = {}
    for name, op in module.ops.items():
        _, _, source, op_name = name.split("_", 3)
        original = first.setdefault((op_name, int(source == "0" and strided)), op)
        op.load_state_dict(original.state_dict())
    for norm in (norm for norm in module.modules() if isinstance(norm, torch.nn.BatchNorm2d)):
        torch.nn.init.constant_(norm.bias, 2.0)
    x = torch.randn(1, 4, 12, 12, dtype=torch.float64) + 3.0  # so that no relu makes all the same by silencing it
    outputs: dict[object, list[tuple[CellGenotype, torch.Tensor]]] = defaultdict(list)
    for (op1, op2), source in itertools.product(itertools.product(space.ops, repeat=2), (0, 1)):
        cell = make_cell((0, op1), (source, op2))
        pair = (cell, make_cell((0, "conv_1x1"))) if not strided else (make_cell((0, "conv_1x1")), cell)
        key = space.canonical(Genotype(space="shufflenas", normal=pair[0], reduction=pair[1]))
        outputs[key].append((cell, module([x], cell)))
    assert len(outputs) < 72
    for group in outputs.values():
        assert all(torch.allclose(out, group[0][1]) for _, out in group)
    for (_, one), (_, other) in itertools.combinations([group[0] for group in outputs.values()], 2):
        assert not torch.allclose(one, other)


def test_drop_path_zeroes_whole_samples_and_keeps_the_mean():
    out = drop_path(torch.ones(20_000, 2, 1, 1), 0.25)
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert torch.equal(out[:, 0], out[:, 1])
    assert out.mean().item() == pytest.approx(1.0, abs=0.02)


def test_drop_path_spares_identities():
    space = ShuffleNASSpace(blocks=1)
    cell = Cell(4, space.candidates()["normal"], strided=False)
    x = torch.randn(8, 4, 3, 3)
    assert torch.equal(cell([x], make_cell((0, "identity")), drop_prob=0.9), x)


def test_concatenation_then_convolution_holds_one_slice_a_block():
    space = ShuffleNASSpace(blocks=3)
    cell = Cell(4, space.candidates()["normal"], strided=False, merge="concat_conv1x1")
    x = torch.randn(2, 4, 5, 5)
    genotype = make_cell((0, "identity"), (0, "max_pool_3x3"), (2, "identity"))
    weight = torch.cat([cell.merge_weights["1"], cell.merge_weights["3"]], dim=1)
    pooled = torch.nn.functional.max_pool2d(x, 3, 1, 1)
    merged = torch.nn.functional.conv2d(torch.relu(torch.cat([x, pooled], dim=1)), weight)
    assert torch.allclose(cell([x], genotype), cell.merge_bn(merged))


def test_an_unknown_merge_is_refused():
    with pytest.raises(ValueError, match="merge must be one of sum, concat, concat_conv1x1, got 'product'"):
        Cell(4, ShuffleNASSpace().candidates()["normal"], strided=False, merge="product")


def test_every_op_of_the_table_can_be_searched():
    space = ShuffleNASSpace(blocks=1, ops=sorted(OPS))
    cell = Cell(4, space.candidates()["normal"], strided=True)
    for op in OPS:
        assert cell([torch.randn(2, 4, 6, 6)], make_cell((0, op))).shape == (2, 4, 3, 3)
