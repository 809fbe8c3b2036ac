import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from controllers.evolution import Evolution, parent_probabilities
from controllers.uniform import Uniform
from nas.runs.checkpoints import load_checkpoint, save_checkpoint
from search_spaces.genotype import Decision


def decisions(*num_choices: int) -> list[Decision]:
    return [Decision(f"cell{i}", 0, "op", tuple("abcdefgh"[:k])) for i, k in enumerate(num_choices)]


SMALL = (2, 3, 1)
ALL = torch.tensor(list(itertools.product(*(range(k) for k in SMALL))))


def filled(members: torch.Tensor, rewards: list[float], *, sample_size: int = 3) -> Evolution:
    evolution = Evolution(decisions(*SMALL), population_size=len(members), sample_size=sample_size)
    evolution.observe(members, torch.tensor(rewards))
    return evolution


def exact_child_probabilities(members: list[list[int]], rewards: list[float], sample_size: int) -> dict[tuple, float]:
    """Every ordered draw of members, every decision with two choices, every other answer, one by one."""
    probabilities: dict[tuple, float] = {}
    changeable = [t for t, k in enumerate(SMALL) if k > 1]
    draws = list(itertools.product(range(len(members)), repeat=sample_size))
    for draw in draws:
        parent = members[max(draw, key=lambda i: rewards[i])]  # max keeps the first of equals
        for t in changeable:
            for answer in set(range(SMALL[t])) - {parent[t]}:
                child = (*parent[:t], answer, *parent[t + 1 :])
                share = 1 / (len(draws) * len(changeable) * (SMALL[t] - 1))
                probabilities[child] = probabilities.get(child, 0.0) + share
    return probabilities


MEMBERS = [[0, 0, 0], [1, 2, 0], [0, 1, 0], [0, 1, 0]]
REWARDS = [0.5, 0.9, 0.5, 0.1]


@pytest.mark.parametrize("sample_size", [1, 2, 3])
def test_log_probabilities_agree_with_enumeration_of_draws_parents_and_changes(sample_size):
    evolution = filled(torch.tensor(MEMBERS), REWARDS, sample_size=sample_size)
    exact = exact_child_probabilities(MEMBERS, REWARDS, sample_size)
    expected = [exact.get(tuple(row), 0.0) for row in ALL.tolist()]
    assert evolution.log_prob(ALL).exp().tolist() == pytest.approx(expected, abs=1e-12)
    assert sum(expected) == pytest.approx(1.0)


def test_children_are_drawn_with_the_probabilities_of_the_enumeration():
    evolution = filled(torch.tensor(MEMBERS), REWARDS)
    exact = exact_child_probabilities(MEMBERS, REWARDS, 3)
    samples = evolution.sample(20_000)
    for row in ALL:
        drawn = (samples.actions == row).all(dim=1).double().mean().item()
        assert drawn == pytest.approx(exact.get(tuple(row.tolist()), 0.0), abs=0.012)
    assert torch.allclose(samples.log_prob.double(), evolution.log_prob(samples.actions))


def test_the_best_is_chosen_more_often_the_larger_the_sample():
    """P = 4, distinct rewards: the best is among S of 4 with probability 1 − (3/4)^S."""
    rewards = torch.tensor([0.1, 0.4, 0.2, 0.3])
    for sample_size in (1, 2, 5):
        best = parent_probabilities(rewards, sample_size=sample_size)[1].item()
        assert best == pytest.approx(1 - 0.75**sample_size)


@given(rewards=st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=5), sample_size=st.integers(1, 3))
def test_parent_probabilities_agree_with_enumeration_ties_included(rewards, sample_size):
    counts = [0] * len(rewards)
    for draw in itertools.product(range(len(rewards)), repeat=sample_size):
        counts[max(draw, key=lambda i: rewards[i])] += 1
    exact = [count / len(rewards) ** sample_size for count in counts]
    got = parent_probabilities(torch.tensor(rewards), sample_size=sample_size).tolist()
    assert got == pytest.approx(exact)


def test_entropy_is_that_of_each_decisions_answer():
    evolution = filled(torch.tensor(MEMBERS), REWARDS)
    exact = exact_child_probabilities(MEMBERS, REWARDS, 3)
    total = 0.0
    for t, num_choices in enumerate(SMALL):
        for answer in range(num_choices):
            share = sum(p for child, p in exact.items() if child[t] == answer)
            total -= share * math.log(share)
    assert evolution.entropy() == pytest.approx(total)
    assert evolution.sample(2).entropy.tolist() == pytest.approx([total] * 2)


