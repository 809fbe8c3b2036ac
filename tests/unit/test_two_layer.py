from dataclasses import replace

import pytest
import torch

from nas.studies.demonstrations.planted import Teachers, TwoLayerSettings, draw_teachers, two_layer
from nas.studies.demonstrations.plots import matrices_over_time, success_curves
from nas.studies.demonstrations.relaxation import NEAR, Descent, chance_starts, descend_best, round_all
from search_spaces.permutations import permutation_matrix, project_doubly_stochastic

DESCENT = TwoLayerSettings().descent
TINY = TwoLayerSettings(
    sizes=(4,),
    noises=(0.1,),
    samples_per_unit=(2.0,),
    base_size=5,
    instances=3,
    starts=2,
    descent=Descent(steps=20),
)


def recover(teachers: Teachers, descent: Descent, *, starts: int, seed: int) -> torch.Tensor:
    return descend_best(teachers, chance_starts(teachers, starts=starts, seed=seed), descent)[0]


def test_the_students_loss_is_0_with_the_planted_permutation_and_without_noise():
    teachers = draw_teachers(4, 6, samples=20, noise=0.0, seed=0)
    assert float(teachers.objective(permutation_matrix(teachers.planted)).max()) < 1e-12
    assert float(teachers.objective(permutation_matrix(teachers.planted.roll(1, dims=1))).min()) > 1e-2


def test_the_student_computes_two_layers_with_the_permutation_between_them():
    teachers = draw_teachers(2, 3, samples=4, noise=0.2, seed=0)
    matrix = permutation_matrix(torch.tensor([[1, 2, 0], [2, 1, 0]]))
    expected = torch.stack(
        [
            torch.stack([teachers.weights[k] @ (matrix[k] @ hidden).relu() for hidden in teachers.hidden[k]])
            for k in range(2)
        ]
    )
    torch.testing.assert_close(teachers.residual(matrix) + teachers.outputs, expected)


def test_the_noise_is_what_the_planted_permutation_leaves_over():
    teachers = draw_teachers(20, 8, samples=50, noise=0.3, seed=0)
    assert float(teachers.objective(permutation_matrix(teachers.planted)).mean()) == pytest.approx(0.09, rel=0.05)


def test_the_gradient_is_that_of_n_times_the_loss():
    teachers = draw_teachers(3, 5, samples=12, noise=0.1, seed=0)
    logits = torch.randn((3, 5, 5), generator=torch.Generator().manual_seed(1))
    matrix = project_doubly_stochastic(logits.exp(), iterations=50).requires_grad_()
    (expected,) = torch.autograd.grad(5 * teachers.objective(matrix).sum(), matrix)
    torch.testing.assert_close(teachers.gradient(matrix.detach()), expected)


def test_with_noise_the_penalty_recovers_the_permutation_and_the_relaxation_is_none():
    teachers = draw_teachers(20, 8, samples=32, noise=0.1, seed=3)
    penalized = recover(teachers, DESCENT, starts=6, seed=0)
    relaxed = recover(teachers, replace(DESCENT, penalty=0.0), starts=6, seed=0)
    for matrix in (penalized, relaxed):
        for dim in (1, 2):
            torch.testing.assert_close(matrix.sum(dim), torch.ones(20, 8), rtol=0, atol=1e-4)
    indices, distances = round_all(penalized)
    assert int(((indices == teachers.planted).all(dim=1) & (distances <= NEAR)).sum()) >= 18
    assert int((round_all(relaxed)[1] <= NEAR).sum()) <= 1


def test_the_relaxation_does_not_become_a_permutation_by_descending_longer():
    teachers = draw_teachers(10, 8, samples=32, noise=0.3, seed=3)
    distances = []
    for steps in (400, 1600):
        relaxed = recover(teachers, replace(DESCENT, penalty=0.0, steps=steps), starts=1, seed=0)
        distances.append(float(round_all(relaxed)[1].median()))
    assert min(distances) > 5 * NEAR
    assert distances[1] == pytest.approx(distances[0], rel=0.2)


def test_without_noise_the_relaxation_too_approaches_the_permutation():
    teachers = draw_teachers(10, 8, samples=64, noise=0.0, seed=3)
    relaxed = recover(teachers, replace(DESCENT, penalty=0.0, steps=800), starts=6, seed=0)
    indices, distances = round_all(relaxed)
    assert (indices == teachers.planted).all()
    assert float(distances.max()) < 0.05


def test_starts_of_different_instances_and_numbers_differ():
    begun = chance_starts(draw_teachers(2, 4, samples=8, noise=0.1, seed=0), starts=3, seed=0)
    assert begun.shape == (6, 4, 4)
    assert len({str(matrix.tolist()) for matrix in begun}) == 6


def test_a_run_repeats_itself_and_reports_each_row():
    rows = []
    first, second = two_layer(TINY, seed=1, on_row=rows.append), two_layer(TINY, seed=1, on_row=lambda row: None)
    assert rows == first["rows"]
    assert [(row["n"], row["noise"], row["samples_per_unit"]) for row in rows[::4]] == [
        (4, 0.1, 4.0),
        (5, 0.1, 2.0),
        (5, 0.1, 4.0),
    ]
    methods = [("relaxation", 1), ("relaxation", 2), ("penalty", 1), ("penalty", 2)]
    assert [(row["method"], row["starts"]) for row in rows] == methods * 3
    for figures in (first, second):
        for row in figures["rows"]:
            assert row.pop("seconds_per_instance") > 0
            assert row["low"] <= row["success"] <= row["high"]
            assert row["success"] <= min(row["recovery"], row["permutation_share"])
    assert first == second
    assert first != two_layer(TINY, seed=2, on_row=lambda row: None)


def test_plots_are_written(tmp_path):
    figures = two_layer(TINY, seed=1, on_row=lambda row: None)
    where = {"noise": 0.1, "samples_per_unit": 4.0}
    for rate in ("success", "recovery"):
        success_curves(figures["rows"], tmp_path / f"{rate}.svg", along="n", where=where, rate=rate)
    matrices_over_time(figures, tmp_path / "matrices.svg")
    assert len(list(tmp_path.iterdir())) == 3
    assert all(path.stat().st_size > 5000 for path in tmp_path.iterdir())
