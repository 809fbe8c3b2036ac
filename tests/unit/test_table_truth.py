"""Cells of NAS-Bench-201 with the truth of the table, and the rows next to which shared scores stand."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from controllers.uniform import Uniform
from nas.searching.table_lookup import open_table
from nas.studies.ranking.table_truth import is_development, live_counts, ordering_rows, rows_beside, table_cells
from search_spaces.nasbench201 import NASBench201Space, arch_string, function_text, parse_arch_string
from search_spaces.shufflenas import ShuffleNASSpace

TABLE = Path(__file__).parents[1] / "data" / "nasbench201_cifar10.csv.gz"
SPACE = NASBench201Space()
WEIGHTS = {"nor_conv_1x1": 1, "nor_conv_3x3": 9}


def parameters(genotype):
    return sum(WEIGHTS.get(op, 0) for *_, op in genotype.normal.edges)


@pytest.fixture(scope="module")
def lookup():
    return open_table(
        path=str(TABLE), key="arch", key_of=arch_string, reward="cifar10_valid_12", report="cifar10_test_200"
    )[0]


@pytest.fixture(scope="module")
def development(lookup):
    return table_cells(SPACE, lookup, {"parameters": parameters}).of_part("development", space=SPACE)


@pytest.fixture(scope="module")
def reported(lookup):
    return table_cells(SPACE, lookup, {"parameters": parameters}).of_part("reported", space=SPACE)


CHAIN = "|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|skip_connect~2|"
SIDE = "|nor_conv_3x3~0|+|none~0|none~1|+|avg_pool_3x3~0|skip_connect~1|nor_conv_1x1~2|"


@pytest.mark.parametrize(
    ("text", "counts", "function"),
    [  # skips, 1x1, 3x3, pools, convolutions on the longest path
        (CHAIN, [1, 1, 1, 0, 2], "[[2([3(x)])]]"),
        (SIDE, [1, 0, 1, 1, 1], "[4(x)+[3(x)]]"),  # node 2 has no input, so its 1x1 convolution is dead
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", [0, 0, 0, 0, 0], ""),
    ],
)
def test_live_operations_and_functions_by_hand(text, counts, function):
    genotype = parse_arch_string(text)
    assert live_counts(genotype) == counts
    assert function_text(genotype) == function


def test_cells_that_compute_the_same_are_chosen_together(development, reported):
    """An edge that no path takes changes neither function nor part."""
    dead = SIDE.replace("nor_conv_1x1", "nor_conv_3x3")
    assert function_text(parse_arch_string(dead)) == function_text(parse_arch_string(SIDE))
    assert is_development([parse_arch_string(dead)], SPACE) == is_development([parse_arch_string(SIDE)], SPACE)
    classes = [{SPACE.canonical(one) for one in cells.genotypes} for cells in (development, reported)]
    assert not classes[0] & classes[1]
    assert [len(one) for one in classes] == [764, 4496]
    assert len(development.genotypes) + len(reported.genotypes) == 15625


def test_rows_that_train_nothing_are_those_of_the_table(lookup, development):
    values = development.truth.values
    assert values.tolist() == [lookup.report(one) for one in development.genotypes]
    sizes = [parameters(one) for one in development.genotypes]
    rows = ordering_rows(development, {"run": {"loss": -values}}, seed=0, resamples=1)
    assert rows["shared loss"]["tau"]["value"] == pytest.approx(-1, abs=1e-6)
    assert rows["parameters"]["tau"]["value"] == pytest.approx(kendalltau(sizes, values).statistic, abs=1e-6)
    assert rows["parameters"]["equal parameters"]["value"] == 0
    seen = rows["what a search of the table sees"]
    expected = kendalltau([lookup.accuracy(one) for one in development.genotypes], values).statistic
    assert seen["tau"]["value"] == pytest.approx(expected, abs=1e-6)
    assert (
        rows["live operations"]["tau"]["value"]
        > rows["parameters"]["tau"]["value"]
        > abs(rows["random"]["tau"]["value"])
    )


def test_groups_hold_equal_counts_and_dead_cells_are_alone(reported):
    counts = [tuple(live_counts(one)[:-1]) for one in reported.genotypes]
    group = reported.truth.groups["live operations"]
    by_counts = {}
    for count, number in zip(counts, group.tolist(), strict=True):
        by_counts.setdefault(count, []).append(number)
    dead = by_counts.pop((0, 0, 0, 0))
    assert len(set(dead)) == len(dead) > 1
    assert all(len(set(numbers)) == 1 for numbers in by_counts.values())
    assert len(np.unique(group)) == len(by_counts) + len(dead)


def test_several_runs_have_their_mean_and_a_row_each(development):
    values = development.truth.values
    rows = ordering_rows(development, {"a": {"loss": values}, "b": {"loss": -values}}, seed=0, resamples=1)
    assert rows["shared loss"]["tau"]["value"] == pytest.approx(0, abs=1e-6)
    assert [rows[f"{run}, loss"]["tau"]["value"] for run in "ab"] == pytest.approx([1, -1], abs=1e-6)


def test_a_table_may_hold_a_few_cells_of_a_large_space_in_groups_of_its_own(tmp_path):
    space = ShuffleNASSpace()
    torch.manual_seed(0)
    cells = [space.decode(row) for row in Uniform(space.decisions).sample(10).actions.tolist()]
    lines = [f"'{json.dumps(cell.to_dict())}',{number},{number % 2}" for number, cell in enumerate(cells)]
    (tmp_path / "cells.csv").write_text("\n".join(["cell,accuracy,bin", *lines]).replace('"', '""').replace("'", '"'))
    lookup, _ = open_table(path=str(tmp_path / "cells.csv"), key="cell", key_of=repr, reward="accuracy", group="bin")
    found = table_cells(space, lookup, {"parameters": lambda cell: 1.0})
    assert found.genotypes == cells
    assert found.truth.values.tolist() == list(range(10))
    assert found.truth.groups["group"].tolist() == [0, 1] * 5
    cells_of = table_cells(space, lookup, {"parameters": lambda cell: 1.0}).of_part
    parts = [one.to_json() for part in ("development", "reported") for one in cells_of(part, space=space).genotypes]
    assert sorted(parts) == sorted(one.to_json() for one in cells)


def test_a_found_cell_stands_among_all_cells_and_among_those_of_its_size(lookup):
    cells = table_cells(SPACE, lookup, {"parameters": parameters})
    largest = parse_arch_string(
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+" + "|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    )
    found = cells.standing(largest, space=SPACE)
    assert found["is_largest"]
    assert found["truth"] == found["largest"] == lookup.report(largest)
    assert found["equal_parameters"] == {"cells": 1, "mean": found["truth"], "percentile": 0}
    assert 90 < found["percentile"] < 100
    other = cells.standing(parse_arch_string(CHAIN), space=SPACE)
    same = [lookup.report(one) for one in cells.genotypes if parameters(one) == 10]
    assert other["equal_parameters"]["cells"] == len(same)
    assert other["equal_parameters"]["mean"] == pytest.approx(np.mean(same))
    assert other["equal_parameters"]["percentile"] == pytest.approx(
        100 * np.mean([one < other["truth"] for one in same])
    )
    assert not other["is_largest"]


def test_finals_are_won_by_the_cell_of_the_highest_12_epochs_and_so_are_those_of_the_largest(
    lookup, development, reported
):
    cells = table_cells(SPACE, lookup, {"parameters": parameters})
    chosen = cells.genotypes[5:8]
    best = max(chosen, key=lookup.accuracy)
    largest = sorted(cells.genotypes, key=parameters)[-7:]  # all 3x3 convolutions but one of six
    assert cells.finals(chosen, space=SPACE)[0] == lookup.report(best)
    expected = (lookup.report(max(largest, key=lookup.accuracy)),) * 2
    assert cells.finals(largest, space=SPACE) == pytest.approx(expected)
    assert development.finals(reported.genotypes[:1], space=SPACE) is None


def test_cells_of_another_space_are_refused(lookup):
    with pytest.raises(ValueError, match="nasbench201"):
        table_cells(ShuffleNASSpace(), lookup, {})


def test_scores_of_a_file_stand_beside_by_what_cells_compute(development, reported, tmp_path):
    _, *others = (development.genotypes_of(number) for number in range(4))
    lines = [f"{arch_string(own[-1])},{number},x" for number, own in enumerate(others, start=5)]
    (tmp_path / "scores.csv").write_text("\n".join(["arch,flow,name", *lines]))
    found = rows_beside(tmp_path / "scores.csv", development, SPACE)
    assert list(found) == ["beside: flow"]
    expected = np.where(np.isin(development.truth.classes, [1, 2, 3]), development.truth.classes + 4.0, 4.0)
    assert found["beside: flow"].tolist() == expected.tolist()
    (tmp_path / "scores.csv").write_text(f"arch,flow\n{arch_string(reported.genotypes[0])},1\n")
    with pytest.raises(ValueError, match="none of the table's cells"):
        rows_beside(tmp_path / "scores.csv", development, SPACE)
    with pytest.raises(FileNotFoundError, match="nas score"):
        rows_beside(tmp_path / "other.csv", development, SPACE)


def test_twins_may_count_once_by_the_mean_of_their_truths_and_the_smallest_size(development):
    once, places = development.once()
    assert len(once.genotypes) == once.num_classes == development.num_classes
    number = int(np.argmax(np.bincount(development.truth.classes)))
    own = development.truth.classes == number
    assert once.truth.values[number] == pytest.approx(development.truth.values[own].mean())
    assert once.rows["parameters"][number] == development.rows["parameters"][own].min()
    assert development.truth.classes[places].tolist() == list(range(once.num_classes))
    assert [development.genotypes[place] for place in places] == once.genotypes
    group = once.truth.groups["parameters"]
    assert len(set(group.tolist())) == len(set(once.rows["parameters"].tolist()))


def test_few_classes_are_not_the_large_ones(lookup, reported):
    few = table_cells(SPACE, lookup, {"parameters": parameters}).of_part("reported", space=SPACE, most=500)
    sizes = [len(one.genotypes) / one.num_classes for one in (few, reported)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.2)


def test_few_classes_of_a_part_are_some_of_its_own_whole_and_always_the_same(lookup, development):
    few = table_cells(SPACE, lookup, {"parameters": parameters}).of_part("development", space=SPACE, most=20)
    fewer = table_cells(SPACE, lookup, {"parameters": parameters}).of_part("development", space=SPACE, most=10)
    assert (few.num_classes, fewer.num_classes) == (20, 10)
    assert set(fewer.genotypes) < set(few.genotypes) < set(development.genotypes)
    forms = {SPACE.canonical(one) for one in few.genotypes}
    assert {one for one in development.genotypes if SPACE.canonical(one) in forms} == set(few.genotypes)
