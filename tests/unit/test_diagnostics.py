"""What an epoch is recorded by, against values computed by hand."""

import math
from types import SimpleNamespace

import pytest
import torch

from controllers.evolution import Evolution
from controllers.independent import IndependentPolicy
from controllers.lstm import LSTMPolicy
from controllers.protocol import Samples
from controllers.uniform import Uniform
from nas.reporting.plots import diagnostics_plot
from nas.searching.diagnostics.settings import GuardSettings
from nas.searching.diagnostics.watch import SUMMARY, Recorder
from search_spaces.genotype import Decision
from search_spaces.nasbench201 import NASBench201Space
from search_spaces.shufflenas import ShuffleNASSpace
from tests.unit.test_plots import texts

DECISIONS = (
    Decision("c", 0, "input", ("a",)),
    Decision("c", 0, "op", ("conv_1x1", "identity", "max_pool_3x3")),
    Decision("c", 1, "op", ("conv_1x1", "identity", "max_pool_3x3")),
    Decision("c", 2, "mixer", ("x", "identity")),
)
SPACE = SimpleNamespace(decisions=DECISIONS, decode=tuple, canonical=lambda actions: tuple(sorted(actions)))
WEIGHT_FREE = ("identity", "max_pool_3x3")


def drawn(*actions, probabilities=None) -> Samples:
    count = len(actions)
    return Samples(torch.tensor(actions), torch.zeros(count), torch.zeros(count), probabilities)


def test_architectures_that_compute_the_same_are_one():
    recorder = Recorder(SPACE, weight_free=WEIGHT_FREE)
    first = recorder.row([drawn([0, 1, 2, 0], [0, 2, 1, 0]), drawn([0, 0, 0, 0])], torch.zeros(3), epoch=0, best=0.0)
    assert (first["unique"], first["repeats"], first["samples"]) == (2, pytest.approx(1 / 3), 3)
    second = recorder.row([drawn([0, 1, 2, 0], [0, 0, 0, 1])], torch.zeros(2), epoch=1, best=0.0)
    assert (second["unique"], second["repeats"], second["rewarded"]) == (3, 0.5, 5)


def test_regret_is_the_best_minus_the_mean():
    rewards = torch.tensor([0.5, 0.7], dtype=torch.float64)
    row = Recorder(SPACE, weight_free=()).row([drawn([0] * 4, [0] * 4)], rewards, epoch=3, best=0.9)
    assert row["regret"] == pytest.approx(0.3)
    assert (row["reward"], row["reward_std"], row["epoch"]) == (pytest.approx(0.6), pytest.approx(0.1), 3)


