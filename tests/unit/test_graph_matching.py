from itertools import permutations

import pytest
import torch

from nas.studies.demonstrations.planted import (
    GraphMatchingSettings,
    draw_matchings,
    graph_matching,
    penalized_matching,
)
from nas.studies.demonstrations.plots import matrices_over_time, success_curves
from nas.studies.demonstrations.relaxation import NEAR, Descent, linear_gap, round_all
from nas.studies.demonstrations.solvers import faq_matching, relaxed_matching, sinkhorn_matching
from search_spaces.permutations import permutation_matrix, project_doubly_stochastic

TINY = GraphMatchingSettings(
    sizes=(4,), size_noises=(0.0,), noises=(0.2,), noise_size=5, instances=3, starts=2, descent=Descent(steps=20)
)


def matrices_of(indices: torch.Tensor) -> torch.Tensor:
    return permutation_matrix(indices).double()


def some_doubly_stochastic(problems: int, n: int) -> torch.Tensor:
    logits = torch.randn((problems, n, n), generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    return project_doubly_stochastic(logits.exp(), iterations=100)


def test_the_objective_is_0_at_the_planted_permutation_without_noise_and_above_it_elsewhere():
    matchings = draw_matchings(3, 5, noise=0.0, seed=0)
    assert torch.equal(matchings.objective(matrices_of(matchings.planted)), torch.zeros(3, dtype=torch.float64))
    for index in permutations(range(5)):
        candidate = torch.tensor(index).expand(3, 5)
        values = matchings.objective(matrices_of(candidate))
        assert ((values > 1e-3) | (candidate == matchings.planted).all(dim=1)).all()


def test_graphs_are_symmetric_and_the_noise_has_its_deviation():
    clean, noisy = (draw_matchings(50, 8, noise=noise, seed=3) for noise in (0.0, 0.5))
    assert torch.equal(clean.a, clean.a.mT)
    assert torch.equal(noisy.b, noisy.b.mT)
    assert torch.equal(clean.a, noisy.a)
    assert torch.equal(clean.planted, noisy.planted)
    assert float((noisy.b - clean.b).std()) == pytest.approx(0.5, rel=0.05)
    assert float(clean.a.std()) == pytest.approx(1.0, rel=0.05)


def test_the_objectives_gradient_is_that_of_autograd():
    matchings = draw_matchings(3, 5, noise=0.3, seed=0)
    matrix = some_doubly_stochastic(3, 5).requires_grad_()
    (expected,) = torch.autograd.grad(matchings.objective(matrix).sum(), matrix)
    torch.testing.assert_close(matchings.gradient(matrix.detach()), expected)


@pytest.mark.parametrize("noise", [0.0, 0.2, 1.0])
def test_the_relaxation_is_solved_to_its_certificate(noise):
    matchings = draw_matchings(5, 8, noise=noise, seed=1)
    relaxed = relaxed_matching(matchings.a, matchings.b)
    assert (relaxed >= 0).all()
    for dim in (1, 2):
        torch.testing.assert_close(relaxed.sum(dim), torch.ones(5, 8, dtype=torch.float64), rtol=0, atol=1e-6)
    assert float(linear_gap(relaxed, matchings.gradient(relaxed)).max()) < 1e-5
    others = (some_doubly_stochastic(5, 8), matrices_of(matchings.planted), torch.full_like(relaxed, 1 / 8))
    for other in others:
        assert (matchings.objective(relaxed) <= matchings.objective(other) + 1e-8).all()


def test_with_noise_the_penalty_ends_at_a_permutation_and_the_relaxation_does_not():
    matchings = draw_matchings(20, 8, noise=0.2, seed=7)
    relaxed = relaxed_matching(matchings.a, matchings.b)
    matrix, indices = penalized_matching(matchings, relaxed, Descent(), starts=1, seed=0)
    for dim in (1, 2):
        torch.testing.assert_close(matrix.sum(dim), torch.ones(20, 8), rtol=0, atol=1e-4)
    assert int((round_all(matrix)[1] <= NEAR).sum()) >= 19
    assert int((round_all(relaxed)[1] <= NEAR).sum()) <= 1
    assert int((indices == matchings.planted).all(dim=1).sum()) >= 18


def test_without_noise_the_best_of_16_starts_is_the_planted_permutation():
    matchings = draw_matchings(20, 8, noise=0.0, seed=8)
    relaxed = relaxed_matching(matchings.a, matchings.b)
    _, indices = penalized_matching(matchings, relaxed, Descent(), starts=16, seed=0)
    assert int((indices == matchings.planted).all(dim=1).sum()) >= 19


def test_more_starts_never_end_higher_than_their_best_one():
    matchings = draw_matchings(10, 6, noise=1.0, seed=2)
    relaxed = relaxed_matching(matchings.a, matchings.b)
    one, many = (
        penalized_matching(matchings, relaxed, Descent(steps=100), starts=starts, seed=0)[1] for starts in (1, 8)
    )
    values = [matchings.objective(matrices_of(indices)) for indices in (one, many)]
    assert (values[1] <= values[0] + 1e-6).all()  # the first start is the same
    assert (values[1] < values[0] - 1e-3).any()


def test_the_baselines_find_the_planted_permutation_of_small_graphs_without_noise():
    matchings = draw_matchings(10, 5, noise=0.0, seed=4)
    faq = faq_matching(matchings.a, matchings.b, starts=4, seed=0)
    assert int((faq == matchings.planted).all(dim=1).sum()) >= 9
    start = 0.1 * torch.randn((10, 5, 5), generator=torch.Generator().manual_seed(0))
    matrix = sinkhorn_matching(matchings.repeated(1).gradient, start, steps=200)
    assert int((round_all(matrix)[0] == matchings.planted).all(dim=1).sum()) >= 9
    torch.testing.assert_close(matrix.sum(dim=2), torch.ones(10, 5), rtol=0, atol=1e-4)


def test_faq_beats_or_equals_itself_with_fewer_starts():
    matchings = draw_matchings(10, 8, noise=0.5, seed=4)
    few, many = (faq_matching(matchings.a, matchings.b, starts=starts, seed=0) for starts in (1, 8))
    values = [matchings.objective(matrices_of(indices)) for indices in (few, many)]
    assert (values[1] <= values[0] + 1e-9).all()
    assert (values[1] < values[0] - 1e-3).any()


def test_a_run_repeats_itself_and_reports_each_row():
    rows = []
    first, second = (
        graph_matching(TINY, seed=1, on_row=rows.append),
        graph_matching(TINY, seed=1, on_row=lambda row: None),
    )
    assert rows == first["rows"]
    methods = [("relaxation", 1), ("penalty", 1), ("penalty", 2), ("sinkhorn", 1), ("faq", 1), ("faq", 2)]
    assert [(row["method"], row["starts"]) for row in rows] == methods * 2
    assert [(row["n"], row["noise"]) for row in rows[::6]] == [(4, 0.0), (5, 0.2)]
    for figures in (first, second):
        for row in figures["rows"]:
            assert row.pop("seconds_per_instance") > 0
            assert row["low"] <= row["recovery"] <= row["high"]
    assert first == second
    assert first != graph_matching(TINY, seed=2, on_row=lambda row: None)


def test_the_pictures_show_the_penalty_arrive_and_the_relaxation_not():
    figures = graph_matching(
        GraphMatchingSettings(sizes=(), noises=(0.0,), noise_size=2, instances=1, starts=1), seed=0, on_row=print
    )["snapshots"]
    assert figures["steps"] == [0, 60, 120, 180, 240, 300]
    assert figures["relaxation"][0] == figures["penalty"][0]
    ends = torch.tensor([figures["relaxation"][-1], figures["penalty"][-1]])
    assert (round_all(ends)[1] <= NEAR).tolist() == [False, True]
    torch.testing.assert_close(ends[1], torch.eye(8), rtol=0, atol=NEAR)  # rows are in the planted order


def test_plots_are_written_and_repeat_themselves(tmp_path):
    figures = graph_matching(TINY, seed=1, on_row=lambda row: None)
    for name in ("one", "two"):
        success_curves(figures["rows"], tmp_path / name / "curves.svg", along="noise", where={"n": 5})
        matrices_over_time(figures, tmp_path / name / "matrices.svg")
    for name in ("curves.svg", "matrices.svg"):
        content = (tmp_path / "one" / name).read_bytes()
        assert content.startswith(b"<svg")
        assert len(content) > 5000
        assert content == (tmp_path / "two" / name).read_bytes()


def test_plots_without_anything_to_draw_are_refused(tmp_path):
    figures = graph_matching(TINY, seed=1, on_row=lambda row: None)
    with pytest.raises(ValueError, match="nothing to draw"):
        success_curves(figures["rows"], tmp_path / "x.svg", along="noise", where={"n": 99})
    assert not list(tmp_path.iterdir())
