import itertools
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from controllers.independent import IndependentPolicy
from controllers.lstm import LSTMPolicy
from controllers.policy_gradients import (
    Adam,
    ClippedObjective,
    EntropyBonus,
    MovingAverageBaseline,
    ReinforceObjective,
)
from controllers.reinforce import Reinforce
from nas.jobs.building.config import build
from nas.jobs.compare import controller_config
from search_spaces.genotype import Decision
from search_spaces.shufflenas import ShuffleNASSpace
from tests.learners import ADAM, BASELINE, ENTROPY, learner

SPACE = ShuffleNASSpace(blocks=2, ops=("conv_1x1", "identity"))
ACTIONS = torch.tensor(list(itertools.product(*(range(len(d.choices)) for d in SPACE.decisions))))


def reinforce_loss(log_prob, advantage):
    return ReinforceObjective().loss(log_prob, log_prob.detach(), advantage)


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


@pytest.mark.parametrize(("start", "after"), [(0.0, [0.1, 0.14]), (None, [0.775, 0.7475])])
def test_baseline_by_hand(start, after):
    """It takes in a reward before the advantage is formed; without a start it begins at the first rewards' mean."""
    baseline = MovingAverageBaseline(decay=0.9, start=start)
    advantage = baseline.advantage(torch.tensor([1.0, 0.5], dtype=torch.float64))
    assert advantage.tolist() == pytest.approx([1.0 - after[0], 0.5 - after[1]])
    assert baseline.value == pytest.approx(after[1])


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
    one = learner(SPACE.decisions, LSTMPolicy, entropy={"weight": 0.0}, baseline={"decay": 0.9})
    actions = ACTIONS[5:6]
    one.policy.log_prob(actions).sum().backward()
    expected = {name: -(0.5 - 0.05) * parameter.grad for name, parameter in one.policy.named_parameters()}
    one.observe(actions, torch.tensor([0.5]))
    for name, parameter in one.policy.named_parameters():
        assert torch.allclose(parameter.grad, expected[name], atol=1e-8)
    assert one.baseline.value == pytest.approx(0.05)


def test_entropy_joins_the_reward_as_in_enas():
    one = learner(SPACE.decisions, LSTMPolicy, entropy={"weight": 0.1}, baseline={"decay": 0.9})
    entropy = one.policy.evaluate(ACTIONS[:1]).entropy.item()
    one.observe(ACTIONS[:1], torch.tensor([0.5]))
    assert one.baseline.value == pytest.approx(0.1 * (0.5 + 0.1 * entropy))


def test_an_entropy_bonus_in_the_loss_spreads_a_peaked_policy():
    peaked = partial(LSTMPolicy, hidden_size=8, tanh_constant=None, init_range=2.0)
    one = learner(SPACE.decisions, peaked, entropy={"weight": 1.0, "part_of": "loss"}, optimizer={"lr": 0.01})
    before = one.policy.evaluate(ACTIONS).entropy.mean().item()
    for _ in range(30):
        one.observe(one.sample(16).actions, torch.zeros(16))
    assert one.policy.evaluate(ACTIONS).entropy.mean().item() > before


@pytest.mark.parametrize("decisions", [SPACE.decisions, [Decision("c", i, "op", ("a", "b", "c")) for i in range(3)]])
def test_a_policy_solves_a_bandit(decisions):
    """The reward is the share of decisions answered with the last choice."""
    one = learner(
        decisions,
        partial(LSTMPolicy, tanh_constant=2.5, op_tanh_reduction=1.0),
        optimizer={"lr": 0.02},
        baseline={"decay": 0.9, "start": None},
    )
    best = torch.tensor([len(d.choices) - 1 for d in decisions])
    for _ in range(150):
        actions = one.sample(10).actions
        one.observe(actions, (actions == best).double().mean(dim=1))
    assert torch.equal(one.sample(1, greedy=True).actions[0], best)
    assert (one.sample(200).actions == best).double().mean() > 0.9


