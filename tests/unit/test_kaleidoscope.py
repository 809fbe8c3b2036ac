import copy

import pytest
import torch

from search_spaces.kaleidoscope import LOGIT_LIMIT, FixedLinear, Kaleidoscope, OrthogonalKaleidoscope, SwitchShuffle
from search_spaces.mixers import Permutation, shuffle_index

CHANNELS = [1, 2, 3, 5, 8, 10, 20, 58, 116]
MIXERS = [SwitchShuffle, Kaleidoscope, OrthogonalKaleidoscope]
LINEAR = [Kaleidoscope, OrthogonalKaleidoscope]


def groups_of(channels):
    return 2 if channels % 2 == 0 else 1


def make(kind, channels, *, scale=0.0):
    """A mixer, its weights moved from the start by normal noise."""
    mixer = kind(channels, groups=groups_of(channels))
    with torch.no_grad():
        for parameter in mixer.parameters():
            parameter += scale * torch.randn_like(parameter)
    return mixer


def penalty(matrix):
    """The row and column penalty of AutoShuffleNet."""
    return sum(matrix.abs().sum(dim).sum() - matrix.norm(dim=dim).sum() for dim in (0, 1))


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("kind", LINEAR)
def test_linear_mixers_start_exactly_at_the_channel_shuffle(kind, channels):
    x = torch.randn(2, channels, 3, 3)
    assert torch.equal(make(kind, channels)(x), x[:, shuffle_index(channels, groups_of(channels))])


