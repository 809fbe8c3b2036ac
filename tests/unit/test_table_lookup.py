from pathlib import Path

import pytest

from nas.searching.table_files import Table
from nas.searching.table_lookup import TableEvaluator, TableLookup, TabularCost, open_table
from search_spaces.genotype import Genotype
from search_spaces.nasbench201 import arch_string
from search_spaces.shufflenas import ShuffleNASSpace
from tests.unit.test_tabular import FIRST, ROWS, SECOND, SPACE, read, write

FILE = Path(__file__).parents[1] / "data" / "nasbench201_cifar10.csv.gz"
ABSENT = SPACE.decode([0, 1, 2, 3, 4, 2])


@pytest.fixture
def lookup(tmp_path) -> TableLookup:
    return TableLookup(table=read(write(tmp_path / "table.csv", ROWS)), key_of=arch_string, reward_scale=0.01)


def test_accuracies_are_scaled_and_reports_and_costs_are_not(lookup):
    assert [lookup.accuracy(cell) for cell in (SECOND, FIRST)] == pytest.approx([0.8, 0.635])
    assert (lookup.report(FIRST), lookup.cost(SECOND)) == (85.25, 12.5)


def test_the_seed_of_an_evaluation_does_not_matter(lookup):
    evaluator = TableEvaluator(lookup=lookup, cost=TabularCost("latency", lookup))
    cells = [SECOND, FIRST, SECOND]
    found = evaluator.evaluate(cells, seed=0)
    assert found == evaluator.evaluate(cells, seed=1)
    assert found[0].reward == found[0].figures["accuracy"] == pytest.approx(0.8)
    assert found[1].figures == {"accuracy": pytest.approx(0.635), "report": 85.25, "latency_ms": lookup.cost(FIRST)}
    assert evaluator.evaluate([], seed=0) == []
    assert evaluator.train(0, lambda count: pytest.fail("nothing trains")) == {}


def test_a_genotype_that_is_not_in_the_table_is_refused_by_name(lookup):
    for query in (lookup.report, lookup.cost, lookup.accuracy):
        with pytest.raises(ValueError, match=r"table.csv has no row '\|none~0\|\+\|skip_connect~0"):
            query(ABSENT)


def test_queries_for_a_column_that_was_not_read_are_refused(tmp_path):
    table = Table.read(write(tmp_path / "table.csv", ROWS), key="arch", reward="valid")
    lookup = TableLookup(table=table, key_of=arch_string)
    with pytest.raises(ValueError, match="without a cost column; name one with cost=COLUMN"):
        lookup.cost(FIRST)


def test_any_space_can_be_tabular(tmp_path):
    space = ShuffleNASSpace(blocks=1)
    genotype = space.decode([0, 1, 0, 2])
    table = Table.read(write(tmp_path / "t.csv", [["0 1 0 2", "0.5"]], ["cell", "r"]), key="cell", reward="r")

    def key_of(genotype: Genotype) -> str:
        return " ".join(map(str, space.encode(genotype)))

    assert TableLookup(table=table, key_of=key_of).accuracy(genotype) == 0.5


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_would_turn_or_wipe_out_rewards_is_refused(tmp_path, scale):
    with pytest.raises(ValueError, match="reward_scale must be above 0 and finite"):
        TableLookup(table=read(write(tmp_path / "table.csv", ROWS)), key_of=arch_string, reward_scale=scale)


def test_a_cost_of_zero_is_refused():
    lookup = TableLookup(
        table=Table(path=FILE, reward={"a": 1.0}, cost={"a": 0.0}), key_of=lambda genotype: "a", reward_scale=1.0
    )
    with pytest.raises(ValueError, match=r"nasbench201_cifar10.csv.gz: a cost must be above 0, got 0.0"):
        TabularCost("latency", lookup)(SPACE.decode([0] * 6))


def test_an_unknown_cost_is_refused_before_the_file_is_read():
    with pytest.raises(ValueError, match="cost must be one of latency, parameters, multiply_adds, got 'energy'"):
        open_table(path="absent.csv", key="arch", key_of=arch_string, reward="valid", cost="joule", cost_name="energy")


def test_a_key_that_is_no_function_is_named():
    with pytest.raises(ValueError, match=r"key_of must name a function: table\.key_of\.path=MODULE\.FUNCTION"):
        open_table(
            path=str(FILE), key="arch", key_of="search_spaces.nasbench201.arch_string", reward="cifar10_valid_12"
        )
