import itertools
import math

import pytest
import torch

from controllers.lstm import LSTMPolicy
from controllers.protocol import choose, decision_entropy
from controllers.uniform import Uniform
from search_spaces.genotype import Decision
from search_spaces.shufflenas import ShuffleNASSpace

SMALL = ShuffleNASSpace(blocks=2, ops=("conv_1x1", "identity"))


def all_actions(space: ShuffleNASSpace) -> torch.Tensor:
    return torch.tensor(list(itertools.product(*(range(len(d.choices)) for d in space.decisions))))


@pytest.mark.parametrize("mixers", [("channel_shuffle",), ("channel_shuffle", "identity")])
def test_probabilities_of_all_architectures_sum_to_one(mixers):
    space = ShuffleNASSpace(blocks=2, ops=("conv_1x1", "identity"), mixers=mixers)
    policy = LSTMPolicy(space.decisions, hidden_size=8, init_range=1.0).double()
    assert policy.log_prob(all_actions(space)).exp().sum().item() == pytest.approx(1.0, abs=1e-12)


def test_the_entropy_of_the_policy_is_the_mean_of_the_samples():
    """By the chain rule: H(π) = Σ_a π(a) Σ_t H_t(a)."""
    policy = LSTMPolicy(SMALL.decisions, hidden_size=8, init_range=1.0).double()
    samples = policy.evaluate(all_actions(SMALL))
    probabilities = samples.log_prob.exp()
    exact = -(probabilities * samples.log_prob).sum()
    assert (probabilities * samples.entropy).sum().item() == pytest.approx(exact.item())


def test_samples_come_with_the_log_probability_that_evaluation_gives():
    policy = LSTMPolicy(ShuffleNASSpace(blocks=5).decisions)
    samples = policy.sample(7)
    again = policy.evaluate(samples.actions)
    assert samples.actions.shape == (7, 20)
    assert torch.allclose(samples.log_prob, again.log_prob)
    assert torch.allclose(samples.entropy, again.entropy)
    assert not samples.log_prob.requires_grad
    assert again.log_prob.requires_grad


def test_samples_follow_the_policys_probabilities():
    policy = LSTMPolicy(SMALL.decisions, hidden_size=8, init_range=1.0)
    actions = all_actions(SMALL)
    expected = policy.log_prob(actions).exp()
    drawn = policy.sample(20_000).actions
    counts = torch.stack([(drawn == row).all(dim=1).float().mean() for row in actions])
    assert (counts - expected).abs().max() < 0.01


def test_greedy_takes_the_likeliest_choice_of_every_decision():
    policy = LSTMPolicy(SMALL.decisions, hidden_size=8, init_range=1.0)
    greedy = policy.sample(2, greedy=True)
    assert torch.equal(greedy.actions[0], greedy.actions[1])
    _, log_probs, _ = policy.evaluate_decisions(greedy.actions)
    for t, decision in enumerate(SMALL.decisions):
        for other in range(len(decision.choices)):
            changed = greedy.actions.clone()
            changed[:, t] = other
            assert (policy.evaluate_decisions(changed)[1][:, t] <= log_probs[:, t] + 1e-7).all()


def test_logits_are_bounded_as_in_enas():
    policy = LSTMPolicy(SMALL.decisions, hidden_size=8, init_range=100.0)
    _, log_probs, _ = policy.evaluate_decisions(all_actions(SMALL))
    for t, decision in enumerate(SMALL.decisions):
        bound = 1.10 if decision.kind == "input" else 1.10 / 2.5
        least = 1 / (1 + (len(decision.choices) - 1) * math.exp(2 * bound))
        assert log_probs[:, t].exp().min() >= least - 1e-6


@pytest.mark.parametrize("at", [2, 7], ids=["input", "op"])
def test_a_temperature_divides_the_log_odds_of_the_choices(at):
    actions = torch.zeros(2, 8, dtype=torch.long)
    actions[1, at] = 1
    odds = []
    for temperature in (1.0, 2.0):
        torch.manual_seed(0)
        policy = LSTMPolicy(SMALL.decisions, hidden_size=8, init_range=1.0, tanh_constant=None, temperature=temperature)
        first, second = policy.evaluate_decisions(actions)[1][:, at].tolist()
        odds.append(first - second)
    assert abs(odds[0]) > 1e-3
    assert odds[1] == pytest.approx(odds[0] / 2, rel=1e-3)


def test_state_flows_from_the_normal_into_the_reduction_cell():
    policy = LSTMPolicy(SMALL.decisions, hidden_size=8, init_range=1.0)
    first, second = torch.zeros(1, 8, dtype=torch.long), torch.zeros(1, 8, dtype=torch.long)
    second[0, 1] = 1
    reduction = [policy.evaluate_decisions(actions)[1][0, 5] for actions in (first, second)]
    assert reduction[0] != reduction[1]


def test_a_policy_runs_on_decisions_without_inputs():
    decisions = [Decision("cell", step, "op", ("a", "b", "c")) for step in range(4)]
    assert LSTMPolicy(decisions).sample(3).actions.shape == (3, 4)


@pytest.mark.parametrize(
    ("decisions", "message"),
    [
        ([], "at least one decision"),
        ([Decision("c", 0, "op", ("a",)), Decision("c", 1, "op", ("b",))], "other choices"),
        ([Decision("c", 0, "input", ("x",)), Decision("c", 1, "input", ("x", "y", "z"))], "must offer 2 nodes, got 3"),
    ],
)
def test_decisions_a_policy_cannot_walk_are_refused(decisions, message):
    with pytest.raises(ValueError, match=message):
        LSTMPolicy(decisions)


@pytest.mark.parametrize("name", ["hidden_size", "tanh_constant", "op_tanh_reduction", "temperature", "init_range"])
def test_settings_below_zero_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be above 0, got -1"):
        LSTMPolicy(SMALL.decisions, **{name: -1})


def test_wrong_shapes_and_counts_are_refused():
    policy = LSTMPolicy(SMALL.decisions)
    with pytest.raises(ValueError, match=r"shape \(N, 8\), got \(3, 7\)"):
        policy.evaluate(torch.zeros(3, 7, dtype=torch.long))
    for controller in (policy, Uniform(SMALL.decisions)):
        with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
            controller.sample(0)


def test_uniform_draws_every_choice_equally_often():
    samples = Uniform(SMALL.decisions).sample(40_000)
    for t, decision in enumerate(SMALL.decisions):
        counts = torch.bincount(samples.actions[:, t], minlength=len(decision.choices)) / 40_000
        assert (counts - 1 / len(decision.choices)).abs().max() < 0.01
    assert samples.log_prob[0].item() == pytest.approx(-math.log(64))
    assert samples.entropy[0].item() == pytest.approx(math.log(64))


def test_uniform_learns_nothing():
    controller = Uniform(SMALL.decisions)
    assert controller.observe(torch.zeros(2, 8, dtype=torch.long), torch.ones(2)) == {}
    assert controller.state_dict() == {}


def test_entropy_and_choice_of_a_known_distribution():
    log_probs = torch.tensor([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]).clamp(min=1e-30).log()
    assert decision_entropy(log_probs).tolist() == pytest.approx([1.5 * math.log(2), 0.0])
    assert choose(log_probs, greedy=True).tolist() == [0, 1]
    assert choose(log_probs, greedy=False)[1].item() == 1