@given(
    num_choices=st.lists(st.integers(1, 4), min_size=1, max_size=6).filter(lambda ks: max(ks) > 1),
    population_size=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_a_child_differs_from_a_member_in_exactly_one_decision(num_choices, population_size, seed):
    torch.manual_seed(seed)
    evolution = Evolution(decisions(*num_choices), population_size=population_size, sample_size=1)
    evolution.observe(Uniform(decisions(*num_choices)).sample(population_size).actions, torch.rand(population_size))
    actions, log_prob, *_ = evolution.sample(8)
    distances = (actions[:, None] != evolution.population).sum(dim=2)
    assert (distances == 1).any(dim=1).all()
    assert ((actions >= 0) & (actions < torch.tensor(num_choices))).all()
    assert log_prob.isfinite().all()


def test_with_one_member_every_child_is_one_change_away_and_all_are_equally_likely():
    evolution = Evolution(decisions(2, 4), population_size=1)
    evolution.observe(torch.tensor([[1, 2]]), torch.tensor([0.0]))
    actions = evolution.sample(4000).actions
    assert ((actions != torch.tensor([1, 2])).sum(dim=1) == 1).all()
    shares = {tuple(row): (actions == torch.tensor(row)).all(1).float().mean().item() for row in actions.tolist()}
    assert shares == pytest.approx({(0, 2): 1 / 2, (1, 0): 1 / 6, (1, 1): 1 / 6, (1, 3): 1 / 6}, abs=0.03)


@given(
    population_size=st.integers(1, 6),
    batches=st.lists(st.integers(1, 8), min_size=1, max_size=6),
)
def test_the_oldest_die_and_the_size_stays(population_size, batches):
    evolution = Evolution(decisions(8, 8), population_size=population_size)
    lived: list[list[int]] = []
    for number in batches:
        actions = torch.randint(8, (number, 2))
        rewards = torch.rand(number)
        lived += [[*row, reward] for row, reward in zip(actions.tolist(), rewards.tolist(), strict=True)]
        logged = evolution.observe(actions, rewards)
        alive = lived[-population_size:]
        assert evolution.population.tolist() == [row[:2] for row in alive]
        assert evolution.rewards.tolist() == [row[2] for row in alive]
        assert evolution.filled == (len(lived) >= population_size)
        assert logged["population_best"] == max(row[2] for row in alive)
        assert evolution.best[0] == max(row[2] for row in lived)


def test_even_the_best_dies_but_is_remembered():
    evolution = Evolution(decisions(8), population_size=2)
    evolution.observe(torch.tensor([[5]]), torch.tensor([1.0]))
    evolution.observe(torch.tensor([[1], [2]]), torch.tensor([0.1, 0.2]))
    assert evolution.population.tolist() == [[1], [2]]
    assert evolution.sample(3, greedy=True).actions.tolist() == [[5]] * 3
    assert evolution.sample(1, greedy=True).log_prob.tolist() == [0.0]


def test_what_is_logged_by_hand():
    evolution = Evolution(decisions(8, 2), population_size=4)
    logged = evolution.observe(torch.tensor([[5, 0], [1, 0], [1, 0], [1, 1]]), torch.tensor([0.5, 1.0, 0.25, 0.25]))
    assert logged == {"population_best": 1.0, "population_mean": 0.5, "best_age": 2.0, "distinct": 0.75}


def test_until_the_population_is_filled_draws_are_uniform():
    evolution = Evolution(decisions(*SMALL), population_size=3)
    assert evolution.sample(2, greedy=True).actions.tolist() == [[0, 0, 0]] * 2
    for _ in range(2):
        evolution.observe(torch.tensor([[1, 1, 0]]), torch.tensor([0.7]))
        samples = evolution.sample(12_000)
        for row in ALL:
            assert (samples.actions == row).all(dim=1).float().mean().item() == pytest.approx(1 / 6, abs=0.015)
        assert samples.log_prob[0].item() == pytest.approx(-math.log(6))
        assert samples.entropy[0].item() == pytest.approx(math.log(6))
    evolution.observe(torch.tensor([[1, 1, 0]]), torch.tensor([0.7]))
    assert ((evolution.sample(50).actions != torch.tensor([1, 1, 0])).sum(dim=1) == 1).all()


def test_a_restored_evolution_goes_on_exactly(tmp_path):
    def steps(one: Evolution, seeds: range) -> list[list[int]]:
        drawn = []
        for seed in seeds:
            torch.manual_seed(seed)
            actions = one.sample(3).actions
            one.observe(actions, (actions == 3).double().mean(dim=1))
            drawn += actions.tolist()
        return drawn

    space = decisions(4, 4, 4, 4)
    for stop in (0, 1, 8):  # empty, half filled, ageing
        whole, first, second = (Evolution(space, population_size=5) for _ in range(3))
        drawn = steps(whole, range(12))
        steps(first, range(stop))
        save_checkpoint(tmp_path / "state.pt", {"controller": first.state_dict()})
        steps(first, range(20, 22))  # what is saved does not follow
        second.load_state_dict(load_checkpoint(tmp_path / "state.pt")["controller"])
        assert steps(second, range(stop, 12)) == drawn[3 * stop :]
        assert torch.equal(second.population, whole.population)
        assert second.best[0] == whole.best[0]
        assert torch.equal(second.best[1], whole.best[1])


@pytest.mark.parametrize("batch", [1, 5])
def test_it_beats_random_search_on_one_max(batch):
    """The reward is the share of ten decisions of four choices answered with the last; 200 rewards for both."""
    space = decisions(*[4] * 10)
    margins = []
    for seed in range(6):
        torch.manual_seed(seed)
        evolution, best_uniform = Evolution(space), 0.0
        for _ in range(200 // batch):
            actions = evolution.sample(batch).actions
            evolution.observe(actions, (actions == 3).double().mean(dim=1))
            others = Uniform(space).sample(batch).actions
            best_uniform = max(best_uniform, (others == 3).double().mean(dim=1).max().item())
        found = (evolution.sample(1, greedy=True).actions == 3).double().mean().item()
        assert found == evolution.best[0]
        margins.append(found - best_uniform)
    assert min(margins) >= 0
    assert sum(margins) / len(margins) > 0.15


def test_it_has_no_learning_rate_to_scale():
    evolution = filled(torch.tensor(MEMBERS), REWARDS)
    before = evolution.log_prob(ALL)
    evolution.set_learning_rate_scale(0.1)
    assert torch.equal(evolution.log_prob(ALL), before)


@pytest.mark.parametrize(
    ("space", "settings", "message"),
    [
        ([], {}, "at least one decision with two choices"),
        (decisions(1, 1), {}, "at least one decision with two choices"),
        (decisions(2), {"population_size": 0}, "population_size must be at least 1, got 0"),
        (decisions(2), {"sample_size": 0}, "sample_size must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_refused(space, settings, message):
    with pytest.raises(ValueError, match=message):
        Evolution(space, **settings)


@pytest.mark.parametrize(
    ("actions", "rewards", "message"),
    [
        ([[0, 0]], [1.0], r"shapes \(N, 3\) and \(N,\), got \(1, 2\) and \(1,\)"),
        ([[0, 0, 0]], [1.0, 2.0], r"got \(1, 3\) and \(2,\)"),
        ([[0, 3, 0]], [1.0], "an answer that its decision does not offer"),
        ([[0, -1, 0]], [1.0], "an answer that its decision does not offer"),
        ([[0, 0, 0]], [math.nan], "a reward is NaN"),
    ],
)
def test_what_cannot_be_a_member_is_refused(actions, rewards, message):
    evolution = Evolution(decisions(*SMALL))
    with pytest.raises(ValueError, match=message):
        evolution.observe(torch.tensor(actions), torch.tensor(rewards))
    assert len(evolution.population) == 0


def test_empty_batches_counts_below_one_and_foreign_states_are_refused():
    evolution = filled(torch.tensor(MEMBERS), REWARDS)
    with pytest.raises(ValueError, match="at least one architecture"):
        evolution.observe(torch.empty((0, 3), dtype=torch.int64), torch.empty(0))
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        evolution.sample(0)
    with pytest.raises(ValueError, match="the state has 4 members, more than population_size 3"):
        Evolution(decisions(*SMALL), population_size=3).load_state_dict(evolution.state_dict())
    with pytest.raises(ValueError, match=r"shapes \(N, 2\)"):
        Evolution(decisions(2, 3)).load_state_dict(evolution.state_dict())
