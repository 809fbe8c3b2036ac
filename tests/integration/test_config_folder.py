"""Jobs on configs of a folder that the environment names, in processes of their own."""

from pathlib import Path

import pytest

from nas.runs.listing import read_config
from tests.commands import nas

EXPERIMENT = """# @package _global_
defaults:
  - override /controller: climber
  - override /data: toy
search: {epochs: 1, batch_size: 16, controller_samples: 2, final_samples: 2, random_cells: 0}
retrain: {epochs: 1, batch_size: 16, seeds: [0], random_seeds: [0]}
network: {filters: 4, cells_per_stage: 1}
latency: {repeats: 2, batch_sizes: [1]}
"""
CONTROLLER = """defaults:
  - evolution
  - _self_
population_size: 7
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A working directory with a folder of configs in it."""
    folder = tmp_path_factory.mktemp("own")
    for name, text in {"experiment/mine": EXPERIMENT, "controller/climber": CONTROLLER}.items():
        file = folder / "mine" / f"{name}.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(text)
    return folder


def test_every_member_of_a_sweep_has_what_the_folder_says(folder):
    arguments = ("experiment=mine", "seed=0,1", "baseline=[]", "name=swept")
    done = nas("sweep", *arguments, cwd=folder, NAS_CONFIG_DIR="mine")
    assert done.returncode == 0, done.stderr
    configs = [read_config(folder / "results" / "sweeps" / "swept" / f"seed-{seed}") for seed in (0, 1)]
    assert [config["controller"]["population_size"] for config in configs] == [7, 7]
    assert [config["search"]["epochs"] for config in configs] == [1, 1]


def test_a_comparison_takes_a_controller_of_the_folder(folder):
    table = Path(__file__).parents[1] / "data" / "nasbench201_cifar10.csv.gz"
    settings = ("compare.seeds=2", "compare.budget=20", "compare.at=[10]", "front.seeds=0", f"table.path={table}")
    controllers = "compare.controllers=[uniform,climber]"
    done = nas("compare", controllers, *settings, "name=c", cwd=folder, NAS_CONFIG_DIR="mine")
    assert done.returncode == 0, done.stderr
    assert "climber" in (folder / "results/runs/c/compare.csv").read_text()
