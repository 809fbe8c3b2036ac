import csv
import gzip
import itertools
import time
from pathlib import Path

import pytest

from nas.searching import table_files as tabular
from nas.searching.table_files import Table
from nas.searching.table_lookup import TableLookup
from search_spaces.nasbench201 import NASBench201Space, arch_string

SPACE = NASBench201Space()
FIRST, SECOND = (SPACE.decode([0, 1, 2, 3, 4, op]) for op in (0, 1))
HEADER = ["arch", "valid", "test", "ms"]
ROWS = [[arch_string(FIRST), "63.5", "85.25", "1e1"], [arch_string(SECOND), "80", "93.0", "12.5"]]


def write(path: Path, rows: list[list[str]], header: list[str] = HEADER) -> Path:
    with gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def read(path: Path) -> Table:
    return Table.read(path, key="arch", reward="valid", report="test", cost="ms")


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_columns_are_read_by_name(tmp_path, name):
    table = read(write(tmp_path / name, ROWS))
    assert len(table) == 2
    assert list(table.reward.values()) == [63.5, 80.0]
    assert list(table.report.values()) == [85.25, 93.0]
    assert table.cost[arch_string(FIRST)] == 10.0
    assert table.optimum == 93.0


def test_columns_that_nobody_asks_for_may_hold_anything(tmp_path):
    file = write(tmp_path / "table.csv", [["a", "1", "no number", ""]])
    table = Table.read(file, key="arch", reward="valid")
    assert (dict(table.reward), table.report, table.cost) == ({"a": 1.0}, None, None)
    with pytest.raises(ValueError, match="read without a report column"):
        _ = table.optimum


def test_of_several_columns_of_costs_the_first_that_is_there_is_read(tmp_path):
    file = write(tmp_path / "table.csv", ROWS)
    assert Table.read(file, key="arch", reward="valid", cost=["joule", "ms", "test"]).cost == read(file).cost
    assert Table.read(file, key="arch", reward="valid", cost=["joule"]).cost is None
    with pytest.raises(ValueError, match="has no column 'joule' for the cost; it has arch, valid, test, ms"):
        Table.read(file, key="arch", reward="valid", cost="joule")


def test_a_byte_order_mark_empty_lines_quotes_and_carriage_returns_do_not_matter(tmp_path):
    file = tmp_path / "table.csv"
    file.write_bytes(b'\xef\xbb\xbfarch,valid\r\n\r\n"a,b",1\r\nc,2')
    assert dict(Table.read(file, key="arch", reward="valid").reward) == {"a,b": 1.0, "c": 2.0}


def test_one_column_may_have_several_roles(tmp_path):
    table = Table.read(write(tmp_path / "table.csv", ROWS), key="arch", reward="valid", report="valid")
    assert table.reward == table.report


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e999", "", "high", "1_000", "0x10"])
def test_what_is_no_finite_number_is_refused_with_line_and_column(tmp_path, value):
    file = write(tmp_path / "table.csv", [ROWS[0], [*ROWS[1][:2], value, "1"]])
    with pytest.raises(ValueError, match=rf"table.csv, line 3, column test: must be a finite number, got '{value}'"):
        read(file)


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([["a", "1", "2"]], HEADER, "line 2: has 3 fields, the header 4"),
        ([["a", "1", "2", "3", "4"]], HEADER, "line 2: has 5 fields, the header 4"),
        ([["a", "1", "2", "3"], ["a", "1", "2", "3"]], HEADER, "line 3, column arch: 'a' is there already"),
        ([["", "1", "2", "3"]], HEADER, "line 2, column arch: must have 1 to 10000 characters"),
        ([["a" * 10_001, "1", "2", "3"]], HEADER, "line 2, column arch: must have 1 to 10000 characters"),
        ([["a", "1", "x" * 500, "3"]], HEADER, r"got 'x{80}…'"),
        ([], HEADER, "has no rows below its header"),
        ([["a", "1", "2"]], ["arch", "valid", "ms"], "no column 'test' for the report; it has arch, valid, ms"),
        ([["a"] * 5], [*HEADER, "test"], "more than one column 'test'"),
        ([], [str(i) for i in range(1001)], "line 1: has 1001 columns, more than 1000"),
        ([["a" * 200_000, "1", "2", "3"]], HEADER, "line 2: no valid CSV: field larger"),
    ],
)
def test_a_table_that_breaks_a_rule_is_refused_with_the_line(tmp_path, rows, header, message):
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path / "table.csv", rows, header))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "line 1: has no column 'arch'"),
        ("t.csv", b"arch,valid,test,ms\na,1,2,\xff\n", "line 2: is not text in UTF-8"),
        ("t.csv", b'arch,valid,test,ms\n"a,1,2,3\n', "no valid CSV"),
        ("t.csv", b'arch,valid,test,ms\n"a"b,1,2,3\n', "line 2: no valid CSV"),
        ("t.csv.gz", b"arch,valid,test,ms\na,1,2,3\n", "cannot be read: Not a gzipped file"),
        ("t.csv.gz", gzip.compress(b"arch,valid,test,ms\na,1,2,3\n" * 99, mtime=0)[:-20], "cannot be read"),
        ("t.csv.gz", gzip.compress(b"x" * 999, mtime=0)[:12] + b"\xff" * 30, "cannot be read"),
    ],
)
def test_a_broken_file_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such table: .*absent\.csv"):
        read(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("bound", "value", "message"),
    [("MAX_BYTES", 50, "holds more than 0 MiB"), ("MAX_ROWS", 1, "line 3: there are more")],
)
@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz"])
def test_sizes_are_bounded_after_decompression(tmp_path, monkeypatch, bound, value, message, name):
    monkeypatch.setattr(tabular, bound, value)
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path / name, ROWS))


def test_a_table_of_all_cells_loads_in_half_a_second_and_answers_at_once(tmp_path):
    cells = [SPACE.decode(actions) for actions in itertools.product(range(5), repeat=6)]
    rows = [[arch_string(cell), f"{60 + i / 1000:.4f}", f"{80 + i / 5000:.4f}", "9.25"] for i, cell in enumerate(cells)]
    file = write(tmp_path / "table.csv.gz", rows)
    loads, queries = [], []
    for _ in range(3):  # processor time and the best of three, since other programs may run
        start = time.process_time()
        lookup = TableLookup(table=read(file), key_of=arch_string)
        loads.append(time.process_time() - start)
        start = time.process_time()
        accuracies = [lookup.accuracy(cell) for cell in cells]
        queries.append((time.process_time() - start) / len(cells))
    assert min(loads) < 0.5
    assert min(queries) < 1e-4
    assert accuracies == [float(row[1]) for row in rows]
