import json
import xml.etree.ElementTree as ET

import pytest
import torch

from nas.studies.demonstrations.permuted_images import Images, permuted_images, summarise, train_and_test
from nas.studies.demonstrations.pixel_permutations import (
    grid_laplacian,
    learn_auto_shuffle,
    learn_faq,
    learn_switches,
    neighbours_restored,
    objective_slope,
    permute_pixels,
    second_moments,
    smoothness_kernel,
    total_variation,
)
from nas.studies.demonstrations.plots import accuracy_plot, permutation_film, pictures_plot
from nas.studies.demonstrations.settings import PermutedImagesSettings
from search_spaces.mixers import Permutation
from search_spaces.permutations import inverse_permutation, permutation_matrix, permutation_penalty

TINY = PermutedImagesSettings(
    data="digits",
    trials=2,
    moment_images=1000,
    train_images=200,
    test_images=100,
    epochs=1,
    width=4,
    restarts=2,
    steps=20,
    rounds=1,
    chains=2,
    stages=8,
    stage_steps=3,
)


def smooth_images(side: int, count: int = 400) -> torch.Tensor:
    """Random walks along rows plus random walks along columns: neighbours differ by little."""
    steps = torch.randn(2, count, 1, side, side)
    return steps[0].cumsum(-1)[..., :1, :].expand(-1, -1, side, -1) + steps[1].cumsum(-2)[..., :1]


def scrambled_moments(side: int) -> tuple[torch.Tensor, torch.Tensor]:
    scramble = torch.randperm(side * side)
    moments = second_moments(permute_pixels(smooth_images(side), scramble))
    return moments / moments.diag().mean(), scramble


def test_the_true_inverse_restores_images_exactly():
    images, scramble = torch.rand(5, 3, 4, 4), torch.randperm(16)
    scrambled = permute_pixels(images, scramble)
    assert not torch.equal(scrambled, images)
    assert torch.equal(permute_pixels(scrambled, inverse_permutation(scramble)), images)


def test_every_channel_of_every_image_is_permuted_alike():
    images = torch.arange(4.0).view(1, 1, 2, 2) + 10 * torch.arange(3.0).view(1, 3, 1, 1)
    permuted = permute_pixels(images, torch.tensor([2, 0, 3, 1]))
    assert permuted[0, :, 0].tolist() == [[2, 0], [12, 10], [22, 20]]


def test_a_hard_layer_is_a_gather():
    images, index = torch.rand(3, 2, 4, 4), torch.randperm(16)
    as_channels = images.flatten(2).transpose(1, 2).unsqueeze(-1)  # pixels as the mixer's channels: (N, n, C, 1)
    mixed = Permutation(index)(as_channels).squeeze(-1).transpose(1, 2).view_as(images)
    assert torch.equal(permute_pixels(images, index), mixed)
    product = (permutation_matrix(index) @ images.flatten(2).transpose(1, 2)).transpose(1, 2).view_as(images)
    assert torch.equal(permute_pixels(images, index), product)


def test_total_variation_of_a_2x2_image_by_hand():
    image = torch.tensor([[[[1.0, 2.0], [4.0, 8.0]]]])
    expected = (1 - 2) ** 2 + (4 - 8) ** 2 + (1 - 4) ** 2 + (2 - 8) ** 2
    value = total_variation(torch.eye(4), second_moments(image), grid_laplacian(2))
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_the_grid_has_the_neighbours_of_a_3x3_image():
    laplacian = grid_laplacian(3)
    assert laplacian.diag().tolist() == [2, 3, 2, 3, 4, 3, 2, 3, 2]
    assert laplacian[1].tolist() == [-1, 3, -1, 0, -1, 0, 0, 0, 0]
    assert torch.equal(laplacian.sum(1), torch.zeros(9))


def test_total_variation_through_moments_is_that_of_the_images():
    images = torch.rand(20, 3, 4, 4, dtype=torch.float64)
    matrix = torch.rand(16, 16, dtype=torch.float64)
    matrix /= matrix.sum(1, keepdim=True)
    shown = (images.flatten(2) @ matrix.T).view_as(images)
    directly = (shown.diff(dim=2) ** 2).sum((2, 3)) + (shown.diff(dim=3) ** 2).sum((2, 3))
    value = total_variation(matrix, second_moments(images), grid_laplacian(4).double())
    assert value.item() == pytest.approx(directly.mean().item(), rel=1e-9)


