"""A run folder and a model card that version 0.1.0 wrote, when every module had another name, are used as new ones are.

They are in `tests/data/written_by_0.1`.
"""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from omegaconf import OmegaConf

import nas
from nas.jobs.compare import controller_config
from nas.models.of_runs import trained_network
from nas.runs.old_names import current_name, with_current_names
from tests.commands import nas as run_nas

OLD = Path(__file__).parents[1] / "data" / "written_by_0.1"
TOY = ("experiment=toy", "retrain.epochs=1", "retrain.seeds=[0]", "latency.batch_sizes=[1]")


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder with the run and the card as a user has them."""
    shutil.copytree(OLD / "run", tmp_path / "results" / "runs" / "old")
    shutil.copytree(OLD / "card", tmp_path / "card")
    return tmp_path


@pytest.mark.parametrize("kind", ["run", "card"])
def test_its_weights_load(kind):
    model = nas.load_model(OLD / kind)
    logits = model(torch.rand((2, 3, 8, 8)))
    assert logits.shape == (2, 3)
    assert model.record.test_accuracy is not None


def test_both_are_the_same_model():
    images = torch.rand((2, 3, 8, 8))
    torch.testing.assert_close(nas.load_model(OLD / "run")(images), nas.load_model(OLD / "card")(images))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("show", "genotype=results/runs/old"), "parameters"),
        (("retrain", *TOY, "genotype=results/runs/old", "name=again"), "found cell"),
        (("latency", *TOY, "genotype=results/runs/old", "name=timed"), "latency at batch 1"),
        (("export", "run=results/runs/old", "format=python"), "model.py"),
        (("report", "runs=results/runs/old"), "report of 1 run"),
        (("runs",), "old"),
        (("table", "runs=[results/runs/old]", "folder=table"), "measured here"),
    ],
)
def test_commands_take_it(line, said, folder):
    done = run_nas(*line, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


def test_it_is_timed_at_its_size_with_its_weights(folder):
    line = ("latency", *TOY[3:], "genotype=results/runs/old", "latency.repeats=2", "name=timed")
    assert "as in the run of results/runs/old" in run_nas(*line, cwd=folder).stderr
    figures = json.loads((folder / "results/runs/timed/latency.json").read_text())
    assert figures["weights"].startswith("trained")
    assert figures["network"]["stages"] == 2


def test_it_is_repeated_and_compared(folder):
    """Whether to the bit depends on the machine, which need not be the one it was written on."""
    done = run_nas("replay", "run=results/runs/old", "name=again", cwd=folder)
    assert "Traceback" not in done.stderr
    files = json.loads((folder / "results/runs/again/replay.json").read_text())["files"]
    assert {"scored.csv", "candidates.json", "retrain.csv"} <= set(files)


def test_its_command_again_changes_nothing_of_what_is_done(folder):
    before = (folder / "results/runs/old/candidates.json").read_bytes()
    settings = ("experiment=toy", "network.stages=2", "search_space.blocks=2", "name=old")
    refused = run_nas("pipeline", *settings, cwd=folder)  # what it was not asked for then is not done now
    assert "set back:\n  baseline (was [], is ['random_same_size'])" in refused.stderr
    assert run_nas("pipeline", *settings, "baseline=[]", cwd=folder).returncode == 0
    assert (folder / "results/runs/old/candidates.json").read_bytes() == before


ENAS = {"learning_rate": 0.0035, "elite_size": 0}
BOUNDS = {"tanh_constant": 1.1, "op_tanh_reduction": 2.5}


@pytest.mark.parametrize(
    ("name", "policy", "changed"),
    [
        ("lstm", {}, {}),
        ("enas", BOUNDS, {**ENAS, "baseline_decay": 0.99, "baseline_start": 0.0}),
        ("ppo", BOUNDS, {**ENAS, "ppo_clip": 0.2, "ppo_epochs": 4}),
    ],
)
def test_the_settings_of_its_controller_have_the_keys_of_now(name, policy, changed):
    """With the values of the file of a name, which have not changed, it is the controller of that file."""
    old = yaml.safe_load((OLD / "run" / "config.yaml").read_text())["controller"] | changed
    old["policy"] |= policy
    now = OmegaConf.to_container(controller_config(name, OmegaConf.create()))
    assert with_current_names(old) == now
    assert with_current_names(copy.deepcopy(now)) == now


def test_names_are_current():
    genotype = nas.load_model(OLD / "run").record.genotype
    assert trained_network(OLD / "run", genotype)["_target_"] == "nas.models.shufflenasnet.ShuffleNASNet"
    assert current_name("nas.runtime.make_runtime") == "nas.compute.settings.RuntimeSettings"
    assert current_name("mine.Network") == "mine.Network"
    assert current_name("Network") == "Network"
    node = {"a": [{"_target_": "nas.data.digits", "x": 1}], "_target_": 3}
    deep = node["a"]
    for _ in range(100_000):
        deep.append([])
        deep = deep[-1]
    deep.append(node)
    assert with_current_names(node) is node
    del node["a"][1:]
    assert node == {"a": [{"_target_": "nas.data.named.digits", "x": 1}], "_target_": 3}
