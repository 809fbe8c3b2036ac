"""Cells of NAS-Bench-201 through the commands, with shared weights and without, at toy size."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

import nas
from nas.command_line.following import followed
from nas.command_line.words import read_words
from nas.jobs import export, latency, retrain, search
from nas.jobs.building.parts import build_runtime
from nas.jobs.building.search_parts import build_search
from nas.models.genotype_files import load_genotype
from search_spaces.classes import CanonicalClasses
from search_spaces.nasbench201 import NASBench201Space, arch_string
from tests.integration.test_jobs import TINY, config

SPACE = NASBench201Space()
BOTH = ("search_space=nasbench201", "network=nasbench201")
DATA = tuple(line for line in TINY if line.startswith("data"))
SIZE = ("network.filters=4", "network.cells_per_stage=1")
SEARCH = (*BOTH, *SIZE, *(line for line in TINY if line.startswith(("data", "search."))), "network.affine=false")
RETRAIN = ("network=nasbench201", *DATA, *SIZE, *(line for line in TINY if line.startswith("retrain")))
CELLS = {
    "a cell": "|nor_conv_3x3~0|+|avg_pool_3x3~0|skip_connect~1|+|none~0|nor_conv_1x1~1|skip_connect~2|",
    "half dead": "|nor_conv_3x3~0|+|nor_conv_1x1~0|none~1|+|avg_pool_3x3~0|skip_connect~1|none~2|",
    "dead": "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|nor_conv_1x1~2|",
}


def test_a_search_with_shared_weights_finds_a_cell_that_is_retrained(tmp_path):
    found = search.run(config("search", *SEARCH), tmp_path / "search")
    genotype = load_genotype(tmp_path / "search")
    assert SPACE.decode(SPACE.encode(genotype)) == genotype
    metrics = retrain.run(config("retrain", f"genotype={tmp_path}/search", *RETRAIN), tmp_path / "retrain")
    assert 0 <= metrics["found"]["test_accuracy"]["mean"] <= 1
    ops = [op for *_, op in genotype.normal.edges]
    scales = 2 * (4 + 8 + 16) * sum("conv" in op for op in ops)  # of each convolution in each stage
    assert metrics["found"]["parameters"] == found["parameters"] + scales


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_cell_given_as_text_is_trained_timed_and_exported(cell, tmp_path):
    run = tmp_path / "run"
    cfg = config("retrain", f"genotype='{cell}'", *RETRAIN)
    retrain.run(cfg, run)
    (run / "config.yaml").write_text(OmegaConf.to_yaml(cfg).replace("${now:%Y%m%d-%H%M%S-%f}", "toy"))
    follow = followed("latency", read_words("latency", (f"genotype={run}",)))
    assert "network=nasbench201" in follow
    assert "network.filters=4" in follow
    short = ("latency.batch_sizes=[2]", "latency.repeats=2", "latency.warmup=0")
    times = latency.run(config("latency", f"genotype={run}", *follow, *short), tmp_path / "latency")
    assert times["weights"].startswith("trained")
    figures = export.run(config("export", f"run={run}", "format=python", "name=x"), tmp_path / "export")
    assert figures["formats"][0]["max_difference"] < 1e-4
    images = torch.rand(3, 3, 8, 8)
    model = nas.load_model(run)
    assert arch_string(model.record.genotype) == cell
    logits = model(images)
    torch.testing.assert_close(nas.load_model(run / "export")(images), logits)
    assert logits.isfinite().all()
    assert torch.equal(logits, logits[:1].expand(3, -1)) is (cell == CELLS["dead"])


def test_the_run_of_a_table_search_is_followed_by_the_benchmarks_network(tmp_path):
    table = Path(__file__).parents[1] / "data" / "nasbench201_cifar10.csv.gz"
    cfg = config("search", "evaluator=table", f"table.path={table}", "search.queries=10")
    search.run(cfg, tmp_path)
    assert followed("retrain", read_words("retrain", (f"genotype={tmp_path}",))) == ["network=nasbench201"]
    assert cfg.network._target_ == "nas.models.nasbench201.NASBench201Network"


def test_a_warm_up_draws_classes_where_it_is_asked_to():
    cfg = config("search", *SEARCH, "search.epochs=2", "search.warmup=0.5", "search.sampling=classes")
    searching = build_search(cfg, build_runtime(cfg))[0]
    torch.manual_seed(5)
    drawn = searching._propose(0, 40)
    torch.manual_seed(5)
    assert drawn == [SPACE.decode(row) for row in CanonicalClasses(SPACE).sample(40).tolist()]
    torch.manual_seed(5)
    policy = searching.controller.sample(40).actions.tolist()
    torch.manual_seed(5)
    assert searching._propose(1, 40) == [SPACE.decode(row) for row in policy]
    assert searching.epoch()["loss"] > 0


def test_an_unknown_way_of_sampling_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^search\.sampling must be 'strings' or 'classes', got 'functions'"):
        search.run(config("search", *SEARCH, "search.sampling=functions"), tmp_path)


def test_costs_are_summed_over_the_parts_of_a_cell(tmp_path):
    short = ("latency.rounds=1", "latency.calibration_genotypes=3", f"latency.folder={tmp_path}/tables")
    timed = (*SEARCH, "search.cost=latency", *(f"search.{line}" for line in short))
    search.run(config("search", *timed), tmp_path / "search")
    entry = json.loads((tmp_path / "search" / "candidates.json").read_text())[0]
    assert entry["latency_ms"] > 0
    (tables,) = (tmp_path / "tables").glob("*.json")
    parts = json.loads(tables.read_text())["parts"]
    kinds = {name.split(" ")[0] for name in parts}
    assert kinds == {"op", "add", "mixer", "stem", "reduction", "norm", "head"}
