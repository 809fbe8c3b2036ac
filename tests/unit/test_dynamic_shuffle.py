import copy
import gc
import math
import pickle
import weakref

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from search_spaces.dynamic_shuffle import DynamicShuffle, StaticDynamicShuffle
from search_spaces.mixers import shuffle_index
from search_spaces.permutations import (
    gather_channels,
    kronecker_shuffle,
    mix_groups,
    nearly_square_factors,
    orthogonality_penalty,
    permutation_matrix,
)

FORMATS = [torch.contiguous_format, torch.channels_last]
WIDTHS = [4, 6, 10, 20, 36, 58, 116, 232]
MIXERS = [DynamicShuffle, StaticDynamicShuffle]


class RecordedOps(TorchDispatchMode):
    """Keeps the names of all ops that run within the context."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def scattered(mixer: nn.Module) -> nn.Module:
    """Redraws all weights, so that the matrices are far from their start and differ between samples."""
    for parameter in mixer.parameters():
        nn.init.normal_(parameter)
    return mixer


def dense(left, right):
    """The (C, C) matrix of one sample: the groups' Kronecker products as blocks, then the shuffle's rows."""
    blocks = torch.block_diag(*(torch.kron(a, b) for a, b in zip(left, right, strict=True)))
    return blocks[shuffle_index(len(blocks), len(left))]


def penalty_by_hand(matrices):
    """‖MMᵀ − I‖² entry by entry, averaged over samples and summed over groups."""
    total = 0.0
    for sample in matrices.tolist():
        for matrix in sample:
            for i, row in enumerate(matrix):
                for j, other in enumerate(matrix):
                    total += (sum(p * q for p, q in zip(row, other, strict=True)) - (i == j)) ** 2
    return total / len(matrices)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(("groups", "a", "b"), [(1, 2, 3), (2, 1, 5), (2, 3, 3), (3, 2, 4)])
def test_mixing_groups_is_the_dense_block_matrix_and_the_shuffle(groups, a, b, memory_format):
    x = torch.randn(4, groups * a * b, 3, 5, dtype=torch.float64).to(memory_format=memory_format)
    left = torch.randn(4, groups, a, a, dtype=torch.float64)
    right = torch.randn(4, groups, b, b, dtype=torch.float64)
    out = mix_groups(x, left, right)
    expected = torch.stack([torch.einsum("ij,jhw->ihw", dense(left[n], right[n]), x[n]) for n in range(4)])
    torch.testing.assert_close(out, expected)
    assert out.is_contiguous(memory_format=memory_format)
    shared = mix_groups(x, left[0], right[0])
    torch.testing.assert_close(shared, torch.einsum("ij,njhw->nihw", dense(left[0], right[0]), x))
    assert shared.is_contiguous(memory_format=memory_format)


def test_permutations_of_a_group_of_six_and_the_shuffle_by_hand():
    left = torch.tensor([[[1, 0], [0, 1]]])  # the first group swaps its halves of three
    right = torch.tensor([[[0, 1, 2], [2, 0, 1]]])  # the second rotates within both halves
    groups = [[3, 4, 5, 0, 1, 2], [8, 6, 7, 11, 9, 10]]
    interleaved = [channel for pair in zip(*groups, strict=True) for channel in pair]
    assert kronecker_shuffle(left, right).tolist() == [interleaved]


@pytest.mark.parametrize("memory_format", FORMATS)
def test_the_gather_agrees_with_the_products(memory_format):
    left = torch.stack([torch.stack([torch.randperm(3) for _ in range(2)]) for _ in range(5)])
    right = torch.stack([torch.stack([torch.randperm(4) for _ in range(2)]) for _ in range(5)])
    x = torch.randn(5, 24, 3, 2).to(memory_format=memory_format)
    out = gather_channels(x, kronecker_shuffle(left, right))
    assert torch.equal(out, mix_groups(x, permutation_matrix(left), permutation_matrix(right)))
    assert out.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize(
    ("number", "factors"), [(1, (1, 1)), (2, (1, 2)), (7, (1, 7)), (16, (4, 4)), (18, (3, 6)), (58, (2, 29))]
)
def test_factors_are_the_most_nearly_square(number, factors):
    assert nearly_square_factors(number) == factors


def test_a_group_of_prime_size_generates_one_matrix_only():
    generator = DynamicShuffle(10).generator
    assert generator.sizes == (1, 5)
    assert generator.expand.out_features == 2 * 5 * 5
    left, right = generator(torch.randn(3, 10, 2, 2))
    assert torch.equal(left, torch.ones(3, 2, 1, 1))
    assert right.shape == (3, 2, 5, 5)


def test_without_the_input_the_start_is_near_the_identity():
    mixer = DynamicShuffle(24)
    nn.init.zeros_(mixer.generator.expand.weight)
    for matrix, size in zip(mixer.generator(torch.randn(2, 24, 3, 3)), (3, 4), strict=True):
        expected = torch.full((size, size), 0.1 / (size - 1)).fill_diagonal_(0.9)
        torch.testing.assert_close(matrix, expected.expand(2, 2, size, size))


@pytest.mark.parametrize("mixer_class", MIXERS)
@pytest.mark.parametrize("channels", WIDTHS)
def test_starts_at_the_plain_channel_shuffle(channels, mixer_class):
    x = torch.randn(3, channels, 4, 4) + 2
    assert torch.equal(mixer_class(channels)(x), x[:, shuffle_index(channels, 2)])


@pytest.mark.parametrize("mixer_class", MIXERS)
def test_one_group_has_no_shuffle(mixer_class):
    x = torch.randn(3, 12, 4, 4)
    assert torch.equal(mixer_class(12, groups=1)(x), x)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("channels", WIDTHS)
def test_the_hardened_mixer_is_exactly_the_binary_one(channels, memory_format):
    mixer = scattered(DynamicShuffle(channels))
    x = torch.randn(5, channels, 3, 4).to(memory_format=memory_format)
    out = mixer(x)
    assert out.requires_grad  # by matrix products with gradients, by a gather without
    hard = mixer.harden()(x)
    assert torch.equal(hard, out)
    with torch.no_grad():
        assert torch.equal(hard, mixer(x))
    assert out.is_contiguous(memory_format=memory_format)
    assert hard.is_contiguous(memory_format=memory_format)
    assert torch.equal(hard.sort(dim=1).values, x.sort(dim=1).values)


def test_the_hardened_static_dynamic_mixer_keeps_the_static_part_exactly():
    mixer = scattered(StaticDynamicShuffle(24))
    x = torch.randn(5, 24, 3, 4)
    hard = mixer.harden()
    assert torch.equal(hard(x), mixer(x))
    static = torch.einsum("ij,njhw->nihw", dense(mixer.static_a, mixer.static_b), x)
    torch.testing.assert_close(hard(x) - hard.dynamic(x), static, atol=1e-4, rtol=1e-4)


def test_a_hardened_mixer_is_independent_of_further_training():
    mixer = scattered(DynamicShuffle(12))
    x = torch.randn(4, 12, 3, 3)
    mixer(x)
    hard = mixer.harden()
    before = hard(x)
    scattered(mixer)
    assert torch.equal(hard(x), before)
    assert not torch.equal(mixer(x), before)
    assert hard.harden()(x).equal(before)
    assert hard.regularization() == hard.distance() == 0


def test_the_hardened_mixer_multiplies_no_feature_maps():
    hard = scattered(DynamicShuffle(24)).harden()
    x = torch.randn(2, 24, 8, 8)
    with RecordedOps() as recorded, torch.no_grad():
        hard(x)
    assert recorded.names.count("index_select") == 1
    assert recorded.names.count("addmm") == 2  # the generator's linear layers
    assert not {"bmm", "mm", "convolution"} & set(recorded.names)


def test_samples_get_permutations_of_their_own():
    mixer = scattered(DynamicShuffle(24))
    x = torch.arange(24.0).view(1, 24, 1, 1).expand(16, 24, 2, 2) * torch.randn(16, 1, 1, 1).sign()
    orders = {tuple(sample) for sample in mixer(x)[:, :, 0, 0].abs().int().tolist()}
    assert len(orders) == 2


@pytest.mark.parametrize("mixer_class", MIXERS)
@pytest.mark.parametrize("binary", [True, False])
def test_a_sample_does_not_depend_on_the_others(mixer_class, binary):
    mixer = scattered(mixer_class(20, binary=binary)).double()
    x = torch.randn(6, 20, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(mixer(x)[2:3], mixer(x[2:3]))


@pytest.mark.parametrize("share", [0.5, 0.9, 1.0])
def test_the_penalty_of_two_by_two_matrices_by_hand(share):
    rest = 1 - share
    value = orthogonality_penalty(torch.tensor([[share, rest], [rest, share]]))
    # MMᵀ − I has −2pq on the diagonal and 2pq off it.
    assert value.item() == pytest.approx(16 * share**2 * rest**2, abs=1e-7)
    equal_rows = orthogonality_penalty(torch.tensor([[share, rest], [share, rest]]))
    norm = share**2 + rest**2
    assert equal_rows.item() == pytest.approx(2 * (norm - 1) ** 2 + 2 * norm**2, abs=1e-6)


def test_the_penalty_is_averaged_over_samples_and_summed_over_groups_and_matrices():
    mixer = scattered(DynamicShuffle(12)).double()
    x = torch.randn(5, 12, 3, 3, dtype=torch.float64)
    mixer(x)
    expected = sum(penalty_by_hand(matrices) for matrices in mixer.generator(x))
    assert expected > 0.1
    assert mixer.regularization().item() == pytest.approx(expected)
    assert mixer.regularization().dtype == torch.float32


def test_the_gradient_of_the_penalty_lowers_it():
    mixer = DynamicShuffle(12)
    x = torch.randn(4, 12, 3, 3)
    mixer(x)
    before = mixer.regularization()
    before.backward()
    torch.optim.SGD(mixer.parameters(), lr=0.1).step()
    mixer(x)
    assert mixer.regularization() < before


@pytest.mark.parametrize("mixer_class", MIXERS)
def test_penalty_and_distance_are_zero_before_any_forward(mixer_class):
    mixer = mixer_class(8)
    for value in (mixer.regularization(), mixer.distance()):
        assert value.shape == ()
        assert value.dtype == torch.float32
        assert value == 0


@pytest.mark.parametrize("mixer_class", MIXERS)
def test_the_penalty_is_of_the_last_training_forward_and_the_distance_of_the_last(mixer_class):
    mixer = scattered(mixer_class(8))
    first, second = torch.randn(4, 8, 3, 3), 3 * torch.randn(4, 8, 3, 3)
    mixer(first)
    penalty, distance = mixer.regularization(), mixer.distance()
    mixer.eval()
    assert torch.equal(mixer(first), mixer.train()(first))
    mixer.eval()(second)
    assert torch.equal(mixer.regularization(), penalty)
    assert mixer.distance() != distance


@pytest.mark.parametrize("mixer_class", MIXERS)
def test_distance_is_the_largest_difference_to_the_exact_permutations(mixer_class):
    mixer = mixer_class(24)
    dynamic = mixer if mixer_class is DynamicShuffle else mixer.dynamic
    nn.init.zeros_(dynamic.generator.expand.weight)
    mixer(torch.randn(2, 24, 3, 3))
    assert mixer.distance().item() == pytest.approx(0.1)
    with torch.no_grad():  # one diagonal of A to logit 0: its row is uniform, 1/3 each
        dynamic.generator.expand.bias[0] = 0
    mixer(torch.randn(2, 24, 3, 3))
    assert mixer.distance().item() == pytest.approx(2 / 3)


@pytest.mark.parametrize("mixer_class", MIXERS)
def test_project_lets_go_of_the_graph(mixer_class):
    mixer = mixer_class(8)
    held = []
    x = torch.randn(2, 8, 3, 3)
    for _ in range(3):
        loss = mixer(x).mean()
        dynamic = mixer if mixer_class is DynamicShuffle else mixer.dynamic
        held.append(weakref.ref(dynamic._last_in_training[0]))
        (loss + mixer.regularization()).backward()
        mixer.project()
        assert mixer.regularization() == 0
        assert not mixer.regularization().requires_grad
        assert mixer.distance() > 0
    gc.collect()
    assert [reference() for reference in held] == [None] * 3


def test_the_number_of_living_tensors_does_not_grow():
    mixer = StaticDynamicShuffle(12)
    optimizer = torch.optim.SGD(mixer.parameters(), lr=0.01)
    x = torch.randn(2, 12, 3, 3)
    counts = {}
    for step in range(6):
        optimizer.zero_grad()
        (mixer(x).square().mean() + mixer.regularization()).backward()
        optimizer.step()
        mixer.project()
        if step in (1, 5):
            gc.collect()
            counts[step] = sum(issubclass(type(found), torch.Tensor) for found in gc.get_objects())
    assert counts[1] == counts[5]


@pytest.mark.parametrize("mixer_class", MIXERS)
def test_a_mixer_can_be_copied_and_pickled_between_forward_and_project(mixer_class):
    mixer = scattered(mixer_class(8))
    x = torch.randn(2, 8, 3, 3)
    out = mixer(x)
    for twin in (copy.deepcopy(mixer), pickle.loads(pickle.dumps(mixer))):
        assert twin.regularization() == twin.distance() == 0
        assert torch.equal(twin(x), out)
    assert mixer.regularization() > 0


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("mixer_class", MIXERS)
@pytest.mark.parametrize("channels", [10, 24])
def test_gradients_reach_all_parameters_and_the_input(channels, mixer_class, binary):
    mixer = mixer_class(channels, binary=binary)
    target = torch.randn(8, channels, 3, 3)
    without = []
    for _ in range(2):
        x = torch.randn(8, channels, 3, 3, requires_grad=True)
        mixer.zero_grad()
        (mixer(x) - target).square().mean().backward()
        torch.optim.SGD(mixer.parameters(), lr=0.1).step()
        without.append([name for name, value in mixer.named_parameters() if not value.grad.any()])
    first = ["static_a"] if mixer_class is StaticDynamicShuffle else []  # W starts as A ⊗ 0: A waits for B
    assert without == [first, []]
    assert (x.grad.abs().amax(dim=(0, 2, 3)) > 0).all()


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(("mixer_class", "channels", "groups"), [(DynamicShuffle, 8, 2), (StaticDynamicShuffle, 6, 1)])
def test_soft_gradients_agree_with_finite_differences(mixer_class, channels, groups, memory_format):
    mixer = scattered(mixer_class(channels, groups=groups, binary=False)).double()
    names = [name for name, _ in mixer.named_parameters()]
    x = torch.randn(2, channels, 2, 2, dtype=torch.float64).to(memory_format=memory_format).requires_grad_()

    def function(x, *parameters):
        out = torch.func.functional_call(mixer, dict(zip(names, parameters, strict=True)), (x,))
        dynamic = mixer if mixer_class is DynamicShuffle else mixer.dynamic
        return out, *(orthogonality_penalty(matrix) for matrix in dynamic._last_in_training)

    assert torch.autograd.gradcheck(function, (x, *mixer.parameters()))


def test_the_binary_gradient_by_a_matrix_is_that_of_a_soft_matrix_at_the_permutation():
    mixer = scattered(DynamicShuffle(8)).double()
    x = torch.randn(3, 8, 2, 2, dtype=torch.float64)
    weight = torch.randn(3, 8, 2, 2, dtype=torch.float64)
    soft = [matrix.detach().requires_grad_() for matrix in mixer.generator(x)]
    mixer.generator.forward = lambda _: tuple(soft)
    (mixer(x) * weight).sum().backward()
    hard = []
    for matrix in soft:  # 2 x 2, so that the nearer of the two permutations is known
        identity = (matrix[..., 0, 0] + matrix[..., 1, 1] > matrix[..., 0, 1] + matrix[..., 1, 0]).double()
        swapped = torch.eye(2).flip(0).double()
        hard.append(identity[..., None, None] * torch.eye(2) + (1 - identity)[..., None, None] * swapped)
        hard[-1].requires_grad_()
    (mix_groups(x, *hard) * weight).sum().backward()
    for matrix, exact in zip(soft, hard, strict=True):
        torch.testing.assert_close(matrix.grad, exact.grad)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mixer_class", MIXERS)
@pytest.mark.parametrize("binary", [True, False])
def test_half_precision_is_finite_and_exact_at_1024_channels(mixer_class, dtype, binary):
    mixer = mixer_class(1024, binary=binary)
    x = (100 * torch.randn(2, 1024, 4, 4)).to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        out = mixer(x)
        penalty = mixer.regularization()
        left, right = (mixer if mixer_class is DynamicShuffle else mixer.dynamic).generator(x)
    assert out.dtype == dtype
    assert left.dtype == right.dtype == penalty.dtype == torch.float32
    assert torch.equal(penalty, mixer.regularization())
    assert out.isfinite().all()
    if binary:
        hard = mixer.harden()
        with torch.autocast("cpu", dtype=dtype):
            assert torch.equal(hard(x), out)
    (out.float().mean() + penalty).backward()
    assert all(parameter.grad.isfinite().all() for parameter in mixer.parameters())


@pytest.mark.parametrize("mixer_class", MIXERS)
def test_float32_maps_under_autocast_are_not_rounded(mixer_class):
    mixer = scattered(mixer_class(12))
    x = torch.randn(2, 12, 3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = mixer(x)
    assert out.dtype == torch.float32
    assert torch.equal(out, mixer(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_half_precision_still_give_float32_matrices(dtype):
    mixer = DynamicShuffle(64).to(dtype)
    x = torch.randn(2, 64, 3, 3).to(dtype)
    assert mixer(x).dtype == dtype
    assert all(matrix.dtype == torch.float32 for matrix in mixer.generator(x))


@pytest.mark.parametrize("mixer_class", MIXERS)
@pytest.mark.parametrize("grad", [True, False])
def test_runs_on_the_meta_device_where_no_value_can_be_read(mixer_class, grad):
    with torch.device("meta"), torch.set_grad_enabled(grad):
        mixer = mixer_class(12)
        x = torch.empty(2, 12, 3, 3)
        for out in (mixer(x), mixer.eval()(x), mixer.harden()(x)):
            assert out.shape == x.shape


@pytest.mark.parametrize(("channels", "percent"), [(58, 307), (64, 30), (116, 119), (232, 57), (512, 20), (1024, 22)])
def test_parameters_are_as_documented(channels, percent):
    count = sum(parameter.numel() for parameter in StaticDynamicShuffle(channels).parameters())
    assert round(100 * count / channels**2) == percent
    a, b = nearly_square_factors(channels // 2)
    hidden = max(4, channels // 16)
    logits = 2 * (b * b + (a * a if a > 1 else 0))
    assert count == hidden * (channels + 1) + (hidden + 1) * logits + 2 * (a * a + b * b)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"groups": 4}, "groups that divide 6 channels, got 4"),
        ({"groups": 0}, "groups that divide 6 channels, got 0"),
        ({"groups": 6}, "at least 2 channels a group, got 6 in 6 groups"),
    ],
)
@pytest.mark.parametrize("mixer_class", MIXERS)
def test_settings_that_do_not_fit_are_named(mixer_class, settings, message):
    with pytest.raises(ValueError, match=message):
        mixer_class(6, **settings)


def trained(mixer, penalty, steps=200):
    """Trains a shuffle to swap the two channels of both groups where the mean of channel 0 is negative.

    Returns the mixer's error on new samples, hardened and not.
    """

    def draw(samples):
        x = torch.randn(samples, 4, 2, 2) * 0.3
        x[:, [0, 2]] += torch.where(torch.rand(samples) < 0.5, -1.0, 1.0).view(samples, 1, 1, 1)
        negative = (x[:, :1].mean(dim=(2, 3), keepdim=True) < 0).float()
        return x, (negative * x[:, [1, 0, 3, 2]] + (1 - negative) * x)[:, [0, 2, 1, 3]]

    optimizer = torch.optim.Adam(mixer.parameters(), lr=0.03)
    for _ in range(steps):
        x, target = draw(32)
        optimizer.zero_grad()
        ((mixer(x) - target).square().mean() + penalty * mixer.regularization()).backward()
        optimizer.step()
        mixer.project()
    x, target = draw(256)
    with torch.no_grad():
        return (mixer.harden()(x) - target).square().mean(), (mixer(x) - target).square().mean()


def test_a_soft_shuffle_learns_when_to_swap_and_its_penalty_makes_it_exact():
    mixer = DynamicShuffle(4, binary=False)
    hard_error, soft_error = trained(mixer, penalty=0.1)
    assert mixer.distance() < 0.05
    assert max(hard_error, soft_error) < 1e-3


def test_a_binary_shuffle_learns_when_to_swap():
    hard_error, error = trained(DynamicShuffle(4), penalty=0.1)
    assert hard_error == error == 0


def test_the_penalty_alone_makes_a_diffuse_shuffle_a_permutation():
    mixer = scattered(DynamicShuffle(24, binary=False))
    network = nn.Sequential(nn.Conv2d(3, 24, 1), mixer, nn.Conv2d(24, 2, 1))
    x, target = torch.randn(16, 3, 4, 4), torch.randn(16, 2, 4, 4)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    network(x)
    assert mixer.distance() > 0.5
    for _ in range(200):
        optimizer.zero_grad()
        ((network(x) - target).square().mean() + mixer.regularization()).backward()
        optimizer.step()
        mixer.project()
    network(x)
    assert mixer.distance() < 0.05
    assert mixer.regularization() < 1e-2


def test_a_static_dynamic_shuffle_learns_what_no_permutation_is():
    mixer = StaticDynamicShuffle(8)
    matrix = 0.3 * dense(torch.randn(2, 2, 2), torch.randn(2, 2, 2)) + torch.eye(8)[shuffle_index(8, 2)]
    optimizer = torch.optim.Adam(mixer.parameters(), lr=0.03)
    for _ in range(200):
        x = torch.randn(32, 8, 2, 2)
        loss = (mixer(x) - torch.einsum("ij,njhw->nihw", matrix, x)).square().mean()
        optimizer.zero_grad()
        (loss + 0.1 * mixer.regularization()).backward()
        optimizer.step()
        mixer.project()
    assert loss < 1e-3
    assert math.isfinite(mixer.distance())
