"""Genotypes are found where a user says they are."""

import json
from pathlib import Path

import pytest

from nas.jobs import retrain
from nas.models.genotype_files import load_genotype, network_group
from search_spaces.nasbench201 import parse_arch_string
from search_spaces.notation_parts import named_genotypes
from search_spaces.notations import darts_notation
from search_spaces.published import PUBLISHED, published_names
from tests.integration.test_jobs import config


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


ARCH = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
PYTHON_FILE = """# the genotypes of several papers
from collections import namedtuple
import os

Genotype = namedtuple('Genotype', 'normal normal_concat reduce reduce_concat')
PRIMITIVES = ['none', 'max_pool_3x3']
os.system('touch EVALUATED')

First = {first}  # found first
SECOND = {second}

class Other: pass
BEST = SECOND
"""


def python_file(folder: Path, **cells: str) -> Path:
    named = {"first": darts_notation(PUBLISHED["darts_v1"].genotype).replace("[(", "[  # the cell\n (")}
    named |= {"second": darts_notation(PUBLISHED["darts_v2"].genotype)}
    (folder / "genotypes.py").write_text(PYTHON_FILE.format(**named | cells))
    return folder / "genotypes.py"


def test_a_genotype_of_a_python_file_is_chosen_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = python_file(tmp_path)
    for name, cell in (("First", "darts_v1"), ("SECOND", "darts_v2"), ("BEST", "darts_v2")):
        assert load_genotype(f"{file}#{name}") == PUBLISHED[cell].genotype
        assert network_group(f"{file}#{name}") == "darts"
    assert not (tmp_path / "EVALUATED").exists()


def test_of_several_genotypes_in_a_python_file_one_must_be_named(tmp_path):
    file = python_file(tmp_path)
    for reference in (str(file), f"{file}#THIRD", f"{file}#0", f"{file}#Genotype"):
        with pytest.raises(ValueError, match=r"genotypes.py.*First, SECOND, BEST"):
            load_genotype(reference)
    python_file(tmp_path, first="None")
    assert load_genotype(file) == PUBLISHED["darts_v2"].genotype  # the only one, of two names
    file.write_text("import os\n")
    with pytest.raises(ValueError, match="the file names none"):
        load_genotype(f"{file}#DARTS")


@pytest.mark.parametrize("text", ["Genotype(normal=__import__('os').system('touch EVALUATED'))", "Genotype(1)"])
def test_what_a_python_file_calls_is_not_evaluated(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = python_file(tmp_path, first=text)
    with pytest.raises(ValueError, match=r"genotypes.py#First: "):
        load_genotype(f"{file}#First")
    assert load_genotype(f"{file}#SECOND") == PUBLISHED["darts_v2"].genotype
    assert not (tmp_path / "EVALUATED").exists()


@pytest.mark.parametrize(
    "text", ["x = " + "-" * 90_000, "x = a" + ".b" * 40_000, "x = '\\d'", "\0", "x" * 300_000, "("]
)
def test_no_text_makes_the_reader_of_python_files_fail(text):
    assert named_genotypes(text) == {}


def test_an_architecture_string_is_a_genotype(tmp_path):
    (tmp_path / "cell.txt").write_text(ARCH + "\n")
    for reference in (ARCH, f" {ARCH} ", tmp_path / "cell.txt"):
        assert load_genotype(reference) == parse_arch_string(ARCH)
    with pytest.raises(ValueError, match=r"the text given: .*nor_conv_7x7"):
        load_genotype(ARCH.replace("nor_conv_3x3", "nor_conv_7x7"))


def test_a_cell_of_nasbench201_has_the_benchmarks_network_whatever_the_run_that_looked_it_up(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "genotype.json").write_text(parse_arch_string(ARCH).to_json())
    (run / "config.yaml").write_text("network: {_target_: nas.models.shufflenasnet.ShuffleNASNet, filters: 20}")
    assert {network_group(reference) for reference in (ARCH, str(run), f"{run}/genotype.json")} == {"nasbench201"}
    with pytest.raises(ValueError, match="such cells need network=nasbench201"):
        retrain.run(config("retrain", f"genotype={run}", "data=toy"), tmp_path / "out")


MISTAKES = {
    "absent": "nowhere/cell.json",
    "a long name": "x" * 500,
    "a name that is near": "dart_v2",
    "an unknown op": ARCH.replace("none", "sep_conv_3x3"),
    "a cut string": ARCH[:40],
    "an endless string": "|" + "none~0|" * 500,
    "a cut call": "Genotype(normal=[('sep_conv_3x3', 1), ('sep",
    "a field too few": "Genotype(normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0)], normal_concat=[2])",
    "a call of an unknown op": darts_notation(PUBLISHED["darts_v2"].genotype).replace("sep_conv_3x3", "sep_conv_9x9"),
    "NNI": "{'normal/op_2_0': 'none'}",
    "an unknown key": '{"space": "shufflenas", "normal": {}, "extra": 1}',
    "numbers": "1 2 3 4 5",
    "words": "a sentence of words",
    "many words": "word " * 5000,
}


@pytest.mark.parametrize("reference", MISTAKES.values(), ids=MISTAKES)
def test_every_mistake_is_told_in_three_lines_at_most(reference):
    with pytest.raises((ValueError, FileNotFoundError)) as told:
        load_genotype(reference)
    lines = str(told.value).splitlines()
    assert sum(len(line) // 120 + 1 for line in lines) <= 3, told.value


def test_the_list_of_published_names_has_all_of_them_and_is_short():
    text = published_names()
    assert all(name.rstrip("0123456789") in text for name in PUBLISHED)
    assert len(text) < 240
