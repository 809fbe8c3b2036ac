"""An op, a data set, a reward, a space and a controller from outside the repository, as a user would add them.

The first two are the README's own text, the others lie in tests/examples.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nas.models.genotype_files import load_genotype
from tests.commands import nas
from tests.integration.readme import code_files
from tests.unit.test_tracking import scalars

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "tests" / "examples"
SMALL = ("experiment=depthwise", "data=stripes", "network.filters=4", "network.cells_per_stage=1")
OPS = {"depthwise_3x3", "sep_conv_3x3", "identity"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder in which all extensions have been put, and where a search with all of them has run."""
    folder = tmp_path_factory.mktemp("outside")
    shutil.copytree(EXAMPLES, folder / "mine")
    for name, text in code_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    done = nas(
        *("search", "--config-dir", "mine/configs", *SMALL, "name=own"),
        *("search_space=chain", "controller=climbing", "reward=thrifty", "reward.price=0.05", "logger=tensorboard"),
        *("search.epochs=2", "search.batch_size=16", "search.controller_samples=4", "search.final_samples=4"),
        cwd=folder,
        PYTHONPATH="mine",
    )
    assert done.returncode == 0, done.stderr
    assert "nas retrain --config-dir mine/configs genotype=" in done.stdout + done.stderr
    return folder


def test_the_readme_shows_an_op_and_a_data_set_with_a_yaml_each():
    names = set(code_files())
    assert {"mine/depthwise.py", "mine/stripes.py"} <= names
    assert {"mine/configs/experiment/depthwise.yaml", "mine/configs/data/stripes.yaml"} <= names


def test_a_search_takes_op_data_reward_space_and_controller_from_outside(folder):
    run = folder / "results" / "runs" / "own"
    assert json.loads((run / "data.json").read_text())["class_names"] == ["0", "1"]
    genotype = load_genotype(run)
    assert genotype.space == "chain"
    assert {op for cell in genotype.cells.values() for block in cell.blocks for op in block.ops} <= OPS
    header, *_, last = (run / "search.csv").read_text().splitlines()
    assert "op.depthwise_3x3" in header.split(",")
    assert float(last.split(",")[header.split(",").index("height")]) <= 1
    for entry in json.loads((run / "candidates.json").read_text()):
        blocks = entry["genotype"]["normal"]["blocks"]
        convolutions = sum("conv" in op for block in blocks for op in block["ops"])
        assert entry["reward"] == pytest.approx(entry["shared_accuracy"] - 0.05 * convolutions)


def test_the_search_is_in_tensorboard_as_it_is_in_its_file(folder):
    run = folder / "results" / "runs" / "own"
    with (run / "search.csv").open() as file:
        rewards = [(int(row["epoch"]), pytest.approx(float(row["reward"]), rel=1e-4)) for row in csv.DictReader(file)]
    assert scalars(run / "tensorboard" / "search", "search/reward") == rewards
    assert (run / "cells.png").exists()


def test_a_cell_with_an_op_from_outside_is_retrained(folder):
    cell = load_genotype(folder / "results/runs/own").to_dict()
    cell["normal"]["blocks"][0]["ops"] = ["depthwise_3x3"]
    (folder / "cell.json").write_text(json.dumps(cell))
    short = ("retrain.epochs=1", "retrain.batch_size=16", "retrain.seeds=[0]", "name=again")
    arguments = ("retrain", "--config-dir", "mine/configs", *SMALL, "genotype=cell.json", *short)
    done = nas(*arguments, cwd=folder, PYTHONPATH="mine")
    assert done.returncode == 0, done.stderr
    assert (folder / "results/runs/again/weights.safetensors").exists()


def test_a_module_that_cannot_be_imported_is_named(tmp_path):
    done = nas("show", "genotype=enas", "imports=depthwize", cwd=tmp_path)
    assert done.returncode != 0
    assert "imports: No module named 'depthwize'; is the folder of depthwize on PYTHONPATH?" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_training_loop_of_ones_own_asks_and_tells_and_goes_on(tmp_path):
    def run(*arguments):
        command = [sys.executable, str(EXAMPLES / "own_loop.py"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = run(str(tmp_path / "whole"), "8")
    cut = [*run(str(tmp_path / "cut"), "3"), *run(str(tmp_path / "cut"), "8")]
    assert len(whole) == 8
    assert cut == whole
    assert float(whole[-1].split()[-1]) >= float(whole[0].split()[-1]) > 0.05


def test_a_controller_of_ones_own_is_held_to_the_contract_as_the_readme_says(folder):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "mine/test_climbing.py"]
    environment = {**os.environ, "PYTHONPATH": f"mine{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "8 passed" in done.stdout