def test_a_restored_learner_goes_on_exactly():
    def make() -> Reinforce:
        torch.manual_seed(3)
        return learner(SPACE.decisions, LSTMPolicy)

    def steps(one: Reinforce, seeds: range) -> None:
        for seed in seeds:
            torch.manual_seed(seed)
            actions = one.sample(4).actions
            one.observe(actions, actions.double().mean(dim=1))

    whole, first, second = make(), make(), make()
    steps(whole, range(6))
    steps(first, range(3))
    second.load_state_dict(first.state_dict())
    steps(second, range(3, 6))
    assert second.baseline.value == whole.baseline.value
    for one, other in zip(whole.policy.parameters(), second.policy.parameters(), strict=True):
        assert torch.equal(one, other)


def test_learning_rate_scale_is_of_the_configured_rate():
    one = learner(SPACE.decisions, LSTMPolicy, optimizer={"lr": 0.01})
    one.set_learning_rate_scale(0.5)
    one.set_learning_rate_scale(0.1)
    assert one.optimizer.param_groups[0]["lr"] == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("part", "settings", "message"),
    [
        (Adam, {**ADAM, "lr": 0.0}, "lr must be above 0, got 0.0"),
        (Adam, {**ADAM, "eps": 0.0}, "eps must be above 0, got 0.0"),
        (Adam, {**ADAM, "betas": (0.0, 1.0)}, r"betas must lie in \[0, 1\), got \(0.0, 1.0\)"),
        (EntropyBonus, {**ENTROPY, "weight": -1.0}, "weight must be at least 0, got -1.0"),
        (EntropyBonus, {**ENTROPY, "weight_end": -1.0}, "weight_end must be at least 0, got -1.0"),
        (EntropyBonus, {**ENTROPY, "schedule": "step"}, "schedule must be one of linear, cosine, got 'step'"),
        (EntropyBonus, {**ENTROPY, "updates": 0}, "updates must be at least 1, got 0"),
        (EntropyBonus, {**ENTROPY, "part_of": "both"}, "part_of must be one of reward, loss, got 'both'"),
        (EntropyBonus, {**ENTROPY, "part_of": "loss", "target": 1.0}, r"target must lie in \(0, 1\), got 1.0"),
        (EntropyBonus, {**ENTROPY, "target": 0.5}, "a target needs part_of=loss and weight_end=null"),
        (EntropyBonus, {**ENTROPY, "rate": 0.0}, "rate must be above 0, got 0.0"),
        (MovingAverageBaseline, {**BASELINE, "decay": 1.0}, r"decay must lie in \[0, 1\), got 1.0"),
        (ClippedObjective, {"clip": 0.0, "epochs": 1}, "clip must be above 0, got 0.0"),
        (ClippedObjective, {"clip": 0.2, "epochs": 0}, "epochs must be at least 1, got 0"),
        (partial(learner, SPACE.decisions, LSTMPolicy), {"max_grad_norm": 0.0}, "max_grad_norm must be above 0"),
    ],
)
def test_bad_settings_are_refused(part, settings, message):
    with pytest.raises(ValueError, match=message):
        part(**settings)


PPO = ClippedObjective(clip=0.2, epochs=1)


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
    loss = PPO.loss(log_prob, sampled, advantages)
    assert loss.item() == pytest.approx(-(objective + 1.0) / 2)
    loss.backward()
    assert log_prob.grad.tolist() == pytest.approx([-slope / 2, -1.0 / 2])
    assert sampled.grad is None
    assert advantages.grad is None
    share = 0.5 if slope == 0.0 and advantage != 0.0 else 0.0
    assert PPO.figures(log_prob, sampled, advantages) == {"clipped": share}


