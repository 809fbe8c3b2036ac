from pathlib import Path

import pytest
import torch

from nas.searching.table_files import Table
from nas.searching.table_lookup import TabularCost, TabularEvaluator, open_table
from search_spaces.genotype import Genotype
from search_spaces.nasbench201 import arch_string
from search_spaces.shufflenas import ShuffleNASSpace
from tests.unit.test_tabular import FIRST, ROWS, SECOND, SPACE, read, write

FILE = Path(__file__).parents[1] / "data" / "nasbench201_cifar10.csv.gz"
ABSENT = SPACE.decode([0, 1, 2, 3, 4, 2])


@pytest.fixture
def evaluator(tmp_path) -> TabularEvaluator:
    return TabularEvaluator(read(write(tmp_path / "table.csv", ROWS)), key_of=arch_string, reward_scale=0.01)


def test_rewards_are_scaled_and_reports_and_costs_are_not(evaluator):
    rewards = evaluator.rewards([SECOND, FIRST, SECOND], seed=3)
    assert rewards.dtype == torch.float64
    assert rewards.tolist() == pytest.approx([0.8, 0.635, 0.8])
    assert (evaluator.report(FIRST), evaluator.cost(SECOND)) == (85.25, 12.5)
    assert torch.equal(evaluator.rewards([FIRST], seed=0), evaluator.rewards([FIRST], seed=1))
    assert evaluator.rewards([], seed=0).shape == (0,)


def test_a_genotype_that_is_not_in_the_table_is_refused_by_name(evaluator):
    for query in (evaluator.report, evaluator.cost, lambda genotype: evaluator.rewards([genotype], seed=0)):
        with pytest.raises(ValueError, match=r"table.csv has no row '\|none~0\|\+\|skip_connect~0"):
            query(ABSENT)


def test_queries_for_a_column_that_was_not_read_are_refused(tmp_path):
    table = Table.read(write(tmp_path / "table.csv", ROWS), key="arch", reward="valid")
    evaluator = TabularEvaluator(table, key_of=arch_string)
    with pytest.raises(ValueError, match="without a cost column; name one with cost=COLUMN"):
        evaluator.cost(FIRST)


def test_any_space_can_be_tabular(tmp_path):
    space = ShuffleNASSpace(blocks=1)
    genotype = space.decode([0, 1, 0, 2])
    table = Table.read(write(tmp_path / "t.csv", [["0 1 0 2", "0.5"]], ["cell", "r"]), key="cell", reward="r")

    def key_of(genotype: Genotype) -> str:
        return " ".join(map(str, space.encode(genotype)))

    assert TabularEvaluator(table, key_of=key_of).rewards([genotype], seed=0).tolist() == [0.5]


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_would_turn_or_wipe_out_rewards_is_refused(tmp_path, scale):
    with pytest.raises(ValueError, match="reward_scale must be above 0 and finite"):
        TabularEvaluator(read(write(tmp_path / "table.csv", ROWS)), key_of=arch_string, reward_scale=scale)


def test_a_cost_of_zero_is_refused():
    evaluator = TabularEvaluator(
        Table(path=FILE, reward={"a": 1.0}, cost={"a": 0.0}), key_of=lambda genotype: "a", reward_scale=1.0
    )
    with pytest.raises(ValueError, match=r"nasbench201_cifar10.csv.gz: a cost must be above 0, got 0.0"):
        TabularCost("latency", evaluator)(SPACE.decode([0] * 6))


def test_an_unknown_cost_is_refused_before_the_file_is_read():
    with pytest.raises(ValueError, match="cost must be one of latency, parameters, multiply_adds, got 'energy'"):
        open_table(path="absent.csv", key="arch", key_of=arch_string, reward="valid", cost="joule", cost_name="energy")


def test_a_key_that_is_no_function_is_named():
    with pytest.raises(ValueError, match=r"key_of must name a function: table\.key_of\.path=MODULE\.FUNCTION"):
        open_table(
            path=str(FILE), key="arch", key_of="search_spaces.nasbench201.arch_string", reward="cifar10_valid_12"
        )
