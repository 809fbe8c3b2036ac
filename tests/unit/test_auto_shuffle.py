import pytest
import torch

from search_spaces.auto_shuffle import AutoShuffle, start_matrix
from search_spaces.mixers import Permutation, shuffle_index
from search_spaces.permutations import nearest_permutation, permutation_matrix, permutation_penalty

CHANNELS = [1, 2, 3, 10, 58, 116]
NEAR = [True, False]  # the channel shuffle, or no permutation


def groups_of(channels: int) -> int:
    return 1 if channels % 2 else 2


def with_permutation(index: torch.Tensor) -> AutoShuffle:
    mixer = AutoShuffle(len(index), groups=1)
    with torch.no_grad():
        mixer.matrix.copy_(permutation_matrix(index))
    return mixer


def started(channels: int, *, near: bool, groups: int = 2) -> AutoShuffle:
    mixer = AutoShuffle(channels, groups=groups)
    mixer.matrix.data.copy_(start_matrix(channels, groups=groups if near else None))
    return mixer


def descend(mixer: AutoShuffle, *, step: float, max_steps: int) -> int:
    """Descends the penalty alone; returns after how many steps every entry is within 1e-2 of a permutation's."""
    for number in range(max_steps):
        if number % 10 == 0 and mixer.distance() < 1e-2:
            return number
        (gradient,) = torch.autograd.grad(mixer.regularization(), mixer.matrix)
        with torch.no_grad():
            mixer.matrix -= step * gradient
        mixer.project()
    return max_steps


@pytest.mark.parametrize("near", NEAR)
@pytest.mark.parametrize("channels", CHANNELS)
def test_start_is_doubly_stochastic_and_every_entry_positive(channels, near):
    matrix = start_matrix(channels, groups=groups_of(channels) if near else None)
    assert matrix.shape == (channels, channels)
    assert (matrix > 0).all()
    for dim in (0, 1):
        torch.testing.assert_close(matrix.sum(dim), torch.ones(channels), rtol=0, atol=1e-5)


@pytest.mark.parametrize("channels", CHANNELS)
def test_starts_near_a_permutation_harden_to_it(channels):
    groups = groups_of(channels)
    near_shuffle = AutoShuffle(channels, groups=groups).harden()
    assert near_shuffle.index.tolist() == shuffle_index(channels, groups).tolist()
    near_identity = AutoShuffle(channels, groups=1).harden()
    assert near_identity.index.tolist() == list(range(channels))


def test_starts_differ_by_the_noise_and_not_without():
    assert not torch.equal(AutoShuffle(8).matrix, AutoShuffle(8).matrix)
    mixture = 0.8 * permutation_matrix(shuffle_index(8, 2)) + 0.2 / 8
    torch.testing.assert_close(start_matrix(8, groups=2, noise=0.0), mixture)


@pytest.mark.parametrize("near", NEAR)
@pytest.mark.parametrize("channels", [4, 8, 16, 58])
def test_descending_the_penalty_reaches_a_permutation(channels, near):
    mixer = started(channels, near=near)
    begin = mixer.harden()
    assert mixer.distance() > 0.1
    steps = descend(mixer, step=0.3 / channels, max_steps=1000)
    matrix = mixer.matrix.detach()
    assert steps < 1000
    assert (matrix - permutation_matrix(nearest_permutation(matrix))).abs().max() < 1e-2
    if near:
        assert torch.equal(mixer.harden().index, begin.index)


def test_the_uniform_matrix_is_a_saddle_that_the_penalty_does_not_leave():
    mixer = AutoShuffle(8)
    torch.nn.init.constant_(mixer.matrix, 1 / 8)
    descend(mixer, step=0.3 / 8, max_steps=100)
    torch.testing.assert_close(mixer.matrix.detach(), torch.full((8, 8), 1 / 8))