def test_ppo_on_a_policy_of_two_decisions_by_hand():
    """π(b, b) goes from 1/2 · 1/2 to 3/4 · 1/2: its ratio is 3/2; π(a, a) from 1/4 to 1/8: its ratio is 1/2."""
    policy = IndependentPolicy([Decision("c", i, "op", ("a", "b")) for i in range(2)], init_std=0.0).double()
    actions = torch.tensor([[1, 1], [0, 0]])
    sampled = policy.log_prob(actions).detach()
    with torch.no_grad():
        policy.logits[0].copy_(torch.tensor([0.0, math.log(3)]))
    log_prob = policy.log_prob(actions)
    assert (log_prob - sampled).exp().tolist() == pytest.approx([1.5, 0.5])
    loss = PPO.loss(log_prob, sampled, torch.tensor([1.0, 1.0], dtype=torch.float64))
    assert loss.item() == pytest.approx(-(1.2 + 0.5) / 2)
    loss.backward()  # only (a, a) pulls: −1/2 · 0.5 · ∇ log π(a, a), by softmax [1 − p(a), −p(b)] in each decision
    assert policy.logits[0].grad.tolist() == pytest.approx([-0.25 * 0.75, 0.25 * 0.75])
    assert policy.logits[1].grad.tolist() == pytest.approx([-0.25 * 0.5, 0.25 * 0.5])


def test_ppo_loss_wants_one_shape():
    with pytest.raises(ValueError, match="must be of one shape"):
        PPO.loss(torch.zeros(2), torch.zeros(3), torch.zeros(2))


def after_updates(number: int, **settings) -> tuple[Reinforce, list[dict[str, float]]]:
    torch.manual_seed(5)
    one, logged = learner(SPACE.decisions, LSTMPolicy, entropy={"part_of": "loss"}, **settings), []
    for _ in range(number):
        actions = one.sample(6).actions
        logged.append(dict(one.observe(actions, actions.double().mean(dim=1))))
    return one, logged


def test_ppos_first_step_is_reinforces():
    """At ratio 1 the gradient of eq. 7 is A ∇log π, to the last bit."""
    reinforce, ppo = after_updates(1)[0], after_updates(1, objective=PPO)[0]
    for one, other in zip(reinforce.policy.parameters(), ppo.policy.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)
        assert torch.equal(one, other)
    assert ppo.baseline.value == reinforce.baseline.value


def test_more_epochs_take_more_steps_on_the_probabilities_that_sampled():
    """Against a loop written out here, each epoch with ratios to the first probabilities."""
    ppo = after_updates(1, objective=ClippedObjective(clip=0.2, epochs=3), optimizer={"lr": 0.05})[0]
    torch.manual_seed(5)
    other = learner(SPACE.decisions, LSTMPolicy, optimizer={"lr": 0.05})
    actions = other.sample(6).actions
    rewards = actions.double().mean(dim=1)
    advantage = other.baseline.advantage(rewards).float()
    sampled = other.policy.log_prob(actions).detach()
    for _ in range(3):
        samples = other.policy.evaluate(actions)
        loss = PPO.loss(samples.log_prob, sampled, advantage) - 1e-4 * samples.entropy.mean()
        other.optimizer.zero_grad()
        loss.backward()
        other.optimizer.step()
    for one, expected in zip(ppo.policy.parameters(), other.policy.parameters(), strict=True):
        assert torch.equal(one, expected)
    assert ppo.baseline.value == other.baseline.value


def test_ppo_logs_the_clipped_share_and_reinforce_does_not():
    assert all(set(row) == {"baseline", "policy_loss", "entropy"} for row in after_updates(2)[1])
    assert [row["clipped"] for row in after_updates(2, objective=PPO)[1]] == [0.0, 0.0]
    rows = after_updates(5, objective=ClippedObjective(clip=0.05, epochs=8), optimizer={"lr": 0.05})[1]
    assert all(0 < row["clipped"] <= 1 for row in rows)


