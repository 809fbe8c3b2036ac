import itertools
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from controllers.independent import IndependentPolicy
from controllers.lstm import LSTMPolicy
from controllers.policy_gradients import annealed, clipped_share, moving_average, ppo_loss, reinforce_loss
from controllers.reinforce import Reinforce
from nas.jobs.building.config import build
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
        ({"entropy_weight_end": -1.0}, "entropy_weight_end must be at least 0, got -1.0"),
        ({"entropy_schedule": "step"}, "entropy_schedule must be one of linear, cosine, got 'step'"),
        ({"entropy_updates": 0}, "entropy_updates must be at least 1, got 0"),
        ({"entropy_bonus": "both"}, "entropy_bonus must be one of reward, loss"),
        ({"baseline_decay": 1.0}, r"baseline_decay must lie in \[0, 1\)"),
        ({"max_grad_norm": 0.0}, "max_grad_norm must be above 0"),
        ({"ppo_clip": 0.0}, "ppo_clip must be above 0, got 0.0"),
        ({"ppo_clip": 0.2, "ppo_epochs": 0}, "ppo_epochs must be at least 1, got 0"),
        ({"ppo_epochs": 2}, "ppo_epochs above 1 needs ppo_clip, got 2 without it"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Reinforce(SPACE.decisions, policy=LSTMPolicy, **settings)


CLIP = 0.2


@pytest.mark.parametrize(
    ("ratio", "advantage", "objective", "slope"),
    [
        (1.0, 2.0, 2.0, 2.0),  # the first pass: slope of r A in log π is r A
        (1.1, 2.0, 2.2, 2.2),  # within the bounds
        (1.5, 2.0, 2.4, 0.0),  # beyond the upper bound, where A pushes: clipped
        (0.5, 2.0, 1.0, 1.0),  # below the lower bound against A: the way back is open
        (0.5, -2.0, -1.6, 0.0),  # below the lower bound, where A pushes: clipped
        (1.5, -2.0, -3.0, -3.0),  # beyond the upper bound against A
        (1.5, 0.0, 0.0, 0.0),
    ],
)
def test_ppo_loss_by_hand(ratio, advantage, objective, slope):
    """Two architectures; the other one, with ratio 1 and A = 1, gives 1/2 of the mean."""
    sampled = torch.tensor([-3.0, -2.0], dtype=torch.float64, requires_grad=True)
    log_prob = torch.tensor([-3.0 + math.log(ratio), -2.0], dtype=torch.float64, requires_grad=True)
    advantages = torch.tensor([advantage, 1.0], dtype=torch.float64, requires_grad=True)
    loss = ppo_loss(log_prob, sampled, advantages, clip=CLIP)
    assert loss.item() == pytest.approx(-(objective + 1.0) / 2)
    loss.backward()
    assert log_prob.grad.tolist() == pytest.approx([-slope / 2, -1.0 / 2])
    assert sampled.grad is None
    assert advantages.grad is None
    share = 0.5 if slope == 0.0 and advantage != 0.0 else 0.0
    assert clipped_share(log_prob, sampled, advantages, clip=CLIP) == share


def test_ppo_on_a_policy_of_two_decisions_by_hand():
    """π(b, b) goes from 1/2 · 1/2 to 3/4 · 1/2: its ratio is 3/2; π(a, a) from 1/4 to 1/8: its ratio is 1/2."""
    policy = IndependentPolicy([Decision("c", i, "op", ("a", "b")) for i in range(2)], init_std=0.0).double()
    actions = torch.tensor([[1, 1], [0, 0]])
    sampled = policy.log_prob(actions).detach()
    with torch.no_grad():
        policy.logits[0].copy_(torch.tensor([0.0, math.log(3)]))
    log_prob = policy.log_prob(actions)
    assert (log_prob - sampled).exp().tolist() == pytest.approx([1.5, 0.5])
    loss = ppo_loss(log_prob, sampled, torch.tensor([1.0, 1.0], dtype=torch.float64), clip=CLIP)
    assert loss.item() == pytest.approx(-(1.2 + 0.5) / 2)
    loss.backward()  # only (a, a) pulls: −1/2 · 0.5 · ∇ log π(a, a), by softmax [1 − p(a), −p(b)] in each decision
    assert policy.logits[0].grad.tolist() == pytest.approx([-0.25 * 0.75, 0.25 * 0.75])
    assert policy.logits[1].grad.tolist() == pytest.approx([-0.25 * 0.5, 0.25 * 0.5])


def test_ppo_loss_wants_one_shape():
    with pytest.raises(ValueError, match="must be of one shape"):
        ppo_loss(torch.zeros(2), torch.zeros(3), torch.zeros(2), clip=CLIP)


def after_updates(number: int, **settings) -> tuple[Reinforce, list[dict[str, float]]]:
    torch.manual_seed(5)
    learner, logged = Reinforce(SPACE.decisions, policy=LSTMPolicy, entropy_bonus="loss", **settings), []
    for _ in range(number):
        actions = learner.sample(6).actions
        logged.append(dict(learner.observe(actions, actions.double().mean(dim=1))))
    return learner, logged


def test_ppos_first_step_is_reinforces():
    """At ratio 1 the gradient of eq. 7 is A ∇log π, to the last bit."""
    reinforce, ppo = after_updates(1)[0], after_updates(1, ppo_clip=CLIP)[0]
    for one, other in zip(reinforce.policy.parameters(), ppo.policy.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
        assert torch.equal(one, other)
    assert ppo.baseline == reinforce.baseline


def test_more_epochs_take_more_steps_on_the_probabilities_that_sampled():
    """Against a loop written out here, each epoch with ratios to the first probabilities."""
    ppo = after_updates(1, ppo_clip=CLIP, ppo_epochs=3, learning_rate=0.05)[0]
    torch.manual_seed(5)
    other = Reinforce(SPACE.decisions, policy=LSTMPolicy, entropy_bonus="loss", learning_rate=0.05)
    actions = other.sample(6).actions
    rewards = actions.double().mean(dim=1)
    advantage = (rewards - moving_average(0.0, rewards, decay=0.99)).float()
    sampled = other.policy.log_prob(actions).detach()
    for _ in range(3):
        samples = other.policy.evaluate(actions)
        loss = ppo_loss(samples.log_prob, sampled, advantage, clip=CLIP) - 1e-4 * samples.entropy.mean()
        other.optimizer.zero_grad()
        loss.backward()
        other.optimizer.step()
    for one, expected in zip(ppo.policy.parameters(), other.policy.parameters(), strict=True):
        assert torch.equal(one, expected)
    assert ppo.baseline == moving_average(0.0, rewards, decay=0.99)[-1].item()


def test_ppo_logs_the_clipped_share_and_reinforce_does_not():
    assert all(set(row) == {"baseline", "policy_loss", "entropy"} for row in after_updates(2)[1])
    assert [row["clipped"] for row in after_updates(2, ppo_clip=CLIP)[1]] == [0.0, 0.0]
    rows = after_updates(5, ppo_clip=0.05, ppo_epochs=8, learning_rate=0.05)[1]
    assert all(0 < row["clipped"] <= 1 for row in rows)


def test_a_clipped_ratio_stops_moving_where_an_unclipped_one_goes_on():
    """One architecture, many steps: with the clip its probability stays near 1.2 times the first, to a step's size."""

    def ratio(**settings) -> float:
        torch.manual_seed(2)
        learner = Reinforce(
            SPACE.decisions, policy=IndependentPolicy, entropy_weight=0.0, adam_epsilon=1e-8, **settings
        )
        before = learner.policy.log_prob(ACTIONS[3:4]).item()
        learner.observe(ACTIONS[3:4], torch.ones(1))
        return math.exp(learner.policy.log_prob(ACTIONS[3:4]).item() - before)

    assert 1.2 < ratio(ppo_clip=CLIP, ppo_epochs=100) < 1.4
    assert ratio(ppo_clip=100.0, ppo_epochs=100) > 3.0


@pytest.mark.parametrize(
    ("policy", "learning_rate"),
    [
        (partial(LSTMPolicy, hidden_size=32, tanh_constant=2.5, op_tanh_reduction=1.0), 0.005),
        (IndependentPolicy, 0.03),
    ],
)
def test_ppo_solves_a_bandit(policy, learning_rate):
    learner = Reinforce(
        SPACE.decisions,
        policy=policy,
        learning_rate=learning_rate,
        baseline_decay=0.9,
        baseline_start=None,
        ppo_clip=CLIP,
        ppo_epochs=4,
    )
    best = torch.tensor([len(d.choices) - 1 for d in SPACE.decisions])
    for _ in range(60):
        actions = learner.sample(10).actions
        learner.observe(actions, (actions == best).double().mean(dim=1))
    assert torch.equal(learner.sample(1, greedy=True).actions[0], best)
    assert (learner.sample(200).actions == best).double().mean() > 0.9


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [0.4, 0.3, 0.2, 0.1, 0.0]),
        ("cosine", [0.4, 0.2 + 0.2 * math.sqrt(0.5), 0.2, 0.2 - 0.2 * math.sqrt(0.5), 0.0]),
    ],
)
def test_a_weight_on_its_way_from_start_to_end(schedule, expected):
    got = [annealed(0.4, 0.0, progress=i / 4, schedule=schedule) for i in range(5)]
    assert got == pytest.approx(expected)
    assert annealed(0.4, 0.1, progress=7.0, schedule=schedule) == 0.1
    assert annealed(1e-4, 1e-4, progress=0.3, schedule=schedule) == 1e-4  # to the last bit


