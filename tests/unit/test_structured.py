import itertools
import json
import math

import pytest
import torch

from nas.studies.demonstrations.plots import constructed_plot, descent_film, learned_plot
from nas.studies.demonstrations.structured import (
    LEARNED,
    STARTS,
    TRANSFORMS,
    StructuredSettings,
    construct,
    descend,
    descend_switches,
    expressible,
    find_planted,
    learn,
    learnable,
    structured,
)
from search_spaces.butterfly import identity_twiddle, kaleidoscope_matrix, random_twiddle
from search_spaces.switches import switch_matrix, switch_permutation, switch_tables
from tests.unit.test_plots import texts

TINY = {"constructed_sizes": (4, 8), "learned_sizes": (2, 4), "restarts": 2, "steps": 12, "switch_sizes": (3, 4)}
TINY |= {"planted": 2, "switch_restarts": 2, "switch_steps": 12, "samples": 8}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def figures():
    return structured(StructuredSettings(**TINY), seed=0, on_row=lambda row: None)


def rmse_by_hand(matrix, target):
    n = len(target)
    total = sum(abs(matrix[i][j] - target[i][j]) ** 2 for i in range(n) for j in range(n))
    return math.sqrt(total / n**2)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("n", [2, 8, 64])
def test_what_is_written_is_the_dense_matrix(transform, n):
    row = construct(transform, n, generator=generator())
    assert row["max_error"] < 1e-14
    if transform in ("permutation", "hadamard"):
        assert row["max_error"] == 0


def test_an_error_of_a_written_matrix_is_seen(monkeypatch):
    def wrong(transform, n, *, generator):
        product, target = expressible(transform, n, generator=generator)
        target[1, 2] += 0.25
        return product, target

    monkeypatch.setattr("nas.studies.demonstrations.structured.expressible", wrong)
    assert construct("hadamard", 4, generator=generator())["max_error"] == 0.25


def test_the_dense_matrices_by_hand():
    signs = [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]
    assert expressible("hadamard", 4, generator=generator())[1].tolist() == signs
    roots = torch.tensor([[1, 1, 1, 1], [1, -1j, -1, 1j], [1, -1, 1, -1], [1, 1j, -1, -1j]], dtype=torch.complex128)
    torch.testing.assert_close(expressible("fourier", 4, generator=generator())[1], roots)
    a, b, c, d = torch.randn(4, dtype=torch.float64, generator=generator()).tolist()
    circulant = [[a, d, c, b], [b, a, d, c], [c, b, a, d], [d, c, b, a]]
    assert expressible("convolution", 4, generator=generator())[1].tolist() == circulant
    index = torch.randperm(4, generator=generator())
    x = torch.arange(4.0, dtype=torch.float64)
    assert torch.equal(expressible("permutation", 4, generator=generator())[1] @ x, x[index])


def test_counts_by_hand():
    # BB* at n = 8: 2 butterflies of 3 factors of 4 blocks of 4 entries; a complex entry is 2 numbers, 4 multiplications
    row = construct("permutation", 8, generator=generator())
    assert (row["width"], row["parameters"], row["multiply_adds"]) == (1, 96, 96)
    assert (row["dense_parameters"], row["dense_multiply_adds"]) == (64, 64)
    row = construct("fourier", 8, generator=generator())
    assert (row["width"], row["parameters"], row["multiply_adds"]) == (2, 2 * 192, 4 * 192)
    assert (row["dense_parameters"], row["dense_multiply_adds"]) == (2 * 64, 4 * 64)
    row = construct("convolution", 8, generator=generator())
    assert (row["width"], row["parameters"], row["multiply_adds"]) == (1, 2 * 96, 4 * 96)
    assert (row["dense_parameters"], row["dense_multiply_adds"]) == (64, 64)


@pytest.mark.parametrize("transform", LEARNED)
def test_targets_have_rows_of_mean_square_norm_one(transform):
    target, width = learnable(transform, 8, generator=generator())
    assert target.abs().square().sum().item() == pytest.approx(8)
    assert width == (2 if transform == "fourier" else 1)


