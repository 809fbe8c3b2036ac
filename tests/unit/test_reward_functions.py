"""Rewards of accuracy and cost, against values computed by hand."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.searching.reward_functions import (
    absolute_reward,
    latency_absolute,
    latency_aware,
    latency_limit,
    limited_reward,
    product_reward,
)
from nas.training.evaluation import Score


@dataclass(frozen=True)
class Constant:
    """A cost that is the same for every genotype."""

    value: float
    name: str = "latency"

    def __call__(self, genotype) -> float:
        return self.value


def score(accuracy: float) -> Score:
    return Score(loss=1.0, accuracy=accuracy)


def test_the_soft_form_of_mnasnet_at_twice_and_half_the_target():
    # 2 ** -0.07 = 0.952638, 0.5 ** -0.07 = 1.049717
    reward = latency_aware().bind(Constant(6.0), target=3.0)
    assert reward(score(0.8), None) == pytest.approx(0.8 * 0.952638, abs=1e-6)
    reward = latency_aware().bind(Constant(1.5), target=3.0)
    assert reward(score(0.8), None) == pytest.approx(0.8 * 1.049717, abs=1e-6)


def test_the_hard_form_of_mnasnet_leaves_accuracy_below_the_target_and_divides_above():
    hard = latency_aware(alpha=0, beta=-1)
    assert hard.bind(Constant(1.0), target=4.0)(score(0.6), None) == pytest.approx(0.6)
    assert hard.bind(Constant(4.0), target=4.0)(score(0.6), None) == pytest.approx(0.6)
    assert hard.bind(Constant(8.0), target=4.0)(score(0.6), None) == pytest.approx(0.3)


def test_the_absolute_reward_of_tunas_falls_on_both_sides_of_the_target():
    reward = latency_absolute(beta=-0.5)
    assert reward.bind(Constant(5.0), target=4.0)(score(0.7), None) == pytest.approx(0.7 - 0.125)
    assert reward.bind(Constant(3.0), target=4.0)(score(0.7), None) == pytest.approx(0.7 - 0.125)
    assert reward.bind(Constant(4.0), target=4.0)(score(0.7), None) == pytest.approx(0.7)


def test_the_limit_gives_nothing_beyond_itself():
    reward = latency_limit(target=2.0)
    assert reward.bind(Constant(2.0), target=2.0)(score(0.7), None) == 0.7
    assert reward.bind(Constant(2.0001), target=2.0)(score(0.7), None) == 0.0


@given(st.floats(0.0, 1.0), st.floats(0.01, 100), st.floats(0.01, 100))
def test_no_reward_but_the_absolute_one_gives_more_for_a_higher_cost(accuracy, ratio, other):
    low, high = sorted((ratio, other))
    assert product_reward(accuracy, low, alpha=-0.07, beta=-0.2) >= product_reward(
        accuracy, high, alpha=-0.07, beta=-0.2
    )
    assert limited_reward(accuracy, low) >= limited_reward(accuracy, high)
    assert absolute_reward(accuracy, ratio, beta=-0.07) <= accuracy


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: latency_aware(alpha=0.1), "alpha must be at most 0"),
        (lambda: latency_aware(beta=0.1), "beta must be at most 0"),
        (lambda: latency_absolute(beta=0.0), "beta must be below 0"),
        (lambda: latency_limit(target=0.0), "target must be above 0"),
        (lambda: latency_aware(cost="watts"), "cost must be one of latency, parameters, multiply_adds, got 'watts'"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_reward_without_its_cost_says_so():
    with pytest.raises(ValueError, match="bind latency first"):
        latency_aware(target=1.0)(score(0.5), None)
    with pytest.raises(ValueError, match="asks for the cost latency, got parameters"):
        latency_aware().bind(Constant(1.0, name="parameters"), target=1.0)


def test_binding_leaves_the_reward_of_the_config_as_it_was():
    reward = latency_aware()
    reward.bind(Constant(1.0), target=1.0)
    assert reward.bound is None
    assert reward.target is None
