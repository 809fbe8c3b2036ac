import itertools
import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from controllers.best_architectures import Elites, References
from controllers.independent import IndependentPolicy
from controllers.lstm import LSTMPolicy
from controllers.policy_gradients import ClippedObjective
from controllers.reinforce import Reinforce
from nas.runs.checkpoints import load_checkpoint, save_checkpoint
from search_spaces.genotype import Decision
from tests.learners import learner

DECISIONS = [Decision("cell", i, "op", ("a", "b", "c")) for i in range(2)]
ALL = torch.tensor(list(itertools.product(range(3), repeat=2)))
SMALL = partial(LSTMPolicy, hidden_size=8, tanh_constant=2.5, op_tanh_reduction=1.0)
REWARDS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3)), min_size=1, max_size=30)


@given(REWARDS, st.integers(1, 4), st.integers(4, 12), st.integers(1, 5))
def test_the_best_are_those_of_the_highest_mean_among_the_last(observed, size, window, at_once):
    elites = Elites(size=size, weight=0.02, window=window)
    for first in range(0, len(observed), at_once):
        numbers, rewards = zip(*observed[first : first + at_once], strict=True)
        elites.observe(ALL[list(numbers)], torch.tensor(rewards))
    by_number: dict[int, list[int]] = {}
    for number, reward in observed[-window:]:
        by_number.setdefault(number, []).append(reward)
    means = {number: sum(rewards) / len(rewards) for number, rewards in by_number.items()}
    best = [int(3 * row[0] + row[1]) for row in elites.best()]
    assert len(best) == len(set(best)) == min(size, len(means))
    assert [means[number] for number in best] == pytest.approx(sorted(means.values(), reverse=True)[:size])


def test_references_are_the_best_of_all_and_drawn_by_place():
    references = References(size=2, decay=0.5, after=3)
    references.observe(ALL[[0, 4]], torch.tensor([0.1, 0.5]))
    assert references.drawn_from() is None
    references.observe(ALL[[8, 4, 2]], torch.tensor([0.9, 0.7, 0.5]))  # what is known counts with its first reward
    actions, probabilities = references.drawn_from()
    assert actions.tolist() == ALL[[8, 4]].tolist()
    assert probabilities.tolist() == pytest.approx([2 / 3, 1 / 3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0, "decay": 0.5, "after": 3}, "size must be at least 1, got 0"),
        ({"size": 1, "decay": 1.5, "after": 3}, r"decay must lie in \(0, 1\], got 1.5"),
        ({"size": 1, "decay": 0.5, "after": 0}, "after must be at least 1, got 0"),
    ],
)
def test_bad_settings_of_references_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        References(**arguments)


def test_an_editing_policy_is_a_mixture_that_sums_to_one():
    """Over all architectures; each component is what its samples are drawn from."""
    torch.manual_seed(0)
    policy = SMALL(DECISIONS, positions=True, keep=2.0)
    references, probabilities = ALL[[5, 0]], torch.tensor([0.75, 0.25])
    components = []
    for row in references:
        policy.refer_to(row[None], torch.ones(1))
        components.append(policy.evaluate(ALL).log_prob.exp())
    policy.refer_to(references, probabilities)
    mixture = policy.evaluate(ALL).log_prob.exp()
    assert mixture.sum().item() == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(mixture, 0.75 * components[0] + 0.25 * components[1])
    drawn = policy.sample(4000)
    counts = torch.bincount(drawn.actions @ torch.tensor([3, 1]), minlength=9) / 4000
    assert (counts - mixture).abs().max() < 0.03
    assert policy.sample(2, greedy=True).actions.tolist() == [[1, 2], [1, 2]]


def test_a_raised_answer_is_likelier_by_its_logit():
    """Of an untrained policy with logits of 0 an answer is kept with probability exp(keep) / (exp(keep) + 2)."""
    policy = SMALL(DECISIONS, keep=2.0)
    for parameter in policy.parameters():
        torch.nn.init.zeros_(parameter)
    policy.refer_to(ALL[[5]], torch.ones(1))
    kept = math.exp(2.0) / (math.exp(2.0) + 2)
    expected = [[(kept if a == 1 else (1 - kept) / 2) * (kept if b == 2 else (1 - kept) / 2)] for a, b in ALL.tolist()]
    torch.testing.assert_close(policy.evaluate(ALL).log_prob.exp()[:, None], torch.tensor(expected))


