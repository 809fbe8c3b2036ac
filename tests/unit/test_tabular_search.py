import itertools
import json
import math
from pathlib import Path

import pytest
import torch

from controllers.best_architectures import Elites
from controllers.evolution import Evolution
from controllers.lstm import LSTMPolicy
from controllers.uniform import Uniform
from nas.searching.evaluators import accuracy_reward
from nas.searching.reward_functions import latency_aware
from nas.searching.search import Search
from nas.searching.settings import QuerySettings
from nas.searching.table_files import Table
from nas.searching.table_lookup import TableEvaluator, TableLookup, TabularCost, open_table
from search_spaces.genotype import Genotype
from search_spaces.nasbench201 import NASBench201Space, arch_string
from tests.learners import learner

SPACE = NASBench201Space()
FILE = Path(__file__).parents[1] / "data" / "nasbench201_cifar10.csv.gz"
COLUMNS = {"key": "arch", "reward": "cifar10_valid_12", "report": "cifar10_test_200", "cost": "latency_1080ti_b256_ms"}


@pytest.fixture(scope="module")
def table():
    return open_table(path=str(FILE), key_of=arch_string, reward_scale=0.01, **COLUMNS)


def make(table, *, controller=None, reward=accuracy_reward, seed=0, **settings) -> Search[TableEvaluator]:
    lookup, cost = table
    torch.manual_seed(seed)
    return Search(
        settings=QuerySettings(**{"queries": 23, **settings}),
        seed=seed,
        space=SPACE,
        controller=controller or Uniform(SPACE.decisions),
        evaluator=TableEvaluator(lookup=lookup, reward=reward, cost=cost),
    )


def finish(search: Search[TableEvaluator]) -> Search[TableEvaluator]:
    while not search.finished:
        search.epoch()
    return search


def genotype_of(entry) -> Genotype:
    return SPACE.decode([int(action) for action in entry["actions"].split()])


def test_the_budget_is_spent_to_the_query(table):
    search = finish(make(table, queries=23, samples_per_update=5))
    assert len(search.scored) == 23
    assert [row["queries"] for row in search.rows] == [5, 10, 15, 20, 23]
    assert [entry["epoch"] for entry in search.scored] == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5 + [4] * 3


def test_what_the_table_says_of_every_cell_is_noted(table):
    evaluator, _ = table
    search = finish(make(table))
    for entry in search.scored:
        key = arch_string(genotype_of(entry))
        assert entry["reward"] == entry["accuracy"] == pytest.approx(0.01 * evaluator.table.reward[key])
        assert (entry["report"], entry["latency_ms"]) == (evaluator.table.report[key], evaluator.table.cost[key])


def test_a_row_follows_the_incumbent_and_not_the_best_report(table):
    search = finish(make(table, queries=60, samples_per_update=1))
    for number, row in enumerate(search.rows, start=1):
        best = max(search.scored[:number], key=lambda entry: entry["reward"])  # the first of equals
        assert (row["best"], row["report"]) == (best["reward"], best["report"])
    best_reports = itertools.accumulate((entry["report"] for entry in search.scored), max)
    assert any(row["report"] < best for row, best in zip(search.rows, best_reports, strict=True))


def test_the_search_does_not_look_at_the_reports(table):
    evaluator, _ = table
    turned = {key: -value for key, value in evaluator.table.report.items()}
    other = TableLookup(
        table=Table(path=FILE, reward=evaluator.table.reward, report=turned, cost=evaluator.table.cost),
        key_of=arch_string,
        reward_scale=0.01,
    )
    runs = [
        finish(make((one, TabularCost("latency", one)), controller=Evolution(SPACE.decisions), queries=80))
        for one in (evaluator, other)
    ]
    assert [e["actions"] for e in runs[0].scored] == [e["actions"] for e in runs[1].scored]
    assert [e["report"] for e in runs[0].scored] == [-e["report"] for e in runs[1].scored]


def test_candidates_are_different_cells_and_the_incumbent_is_the_first(table):
    search = finish(make(table, queries=200, top_k=150))
    found = search.candidates()
    assert found[0]["reward"] == search.incumbent["reward"]
    assert [entry["reward"] for entry in found] == sorted((entry["reward"] for entry in found), reverse=True)
    keys = [SPACE.canonical(Genotype.from_dict(entry["genotype"])) for entry in found]
    assert len(set(keys)) == len(keys)
    best = {}
    for entry in search.scored:
        key = SPACE.canonical(genotype_of(entry))
        best[key] = max(best.get(key, -1.0), entry["reward"])
    assert [entry["reward"] for entry in found] == sorted(best.values(), reverse=True)[:150]
    assert {"key", "accuracy", "report", "latency_ms"} <= set(found[0])


