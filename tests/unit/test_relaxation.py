from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch

from nas.studies.demonstrations.relaxation import (
    NEAR,
    Descent,
    Instances,
    best_of_starts,
    descend,
    linear_gap,
    nearby_doubly_stochastic,
    penalty_gradient,
    random_starts,
    round_all,
    snapshots,
    success_rate,
)
from search_spaces.permutations import permutation_matrix, permutation_penalty, project_doubly_stochastic


def doubly_stochastic(problems: int, n: int, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    logits = torch.randn((problems, n, n), generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return project_doubly_stochastic(logits.exp(), iterations=100)


def assert_doubly_stochastic(matrices: torch.Tensor) -> None:
    assert (matrices >= 0).all()
    for dim in (-1, -2):
        sums = matrices.sum(dim)
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=1e-4)


@pytest.mark.parametrize("n", [2, 5, 8])
def test_the_penaltys_gradient_is_that_of_the_shared_penalty(n):
    matrix = doubly_stochastic(3, n).requires_grad_()
    (expected,) = torch.autograd.grad(permutation_penalty(matrix).sum(), matrix)
    torch.testing.assert_close(penalty_gradient(matrix.detach()), expected)


@pytest.mark.parametrize("penalty", [0.0, 8.0])
def test_descending_keeps_matrices_doubly_stochastic(penalty):
    target = doubly_stochastic(4, 6, dtype=torch.float32)
    seen = []
    result = descend(
        doubly_stochastic(4, 6, seed=1, dtype=torch.float32),
        lambda matrix: 6 * (matrix - target),
        Descent(steps=50, penalty=penalty),
        on_step=lambda step, matrix: seen.append((step, matrix)),
    )
    assert_doubly_stochastic(result)
    assert [step for step, _ in seen] == list(range(51))
    assert torch.equal(seen[-1][1], result)


def test_without_penalty_a_quadratic_is_minimised_even_at_the_boundary():
    inner, corner = doubly_stochastic(1, 5), permutation_matrix(torch.tensor([[2, 0, 1, 4, 3]])).double()
    target = torch.cat([inner, corner])
    result = descend(
        torch.full((2, 5, 5), 0.2, dtype=torch.float64),
        lambda matrix: 5 * (matrix - target),
        Descent(steps=600, penalty=0.0),
    )
    torch.testing.assert_close(result, target, rtol=0, atol=1e-3)


def test_the_penalty_turns_the_same_descent_into_one_to_the_nearest_permutation():
    index = torch.tensor([[2, 0, 1, 4, 3]])
    target = 0.6 * permutation_matrix(index).double() + 0.4 / 5
    result = descend(torch.full((1, 5, 5), 0.2, dtype=torch.float64), lambda matrix: 5 * (matrix - target), Descent())
    torch.testing.assert_close(result, permutation_matrix(index).double(), rtol=0, atol=1e-4)


def test_problems_of_a_batch_know_nothing_of_each_other():
    target, start = doubly_stochastic(3, 5), doubly_stochastic(3, 5, seed=1)
    together = descend(start, lambda matrix: 5 * (matrix - target), Descent(steps=30))
    alone = descend(start[1:2], lambda matrix: 5 * (matrix - target[1:2]), Descent(steps=30))
    torch.testing.assert_close(together[1:2], alone, rtol=0, atol=1e-12)


def test_the_penaltys_weight_grows_from_0_after_the_warm_up():
    descent = Descent(steps=100, penalty=4.0, warmup=0.2)
    weights = [descent.penalty_at(step) for step in range(101)]
    assert weights[:21] == [0.0] * 21
    assert weights[60] == pytest.approx(1.0)  # half of what is left, squared
    assert weights[100] == pytest.approx(4.0)
    assert all(later > earlier for earlier, later in pairwise(weights[20:]))


def test_starts_are_doubly_stochastic_positive_and_ever_farther_from_the_centre():
    center = permutation_matrix(torch.stack([torch.arange(6), torch.arange(6).flip(0)])).double()
    starts = random_starts(center, starts=4, generator=torch.Generator().manual_seed(0))
    assert starts.shape == (8, 6, 6)
    assert_doubly_stochastic(starts)
    assert (starts > 0).all()
    torch.testing.assert_close(starts[4], 0.9 * center[1] + 0.1 / 6)
    for problem in (0, 1):
        overlap = (starts.view(2, 4, 6, 6)[problem] * center[problem]).sum(dim=(1, 2)).tolist()
        assert all(later < earlier for earlier, later in pairwise(overlap))
    again = random_starts(center, starts=4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(starts, again)


def test_rounding_gives_permutations_and_distances():
    index = torch.tensor([[1, 0, 2], [0, 1, 2]])
    matrices = torch.stack([permutation_matrix(index[0]), 0.7 * permutation_matrix(index[1]) + 0.1])
    found, distances = round_all(matrices)
    assert found.tolist() == index.tolist()
    torch.testing.assert_close(distances, torch.tensor([0.0, 0.2]))


def test_the_linear_gap_is_that_to_the_best_permutation():
    gradient = torch.tensor([[[1.0, 3.0], [2.0, 5.0]]])  # the identity costs 6, the other permutation 5
    assert float(linear_gap(torch.eye(2)[None], gradient)) == 1.0
    assert float(linear_gap(torch.eye(2).flip(0)[None], gradient)) == 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Distances(Instances):
    """Of the matrix to a target."""

    target: torch.Tensor

    def objective(self, matrix):
        return (matrix - self.target).square().sum(dim=(1, 2))

    def gradient(self, matrix):
        return 4 * (matrix - self.target)


def test_the_best_start_is_one_of_the_problems_own():
    planted = torch.tensor([[1, 2, 0], [2, 1, 0]])
    instances = Distances(planted=planted, target=permutation_matrix(planted).double())
    starts = torch.tensor([[0, 1, 2], [1, 2, 0], [2, 1, 0]] * 2)
    soft = 0.7 * permutation_matrix(starts) + 0.1
    matrices, indices = best_of_starts(instances, soft)
    assert torch.equal(indices, planted)
    assert torch.equal(matrices, soft[[1, 5]])


def test_repeated_instances_are_next_to_each_other_and_of_single_precision():
    planted = torch.tensor([[0, 1], [1, 0]])
    repeated = Distances(planted=planted, target=permutation_matrix(planted).double()).repeated(2)
    assert repeated.planted.tolist() == [[0, 1], [0, 1], [1, 0], [1, 0]]
    assert torch.equal(repeated.target, permutation_matrix(repeated.planted))


def test_a_success_rate_has_the_named_ends_of_its_interval():
    rate = success_rate("found", torch.tensor([True, True, False, True]), ends=("from", "to"))
    assert list(rate) == ["found", "from", "to"]
    assert 0 < rate["from"] < rate["found"] == 0.75 < rate["to"] < 1


def test_a_film_has_start_and_end_of_both_descents():
    planted = torch.tensor([[3, 2, 1, 0]])
    instances = Distances(planted=planted, target=0.6 * permutation_matrix(planted) + 0.1)
    figures = snapshots(instances, Descent(), seed=0, pictures=3)
    assert figures["steps"] == [0, 150, 300]
    assert [len(figures[kind]) for kind in ("relaxation", "penalty")] == [3, 3]
    assert figures["relaxation"][0] == figures["penalty"][0]
    torch.testing.assert_close(torch.tensor(figures["penalty"][2]), torch.eye(4), rtol=0, atol=NEAR)  # planted order
    torch.testing.assert_close(torch.tensor(figures["relaxation"][2]), 0.6 * torch.eye(4) + 0.1, rtol=0, atol=NEAR)


def test_matrices_with_tiny_entries_become_doubly_stochastic_where_normalising_does_not():
    stuck = torch.tensor([[[0.5, 0.5, 1e-12], [1e-12, 0.2, 0.8], [1e-12, 1e-12, 1.0]]], dtype=torch.float64)
    normalised = project_doubly_stochastic(stuck, iterations=50)
    assert float((normalised.sum(dim=1) - 1).abs().max()) > 1e-3
    result = nearby_doubly_stochastic(stuck)
    assert_doubly_stochastic(result)
    off = float((normalised.sum(dim=1) - 1).abs().sum())
    assert float((result - normalised).abs().sum()) <= 2 * off + 1e-9
    exact = doubly_stochastic(2, 4)
    torch.testing.assert_close(nearby_doubly_stochastic(exact), exact, rtol=0, atol=1e-9)
