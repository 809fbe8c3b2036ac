import math

import pytest

from nas.searching.settings import WarmUpSettings
from nas.searching.table_files import first_cells, read_cells, read_values, rows_by_function
from search_spaces.genotype import json_line
from search_spaces.nasbench201 import NASBench201Space, arch_string

SPACE = NASBench201Space()
ROWS = {(3, 3, 3, 3, 3, 3): 0.9, (0, 0, 0, 1, 0, 0): 0.2, (2, 1, 2, 1, 2, 1): 0.5, (0, 3, 0, 3, 0, 3): 0.4}


def written(path, key, name="reward"):
    lines = [f"{key(row)},{value}" for row, value in ROWS.items()]
    path.write_text(f"cell,{name}\n" + "\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    "key",
    [
        lambda row: arch_string(SPACE.decode(row)),
        lambda row: '"' + json_line(SPACE.decode(row)).replace('"', '""') + '"',
    ],
    ids=["notation", "json"],
)
def test_cells_are_read_in_any_notation(tmp_path, key):
    assert read_values(written(tmp_path / "cells.csv", key), SPACE, column="reward") == ROWS


def test_a_run_folder_is_read_by_its_scored_cells(tmp_path):
    lines = [f"0,{value},{' '.join(map(str, row))}" for row, value in ROWS.items()]
    (tmp_path / "scored.csv").write_text("epoch,reward,actions\n" + "\n".join(lines) + "\n")
    assert read_values(tmp_path, SPACE, column="reward") == ROWS
    assert len(read_cells(tmp_path, SPACE)) == 4


def test_a_search_begins_with_the_best_of_those_drawn_each_function_once(tmp_path):
    rows = {
        **ROWS,
        (0, 0, 0, 1, 4, 0): 0.95,
        (1, 4, 4, 1, 0, 0): 0.1,
    }  # the first computes what (0, 0, 0, 1, 0, 0) does
    lines = [f"{arch_string(SPACE.decode(row))},{value}" for row, value in rows.items()]
    file = tmp_path / "scores.csv"
    file.write_text("cell,combined\n" + "\n".join(lines) + "\n")
    assert SPACE.canonical(SPACE.decode((0, 0, 0, 1, 4, 0))) == SPACE.canonical(SPACE.decode((0, 0, 0, 1, 0, 0)))
    cells = first_cells(WarmUpSettings(file=str(file), cells=3), SPACE, seed=0)
    assert list(cells) == [(0, 0, 0, 1, 4, 0), (3, 3, 3, 3, 3, 3), (2, 1, 2, 1, 2, 1)]
    drawn = {
        tuple(first_cells(WarmUpSettings(file=str(file), cells=1, among=2), SPACE, seed=seed)) for seed in range(9)
    }
    assert len(drawn) > 1
    assert first_cells(WarmUpSettings(), SPACE, seed=0) == ()


def test_rows_are_found_by_what_cells_compute(tmp_path):
    found = rows_by_function(written(tmp_path / "cells.csv", lambda row: arch_string(SPACE.decode(row))), SPACE)
    assert found[SPACE.canonical(SPACE.decode((2, 1, 2, 1, 2, 1)))]["reward"] == "0.5"


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("cell,reward\n", "reward", "holds no cells"),
        ("cell,reward\nnothing,1\n", "reward", "line 2"),
        ("actions,reward\n9 9 9 9 9 9,1\n", "reward", "line 2"),
        ("actions,reward\nx,1\n", "reward", "line 2"),
        ("actions,other\n0 0 0 0 0 0,1\n", "reward", "has no column 'reward'; it has actions, other"),
        ("actions,reward\n0 0 0 0 0 0,\n", "reward", "holds no number"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path, text, column, message):
    (tmp_path / "cells.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_values(tmp_path / "cells.csv", SPACE, column=column)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no cells at"):
        read_cells(tmp_path / "absent.csv", SPACE)


def test_what_is_no_number_is_left_out(tmp_path):
    (tmp_path / "cells.csv").write_text("actions,reward\n0 0 0 0 0 0,nan\n1 1 1 1 1 1,0.5\n2 2 2 2 2 2,inf\n")
    values = read_values(tmp_path / "cells.csv", SPACE, column="reward")
    assert values == {(1,) * 6: 0.5}
    assert all(map(math.isfinite, values.values()))
