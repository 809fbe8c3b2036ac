from nas.studies.benchmarks.tables import groups, print_tables

FIGURES = {
    "samples": 20,
    "sample": {"batch_ms": 1.5, "ms": 0.075},
    "update": {"batch_ms": 1234.56, "ms": 61.728},
    "cells": [{"ratio": 1.25, "genotype": {"space": "shufflenas"}}],
}


def test_nested_figures_are_groups_by_name_and_genotypes_are_left_out():
    assert list(groups("part", FIGURES)) == [
        ("part", {"samples": 20}),
        ("part: sample", {"batch_ms": 1.5, "ms": 0.075}),
        ("part: update", {"batch_ms": 1234.56, "ms": 61.728}),
        ("part: cells 0", {"ratio": 1.25}),
    ]


def test_groups_of_the_same_columns_are_one_table(capsys):
    print_tables("part", FIGURES)
    tables = [table.splitlines() for table in capsys.readouterr().err.strip("\n").split("\n\n")]
    assert [[line.split() for line in table] for table in tables] == [
        [["samples"], ["part", "20"]],
        [["batch_ms", "ms"], ["part:", "sample", "1.5", "0.075"], ["part:", "update", "1,235", "61.73"]],
        [["ratio"], ["part:", "cells", "0", "1.25"]],
    ]
    assert len({len(line) for line in tables[1]}) == 1
