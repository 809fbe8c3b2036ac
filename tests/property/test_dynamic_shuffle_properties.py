"""Whatever the sizes, the weights and the input: a dynamic shuffle permutes."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.dynamic_shuffle import DynamicShuffle, StaticDynamicShuffle
from search_spaces.permutations import orthogonality_penalty, permutation_matrix

FORMATS = st.sampled_from([torch.contiguous_format, torch.channels_last])


@st.composite
def cases(draw, mixer_class=DynamicShuffle):
    """A mixer with drawn weights, and an input in which every channel is a constant of its own."""
    groups, per_group = draw(st.integers(1, 4)), draw(st.integers(2, 12))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    mixer = mixer_class(groups * per_group, groups=groups, reduction=draw(st.integers(1, 16)))
    scale = draw(st.sampled_from([0.0, 0.1, 1.0, 30.0]))
    for parameter in mixer.parameters():
        torch.nn.init.normal_(parameter, std=scale)
    samples, height, width = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    constants = torch.stack([torch.randperm(mixer.channels) for _ in range(samples)]).float() - mixer.channels / 3
    x = constants[:, :, None, None].expand(samples, mixer.channels, height, width)
    return mixer, x.contiguous(memory_format=draw(FORMATS))


@given(cases())
def test_every_sample_is_permuted_and_channels_stay_whole(case):
    mixer, x = case
    out = mixer(x).detach()
    assert out.shape == x.shape
    assert torch.equal(out.sort(dim=1).values, x.sort(dim=1).values)
    assert (out == out[:, :, :1, :1]).all()


@given(cases())
def test_channels_never_leave_their_group(case):
    mixer, x = case
    groups = mixer.generator.groups
    inputs = x.unflatten(1, (groups, -1))
    outputs = mixer(x).detach().unflatten(1, (-1, groups)).transpose(1, 2)  # the shuffle across groups undone
    assert torch.equal(outputs.sort(dim=2).values, inputs.sort(dim=2).values)


@given(cases())
def test_the_hardened_mixer_is_exactly_the_binary_one(case):
    mixer, x = case
    hard = mixer.harden()
    assert torch.equal(hard(x), mixer(x))
    with torch.no_grad():
        assert torch.equal(hard(x), mixer(x))


@given(cases(StaticDynamicShuffle))
def test_the_hardened_static_dynamic_mixer_is_exactly_the_binary_one(case):
    mixer, x = case
    assert torch.equal(mixer.harden()(x), mixer(x))


@given(cases())
def test_a_soft_output_is_a_mean_of_inputs_and_penalty_and_distance_have_their_ranges(case):
    mixer, x = case
    mixer.binary = False
    out = mixer(x)
    assert (out <= x.amax(dim=1, keepdim=True) + 1e-3).all()
    assert (out >= x.amin(dim=1, keepdim=True) - 1e-3).all()
    assert mixer.regularization() >= 0
    assert 0 <= mixer.distance() <= 1


@given(st.permutations(range(7)))
def test_the_penalty_is_exactly_zero_at_permutations(order):
    assert orthogonality_penalty(permutation_matrix(torch.tensor(order))) == 0


@given(st.integers(2, 8), st.integers(0, 2**31))
def test_the_penalty_is_positive_at_other_row_stochastic_matrices(size, seed):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(3, size, size, generator=generator, dtype=torch.float64).softmax(dim=-1)
    assert (orthogonality_penalty(matrix) > 1e-3).all()
    repeated = torch.eye(size)[torch.zeros(size, dtype=torch.long)]  # 0 and 1, rows summing to 1, no permutation
    assert orthogonality_penalty(repeated) == size * (size - 1)
