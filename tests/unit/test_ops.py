import pytest
import torch

from search_spaces.ops import OPS, FactorizedReduction, MinPool, find_op, register_op
from search_spaces.shufflenas import PAPER_OPS


@pytest.mark.parametrize("name", sorted(OPS))
@pytest.mark.parametrize(("stride", "sizes"), [(1, (5, 8)), (2, (5, 8))])
def test_every_op_keeps_channels_and_divides_the_resolution_by_its_stride(name, stride, sizes):
    op = find_op(name).build(6, stride)
    out = op(torch.randn(2, 6, *sizes))
    assert out.shape == (2, 6, -(-sizes[0] // stride), -(-sizes[1] // stride))


def test_the_papers_ops_and_average_pooling_are_in_the_table():
    assert set(PAPER_OPS) | {"avg_pool_3x3"} <= set(OPS)


def test_separable_convolution_has_no_biases_and_norms_only_after_the_pointwise_convolution():
    kinds = [type(module).__name__ for module in find_op("sep_conv_3x3").build(4, 1)]
    assert kinds == ["ReLU", "Conv2d", "Conv2d", "BatchNorm2d"] * 2
    names = [name for name, _ in find_op("sep_conv_5x5").build(4, 2).named_parameters()]
    assert not any(name in ("1.bias", "2.bias", "5.bias", "6.bias") for name in names)


@pytest.mark.parametrize(
    ("name", "stride", "count"),
    [
        ("sep_conv_3x3", 1, 2 * (9 * 8 + 64 + 16)),
        ("sep_conv_5x5", 1, 2 * (25 * 8 + 64 + 16)),
        ("conv_1x1", 1, 64 + 16),
        ("identity", 1, 0),
        ("identity", 2, 64 + 16),
        ("max_pool_3x3", 2, 0),
        ("min_pool_3x3", 1, 0),
        ("avg_pool_3x3", 1, 0),
    ],
)
def test_parameter_counts_by_hand(name, stride, count):
    assert sum(parameter.numel() for parameter in find_op(name).build(8, stride).parameters()) == count


def test_min_pool_takes_the_least_of_nine_and_ignores_padding():
    x = torch.arange(1.0, 10).view(1, 1, 3, 3)
    expected = torch.tensor([[1.0, 1, 2], [1, 1, 2], [4, 4, 5]])
    assert torch.equal(MinPool(stride=1)(x)[0, 0], expected)


def test_average_pool_divides_by_the_pixels_inside():
    out = find_op("avg_pool_3x3").build(1, 1)(torch.ones(1, 1, 3, 3))
    assert torch.equal(out, torch.ones(1, 1, 3, 3))


def test_factorized_reduction_reads_even_pixels_and_their_lower_right_neighbours():
    reduction = FactorizedReduction(1, 2).eval()
    torch.nn.init.ones_(reduction.even.weight)
    torch.nn.init.ones_(reduction.odd.weight)
    out = reduction(torch.arange(1.0, 17).view(1, 1, 4, 4)) * (1 + 1e-5) ** 0.5
    assert torch.allclose(out[0, 0], torch.tensor([[1.0, 3], [9, 11]]))
    assert torch.allclose(out[0, 1], torch.tensor([[6.0, 8], [14, 16]]))


def test_unknown_op_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown op 'conv_9x9'; known: .*avg_pool_3x3, .*conv_1x1, .*sep_conv_7x7"):
        find_op("conv_9x9")


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="registered twice"):
        register_op("identity")(lambda channels, stride: torch.nn.Identity())