def test_entropies_and_probabilities_are_means_over_the_samples_of_all_draws():
    def one(first: list[float]) -> torch.Tensor:
        return torch.tensor([[[1, 0, 0], first, [0.5, 0.5, 0], [0.5, 0.5, 0]]], dtype=torch.float64)

    sure, open_ = drawn([0] * 4, probabilities=one([0, 1, 0])), drawn([0] * 4, probabilities=one([1 / 3] * 3))
    row = Recorder(SPACE, weight_free=WEIGHT_FREE).row([sure, open_], torch.zeros(2), epoch=0, best=0.0)
    assert row["entropy.c.0.input"] == 0
    assert row["entropy.c.0.op"] == pytest.approx(math.log(3) / 2)
    assert row["entropy_share.c.0.op"] == pytest.approx(0.5)
    assert row["entropy_share.c.1.op"] == pytest.approx(math.log(2) / math.log(3))
    assert "entropy_share.c.0.input" not in row  # there is no choice to be unsure of
    assert row["entropy_share"] == pytest.approx((0.5 + math.log(2) / math.log(3) + 1) / 3)
    assert row["probability.op.conv_1x1"] == pytest.approx((1 / 6 + 1 / 2) / 2)
    assert row["probability.op.identity"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert row["weight_free"] == pytest.approx(1 - row["probability.op.conv_1x1"])  # the mixer identity is no op


def test_a_controller_without_distributions_is_described_by_its_samples():
    row = Recorder(SPACE, weight_free=WEIGHT_FREE).row(
        [drawn([0, 1, 0, 0], [0, 0, 0, 1])], torch.zeros(2), epoch=0, best=0.0
    )
    assert row["weight_free"] == row["probability.op.identity"] == 0.25
    assert not any(key.startswith("entropy") for key in row)


@pytest.mark.parametrize("make", [LSTMPolicy, IndependentPolicy, Uniform, Evolution])
def test_distributions_sum_to_one_and_have_the_entropy_that_comes_with_the_samples(make):
    ops, mixers = ("conv_1x1", "identity", "max_pool_3x3"), ("channel_shuffle", "identity")
    space = ShuffleNASSpace(blocks=3, ops=ops, mixers=mixers)
    samples = make(space.decisions).sample(6)
    assert samples.probabilities.shape == (6, len(space.decisions), max(len(d.choices) for d in space.decisions))
    for number, decision in enumerate(space.decisions):
        beyond = samples.probabilities[:, number, len(decision.choices) :]
        assert torch.equal(beyond, torch.zeros_like(beyond)), decision.name
    assert torch.allclose(samples.probabilities.sum(dim=2), torch.ones(()).to(samples.probabilities), atol=1e-6)
    entropy = torch.special.entr(samples.probabilities).sum(dim=(1, 2))
    assert torch.allclose(entropy.float(), samples.entropy, atol=1e-5)


def test_log_probabilities_are_those_of_the_distributions():
    samples = LSTMPolicy(NASBench201Space().decisions, init_range=1.0).sample(50)
    chosen = samples.probabilities.gather(2, samples.actions[..., None]).squeeze(2)
    assert torch.allclose(chosen.log().sum(dim=1), samples.log_prob, atol=1e-5)
    evaluated = LSTMPolicy(NASBench201Space().decisions).evaluate(samples.actions)
    assert evaluated.probabilities is None


def test_the_probabilities_of_evolution_are_the_shares_of_its_children():
    evolution = Evolution(NASBench201Space().decisions, population_size=4)
    evolution.observe(Uniform(NASBench201Space().decisions).sample(4).actions, torch.rand(4))
    samples = evolution.sample(20_000)
    for number in range(6):
        shares = torch.bincount(samples.actions[:, number], minlength=5) / 20_000
        assert (shares - samples.probabilities[0, number]).abs().max() < 0.015


def test_ops_without_weights_are_found_in_spaces_with_and_without_an_op_table():
    settings = GuardSettings()
    table = NASBench201Space().decisions
    assert settings.weight_free(table) == ("none", "skip_connect", "avg_pool_3x3")
    ops = ("sep_conv_3x3", "max_pool_3x3", "identity", "auto_shuffle")
    assert settings.weight_free(ShuffleNASSpace(blocks=2, ops=ops).decisions) == ("max_pool_3x3", "identity")
    assert GuardSettings(skip_ops=("nor_conv_1x1",)).weight_free(table) == (
        "skip_connect",
        "nor_conv_1x1",
        "avg_pool_3x3",
    )


@pytest.mark.parametrize("probabilities", [None, torch.full((2, 4, 3), 1 / 3)])
def test_the_figure_names_decisions_and_choices_and_is_the_same_every_time(probabilities, tmp_path):
    recorder = Recorder(SPACE, weight_free=WEIGHT_FREE)
    samples = drawn([0, 1, 0, 0], [0, 0, 0, 1], probabilities=probabilities)
    rows = [recorder.row([samples], torch.zeros(2), epoch=epoch, best=0.0) for epoch in range(4)]
    for name in ("one.svg", "two.svg"):
        diagnostics_plot(rows, tmp_path / name, marks=[2])
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    words = texts(tmp_path / "one.svg")
    assert {"conv_1x1", "identity", "seen before", "ops without weights"} <= set(words)
    assert ("Entropy of each decision" in words) == (probabilities is not None)
    assert ("c.1.op" in words) == (probabilities is not None)


def test_the_summary_is_a_part_of_the_row():
    samples = drawn([0] * 4, probabilities=torch.full((1, 4, 3), 1 / 3))
    row = Recorder(SPACE, weight_free=()).row([samples], torch.zeros(1), epoch=0, best=0.0)
    assert set(SUMMARY) <= set(row)
