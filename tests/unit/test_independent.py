import copy
import itertools
import math
from functools import partial

import pytest
import torch

from controllers.independent import IndependentPolicy
from controllers.policy_gradients import ReinforceObjective
from controllers.reinforce import Reinforce
from search_spaces.genotype import Decision
from search_spaces.shufflenas import ShuffleNASSpace
from tests.learners import learner

DECISIONS = [
    Decision("cell", 0, "input", ("0", "1")),
    Decision("cell", 0, "op", ("a", "b", "c")),
    Decision("cell", 1, "input", ("0", "1", "2")),
    Decision("cell", 1, "mixer", ("only",)),
]
ACTIONS = torch.tensor(list(itertools.product(range(2), range(3), range(3), range(1))))


def policy(**settings) -> IndependentPolicy:
    return IndependentPolicy(DECISIONS, **{"init_std": 1.0, **settings}).double()


def test_probabilities_of_all_architectures_sum_to_one():
    assert policy().log_prob(ACTIONS).exp().sum().item() == pytest.approx(1.0, abs=1e-12)


def test_probability_is_the_product_of_softmaxes_by_hand():
    one = IndependentPolicy([Decision("c", 0, "op", ("a", "b")), Decision("c", 1, "op", ("a", "b"))], temperature=2.0)
    with torch.no_grad():
        one.logits[0].copy_(torch.tensor([2 * math.log(3), 0.0]))
        one.logits[1].copy_(torch.tensor([0.0, 2 * math.log(4)]))
    samples = one.evaluate(torch.tensor([[0, 0], [1, 1]]))
    assert samples.log_prob.exp().tolist() == pytest.approx([3 / 4 * 1 / 5, 1 / 4 * 4 / 5])
    first = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    second = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    assert samples.entropy.tolist() == pytest.approx([first + second] * 2)


def test_decisions_are_independent():
    _, log_probs, _ = policy().evaluate_decisions(ACTIONS)
    for t, decision in enumerate(DECISIONS):
        for choice in range(len(decision.choices)):
            assert len(log_probs[ACTIONS[:, t] == choice, t].unique()) == 1


def test_the_entropy_of_the_policy_is_that_of_every_sample():
    samples = policy().evaluate(ACTIONS)
    exact = -(samples.log_prob.exp() * samples.log_prob).sum()
    assert samples.entropy.tolist() == pytest.approx([exact.item()] * len(ACTIONS))


def test_samples_follow_the_policys_probabilities_and_come_with_them():
    one = policy()
    samples = one.sample(20_000)
    expected = one.log_prob(ACTIONS).exp()
    counts = torch.stack([(samples.actions == row).all(dim=1).double().mean() for row in ACTIONS])
    assert (counts - expected).abs().max() < 0.012
    assert torch.equal(samples.log_prob, one.log_prob(samples.actions))
    assert not samples.log_prob.requires_grad


def test_greedy_is_the_likeliest_architecture():
    one = policy()
    likeliest = ACTIONS[one.log_prob(ACTIONS).argmax()]
    assert torch.equal(one.sample(2, greedy=True).actions, likeliest.repeat(2, 1))


def test_gradients_agree_with_finite_differences_of_the_expected_reward():
    """Σ_a π(a) ∇loss(a) against J = Σ_a π(a) R(a), enumerated; and the gradient of log π and entropy by gradcheck."""
    one = policy(temperature=0.7)
    rewards = torch.rand(len(ACTIONS), dtype=torch.float64)
    log_prob = one.log_prob(ACTIONS)
    weighted = log_prob.detach().exp() * (rewards - 0.3) * len(ACTIONS)
    ReinforceObjective().loss(log_prob, log_prob.detach(), weighted).backward()

    def expected_reward() -> float:
        with torch.no_grad():
            return (one.log_prob(ACTIONS).exp() * rewards).sum().item()

    step = 1e-6
    for logits in one.logits:
        for i in range(len(logits)):
            value = logits.data[i].item()
            logits.data[i] = value + step
            above = expected_reward()
            logits.data[i] = value - step
            below = expected_reward()
            logits.data[i] = value
            assert -logits.grad[i].item() == pytest.approx((above - below) / (2 * step), abs=1e-8)

    def evaluated(*logits):
        values = {f"logits.{i}": value for i, value in enumerate(logits)}
        _, log_probs, entropies = torch.func.functional_call(one, values, (ACTIONS,))
        return log_probs, entropies

    one.forward = one.evaluate_decisions
    assert torch.autograd.gradcheck(evaluated, tuple(one.logits))


def test_a_zero_start_is_exactly_uniform():
    assert policy(init_std=0.0).log_prob(ACTIONS).tolist() == pytest.approx([-math.log(18)] * 18)


def test_it_solves_a_bandit_under_reinforce():
    """The reward is the share of decisions answered with the last choice."""
    space = ShuffleNASSpace(blocks=2, ops=("conv_1x1", "identity"))
    baseline = {"decay": 0.9, "start": None}
    one = learner(space.decisions, IndependentPolicy, optimizer={"lr": 0.1}, baseline=baseline)
    best = torch.tensor([len(d.choices) - 1 for d in space.decisions])
    for _ in range(80):
        actions = one.sample(10).actions
        one.observe(actions, (actions == best).double().mean(dim=1))
    assert torch.equal(one.sample(1, greedy=True).actions[0], best)
    assert (one.sample(200).actions == best).double().mean() > 0.9


def test_a_restored_learner_goes_on_exactly():
    def steps(one: Reinforce, seeds: range) -> None:
        for seed in seeds:
            torch.manual_seed(seed)
            actions = one.sample(4).actions
            one.observe(actions, actions.double().mean(dim=1))

    torch.manual_seed(3)
    whole = learner(DECISIONS, partial(IndependentPolicy, init_std=0.5))
    resumed = learner(DECISIONS, IndependentPolicy)
    steps(whole, range(3))
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    steps(whole, range(3, 6))
    steps(resumed, range(3, 6))
    assert resumed.baseline.value == whole.baseline.value
    for one, other in zip(whole.policy.parameters(), resumed.policy.parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("decisions", "settings", "message"),
    [
        ([], {}, "at least one decision"),
        (DECISIONS, {"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        (DECISIONS, {"init_std": -1.0}, "init_std must be at least 0, got -1.0"),
    ],
)
def test_bad_settings_are_refused(decisions, settings, message):
    with pytest.raises(ValueError, match=message):
        IndependentPolicy(decisions, **settings)


def test_wrong_shapes_and_counts_are_refused():
    with pytest.raises(ValueError, match=r"shape \(N, 4\), got \(3, 5\)"):
        policy().evaluate(torch.zeros(3, 5, dtype=torch.long))
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        policy().sample(0)