def test_the_front_is_what_no_cell_beats_in_accuracy_and_cost(table):
    search = finish(make(table, queries=120))
    front = {(entry["latency_ms"], entry["accuracy"]) for entry in search.front("latency_ms")}
    points = {(entry["latency_ms"], entry["accuracy"]) for entry in search.scored}
    beaten = {
        a for a, b in itertools.permutations(points, 2) if b[0] <= a[0] and b[1] >= a[1]
    }  # points are a set, so that b differs from a
    assert front == points - beaten


def make_controller(name: str):
    torch.manual_seed(5)
    if name == "evolution":
        return Evolution(SPACE.decisions)
    return learner(SPACE.decisions, LSTMPolicy, elites=Elites(size=3, weight=0.02, window=20))


@pytest.mark.parametrize("name", ["evolution", "lstm"])
def test_a_search_that_goes_on_elsewhere_ends_as_it_would_have(table, tmp_path, name):
    whole = finish(make(table, controller=make_controller(name), queries=60))
    first = make(table, controller=make_controller(name), queries=60)
    for _ in range(4):
        first.epoch()
    torch.save(first.state_dict(), tmp_path / "state.pt")
    torch.manual_seed(99)
    second = make(table, controller=make_controller(name), queries=60)
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert finish(second).scored == whole.scored
    assert json.dumps(second.rows) == json.dumps(whole.rows)
    assert second.candidates() == whole.candidates()


def test_a_reward_of_accuracy_and_cost_takes_the_cost_from_the_table(table):
    _, cost = table
    search = finish(make(table, reward=latency_aware(alpha=-0.5, beta=-0.5).bind(cost, target=20.0)))
    for entry in search.scored:
        assert entry["reward"] == pytest.approx(entry["accuracy"] * math.sqrt(20.0 / entry["latency_ms"]))
    assert search.rows[-1]["best"] == max(entry["reward"] for entry in search.scored)


def test_a_table_of_rewards_alone_will_do():
    table = open_table(path=str(FILE), key="arch", key_of=arch_string, reward="cifar10_valid_12")
    search = finish(make(table))
    assert table[1] is None
    assert set(search.scored[0]) == {"epoch", "reward", "accuracy", "actions"}


def test_a_reward_that_is_no_number_stops_the_search(table):
    with pytest.raises(ValueError, match="a reward must be finite, the reward function made inf"):
        make(table, reward=lambda score, genotype: math.inf).epoch()


def test_no_function_is_paid_for_twice(table):
    search = finish(make(table, queries=300, samples_per_update=10))
    keys = [SPACE.canonical(genotype_of(entry)) for entry in search.scored]
    assert len(keys) == len(set(keys)) == 300
    assert sum(row["proposals"] for row in search.rows) > 300
    assert sum(row["own"] for row in search.rows) == 300


def test_a_search_ends_when_nothing_is_left(table):
    search = make(table, queries=50, samples_per_update=4)
    known = dict.fromkeys(itertools.product(range(5), repeat=6), 0.1)
    del known[3, 3, 3, 3, 3, 3]
    search = Search(
        settings=search.settings,
        seed=0,
        space=SPACE,
        controller=Uniform(SPACE.decisions),
        evaluator=search.evaluator,
        known=known,
    )
    finish(search)
    assert [entry["actions"] for entry in search.scored] == ["3 3 3 3 3 3"]
    assert search.rows[-1]["queries"] == 1


def test_a_search_begins_with_the_cells_that_it_is_given_and_learns_from_known_rewards(table):
    first = [(3, 3, 3, 3, 3, 3), (1, 3, 3, 3, 3, 3), (2, 2, 2, 2, 2, 2)]
    told = []

    class Noting(Uniform):
        def observe(self, actions, rewards):
            told.append(actions.tolist())
            return {}

    plain = make(table, queries=6, samples_per_update=2)
    search = Search(
        settings=plain.settings,
        seed=0,
        space=SPACE,
        controller=Noting(SPACE.decisions),
        evaluator=plain.evaluator,
        first=first,
        known={first[2]: 0.9, (0, 3, 0, 3, 0, 3): 0.3, (3, 3, 0, 3, 0, 3): 0.3},
    )
    assert told == [[[2, 2, 2, 2, 2, 2], [0, 3, 0, 3, 0, 3]], [[3, 3, 0, 3, 0, 3]]]
    finish(search)
    assert [entry["actions"] for entry in search.scored[:2]] == ["3 3 3 3 3 3", "1 3 3 3 3 3"]
    assert search.rows[0]["own"] == 0
    assert [row["own"] for row in search.rows[1:]] == [2, 2]


def test_a_resumed_search_remembers_what_it_knows(table, tmp_path):
    whole = finish(make(table, queries=60, samples_per_update=5))
    half = make(table, queries=60, samples_per_update=5)
    for _ in range(6):
        half.epoch()
    state = half.state_dict()
    resumed = make(table, queries=60, samples_per_update=5)
    resumed.load_state_dict(state)
    assert finish(resumed).scored == whole.scored
    assert resumed.asking.known == whole.asking.known
