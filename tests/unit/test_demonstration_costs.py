import json

import pytest
import torch
from hydra import compose, initialize_config_module
from torch import nn

from nas.jobs import permutations
from nas.studies.demonstrations.costs import (
    MixerCostSettings,
    ModelCostSettings,
    build_model,
    counts,
    four_copies,
    mixer_costs,
    model_costs,
    training_step,
)
from search_spaces.dynamic_shuffle import DynamicShuffle
from search_spaces.kaleidoscope import FixedLinear, Kaleidoscope, SwitchShuffle
from search_spaces.mixers import MIXERS, Mixer
from search_spaces.shuffles import ChannelShuffle, IdentityMixer

TINY = {"channels": (8,), "batch_sizes": (1, 2), "image_size": 2, "rounds": 2, "warmup": 0}
COUNTS = [f"{prefix}_{kind}" for prefix in ("train", "hard") for kind in ("multiply_adds", "products")]


@pytest.fixture(scope="module")
def measured():
    rows = []
    return mixer_costs(MixerCostSettings(**TINY), seed=0, on_row=rows.append), rows


def test_every_mixer_of_the_table_is_measured_in_every_case(measured):
    figures, rows = measured
    assert figures["rows"] == rows
    cases = {(row["mixer"], row["batch_size"], row["memory_format"]) for row in rows}
    assert len(cases) == len(rows) == len(MIXERS) * 2 * 2
    assert {name for name, *_ in cases} == set(MIXERS)


def test_figures_are_json_ready_and_rows_flat(measured):
    figures, rows = measured
    assert json.loads(json.dumps(figures))["rows"] == rows
    assert all(isinstance(value, str | int | float) for row in rows for value in row.values())


def test_times_are_positive_and_relative_to_the_channel_shuffle(measured):
    for row in measured[1]:
        for prefix in ("train", "inference"):
            assert 0 < row[f"{prefix}_min_ms"] <= row[f"{prefix}_ms"] <= row[f"{prefix}_max_ms"]
            assert row[f"{prefix}_ratio"] > 0
            if row["mixer"] == "channel_shuffle":
                assert row[f"{prefix}_ratio"] == 1


def test_counts_repeat_and_the_callers_random_numbers_are_untouched(measured):
    state = torch.get_rng_state()
    again = mixer_costs(MixerCostSettings(**TINY), seed=0, on_row=lambda row: None)
    assert torch.equal(torch.get_rng_state(), state)
    keys = ("parameters", "hard_numbers", *COUNTS)
    first, second = ([[row[key] for key in keys] for row in figures["rows"]] for figures in (measured[0], again))
    assert first == second


def test_the_channel_shuffle_is_measured_with_any_choice_of_mixers():
    figures = mixer_costs(MixerCostSettings(mixers=("identity",), **TINY), seed=0, on_row=lambda row: None)
    assert [row["mixer"] for row in figures["rows"][:2]] == ["channel_shuffle", "identity"]


@pytest.mark.parametrize("mixer", [ChannelShuffle(8), IdentityMixer(8)])
def test_fixed_mixers_compute_nothing(mixer):
    counted = counts(mixer, mixer.harden(), image=torch.randn(1, 8, 3, 3))
    assert set(counted.values()) == {0}
    assert {"parameters", "hard_numbers", *COUNTS} == set(counted)


def test_a_convolution_costs_its_weights_at_every_pixel():
    conv = nn.Conv2d(8, 8, 1, bias=False)
    counted = counts(conv, conv, image=torch.randn(1, 8, 3, 5))
    assert counted["parameters"] == counted["hard_numbers"] == 64
    assert counted["train_multiply_adds"] == counted["hard_multiply_adds"] == 64 * 15
    assert counted["train_products"] == 0