def test_a_clipped_ratio_stops_moving_where_an_unclipped_one_goes_on():
    """One architecture, many steps: with the clip its probability stays near 1.2 times the first, to a step's size."""

    def ratio(clip: float) -> float:
        torch.manual_seed(2)
        settings = {"entropy": {"weight": 0.0}, "optimizer": {"eps": 1e-8}}
        one = learner(SPACE.decisions, IndependentPolicy, objective=ClippedObjective(clip=clip, epochs=100), **settings)
        before = one.policy.log_prob(ACTIONS[3:4]).item()
        one.observe(ACTIONS[3:4], torch.ones(1))
        return math.exp(one.policy.log_prob(ACTIONS[3:4]).item() - before)

    assert 1.2 < ratio(0.2) < 1.4
    assert ratio(100.0) > 3.0


@pytest.mark.parametrize(
    ("policy", "learning_rate"),
    [
        (partial(LSTMPolicy, hidden_size=32, tanh_constant=2.5, op_tanh_reduction=1.0), 0.005),
        (IndependentPolicy, 0.03),
    ],
)
def test_ppo_solves_a_bandit(policy, learning_rate):
    one = learner(
        SPACE.decisions,
        policy,
        optimizer={"lr": learning_rate},
        baseline={"decay": 0.9, "start": None},
        objective=ClippedObjective(clip=0.2, epochs=4),
    )
    best = torch.tensor([len(d.choices) - 1 for d in SPACE.decisions])
    for _ in range(60):
        actions = one.sample(10).actions
        one.observe(actions, (actions == best).double().mean(dim=1))
    assert torch.equal(one.sample(1, greedy=True).actions[0], best)
    assert (one.sample(200).actions == best).double().mean() > 0.9


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [0.4, 0.3, 0.2, 0.1, 0.0]),
        ("cosine", [0.4, 0.2 + 0.2 * math.sqrt(0.5), 0.2, 0.2 - 0.2 * math.sqrt(0.5), 0.0]),
    ],
)
def test_a_weight_on_its_way_from_start_to_end(schedule, expected):
    def weight(start: float, end: float | None, update: int) -> float:
        settings = {"weight": start, "weight_end": end, "schedule": schedule, "updates": 4}
        return EntropyBonus(part_of="reward", **settings).weight_at(update)

    assert [weight(0.4, 0.0, update) for update in range(5)] == pytest.approx(expected)
    assert weight(0.4, 0.1, 28) == 0.1
    assert weight(1e-4, 1e-4, 3) == weight(1e-4, None, 3) == 1e-4  # to the last bit


@pytest.mark.parametrize("part_of", ["reward", "loss"])
def test_the_entropy_weight_of_each_update_is_that_of_its_schedule(part_of):
    """Against controllers whose constant weight is the one that the schedule should have come to."""

    def make(**entropy) -> Reinforce:
        return learner(SPACE.decisions, partial(LSTMPolicy, hidden_size=8), entropy={"part_of": part_of, **entropy})

    torch.manual_seed(3)
    annealed = make(weight=0.4, weight_end=0.1, updates=3)
    for weight in (0.4, 0.3, 0.2, 0.1, 0.1):
        constant = make(weight=weight)
        constant.load_state_dict(annealed.state_dict())
        logged = annealed.observe(ACTIONS[:4], torch.zeros(4))
        expected = constant.observe(ACTIONS[:4], torch.zeros(4))
        assert logged["entropy_weight"] == pytest.approx(weight)
        assert logged["policy_loss"] == pytest.approx(expected["policy_loss"])
        assert "entropy_weight" not in expected


def test_the_entropy_weight_follows_its_target_by_hand():
    """The target is half of 2 ln 4; the weight moves by the rate times the distance."""
    bonus = EntropyBonus(
        weight=0.1, part_of="loss", weight_end=None, schedule="linear", updates=1, target=0.5, rate=0.1
    )
    uniform = 2 * math.log(4)
    loss = bonus.loss(torch.tensor(1.0), torch.tensor([0.5, 0.7]), update=0, uniform=uniform)
    weight = 0.1 + 0.1 * (math.log(4) - 0.6)
    assert loss.item() == pytest.approx(1.0 - weight * 0.6)
    assert bonus.figures(update=0)["entropy_weight"] == pytest.approx(weight)
    for _ in range(9):
        bonus.loss(torch.tensor(1.0), torch.tensor([2.5, 2.5]), update=1, uniform=uniform)
    assert bonus.weight_at(1) == 0.0