def test_on_permutations_the_learned_objective_ranks_as_total_variation_does():
    moments, laplacian = second_moments(torch.rand(30, 1, 3, 3)), grid_laplacian(3)
    kernel = smoothness_kernel(laplacian, shift=0.6)
    norm = torch.linalg.eigvalsh(laplacian)[-1]
    for _ in range(5):
        matrix = permutation_matrix(torch.randperm(9))
        learned = total_variation(matrix, moments, -kernel)
        expected = total_variation(matrix, moments, laplacian) / norm - 0.6 * moments.trace()
        assert torch.allclose(learned, expected, atol=1e-5)


def test_a_blur_does_not_lower_the_objective_below_the_images_themselves():
    moments, laplacian = second_moments(smooth_images(4)), grid_laplacian(4)
    blur = torch.full((16, 16), 1 / 16)
    assert total_variation(blur, moments, laplacian) < total_variation(torch.eye(16), moments, laplacian)
    kernel = smoothness_kernel(laplacian, shift=0.6)
    assert total_variation(blur, moments, -kernel) > total_variation(torch.eye(16), moments, -kernel)


@pytest.mark.parametrize("weight", [-0.5, 0.3])
def test_the_slope_is_the_gradient_of_objective_and_penalty(weight):
    moments = second_moments(torch.rand(30, 1, 3, 3))
    kernel = smoothness_kernel(grid_laplacian(3), shift=0.6, reach=0.5)
    matrices = (torch.rand(2, 9, 9) + 0.1).requires_grad_()
    value = total_variation(matrices, moments, -kernel) + weight * permutation_penalty(matrices)
    (expected,) = torch.autograd.grad(value.sum(), matrices)
    found = objective_slope(matrices.detach(), moments, kernel, weight=weight)
    assert torch.allclose(found, expected, atol=1e-5)


def test_neighbours_are_restored_by_the_8_symmetries_and_not_by_others():
    laplacian, grid = grid_laplacian(4), torch.arange(16).view(4, 4)
    for turns in range(4):
        turned = torch.rot90(grid, turns)
        assert neighbours_restored(turned.reshape(-1), laplacian) == 1
        assert neighbours_restored(turned.T.reshape(-1), laplacian) == 1
    swapped = torch.arange(16)
    swapped[[0, 15]] = swapped[[15, 0]]  # two corners: 4 of 24 pairs are lost
    assert neighbours_restored(swapped, laplacian) == pytest.approx(20 / 24)


@pytest.mark.parametrize("learn", [learn_auto_shuffle, learn_switches, learn_faq])
def test_learners_find_a_permutation_far_smoother_than_the_scrambled_images(learn):
    moments, scramble = scrambled_moments(4)
    settings = PermutedImagesSettings(side=4, restarts=8, steps=150, rounds=1, chains=4, stages=32, stage_steps=15)
    laplacian = grid_laplacian(4)
    found = learn(moments, settings=settings, seed=3)
    assert found.gathered.sort().values.tolist() == list(range(16))
    scrambled, true, value = (
        total_variation(permutation_matrix(index), moments, laplacian).item()
        for index in (torch.arange(16), inverse_permutation(scramble), found.gathered)
    )
    assert value < true + 0.25 * (scrambled - true)
    again = learn(moments, settings=settings, seed=3)
    assert torch.equal(again.gathered, found.gathered)
    if learn is not learn_faq:  # which has no soft matrices
        assert found.film.shape == (6, 16, 16)
        assert torch.allclose(found.film.sum(-1), torch.ones(6, 16), atol=1e-4)
        assert torch.equal(again.film, found.film)


def test_learners_do_not_depend_on_the_callers_random_numbers():
    moments, _ = scrambled_moments(2)
    torch.manual_seed(1)
    first = learn_auto_shuffle(moments, settings=TINY, seed=0)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)
    assert torch.equal(learn_auto_shuffle(moments, settings=TINY, seed=0).film, first.film)


def test_a_network_learns_what_is_easy():
    labels = torch.arange(256) % 2
    images = torch.randn(256, 1, 4, 4) + 4 * labels.view(-1, 1, 1, 1)
    settings = PermutedImagesSettings(side=4, train_images=256, batch_size=32, epochs=4, width=8)
    part = Images(images, labels)
    assert train_and_test(part, part, settings, seed=0, num_classes=2) > 0.9


@pytest.fixture(scope="module")
def figures():
    rows = []
    found = permuted_images(TINY, seed=0, on_row=rows.append)
    assert rows == found["rows"]
    return found


