"""What holds for all matrices: on the doubly stochastic set the penalty is 0 at permutations and nowhere else."""

import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from search_spaces.permutations import (
    distance_to_permutation,
    greedy_permutation,
    nearest_permutation,
    permutation_matrix,
    permutation_penalty,
    project_doubly_stochastic,
)

SIZES = st.integers(1, 12)


@st.composite
def index_vectors(draw: st.DrawFn, sizes: st.SearchStrategy[int] = SIZES) -> torch.Tensor:
    return torch.tensor(draw(st.permutations(range(draw(sizes)))))


@st.composite
def birkhoff_mixtures(draw: st.DrawFn) -> torch.Tensor:
    """A weighted mean of permutation matrices, in float64; every doubly stochastic matrix is one (Birkhoff)."""
    n = draw(st.integers(1, 8))
    weights = draw(st.lists(st.floats(0.01, 1), min_size=1, max_size=6))
    matrices = [permutation_matrix(draw(index_vectors(st.just(n)))).double() for _ in weights]
    return sum(weight / sum(weights) * matrix for weight, matrix in zip(weights, matrices, strict=True))


@st.composite
def matrices(draw: st.DrawFn) -> torch.Tensor:
    """Any finite matrix, with many ties and zeros."""
    n = draw(st.integers(1, 8))
    entries = st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5]) | st.floats(-1e6, 1e6, width=32)
    return torch.tensor(draw(st.lists(entries, min_size=n * n, max_size=n * n))).view(n, n)


@given(index_vectors())
def test_penalty_and_distance_are_zero_at_permutations(index):
    matrix = permutation_matrix(index)
    assert permutation_penalty(matrix) == 0
    assert distance_to_permutation(matrix) == 0
    assert torch.equal(nearest_permutation(matrix), index)


@given(birkhoff_mixtures())
def test_penalty_is_zero_only_at_permutations(matrix):
    is_permutation = ((matrix < 1e-12) | (matrix > 1 - 1e-12)).all()
    penalty = permutation_penalty(matrix)
    # A row with entries m and at most 1 − m has ‖·‖₂ ≤ √(m² + (1 − m)²), so P ≥ 1 − that.
    largest = torch.minimum(matrix, 1 - matrix).amax()
    least = 1 - (largest**2 + (1 - largest) ** 2).sqrt()
    assert abs(penalty) < 1e-9 if is_permutation else penalty >= least - 1e-12 > 0


@given(matrices())
def test_penalty_is_nonnegative_and_its_gradient_finite(matrix):
    matrix.requires_grad_()
    penalty = permutation_penalty(matrix)
    penalty.backward()
    assert penalty >= -1e-6 * matrix.abs().sum()
    assert matrix.grad.isfinite().all()


@given(matrices(), st.data())
def test_penalty_does_not_change_when_rows_and_columns_are_permuted(matrix, data):
    rows, columns = (data.draw(index_vectors(st.just(len(matrix)))) for _ in range(2))
    torch.testing.assert_close(permutation_penalty(matrix[rows][:, columns].mT), permutation_penalty(matrix))


@given(matrices(), st.integers(1, 4))
def test_projection_is_nonnegative_with_rows_that_sum_to_one(matrix, iterations):
    projected = project_doubly_stochastic(matrix, iterations=iterations)
    assert (projected >= 0).all()
    torch.testing.assert_close(projected.sum(1), torch.ones(len(matrix)))


@given(birkhoff_mixtures())
def test_projection_leaves_doubly_stochastic_matrices_alone(matrix):
    torch.testing.assert_close(project_doubly_stochastic(matrix), matrix, rtol=1e-12, atol=1e-12)


@given(index_vectors())
def test_projection_leaves_permutations_alone_to_the_bit(index):
    matrix = permutation_matrix(index)
    assert torch.equal(project_doubly_stochastic(matrix, iterations=3), matrix)


@given(matrices())
def test_no_permutation_beats_the_nearest(matrix):
    rows = torch.arange(len(matrix))
    best = matrix.double()[rows, nearest_permutation(matrix)].sum()
    rivals = [greedy_permutation(matrix[None])[0], rows, rows.flip(0)]
    assert all(matrix.double()[rows, rival].sum() <= best + 1e-6 for rival in rivals)


@given(matrices())
def test_greedy_is_the_plain_loop(matrix):
    n = len(matrix)
    entries = sorted((-value, at // n, at % n) for at, value in enumerate(matrix.flatten().tolist()))
    expected: dict[int, int] = {}
    for _, row, column in entries:
        if row not in expected and column not in expected.values():
            expected[row] = column
    assert greedy_permutation(matrix[None])[0].tolist() == [expected[row] for row in range(n)]


@given(st.integers(1, 5), st.integers(1, 16), st.integers(0, 2**31))
def test_greedy_and_nearest_find_a_permutation_under_noise(batch, n, seed):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.stack([torch.randperm(n, generator=generator) for _ in range(batch)])
    noisy = permutation_matrix(truth) + 0.9 * torch.rand(batch, n, n, generator=generator)
    assert torch.equal(greedy_permutation(noisy), truth)
    assert all(torch.equal(nearest_permutation(m), index) for m, index in zip(noisy, truth, strict=True))


@given(birkhoff_mixtures())
def test_distance_below_a_half_means_that_rounding_each_entry_is_the_nearest_permutation(matrix):
    distance = distance_to_permutation(matrix)
    assume(distance < 0.49)
    assert torch.equal(permutation_matrix(nearest_permutation(matrix)).double(), matrix.round())
    torch.testing.assert_close(distance, (matrix - matrix.round()).abs().amax())
