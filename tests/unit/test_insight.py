"""What a search has learned: planted cases are named, and sound searches raise no alarm."""

import numpy as np
import pytest

from nas.searching.diagnostics.insight import _importance, _op_effects, find_insight
from nas.searching.diagnostics.watch import Finding
from search_spaces.genotype import Decision

OPS = ("conv", "pool", "identity")
DECISIONS = [
    Decision("normal", step, kind, OPS if kind == "op" else ("a", "b")) for step in range(4) for kind in ("input", "op")
]
ALARMS = {"harmful_op", "one_size", "no_signal"}


def search(reward, *, cells=300, seed=0, sizes=(10, 20, 30)):
    """A search of random cells with a reward of their ops and a drift over 30 epochs, and its candidates."""
    random = np.random.default_rng(seed)
    scored = []
    for number in range(cells):
        actions = [int(random.integers(len(one.choices))) for one in DECISIONS]
        ops = [OPS[action] for action, one in zip(actions, DECISIONS, strict=True) if one.kind == "op"]
        epoch = number // 10
        value = reward(ops, actions, random) + 0.01 * epoch
        scored.append({"epoch": epoch, "reward": value, "accuracy": value, "actions": " ".join(map(str, actions))})
    return scored, [{"parameters": size} for size in sizes]


def test_omega_squared_of_a_hand_computed_table():
    # groups of two with means -1 and 1 and a spread of 1 about them: between 4, total 6, error (6 - 4) / 2 = 1
    choices, rewards = (
        np.array([0, 0, 1, 1]),
        np.array([-1.0 - 0.5**0.5, -1.0 + 0.5**0.5, 1.0 - 0.5**0.5, 1.0 + 0.5**0.5]),
    )
    found = _importance("one", choices, rewards, np.zeros(4, dtype=np.int64))
    assert found.value == pytest.approx((4 - 1) / (6 + 1))
    assert found.p == pytest.approx(0.1835, abs=1e-3)  # F = 4 with 1 and 2 degrees of freedom


def test_the_effects_of_ops_by_hand():
    # each cell has two ops; the rewards are those of the op's own, 0, 3 and 6, summed: beside the average op -3, 0, 3
    pairs = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)] * 4
    uses = np.array([[pair.count(op) for op in range(3)] for pair in pairs], dtype=float)
    random = np.random.default_rng(0)
    rewards = uses @ np.array([0.0, 3.0, 6.0]) + 0.01 * random.normal(size=len(pairs))
    columns = {name: uses[:, place] - uses[:, place].mean() for place, name in enumerate("abc")}
    found = _op_effects(columns, rewards - rewards.mean(), len(pairs) - 1)
    assert [one.name for one in found] == ["a", "b", "c"]
    assert [one.value for one in found] == pytest.approx([-3.0, 0.0, 3.0], abs=0.02)
    assert all(one.low < one.value < one.high for one in found)
    assert found[0].p < 1e-9


def test_one_good_op_makes_no_other_harmful():
    alarms = 0
    for seed in range(20):
        scored, candidates = search(
            lambda ops, actions, random: 0.5 + 0.05 * ops.count("conv") + 0.02 * random.normal(), seed=seed
        )
        alarms += "harmful_op" in find_insight(DECISIONS, scored, candidates).findings
    assert alarms <= 1


def test_a_dead_op_is_named_with_what_it_costs():
    scored, candidates = search(lambda ops, actions, random: 0.5 - 0.05 * ops.count("pool") + 0.02 * random.normal())
    insight = find_insight(DECISIONS, scored, candidates, images=100_000)
    worst = insight.ops[0]
    assert worst.name == "pool"
    assert worst.low < -0.05 * 2 / 3 < worst.high  # beside the mean of pool and two others
    assert insight.findings["harmful_op"].startswith(
        f"each pool in place of the average op lowers the reward by {-worst.value:.4f} ("
    )
    assert "leave pool out of search_space.ops" in insight.advice


def test_the_decision_that_matters_comes_first():
    scored, candidates = search(lambda ops, actions, random: 0.5 + 0.1 * (actions[4] == 1) + 0.05 * random.normal())
    insight = find_insight(DECISIONS, scored, candidates)
    assert insight.decisions[0].name == "normal.2.input"
    assert insight.decisions[0].value == pytest.approx(0.5, abs=0.1)  # variance 0.0025 of 0.0025 + 0.0025
    assert "normal.2.input" in insight.findings["decisions"]
    assert all(one.p > 0.001 for one in insight.decisions[1:])


def test_pure_noise_is_said_to_be_noise():
    images = 32
    alarms, noise = 0, []
    for seed in range(20):
        scored, candidates = search(lambda ops, actions, random: random.binomial(images, 0.4) / images, seed=seed)
        insight = find_insight(DECISIONS, scored, candidates, images=images)
        noise.append(insight.noise)
        alarms += "no_signal" not in insight.findings
    assert insight.advice == ["let finals decide (search.finalists), or take evaluator=stand_alone"]
    trained = [{**one, "stand_alone_reward": 0.5} for one in candidates]
    assert find_insight(DECISIONS, scored, trained, images=images).advice == []
    assert np.mean(noise) == pytest.approx(1.0, abs=0.1)
    assert alarms <= 4  # decisions and ops are two families at 5 % each


def test_a_policy_that_collapsed_is_named_unless_it_began_anew():
    scored, candidates = search(lambda ops, actions, random: random.normal())
    for action, named in (("none", True), ("stop", True), ("restart", False)):
        warned = [Finding(epoch=7, kind="collapsed", message="the policy has collapsed", action=action)]
        said = find_insight(DECISIONS, scored, candidates, warned=warned).findings.get("collapsed")
        assert said == ("since epoch 7 the policy has collapsed" if named else None)


def test_candidates_of_one_size_are_named():
    scored, candidates = search(lambda ops, actions, random: random.normal(), sizes=(1000, 1010, 1049))
    assert (
        "all 3 candidates have about as many parameters, 1,000 to 1,049"
        in find_insight(DECISIONS, scored, candidates).findings["one_size"]
    )
    scored, candidates = search(lambda ops, actions, random: random.normal(), sizes=(1000, 1010, 1051))
    assert "one_size" not in find_insight(DECISIONS, scored, candidates).findings


def test_sound_searches_raise_no_alarm():
    gains = {"conv": 0.02, "pool": 0.02, "identity": 0.02}

    def reward(ops, actions, random):
        return (
            0.4
            + sum(gains[op] for op in ops)
            + 0.05 * (actions[1] == actions[3])
            + 0.08 * (actions[0] == 1)
            + 0.03 * random.normal()
        )

    for seed in range(10):
        scored, candidates = search(reward, seed=seed)
        assert not ALARMS & set(find_insight(DECISIONS, scored, candidates).findings)


@pytest.mark.parametrize("cells", [0, 1, 19])
def test_of_few_cells_nothing_is_said(cells):
    scored, candidates = search(lambda ops, actions, random: random.normal(), cells=cells)
    insight = find_insight(DECISIONS, scored, candidates)
    assert (insight.decisions, insight.ops, insight.findings) == ([], [], {})


def test_equal_rewards_say_nothing():
    scored, candidates = search(lambda ops, actions, random: 0.5)
    assert find_insight(DECISIONS, [{**row, "reward": 1.0} for row in scored], candidates).decisions == []