def test_the_bit_reversed_target_is_the_fourier_matrix_with_columns_moved():
    target, _ = learnable(LEARNED[-1], 8, generator=generator())
    fourier = torch.fft.fft(torch.eye(8, dtype=torch.complex128)) / math.sqrt(8)
    torch.testing.assert_close(target, fourier[:, [0, 4, 2, 6, 1, 5, 3, 7]])


def test_a_descent_that_starts_at_its_target_stays_there():
    start = identity_twiddle(4, dtype=torch.float64)
    rmse, pictures = descend(start[None], torch.eye(4).double(), StructuredSettings(steps=3), watched=[0, 3])
    assert rmse.tolist() == [0]
    assert len(pictures) == 2
    assert torch.equal(pictures[1][0], torch.eye(4).double())


def test_each_start_descends_as_if_it_were_alone():
    target, _ = learnable("fourier", 4, generator=generator())
    starts = torch.stack([random_twiddle(4, width=2, dtype=target.dtype, generator=generator(s)) for s in range(3)])
    settings = StructuredSettings(steps=5)
    together, _ = descend(starts, target, settings)
    alone = [descend(start[None], target, settings)[0].item() for start in starts]
    assert together.tolist() == pytest.approx(alone, rel=1e-9)
    assert len(set(alone)) == 3


def test_rmse_and_pictures_by_hand_before_the_first_step():
    target = torch.randn(4, 4, dtype=torch.float64, generator=generator())
    start = random_twiddle(4, dtype=torch.float64, generator=generator(1))
    matrix = kaleidoscope_matrix(start, 4)
    settings = StructuredSettings(steps=1, learning_rate=1e-12)
    rmse, (picture,) = descend(start[None], target, settings, watched=[0])
    assert torch.equal(picture[0], matrix)
    assert rmse.item() == pytest.approx(rmse_by_hand(matrix.tolist(), target.tolist()), rel=1e-6)


@pytest.mark.parametrize(("transform", "always"), [("hadamard", False), (LEARNED[-1], True)])
def test_descents_find_what_one_butterfly_writes(transform, always):
    settings = StructuredSettings(steps=250, restarts=3)
    rows, film = learn(transform, 4, settings, generator=generator())
    assert [row["start"] for row in rows] == list(STARTS)
    for row in rows:
        assert row["best_rmse"] < 1e-4
        assert row["found"] >= (1 if always else 1 / 3)
        assert (row["median_rmse"] < 1e-4) == (row["found"] > 0.5)
    assert film["rmse"] == min(row["best_rmse"] for row in rows)
    assert film["steps"][0] == 0
    assert film["steps"][-1] == 250
    assert torch.tensor(film["matrices"][-1]).sub(torch.tensor(film["target"])).abs().max() < 1e-3
    assert torch.tensor(film["matrices"][0]).sub(torch.tensor(film["target"])).abs().max() > 0.1


def test_found_counts_the_restarts_below_the_limit():
    settings = StructuredSettings(steps=40, restarts=4, success_rmse=1e9)
    assert [row["found"] for row in learn("fourier", 4, settings, generator=generator())[0]] == [1, 1]
    settings = StructuredSettings(steps=40, restarts=4, success_rmse=1e-300)
    assert [row["found"] for row in learn("fourier", 4, settings, generator=generator())[0]] == [0, 0]


@pytest.mark.parametrize("n", [3, 4])
def test_switches_find_planted_permutations_of_few_positions(n):
    row = find_planted(n, StructuredSettings(planted=4, switch_restarts=4, switch_steps=200), generator=generator())
    assert row["recovered"] == 1
    assert row["found"] > 0.8
    assert row["median_softness"] < 0.05
    assert row["chance"] == 1 / len(list(itertools.permutations(range(n))))


def test_switches_that_never_train_find_a_permutation_by_chance_only():
    settings = StructuredSettings(planted=20, switch_restarts=20, switch_steps=1, switch_learning_rate=1e-9)
    row = find_planted(4, settings, generator=generator())
    assert row["found"] < 0.2
    assert row["found"] <= row["recovered"] < 1
    assert row["median_softness"] > 0.4


