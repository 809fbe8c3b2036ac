"""Successive halving: hand-computed rungs, budgets, and the order of what was trained."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.searching.successive_halving import (
    Budget,
    Rung,
    cost,
    fitting,
    in_order,
    largest_plan,
    parse_budget,
    plan,
)


def test_every_rung_of_27_cells_costs_the_same():
    assert plan(27, [2, 6, 18]) == [Rung(27, 2), Rung(9, 6), Rung(3, 18)]
    assert [rung.cost for rung in plan(27, [2, 6, 18])] == [54, 54, 54]
    assert plan(6, [4]) == [Rung(6, 4)]
    assert plan(2, [1, 10]) == [Rung(2, 1), Rung(2, 10)]  # of one there is nothing to choose


def test_the_largest_plan_within_a_budget_by_hand():
    # of [1, 3]: 2 cells cost 2 + 2·3, 5 cells 5 + 2·3, 6 cells 6 + 2·3, 7 cells 7 + 2·3
    assert largest_plan(30, [1, 3], budget=12) == [Rung(6, 1), Rung(2, 3)]
    assert largest_plan(30, [1, 3], budget=11.9) == [Rung(5, 1), Rung(2, 3)]
    assert largest_plan(4, [1, 3], budget=1000) == plan(4, [1, 3])
    with pytest.raises(ValueError, match="the finals of two cells take 8"):
        largest_plan(30, [1, 3], budget=4)


@given(
    most=st.integers(2, 60),
    epochs=st.lists(st.integers(1, 40), min_size=1, max_size=4, unique=True).map(sorted),
    budget=st.floats(1, 5000),
)
def test_a_plan_keeps_its_budget_and_one_more_cell_would_not(most, epochs, budget):
    try:
        rungs = largest_plan(most, epochs, budget=budget)
    except ValueError:
        assert cost(plan(2, epochs)) > budget
        return
    assert cost(rungs) <= budget
    assert rungs[0].cells == most or cost(plan(rungs[0].cells + 1, epochs)) > budget
    assert [rung.cells for rung in rungs] == sorted((rung.cells for rung in rungs), reverse=True)


def test_a_rung_takes_as_many_cells_as_fit_the_time():
    assert fitting(Rung(9, 6), seconds=100, each=2.0, workers=1) == 8
    assert fitting(Rung(9, 6), seconds=100, each=20.0, workers=1) == 0
    assert fitting(Rung(9, 6), seconds=100, each=5.0, workers=2) == 6  # three turns of two
    assert fitting(Rung(9, 6), seconds=-1, each=5.0, workers=2) == 0
    assert fitting(Rung(9, 6), seconds=20, each=2.0, workers=1) == 0  # of one there is nothing to choose
    assert fitting(Rung(3, 6), seconds=1e6, each=5.0, workers=2) == 3


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("300 epochs", Budget(300, None)),
        ("12epochs", Budget(12, None)),
        (" 1 epoch ", Budget(1, None)),
        ("10 m", Budget(None, 600)),
        ("90s", Budget(None, 90)),
        ("1.5h", Budget(None, 5400)),
        ("10m", Budget(None, 600)),
    ],
)
def test_a_budget_is_read(text, budget):
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["", "10", "0m", "-3m", "ten minutes", "10 m 5", "nanm", "10ms", "1e3s"])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(ValueError, match="must be a budget such as '300 epochs'"):
        parse_budget(text)


def test_later_rungs_come_first_whatever_their_rewards_and_what_diverged_last():
    entries = [
        {"cell": "early, high", "rung": 0, "stand_alone_reward": 0.9},
        {"cell": "untrained"},
        {"cell": "bad", "rung": 2, "diverged": "why"},
        {"cell": "late, low", "rung": 1, "stand_alone_reward": 0.3},
        {"cell": "late, high", "rung": 1, "stand_alone_reward": 0.4},
    ]
    order = ["late, high", "late, low", "early, high", "untrained", "bad"]
    assert [entry["cell"] for entry in in_order(entries)] == order