@pytest.mark.parametrize("bonus", ["reward", "loss"])
def test_the_entropy_weight_of_each_update_is_that_of_its_schedule(bonus):
    """Against controllers whose constant weight is the one that the schedule should have come to."""
    settings = {"policy": partial(LSTMPolicy, hidden_size=8), "entropy_bonus": bonus}
    torch.manual_seed(3)
    learner = Reinforce(SPACE.decisions, entropy_weight=0.4, entropy_weight_end=0.1, entropy_updates=3, **settings)
    for weight in (0.4, 0.3, 0.2, 0.1, 0.1):
        constant = Reinforce(SPACE.decisions, entropy_weight=weight, **settings)
        constant.load_state_dict(learner.state_dict())
        logged = learner.observe(ACTIONS[:4], torch.zeros(4))
        expected = constant.observe(ACTIONS[:4], torch.zeros(4))
        assert logged["entropy_weight"] == pytest.approx(weight)
        assert logged["policy_loss"] == pytest.approx(expected["policy_loss"])
        assert "entropy_weight" not in expected


def test_a_resumed_controller_goes_on_in_its_entropy_schedule():
    settings = {"policy": partial(LSTMPolicy, hidden_size=8), "entropy_weight_end": 0.0, "entropy_schedule": "cosine"}
    first = Reinforce(SPACE.decisions, **settings)
    for _ in range(40):
        first.observe(ACTIONS[:2], torch.rand(2))
    second = Reinforce(SPACE.decisions, **settings)
    second.load_state_dict(first.state_dict())
    assert second.entropy_weight == first.entropy_weight
    assert 0 < second.entropy_weight < 1e-4


CONTROLLERS = sorted((Path(__file__).parents[2] / "conf" / "controller").glob("*.yaml"))


@pytest.mark.parametrize("path", CONTROLLERS, ids=lambda path: path.stem)
def test_every_configured_controller_is_resumed_exactly(path):
    def controller():
        return build(OmegaConf.load(path), "controller", SPACE.decisions)

    def steps(one, seeds: range) -> list[list[int]]:
        drawn = []
        for seed in seeds:
            torch.manual_seed(seed)
            actions = one.sample(4).actions
            one.observe(actions, actions.double().mean(dim=1))
            one.set_learning_rate_scale(1 / (1 + seed))
            drawn += [actions.tolist(), one.sample(2, greedy=True).actions.tolist()]
        return drawn

    torch.manual_seed(1)
    whole, again = controller(), controller()
    steps(whole, range(4))
    torch.manual_seed(1)
    first = controller()
    steps(first, range(4))
    again.load_state_dict(first.state_dict())
    assert steps(again, range(4, 8)) == steps(whole, range(4, 8))