def test_a_kaleidoscope_costs_its_factors_on_every_column_and_then_a_convolution():
    mixer = Kaleidoscope(8)
    hard = mixer.harden()
    assert isinstance(hard, FixedLinear)
    counted = counts(mixer, hard, image=torch.randn(1, 8, 3, 3))
    assert counted["parameters"] == 4 * 8 * 3  # 4n log₂ n
    assert counted["train_products"] == 8 * counted["parameters"]  # every entry once for each column
    assert counted["train_multiply_adds"] == counted["hard_multiply_adds"] == 64 * 9
    assert counted["hard_numbers"] == 64
    assert counted["hard_products"] == 0


def test_a_hardened_switch_network_is_one_index_without_arithmetic():
    mixer = SwitchShuffle(8)
    counted = counts(mixer, mixer.harden(), image=torch.randn(1, 8, 3, 3))
    assert counted["parameters"] == 20
    assert counted["train_products"] == 5 * 8 * 8  # a layer interpolates all entries of the matrix
    assert counted["hard_numbers"] == 8
    assert counted["hard_multiply_adds"] == counted["hard_products"] == 0


def test_a_dynamic_shuffle_costs_its_generator_and_only_in_training_products_with_its_matrices():
    # (1, 8) x (8, 4), (1, 4) x (4, 16) of the generator for g = 2, a = b = 2; A and B on 9 pixels, 2 products a channel
    mixer = DynamicShuffle(8)
    counted = counts(mixer, mixer.harden(), image=torch.randn(1, 8, 3, 3))
    assert counted["hard_multiply_adds"] == 8 * 4 + 4 * 16
    assert counted["train_multiply_adds"] == 8 * 4 + 4 * 16 + 9 * 8 * (2 + 2)


class Penalised(Mixer):
    """Scales the channels; notes what it is asked."""

    def __init__(self):
        super().__init__(2)
        self.scale = nn.Parameter(torch.tensor([2.0, 3.0]))
        self.projected = 0

    def forward(self, x):
        return x * self.scale[:, None, None]

    def regularization(self):
        return 10 * self.scale.sum()

    def project(self):
        self.projected += 1


def test_a_training_step_computes_all_gradients_anew_and_projects():
    mixer = Penalised()
    images = torch.ones(1, 2, 1, 1, requires_grad=True)
    gradient = torch.tensor([5.0, 7.0]).view(1, 2, 1, 1)
    for step in (1, 2):
        training_step(mixer, images, gradient)
        assert images.grad.flatten().tolist() == [10.0, 21.0]
        assert mixer.scale.grad.tolist() == [15.0, 17.0]
        assert mixer.projected == step


def test_hardening_does_not_change_the_mixer_that_trains(measured):
    auto = next(row for row in measured[1] if row["mixer"] == "auto_shuffle")
    assert auto["parameters"] == auto["train_multiply_adds"] // 4 == 64
    assert auto["hard_numbers"] == 8
    assert auto["hard_multiply_adds"] == 0


def test_a_mixer_that_there_is_not_is_refused_before_anything_is_timed(tmp_path):
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("permutations", overrides=["tasks=mixer_costs", "mixer_costs.mixers=[auto_shuffle,nothing]"])
    with pytest.raises(ValueError, match=r"mixer_costs\.mixers: unknown mixer 'nothing'"):
        permutations.run(cfg, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_four_copies_are_two_functions():
    network, genotype = build_model("shufflenet_v2")
    copies = four_copies(network, genotype)
    images = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        logits = {label: copied(images, genotype) for label, copied in copies.items()}
    assert torch.allclose(logits["shuffle"], logits["folded shuffle"], rtol=1e-3, atol=1e-5)
    assert torch.allclose(logits["hardened"], logits["folded hardened"], rtol=1e-3, atol=1e-5)
    assert not torch.allclose(logits["shuffle"], logits["hardened"], rtol=1e-2, atol=1e-3)


def test_every_model_is_timed():
    rows = []
    settings = ModelCostSettings(models=("shufflenasnet_a",), batch_sizes=(1,), image_size=8, rounds=1, warmup=0)
    figures = model_costs(settings, seed=0, on_row=rows.append)
    assert figures["rows"] == rows
    assert [row["memory_format"] for row in rows] == ["contiguous", "channels_last"]
    assert all(row["folded_hardened_ratio"] > 0 for row in rows)