def test_the_penalty_hardens_switches_that_the_data_leave_alone():
    tables = switch_tables(4)
    logits = 0.1 * torch.randn(1, 3, tables.num_switches, dtype=torch.float64, generator=generator())
    nothing = torch.zeros(2, 4, dtype=torch.float64)
    for penalty, hardens in ((0.0, False), (1.0, True)):
        settings = StructuredSettings(switch_steps=100, penalty=penalty)
        p = descend_switches(logits, tables, nothing, nothing[None], settings)
        assert (torch.minimum(p, 1 - p).max() < 0.05) == hardens
        assert torch.equal(p > 0.5, logits > 0)


def test_switches_learn_the_map_from_inputs_to_outputs():
    tables = switch_tables(3)
    inputs = torch.randn(16, 3, dtype=torch.float64, generator=generator())
    index = torch.tensor([[1, 2, 0], [2, 1, 0]])
    logits = 0.1 * torch.randn(2, 1, tables.num_switches, dtype=torch.float64, generator=generator())
    outputs = torch.stack([inputs[:, one] for one in index])
    switches = descend_switches(logits, tables, inputs, outputs, StructuredSettings(switch_steps=200))
    for (one,), planted, output in zip(switches, index, outputs, strict=True):
        assert torch.equal(switch_permutation(one > 0.5, 3), planted)
        torch.testing.assert_close(inputs @ switch_matrix(one, tables).T, output, atol=0.1, rtol=0)


def test_figures_are_json_ready_and_complete(figures):
    assert json.loads(json.dumps(figures))["learned"] == figures["learned"]
    assert [(row["n"], row["transform"]) for row in figures["constructed"]] == list(
        itertools.product((4, 8), TRANSFORMS)
    )
    cases = [(row["n"], row["transform"], row["start"]) for row in figures["learned"]]
    assert cases == list(itertools.product((2, 4), LEARNED, STARTS))
    assert [row["n"] for row in figures["switches"]] == [3, 4]
    assert (figures["film"]["n"], figures["film"]["transform"]) == (4, LEARNED[-1])


def test_a_run_repeats_and_calls_back_with_each_row(figures):
    rows = []
    assert structured(StructuredSettings(**TINY), seed=0, on_row=rows.append) == figures
    parts = ("constructed", "learned", "switches")
    assert rows == [{"part": part, **row} for part in parts for row in figures[part]]
    other = structured(StructuredSettings(**TINY), seed=1, on_row=rows.append)
    assert other["learned"] != figures["learned"]
    assert other["switches"] != figures["switches"]


@pytest.mark.parametrize("draw", [constructed_plot, learned_plot, descent_film])
def test_a_plot_is_valid_and_the_same_every_time(draw, figures, tmp_path):
    first, second = tmp_path / "new" / "first.svg", tmp_path / "second.svg"
    draw(figures, first)
    draw(figures, second)
    assert first.read_bytes() == second.read_bytes()
    words = set(texts(first))
    expected = {
        constructed_plot: {"permutation (exact)", "fourier", "multiply-adds of a product; dashed: dense", "8"},
        learned_plot: {
            *LEARNED,
            "learned: smallest RMSE; dashed: counts as found",
            "planted permutations found (%)",
            "in one descent",
        },
        descent_film: {"step 0", "step 12", "target"},
    }[draw]
    assert expected <= words


@pytest.mark.parametrize("draw", [constructed_plot, learned_plot, descent_film])
def test_nothing_to_draw_is_an_error(draw, tmp_path):
    empty = structured(
        StructuredSettings(constructed_sizes=(), learned_sizes=(), switch_sizes=()), seed=0, on_row=lambda row: None
    )
    with pytest.raises(ValueError, match="nothing to draw"):
        draw(empty, tmp_path / "figure.svg")


def test_a_transform_to_show_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="shown_transform"):
        structured(StructuredSettings(shown_transform="wavelet"), seed=0, on_row=lambda row: pytest.fail("learned"))