def test_a_policy_keeps_the_entropy_of_its_target():
    """On a bandit that would have it settle."""
    torch.manual_seed(0)
    entropy = {"part_of": "loss", "weight": 0.0, "target": 0.5, "rate": 0.1}
    controller = learner(
        SPACE.decisions, partial(LSTMPolicy, tanh_constant=None), entropy=entropy, optimizer={"lr": 0.02}
    )
    uniform = sum(math.log(len(decision.choices)) for decision in SPACE.decisions)
    last = []
    for number in range(400):
        actions = controller.sample(10).actions
        logged = controller.observe(actions, (actions == 0).double().mean(dim=1))
        last += [logged["entropy"] / uniform] * (number >= 300)
    assert sum(last) / len(last) == pytest.approx(0.5, abs=0.08)


def test_a_resumed_controller_goes_on_in_its_entropy_schedule():
    def make() -> Reinforce:
        entropy = {"weight_end": 0.0, "schedule": "cosine"}
        return learner(SPACE.decisions, partial(LSTMPolicy, hidden_size=8), entropy=entropy)

    first, second = make(), make()
    for _ in range(40):
        first.observe(ACTIONS[:2], torch.rand(2))
    second.load_state_dict(first.state_dict())
    one, other = (which.observe(ACTIONS[:2], torch.ones(2))["entropy_weight"] for which in (first, second))
    assert one == other
    assert 0 < one < 1e-4


CONTROLLERS = sorted((Path(__file__).parents[2] / "conf" / "controller").glob("*.yaml"))


@pytest.mark.parametrize("path", CONTROLLERS, ids=lambda path: path.stem)
def test_every_configured_controller_is_resumed_exactly(path):
    def controller():
        return build(controller_config(path.stem, OmegaConf.create()), "controller", SPACE.decisions)

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


ANNEALED = {"weight": 0.4, "part_of": "loss", "weight_end": 0.1, "schedule": "cosine", "updates": 4}
LOGGED = {
    "lstm": ({}, [0.5345994485912251, 0.3479832410812378, 2.4291164875030518]),
    "enas": ({}, [0.10108192071401781, 1.3749504089355469, 4.158800029754639]),
    "reinforce": ({}, [0.37744791174981085, 0.041232991963624954, 4.156389236450195]),
    "ppo": (
        {"optimizer": {"lr": 0.05}, "objective": {"clip": 0.05, "epochs": 8}},
        [0.4739137367682136, -0.13685907423496246, 3.8164382934570313, 0.4],
    ),
    "lstm, annealed": (
        {"entropy": ANNEALED, "max_grad_norm": 0.05},
        [0.432934336272014, 0.03604442626237869, 4.095778560638427, 0.1],
    ),
    "lstm, few elites": (
        {"elites": {"size": 2, "weight": 0.3, "window": 7}, "entropy": {"weight": 0.1}},
        [0.8874604557918577, 0.8660445809364319, 3.261157751083374],
    ),
}
"""What controllers logged in their sixth update when all of this was one class, and with which settings."""


@pytest.mark.parametrize("name", LOGGED)
def test_a_short_run_logs_what_it_always_did(name):
    changed, expected = LOGGED[name]
    file = name.partition(",")[0]
    torch.manual_seed(0)
    one = build(controller_config(file, OmegaConf.create({file: changed})), "controller", SPACE.decisions)
    for update in range(6):
        one.set_learning_rate_scale(1.0 - 0.1 * update)
        actions = one.sample(5).actions
        logged = one.observe(actions, actions.double().mean(dim=1))
    assert list(logged.values()) == pytest.approx(expected, rel=1e-5)