def test_references_need_a_policy_that_edits():
    with pytest.raises(ValueError, match="references need a policy with a method refer_to, got IndependentPolicy"):
        learner(DECISIONS, IndependentPolicy, references=References(size=1, decay=1.0, after=1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 0, "weight": 0.1, "window": 3}, "size must be at least 1, got 0"),
        ({"size": 3, "weight": 0.0, "window": 3}, "weight must be above 0, got 0.0"),
        ({"size": 4, "weight": 0.1, "window": 3}, "window must be at least size 4, got 3"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Elites(**arguments)


def test_there_are_none_before_the_first_reward():
    with pytest.raises(ValueError, match="no elites before the first rewards"):
        Elites(size=1, weight=0.02, window=1).best()


def test_a_reward_that_is_no_number_never_becomes_the_best():
    elites = Elites(size=1, weight=0.02, window=2)
    with pytest.raises(ValueError, match="a reward is NaN"):
        elites.observe(ALL[:2], torch.tensor([0.5, float("nan")]))
    elites.observe(ALL[:2], torch.tensor([0.5, -float("inf")]))
    assert torch.equal(elites.best(), ALL[:1])


def test_one_update_by_hand():
    """The gradient is that of REINFORCE plus −λ ∇ mean log π of the elites, the new rewards' among them."""
    one = learner(DECISIONS, SMALL, entropy={"weight": 0.0}, elites=Elites(size=2, weight=0.3, window=9))
    one.observe(ALL[:3], torch.tensor([0.1, 0.9, 0.2]))  # elites 1 and 2
    actions, baseline = ALL[4:5], one.baseline.value
    advantage = 0.5 - (0.99 * baseline + 0.01 * 0.5)
    elites = ALL[[1, 4]]  # the new one takes the place of 2
    loss = -advantage * one.policy.log_prob(actions)[0] - 0.3 * one.policy.log_prob(elites).mean()
    expected = torch.autograd.grad(loss, list(one.policy.parameters()), allow_unused=True)
    one.observe(actions, torch.tensor([0.5]))
    for parameter, gradient in zip(one.policy.parameters(), expected, strict=True):
        if gradient is not None:
            assert torch.allclose(parameter.grad, gradient, atol=1e-7)


def test_elites_make_a_rare_find_likely_that_reinforce_forgets():
    def probability(elites: Elites | None) -> float:
        torch.manual_seed(0)
        one = learner(DECISIONS, SMALL, optimizer={"lr": 0.02}, baseline={"decay": 0.9}, elites=elites)
        one.observe(ALL[5:6], torch.tensor([1.0]))  # found once
        for _ in range(40):
            one.observe(ALL[:1], torch.tensor([0.5]))
        return one.policy.log_prob(ALL[5:6]).exp().item()

    remembered, forgotten = (probability(Elites(size=1, weight=0.1, window=window)) for window in (100, 10))
    assert remembered > 2 * probability(None)
    assert forgotten < remembered


def test_without_elites_nothing_is_kept():
    one = learner(DECISIONS, SMALL)
    one.observe(ALL[:2], torch.rand(2))
    assert set(one.state_dict()) == {"policy", "optimizer", "baseline", "updates"}


def test_the_number_of_elites_may_differ_from_that_of_samples_and_works_with_ppo():
    elites, objective = Elites(size=5, weight=0.02, window=100), ClippedObjective(clip=0.2, epochs=3)
    one = learner(DECISIONS, SMALL, elites=elites, objective=objective)
    logged = one.observe(ALL[:2], torch.tensor([0.5, 0.6]))
    assert set(logged) == {"baseline", "policy_loss", "entropy", "clipped"}
    assert len(elites.best()) == 2


def test_a_restored_learner_goes_on_exactly(tmp_path):
    def step(one: Reinforce) -> None:
        actions = one.sample(3).actions
        one.observe(actions, (actions == 2).double().mean(dim=1))

    def make() -> Reinforce:
        return learner(DECISIONS, SMALL, elites=Elites(size=2, weight=0.1, window=5))

    first, second = make(), make()
    for _ in range(4):
        step(first)
    save_checkpoint(tmp_path / "c.pt", dict(first.state_dict()))
    second.load_state_dict(load_checkpoint(tmp_path / "c.pt"))
    for one in (first, second):
        torch.manual_seed(7)
        for _ in range(3):
            step(one)
    assert torch.equal(first.policy.log_prob(ALL), second.policy.log_prob(ALL))
    assert torch.equal(first.elites.best(), second.elites.best())
