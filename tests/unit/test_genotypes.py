"""Genotypes are found where a user says they are."""

import json

import pytest

from nas.genotypes import load_genotype, network_group
from search_spaces.published import PUBLISHED


@pytest.fixture
def run_with_space(tmp_path):
    run = tmp_path / "my first run"
    run.mkdir()
    cells = [PUBLISHED[name].genotype for name in ("darts_v1", "darts_v2")]
    (run / "genotype.json").write_text(cells[0].to_json())
    (run / "candidates.json").write_text(json.dumps([{"genotype": cell.to_dict()} for cell in cells]))
    return run, cells


def test_a_path_with_spaces_is_a_path_and_no_notation(run_with_space):
    run, cells = run_with_space
    assert load_genotype(run) == cells[0]
    assert load_genotype(f"{run}/candidates.json#1") == cells[1]
    assert network_group(str(run)) == "darts"


def test_a_missing_genotype_is_one_whole_sentence_and_a_list_of_the_published(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"into its run folder\. Published ones are shufflenasnet_a"):
        load_genotype(tmp_path / "absent.json")
