from itertools import permutations
from math import sqrt

import pytest
import torch

from search_spaces.permutations import (
    distance_to_permutation,
    greedy_permutation,
    inverse_permutation,
    nearest_permutation,
    permutation_matrix,
    permutation_penalty,
    project_doubly_stochastic,
)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ([[0.5, 0.5], [0.5, 0.5]], 4 * (1 - sqrt(0.5))),
        ([[0.75, 0.25], [0.25, 0.75]], 4 * (1 - sqrt(0.625))),
        ([[1.0, 0.0], [0.5, 0.5]], (1 - sqrt(0.5)) + (1.5 - sqrt(1.25))),
        ([[3.0, -4.0], [0.0, 0.0]], 7 - 5),
        ([[0.0, 1.0], [1.0, 0.0]], 0),
        ([[0.0, 0.0], [0.0, 0.0]], 0),
        ([[0.3]], 0),
    ],
)
def test_penalty_is_what_one_computes_by_hand(matrix, expected):
    assert permutation_penalty(torch.tensor(matrix)).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("n", [2, 9, 64])
def test_penalty_of_the_uniform_matrix_is_its_largest(n):
    uniform = torch.full((n, n), 1 / n)
    assert permutation_penalty(uniform).item() == pytest.approx(2 * (n - sqrt(n)), rel=1e-5)


def test_penalty_of_a_batch_is_the_penalty_of_each():
    matrices = torch.rand(2, 3, 5, 5)
    expected = torch.stack([torch.stack([permutation_penalty(m) for m in row]) for row in matrices])
    torch.testing.assert_close(permutation_penalty(matrices), expected)


def test_penalty_has_the_gradient_of_finite_differences():
    matrix = (torch.rand(2, 4, 4, dtype=torch.float64) + 0.05).requires_grad_()
    assert torch.autograd.gradcheck(permutation_penalty, (matrix,))


def test_penalty_gradient_by_hand():
    matrix = torch.tensor([[0.75, 0.25], [0.25, 0.75]], requires_grad=True)
    permutation_penalty(matrix).backward()
    large, small = 2 - 2 * 0.75 / sqrt(0.625), 2 - 2 * 0.25 / sqrt(0.625)
    torch.testing.assert_close(matrix.grad, torch.tensor([[large, small], [small, large]]))


def test_penalty_gradient_is_zero_in_rows_and_columns_of_zeros():
    matrix = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.0, 0.25, 0.75]], requires_grad=True)
    permutation_penalty(matrix).backward()
    assert matrix.grad[0].tolist() == [0, 0, 0]
    assert matrix.grad[:, 0].tolist() == [0, 0, 0]
    assert (matrix.grad[1:, 1:] > 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype):
    n = 1024
    matrix = torch.full((n, n), 1 / n, dtype=dtype)
    assert permutation_penalty(matrix).dtype == torch.float32
    assert permutation_penalty(matrix).item() == pytest.approx(2 * (n - sqrt(n)), rel=1e-5)
    projected = project_doubly_stochastic(matrix * 3)
    assert projected.dtype == torch.float32
    torch.testing.assert_close(projected, torch.full((n, n), 1 / n))


def test_projection_clamps_then_normalises_columns_then_rows():
    matrix = torch.tensor([[1.0, -5.0], [3.0, 2.0]])
    # Columns: (1/4, 3/4) and (0, 1); rows: (1/4, 0) and (3/4, 1).
    expected = torch.tensor([[1.0, 0.0], [3 / 7, 4 / 7]])
    torch.testing.assert_close(project_doubly_stochastic(matrix), expected)


def test_projection_with_many_iterations_is_doubly_stochastic():
    projected = project_doubly_stochastic(torch.rand(3, 10, 10) + 0.1, iterations=50)
    for dim in (-1, -2):
        torch.testing.assert_close(projected.sum(dim), torch.ones(3, 10))


def test_projection_makes_empty_columns_and_rows_uniform():
    column = project_doubly_stochastic(torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    torch.testing.assert_close(column, torch.full((2, 2), 0.5))
    row = project_doubly_stochastic(torch.tensor([[-1.0, 0.0], [2.0, 4.0]]))
    assert row.tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert project_doubly_stochastic(-torch.ones(4, 4)).tolist() == [[0.25] * 4] * 4


def test_projection_has_the_gradient_of_finite_differences():
    matrix = (torch.rand(4, 4, dtype=torch.float64) + 0.05).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: project_doubly_stochastic(m, iterations=2), (matrix,))


