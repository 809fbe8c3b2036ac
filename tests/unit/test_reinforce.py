import itertools
from functools import partial

import pytest
import torch

from controllers.lstm import LSTMPolicy
from nas.reinforce import Reinforce, moving_average, reinforce_loss
from search_spaces.genotype import Decision
from search_spaces.shufflenas import ShuffleNASSpace

SPACE = ShuffleNASSpace(blocks=2, ops=("conv_1x1", "identity"))
ACTIONS = torch.tensor(list(itertools.product(*(range(len(d.choices)) for d in SPACE.decisions))))


def test_loss_by_hand():
    log_prob = torch.tensor([-1.0, -2.0], requires_grad=True)
    loss = reinforce_loss(log_prob, torch.tensor([0.5, -0.25]))
    assert loss.item() == pytest.approx((1.0 * 0.5 - 2.0 * 0.25) / 2)
    loss.backward()
    assert log_prob.grad.tolist() == [-0.25, 0.125]


def test_no_gradient_flows_into_the_advantage():
    log_prob, advantage = torch.zeros(2, requires_grad=True), torch.ones(2, requires_grad=True)
    reinforce_loss(log_prob, advantage).backward()
    assert advantage.grad is None


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        reinforce_loss(torch.zeros(2), torch.zeros(3))


def test_baseline_by_hand():
    after = moving_average(0.0, torch.tensor([1.0, 0.5], dtype=torch.float64), decay=0.9)
    assert after.tolist() == pytest.approx([0.1, 0.14])


def test_expected_gradient_is_that_of_the_exact_expected_reward():
    """Σ_a π(a) ∇loss(a) against finite differences of J = Σ_a π(a) R(a), over an enumerable space."""
    policy = LSTMPolicy(SPACE.decisions, hidden_size=4, init_range=1.0).double()
    rewards = torch.rand(len(ACTIONS), dtype=torch.float64)
    baseline = 0.7  # any constant leaves the expected gradient as it is

    log_prob = policy.log_prob(ACTIONS)
    probabilities = log_prob.detach().exp()
    weighted = probabilities * (rewards - baseline) * len(ACTIONS)  # reinforce_loss takes a mean over the samples
    reinforce_loss(log_prob, weighted).backward()

    def expected_reward() -> float:
        with torch.no_grad():
            return (policy.log_prob(ACTIONS).exp() * rewards).sum().item()

    step = 1e-6
    for parameter in policy.parameters():
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for i in range(0, len(flat), max(1, len(flat) // 5)):
            value = flat[i].item()
            flat[i] = value + step
            above = expected_reward()
            flat[i] = value - step
            below = expected_reward()
            flat[i] = value
            assert -gradient[i].item() == pytest.approx((above - below) / (2 * step), abs=1e-8)


def test_one_update_by_hand():
    """The policy's gradient is −A ∇log π, with the baseline moved before the advantage is formed."""
    learner = Reinforce(SPACE.decisions, policy=LSTMPolicy, entropy_weight=0.0, baseline_decay=0.9)
    actions = ACTIONS[5:6]
    learner.policy.log_prob(actions).sum().backward()
    expected = {name: -(0.5 - 0.05) * parameter.grad for name, parameter in learner.policy.named_parameters()}
    learner.observe(actions, torch.tensor([0.5]))
    for name, parameter in learner.policy.named_parameters():
        assert torch.allclose(parameter.grad, expected[name], atol=1e-8)
    assert learner.baseline == pytest.approx(0.05)


def test_entropy_joins_the_reward_as_in_enas():
    learner = Reinforce(SPACE.decisions, policy=LSTMPolicy, entropy_weight=0.1, baseline_decay=0.9)
    entropy = learner.policy.evaluate(ACTIONS[:1]).entropy.item()
    learner.observe(ACTIONS[:1], torch.tensor([0.5]))
    assert learner.baseline == pytest.approx(0.1 * (0.5 + 0.1 * entropy))


def test_an_entropy_bonus_in_the_loss_spreads_a_peaked_policy():
    peaked = partial(LSTMPolicy, hidden_size=8, tanh_constant=None, init_range=2.0)
    learner = Reinforce(SPACE.decisions, policy=peaked, entropy_weight=1.0, entropy_bonus="loss", learning_rate=0.01)
    before = learner.policy.evaluate(ACTIONS).entropy.mean().item()
    for _ in range(30):
        learner.observe(learner.sample(16).actions, torch.zeros(16))
    assert learner.policy.evaluate(ACTIONS).entropy.mean().item() > before


@pytest.mark.parametrize("decisions", [SPACE.decisions, [Decision("c", i, "op", ("a", "b", "c")) for i in range(3)]])
def test_a_policy_solves_a_bandit(decisions):
    """The reward is the share of decisions answered with the last choice."""
    learner = Reinforce(
        decisions,
        policy=partial(LSTMPolicy, tanh_constant=2.5, op_tanh_reduction=1.0),
        learning_rate=0.02,
        baseline_decay=0.9,
        baseline_start=None,
    )
    best = torch.tensor([len(d.choices) - 1 for d in decisions])
    for _ in range(150):
        actions = learner.sample(10).actions
        learner.observe(actions, (actions == best).double().mean(dim=1))
    assert torch.equal(learner.sample(1, greedy=True).actions[0], best)
    assert (learner.sample(200).actions == best).double().mean() > 0.9


def test_a_restored_learner_goes_on_exactly():
    def learner() -> Reinforce:
        torch.manual_seed(3)
        return Reinforce(SPACE.decisions, policy=LSTMPolicy)

    def steps(one: Reinforce, seeds: range) -> None:
        for seed in seeds:
            torch.manual_seed(seed)
            actions = one.sample(4).actions
            one.observe(actions, actions.double().mean(dim=1))

    whole, first, second = learner(), learner(), learner()
    steps(whole, range(6))
    steps(first, range(3))
    second.load_state_dict(first.state_dict())
    steps(second, range(3, 6))
    assert second.baseline == whole.baseline
    for one, other in zip(whole.policy.parameters(), second.policy.parameters(), strict=True):
        assert torch.equal(one, other)


def test_learning_rate_scale_is_of_the_configured_rate():
    learner = Reinforce(SPACE.decisions, policy=LSTMPolicy, learning_rate=0.01)
    learner.set_learning_rate_scale(0.5)
    learner.set_learning_rate_scale(0.1)
    assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"entropy_weight": -1.0}, "entropy_weight must be at least 0"),
        ({"entropy_bonus": "both"}, "entropy_bonus must be one of reward, loss"),
        ({"baseline_decay": 1.0}, r"baseline_decay must lie in \[0, 1\)"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be above 0"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Reinforce(SPACE.decisions, policy=LSTMPolicy, **settings)