def test_a_matching_loss_with_the_penalty_finds_a_permutation_far_from_the_start():
    truth = torch.randperm(16)
    x = torch.randn(256, 16, 1, 1)
    mixer = AutoShuffle(16)
    optimizer = torch.optim.SGD(mixer.parameters(), lr=0.1)
    for step in range(300):
        loss = (mixer(x) - x[:, truth]).square().mean() + 1e-4 * step * mixer.regularization()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mixer.project()
    assert mixer.distance() < 1e-2
    assert torch.equal(mixer.harden().index, truth)


def test_forward_is_the_matrix_at_every_pixel():
    mixer = AutoShuffle(6)
    x = torch.randn(2, 6, 3, 4)
    torch.testing.assert_close(mixer(x), torch.einsum("oc,nchw->nohw", mixer.matrix, x))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", CHANNELS)
def test_at_a_permutation_soft_and_hard_are_the_same_gather(channels, memory_format):
    index = torch.randperm(channels)
    x = torch.randn(2, channels, 5, 3).to(memory_format=memory_format)
    mixer = with_permutation(index)
    hard = mixer.harden()
    assert isinstance(hard, Permutation)
    assert torch.equal(hard(x), x[:, index])
    assert torch.equal(mixer(x), x[:, index])
    assert mixer.distance() == 0
    assert mixer.regularization() == 0


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [2, 10, 58])
def test_memory_format_is_kept(channels, memory_format):
    x = torch.randn(2, channels, 5, 3).to(memory_format=memory_format)
    assert AutoShuffle(channels)(x).is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("near", NEAR)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_at_1024_channels_stays_close_and_the_penalty_stays_float32(dtype, near):
    mixer = started(1024, near=near)
    x = 100 * torch.randn(1, 1024, 2, 2)
    exact = mixer(x)
    penalty = permutation_penalty(mixer.matrix)
    with torch.autocast("cpu", dtype=dtype):
        out = mixer(x)
        regularization = mixer.regularization()
        (out.float().square().mean() + regularization).backward()
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), exact, rtol=2e-2, atol=1.0)
    assert regularization.dtype == torch.float32
    assert torch.equal(regularization, penalty)
    assert mixer.matrix.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_module_cast_to_half_precision_stays_finite_and_feasible(dtype):
    mixer = AutoShuffle(1024).to(dtype)
    mixer.project()
    assert mixer.matrix.dtype == dtype
    torch.testing.assert_close(mixer.matrix.float().sum(1), torch.ones(1024), rtol=0, atol=1e-2)
    assert mixer(torch.ones(1, 1024, 1, 1, dtype=dtype)).isfinite().all()
    assert mixer.regularization().isfinite()


def test_project_restores_what_a_step_broke_in_place():
    mixer = AutoShuffle(10)
    parameter = mixer.matrix
    with torch.no_grad():
        mixer.matrix += 0.2 * torch.randn(10, 10)
    assert (mixer.matrix < 0).any()
    mixer.project()
    assert mixer.matrix is parameter
    assert mixer.matrix.requires_grad
    assert (mixer.matrix >= 0).all()
    torch.testing.assert_close(mixer.matrix.detach().sum(1), torch.ones(10))


def test_gradients_reach_the_matrix_and_the_input():
    mixer = AutoShuffle(6)
    x = torch.randn(2, 6, 3, 3, requires_grad=True)
    mixer(x).square().sum().backward()
    assert (mixer.matrix.grad != 0).all()
    assert (x.grad != 0).all()
    mixer.zero_grad()
    mixer.regularization().backward()
    assert (mixer.matrix.grad != 0).all()


def test_state_dict_round_trip():
    mixer, other = AutoShuffle(10), AutoShuffle(10)
    other.load_state_dict(mixer.state_dict())
    assert list(mixer.state_dict()) == ["matrix"]
    assert torch.equal(other.matrix, mixer.matrix)
    hard, empty = mixer.harden(), Permutation(torch.arange(10))
    empty.load_state_dict(hard.state_dict())
    assert torch.equal(empty.index, hard.index)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": 0}, "at least 1 channel, got 0"),
        ({"channels": 7}, "divide 7 channels, got 2"),
        ({"channels": 8, "groups": 0}, "divide 8 channels, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        AutoShuffle(settings.pop("channels"), **settings)