@pytest.mark.parametrize(
    "rows",
    [[[0.0, 1.0, 1.0], [0.0, 2.0, 1.0], [-1.0, 3.0, 5.0]], [[-1.0, 0.0, 0.0], [1.0, 2.0, 3.0], [3.0, 1.0, 1.0]]],
    ids=["column", "row"],
)
def test_projection_gradient_is_finite_at_empty_columns_and_rows(rows):
    matrix = torch.tensor(rows, requires_grad=True)
    (project_doubly_stochastic(matrix, iterations=2) * torch.randn(3, 3)).sum().backward()
    assert matrix.grad.isfinite().all()
    assert matrix.grad.abs().sum() > 0


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_nearest_permutation_is_the_best_of_all(n):
    for _ in range(5):
        matrix = torch.rand(n, n)
        rows = torch.arange(n)
        best = max(permutations(range(n)), key=lambda index: matrix[rows, list(index)].sum().item())
        assert nearest_permutation(matrix).tolist() == list(best)


def test_nearest_permutation_where_the_largest_of_every_row_is_none():
    matrix = torch.tensor([[0.9, 0.1, 0.0], [0.6, 0.0, 0.4], [0.0, 0.9, 0.1]])
    assert matrix.argmax(dim=1).tolist() == [0, 0, 1]
    assert nearest_permutation(matrix).tolist() == [0, 2, 1]


def test_nearest_permutation_refuses_nan():
    with pytest.raises(ValueError, match="not finite"):
        nearest_permutation(torch.tensor([[0.0, torch.nan], [1.0, 0.0]]))


def test_greedy_takes_the_largest_first_even_where_that_is_not_the_best():
    matrix = torch.tensor([[0.9, 0.8], [0.8, 0.0]])
    assert greedy_permutation(matrix[None]).tolist() == [[0, 1]]
    assert nearest_permutation(matrix).tolist() == [1, 0]


def test_greedy_takes_the_first_of_equals():
    assert greedy_permutation(torch.ones(2, 4, 4)).tolist() == [[0, 1, 2, 3]] * 2
    assert greedy_permutation(torch.tensor([[[0.0, 1.0], [1.0, 1.0]]])).tolist() == [[1, 0]]


def test_greedy_is_a_permutation_of_anything():
    matrices = torch.stack([torch.full((5, 5), value) for value in (torch.nan, torch.inf, -torch.inf, 0.0, -1e38)])
    matrices[0, 1, 2] = -1.0  # more than nan, which counts as the smallest
    indices = greedy_permutation(matrices)
    assert indices.sort(dim=1).values.tolist() == [[0, 1, 2, 3, 4]] * 5
    assert indices[0, 1] == 2


def test_greedy_of_an_empty_batch_is_empty():
    assert greedy_permutation(torch.rand(0, 3, 3)).shape == (0, 3)


def test_distance_is_the_largest_entry_to_move():
    assert distance_to_permutation(torch.tensor([[0.25, 0.75], [0.9, 0.1]])).item() == pytest.approx(0.25)
    assert distance_to_permutation(torch.eye(3)).item() == 0


def test_matrix_gathers():
    index = torch.tensor([2, 0, 1])
    assert permutation_matrix(index).tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    x = torch.randn(3)
    assert torch.equal(permutation_matrix(index) @ x, x[index])


def test_inverse_is_that_of_the_matrices():
    index = torch.stack([torch.randperm(7) for _ in range(4)])
    assert torch.equal(permutation_matrix(inverse_permutation(index)), permutation_matrix(index).mT)


@pytest.mark.parametrize(
    ("function", "shape"),
    [
        (permutation_penalty, (2, 3)),
        (project_doubly_stochastic, (3,)),
        (nearest_permutation, (2, 3)),
        (nearest_permutation, (2, 3, 3)),
        (greedy_permutation, (3, 3)),
        (greedy_permutation, (1, 2, 3)),
        (distance_to_permutation, (2, 3)),
    ],
)
def test_shapes_other_than_square_are_refused(function, shape):
    with pytest.raises(ValueError, match="got the shape"):
        function(torch.rand(shape))