@pytest.mark.parametrize("channels", CHANNELS)
def test_switch_shuffle_starts_soft_at_the_channel_shuffle(channels):
    mixer = make(SwitchShuffle, channels)
    index = shuffle_index(channels, groups_of(channels))
    assert torch.equal(mixer.harden().index, index)
    assert torch.equal(mixer.matrix().argmax(1), index)
    assert (0 < mixer.distance() < 1) or channels == 1


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("kind", MIXERS)
def test_output_is_the_matrix_applied_to_every_pixel(kind, channels):
    mixer = make(kind, channels, scale=0.3)
    x = torch.randn(2, channels, 3, 5)
    torch.testing.assert_close(mixer(x), torch.einsum("ij,njhw->nihw", mixer.matrix(), x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [2, 3, 8, 10, 58])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", MIXERS)
def test_memory_format_stays(kind, memory_format, channels):
    mixer = make(kind, channels)
    x = torch.randn(2, channels, 3, 5).to(memory_format=memory_format)
    for form in (mixer, mixer.harden()):
        assert form(x).is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("kind", MIXERS)
def test_every_parameter_gets_a_gradient(kind):
    mixer = make(kind, 8, scale=0.1)
    mixer(torch.randn(4, 8, 2, 2)).square().mul(torch.rand(8, 1, 1)).sum().backward()
    for parameter in mixer.parameters():
        assert (parameter.grad != 0).all()


@pytest.mark.parametrize("kind", MIXERS)
def test_gradients_agree_with_finite_differences(kind):
    mixer = make(kind, 6, scale=0.5).double()
    x = torch.randn(1, 6, 1, 2, dtype=torch.float64)

    def output(*parameters):
        return torch.func.functional_call(
            mixer, dict(zip([name for name, _ in mixer.named_parameters()], parameters, strict=True)), (x,)
        )

    assert torch.autograd.gradcheck(output, tuple(mixer.parameters()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", MIXERS)
def test_half_precision_rounds_only_the_finished_matrix(kind, dtype):
    mixer = make(kind, 20, scale=0.1)
    half = copy.deepcopy(mixer).to(dtype)
    x = torch.randn(2, 20, 4, 4).to(dtype)
    assert half.matrix().dtype == torch.float32
    for form in (mixer, half, mixer.harden()):
        assert form(x).dtype == dtype
    expected = torch.einsum("ij,njhw->nihw", mixer.matrix().to(dtype).double(), x.double())
    torch.testing.assert_close(mixer(x).double(), expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("kind", MIXERS)
def test_autocast_makes_the_same_matrix_and_trains(kind):
    mixer = make(kind, 12, scale=0.1)
    expected = mixer.matrix()
    x = torch.randn(2, 12, 4, 4, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mixer.matrix(), expected)
        out = mixer(x)
    torch.testing.assert_close(out.float(), mixer(x), rtol=3e-2, atol=3e-2)
    out.float().square().sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in mixer.parameters())


@pytest.mark.parametrize("kind", MIXERS)
def test_a_thousand_channels_are_as_exact_as_few(kind):
    mixer = make(kind, 1024, scale=0.01)
    exact = copy.deepcopy(mixer).double()
    torch.testing.assert_close(mixer.matrix().double(), exact.matrix(), rtol=0, atol=1e-5)
    assert torch.isfinite(mixer.regularization())


def test_rows_and_columns_of_1024_channels_sum_to_one():
    matrix = make(SwitchShuffle, 1024, scale=2).matrix()
    assert (matrix >= 0).all()
    for dim in (0, 1):
        torch.testing.assert_close(matrix.sum(dim), torch.ones(1024), rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", CHANNELS)
def test_saturated_switches_are_their_permutation(channels):
    mixer = make(SwitchShuffle, channels, scale=3)
    with torch.no_grad():
        mixer.logits.copy_(50 * mixer.logits.sign())
    x = torch.randn(2, channels, 3, 3)
    hard = mixer.harden()
    assert isinstance(hard, Permutation)
    assert torch.equal(hard(x), x[:, hard.index])
    torch.testing.assert_close(mixer(x), hard(x), rtol=0, atol=1e-6)
    assert mixer.distance() < 1e-20
    assert mixer.regularization() < 1e-15


@pytest.mark.parametrize("value", [0.0, float("inf"), float("-inf"), 1e38])
def test_any_logits_harden_to_a_permutation(value):
    mixer = SwitchShuffle(10)
    mixer.logits.data[::2] = value
    assert mixer.harden().index.sort().values.tolist() == list(range(10))


def test_regularization_of_one_switch_is_four_p_times_one_minus_p():
    mixer = SwitchShuffle(2, groups=1)
    mixer.logits.data = torch.tensor([0.75]).logit()
    assert mixer.regularization().item() == pytest.approx(4 * 0.75 * 0.25)
    mixer.logits.data[:] = 0
    assert mixer.regularization().item() == 1


@pytest.mark.parametrize("channels", [2, 5, 8, 20, 58])
def test_regularization_near_a_permutation_is_the_row_and_column_penalty(channels):
    mixer = SwitchShuffle(channels, groups=1, start_logit=13).double()
    assert mixer.regularization().item() == pytest.approx(penalty(mixer.matrix()).item(), rel=1e-3)


def test_descending_on_the_regularization_hardens_to_the_nearest_permutation():
    mixer = make(SwitchShuffle, 10, scale=1)
    index = mixer.harden().index
    optimizer = torch.optim.Adam(mixer.parameters(), lr=0.5)
    for _ in range(60):
        optimizer.zero_grad()
        mixer.regularization().backward()
        optimizer.step()
        mixer.project()
    assert mixer.distance() < 1e-3
    assert torch.equal(mixer.harden().index, index)


def test_distance_of_one_switch_is_its_softness():
    mixer = SwitchShuffle(2, groups=1)
    mixer.logits.data = torch.tensor([0.75]).logit()
    assert mixer.distance().item() == pytest.approx(0.25)
    mixer.logits.data = torch.tensor([0.4]).logit()
    assert mixer.distance().item() == pytest.approx(0.4)


def test_project_clamps_the_logits():
    mixer = SwitchShuffle(3, groups=1)
    mixer.logits.data = torch.tensor([-50.0, 3.0, float("inf")])
    mixer.project()
    assert mixer.logits.tolist() == [-LOGIT_LIMIT, 3, LOGIT_LIMIT]


@pytest.mark.parametrize("kind", LINEAR)
def test_linear_mixers_harden_to_their_matrix_and_have_no_penalty(kind):
    mixer = make(kind, 10, scale=0.3)
    x = torch.randn(2, 10, 3, 3)
    hard = mixer.harden()
    assert isinstance(hard, FixedLinear)
    assert torch.equal(hard(x), mixer(x))
    assert not hard(x).requires_grad
    assert [weight.requires_grad for weight in hard.parameters()] == [False]
    assert mixer.regularization() == mixer.distance() == 0


def test_a_hardened_mixer_does_not_follow_its_origin():
    mixer = make(Kaleidoscope, 8)
    hard = mixer.harden()
    before = hard.weight.clone()
    mixer.twiddle.data += 1
    assert torch.equal(hard.weight, before)


@pytest.mark.parametrize(
    ("kind", "channels", "count"),
    [
        (SwitchShuffle, 8, 20),  # 5 layers of 4
        (SwitchShuffle, 5, 4 + 1 + 3),  # outer layers of 2 around networks of 2 and 3
        (Kaleidoscope, 8, 4 * 8 * 3),
        (Kaleidoscope, 116, 4 * 128 * 7),
        (OrthogonalKaleidoscope, 8, 8 * 3 + 8),
        (OrthogonalKaleidoscope, 116, 128 * 7 + 128),
    ],
)
def test_parameter_counts(kind, channels, count):
    mixer = make(kind, channels)
    assert sum(parameter.numel() for parameter in mixer.parameters()) == count


@pytest.mark.parametrize("kind", MIXERS)
def test_groups_must_divide_the_channels(kind):
    with pytest.raises(ValueError, match="divide 7 channels, got 2"):
        kind(7)


@pytest.mark.parametrize("kind", MIXERS)
def test_state_dict_holds_the_parameters_alone_and_restores_the_map(kind):
    mixer, fresh = make(kind, 10, scale=1), make(kind, 10)
    assert set(mixer.state_dict()) == {name for name, _ in mixer.named_parameters()}
    fresh.load_state_dict(mixer.state_dict())
    assert torch.equal(fresh.matrix(), mixer.matrix())


def learn_permutation(target, *, seed, steps=250):
    """Fits a switch shuffle from random logits to y = x[target]; returns the permutation found."""
    generator = torch.Generator().manual_seed(seed)
    channels = len(target)
    mixer = SwitchShuffle(channels, groups=1)
    mixer.logits.data = torch.randn(mixer.logits.shape, generator=generator)
    optimizer = torch.optim.Adam(mixer.parameters(), lr=0.2)
    for step in range(steps):
        x = torch.randn(16, channels, 1, 1, generator=generator)
        optimizer.zero_grad()
        loss = (mixer(x) - x[:, target]).square().mean()
        (loss + 0.01 * step / steps * mixer.regularization() / len(mixer.logits)).backward()
        optimizer.step()
        mixer.project()
    return mixer.harden().index


def test_one_of_four_starts_learns_a_random_permutation():
    # A start gets there about 7 times in 10 (43 of 60 with 400 steps), a guess once in 40,320.
    target = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    assert any(torch.equal(learn_permutation(target, seed=seed), target) for seed in range(4))