def test_a_run_has_a_row_for_each_method_and_trial(figures):
    assert [(row["trial"], row["method"]) for row in figures["rows"]] == [
        (trial, method)
        for trial in range(2)
        for method in ("none", "true_inverse", "auto_shuffle", "kaleidoscope", "faq")
    ]
    by_method = {row["method"]: row for row in figures["rows"]}
    assert by_method["true_inverse"]["neighbours_restored"] == 1
    assert by_method["none"]["neighbours_restored"] < 0.3
    assert by_method["true_inverse"]["objective"] < by_method["none"]["objective"]
    assert all(0 <= row["accuracy"] <= 1 for row in figures["rows"])
    assert all(0 <= by_method[name]["distance"] <= 1 for name in ("auto_shuffle", "kaleidoscope"))
    assert figures["data"] == "digits"
    json.dumps(figures, allow_nan=False, default=float)


def test_the_summary_is_of_the_means(figures):
    assert set(figures["summary"]) == {"none", "true_inverse", "auto_shuffle", "kaleidoscope", "faq"}
    for method, summary in figures["summary"].items():
        rows = [row for row in figures["rows"] if row["method"] == method]
        assert summary["accuracy"]["mean"] == pytest.approx(sum(row["accuracy"] for row in rows) / 2)
        assert summary["objective"] == pytest.approx(sum(row["objective"] for row in rows) / 2)


def test_what_is_regained_is_the_share_of_the_gap_of_the_means():
    accuracies = {"none": (0.3, 0.5), "true_inverse": (0.7, 0.9), "kaleidoscope": (0.6, 0.8)}
    known = {"objective": 0.0, "neighbours_restored": 0.0, "learn_seconds": 0.0}
    rows = [{"method": name, "accuracy": value, **known} for name, pair in accuracies.items() for value in pair]
    summary = summarise(rows)
    assert summary["kaleidoscope"]["regained"] == pytest.approx((0.7 - 0.4) / (0.8 - 0.4))
    assert summary["true_inverse"]["regained"] == pytest.approx(1)
    assert summarise(rows[2:])["kaleidoscope"]["regained"] is None  # without `none` nothing is known to be lost
    equal = [row | {"accuracy": 0.5} for row in rows]
    assert summarise(equal)["kaleidoscope"]["regained"] is None


def test_the_same_seed_gives_the_same_figures_and_another_seed_another_permutation(figures):
    def timeless(rows):
        return [{key: value for key, value in row.items() if key != "learn_seconds"} for row in rows]

    again = permuted_images(TINY, seed=0, on_row=lambda row: None)
    assert timeless(again["rows"]) == timeless(figures["rows"])
    assert again["films"] == figures["films"]
    fast = PermutedImagesSettings(**{**again["settings"], "methods": ("none",), "trials": 1})
    other = permuted_images(fast, seed=1, on_row=lambda row: None)
    assert other["pictures"]["original"] == figures["pictures"]["original"]
    assert other["pictures"]["none"] != figures["pictures"]["none"]
    assert other["rows"][0]["regained"] is None


@pytest.mark.parametrize("draw", [pictures_plot, accuracy_plot, permutation_film])
def test_a_figure_is_valid_and_the_same_every_time(draw, figures, tmp_path):
    draw(figures, tmp_path / "new" / "first.svg")
    draw(figures, tmp_path / "second.svg")
    assert (tmp_path / "new" / "first.svg").read_bytes() == (tmp_path / "second.svg").read_bytes()
    assert ET.parse(tmp_path / "second.svg").getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("draw", "key"), [(pictures_plot, "pictures"), (accuracy_plot, "summary"), (permutation_film, "films")]
)
def test_nothing_to_draw_is_an_error(draw, key, figures, tmp_path):
    with pytest.raises(ValueError, match="nothing to draw"):
        draw({**figures, key: {}}, tmp_path / "figure.svg")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"batch_size": 6000}, "batch_size .* train_images"), ({"moment_images": 9}, "moment_images")],
)
def test_numbers_of_images_that_do_not_go_together_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        PermutedImagesSettings(**wrong)


def test_digits_cannot_be_averaged_to_a_larger_side():
    with pytest.raises(ValueError, match="side must divide"):
        permuted_images(
            PermutedImagesSettings(data="digits", side=16, moment_images=5000), seed=0, on_row=lambda row: None
        )


def test_too_few_images_are_an_error():
    with pytest.raises(ValueError, match="fewer than train_images"):
        permuted_images(PermutedImagesSettings(data="digits"), seed=0, on_row=lambda row: None)
