"""Untrained cells scored by a command: drawn, named, of a search, and again after a stop."""

import csv
import json

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from scipy.stats import rankdata

from nas.data.image_data import ImageKind
from nas.jobs import score, search
from nas.jobs.building.parts import measure_size
from nas.searching.table_lookup import open_table
from search_spaces.genotype import Genotype, json_line
from search_spaces.shufflenas import ShuffleNASSpace

TOY = ("experiment=toy", "search_space.blocks=2", "device=cpu", "name=x")
SPACE = ShuffleNASSpace(blocks=2)


def config(command, *overrides):
    with initialize_config_module("conf", version_base="1.3"):
        return compose(command, overrides=[*TOY, *overrides])


def rows_of(folder):
    return list(csv.DictReader((folder / "scores.csv").read_text().splitlines()))


def test_drawn_cells_are_different_functions_with_their_sizes_and_combined_ranks(tmp_path):
    cfg = config("score", "random=12")
    report = score.run(cfg, tmp_path)
    rows = rows_of(tmp_path)
    cells = [Genotype.from_json(row["cell"]) for row in rows]
    assert report["cells"] == len(rows) == len({SPACE.canonical(one) for one in cells}) > 6
    images = ImageKind(tuple(report["data"]["image_shape"]), len(report["data"]["class_names"]))
    assert int(rows[3]["parameters"]) == measure_size(cfg, cells[3], images)["parameters"]
    columns = [rankdata([float(row[key]) for row in rows]) for key in ("multiply_adds", "jacob_cov")]
    assert [float(row["combined"]) for row in rows] == pytest.approx(np.log(columns).sum(axis=0).tolist(), rel=1e-4)
    lookup, _ = open_table(path=str(tmp_path / "scores.csv"), key="cell", key_of=json_line, reward="combined")
    assert lookup.accuracy(cells[3]) == pytest.approx(float(rows[3]["combined"]))


def test_a_stopped_run_scores_only_what_is_left_and_comes_to_the_same(tmp_path, monkeypatch):
    score.run(config("score", "random=6"), tmp_path / "whole")
    scored = []

    def stopped(network, genotype, images):
        if len(scored) == 3:
            raise KeyboardInterrupt
        scored.append(genotype)
        return original(network, genotype, images)

    original = score.zero_cost_scores
    monkeypatch.setattr(score, "zero_cost_scores", stopped)
    with pytest.raises(KeyboardInterrupt):
        score.run(config("score", "random=6"), tmp_path / "stopped")
    assert len(rows_of(tmp_path / "stopped")) == 3
    scored[:] = []
    monkeypatch.setattr(score, "zero_cost_scores", lambda *given: scored.append(given) or original(*given))
    score.run(config("score", "random=6"), tmp_path / "stopped")
    whole, again = ([{**row, "seconds": 0} for row in rows_of(tmp_path / name)] for name in ("whole", "stopped"))
    assert again == whole
    assert len(scored) == len(whole) - 3


def test_the_candidates_of_a_search_are_scored_with_its_network(tmp_path):
    cfg = config("search", "search.epochs=1", "search.final_samples=4", "search.random_cells=0", "network.filters=8")
    search.run(cfg, tmp_path / "run")
    OmegaConf.save(cfg, tmp_path / "run" / "config.yaml", resolve=True)
    score.run(config("score", f"run={tmp_path}/run", "network.filters=4"), tmp_path / "scored")
    candidates = json.loads((tmp_path / "run" / "candidates.json").read_text())
    rows = rows_of(tmp_path / "scored")
    assert [json.loads(row["cell"]) for row in rows] == [entry["genotype"] for entry in candidates]
    assert [int(row["parameters"]) for row in rows] == [entry["parameters"] for entry in candidates]


@pytest.mark.parametrize(
    ("given", "message"),
    [((), "set one of"), (("random=3", "genotype=enas"), "set one of"), (("random=0",), "above 0")],
)
def test_what_is_to_be_scored_must_be_said_once(given, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        score.run(config("score", *given), tmp_path)
