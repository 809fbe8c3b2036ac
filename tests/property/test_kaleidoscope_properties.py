"""What holds for every switch network and every butterfly, whatever the size, the permutation and the weights."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.butterfly import (
    butterfly_matrix,
    butterfly_multiply,
    kaleidoscope_matrix,
    permutation_kaleidoscope,
    random_twiddle,
)
from search_spaces.kaleidoscope import OrthogonalKaleidoscope, SwitchShuffle
from search_spaces.mixers import shuffle_index
from search_spaces.switches import route, switch_matrix, switch_permutation, switch_tables


@st.composite
def permutation_indices(draw, sizes):
    return torch.tensor(draw(st.permutations(range(draw(sizes)))))


@st.composite
def switch_settings(draw):
    n = draw(st.integers(1, 64))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**63 - 1)))
    return n, torch.rand(switch_tables(n).num_switches, generator=generator, dtype=torch.float64)


@st.composite
def mixers(draw):
    """A switch shuffle with random logits, up to ones that saturate."""
    mixer = SwitchShuffle(draw(st.integers(1, 40)), groups=1)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**63 - 1)))
    scale = draw(st.sampled_from([0.0, 0.1, 3.0, 100.0]))
    mixer.logits.data = scale * torch.randn(mixer.logits.shape, generator=generator)
    return mixer


@given(permutation_indices(st.integers(1, 64)))
def test_routed_switches_apply_the_permutation(index):
    settings, n = route(index), len(index)
    assert torch.equal(switch_permutation(settings, n), index)
    assert torch.equal(switch_matrix(settings.float(), switch_tables(n)), torch.eye(n)[index])


@given(switch_settings())
def test_soft_matrices_are_doubly_stochastic(case):
    n, settings = case
    matrix = switch_matrix(settings, switch_tables(n))
    assert (matrix >= 0).all()
    torch.testing.assert_close(matrix.sum(0), torch.ones(n, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(matrix.sum(1), torch.ones(n, dtype=torch.float64), rtol=0, atol=1e-12)


@given(switch_settings())
def test_any_hard_settings_give_a_permutation(case):
    n, settings = case
    assert switch_permutation(settings > 0.5, n).sort().values.tolist() == list(range(n))


@given(mixers())
def test_every_switch_shuffle_hardens_to_a_permutation_and_keeps_the_sums_of_its_matrix(mixer):
    matrix = mixer.matrix()
    torch.testing.assert_close(matrix.sum(0), torch.ones(mixer.channels))
    torch.testing.assert_close(matrix.sum(1), torch.ones(mixer.channels))
    index = mixer.harden().index
    assert torch.equal(index.sort().values, torch.arange(mixer.channels))
    assert mixer.regularization() >= 0
    hard = torch.eye(mixer.channels)[index]
    assert mixer.distance() == (matrix - hard).abs().max()


@given(permutation_indices(st.integers(1, 20)), st.integers(1, 4))
def test_a_switch_shuffle_starts_at_the_channel_shuffle(index, groups):
    channels = groups * len(index)
    start = SwitchShuffle(channels, groups=groups).harden()
    assert torch.equal(start.index, shuffle_index(channels, groups))


@given(permutation_indices(st.sampled_from([1, 2, 4, 8, 16, 32, 64])))
def test_every_permutation_of_a_power_of_two_is_a_kaleidoscope_matrix_exactly(index):
    matrix = kaleidoscope_matrix(permutation_kaleidoscope(index), len(index))
    assert torch.equal(matrix, torch.eye(len(index), dtype=torch.float64)[index])


@given(st.integers(0, 6), st.integers(0, 2**63 - 1))
def test_the_adjoint_butterfly_is_the_conjugate_transpose(log_size, seed):
    twiddle = random_twiddle(2**log_size, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))[0, 0]
    adjoint = butterfly_multiply(twiddle, torch.eye(2**log_size, dtype=torch.complex128), adjoint=True).T
    torch.testing.assert_close(adjoint, butterfly_matrix(twiddle).mH)


@given(st.sampled_from([1, 2, 4, 8, 32]), st.integers(0, 2**63 - 1))
def test_rotations_keep_lengths_whatever_the_angles(channels, seed):
    mixer = OrthogonalKaleidoscope(channels, groups=1).double()
    mixer.angles.data = 9 * torch.randn(mixer.angles.shape, generator=torch.Generator().manual_seed(seed)).double()
    matrix = mixer.matrix()
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(channels, dtype=torch.float64), rtol=0, atol=1e-12)
