"""Tables of cells trained from scratch: bins of size, rows as they finish, and a ranking that reads them."""

import csv
import json

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from controllers.uniform import Uniform
from nas.jobs import rank, search, tabulate
from nas.jobs.building.settings import TabulateSettings
from nas.jobs.tabulate import agreement, cells_in_bins
from nas.searching import stand_alone
from search_spaces.shufflenas import ShuffleNASSpace

SPACE = ShuffleNASSpace(blocks=2)
TOY = ("experiment=toy", "search_space.blocks=2", "device=cpu")
SMALL = (
    *TOY,
    *("tabulate.cells=4", "tabulate.bins=2", "tabulate.width=0.2", "tabulate.workers=1", "name=x"),
    *("retrain.epochs=1", "retrain.batch_size=16", "retrain.last_epochs=1", "retrain.seeds=[3,5]"),
)


def config(command, *overrides):
    with initialize_config_module("conf", version_base="1.3"):
        return compose(command, overrides=list(overrides))


def rows_of(folder):
    return list(csv.DictReader((folder / "cells.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tabulate")
    tabulate.run(config("tabulate", *SMALL), folder)
    return folder


def test_a_row_holds_a_cell_its_bin_and_size_and_the_accuracy_of_each_seed(whole):
    rows = rows_of(whole)
    assert [row["bin"] for row in rows] == ["0", "0", "1", "1"]
    assert len({row["cell"] for row in rows}) == 4
    for row in rows:
        assert float(row["accuracy"]) == pytest.approx((float(row["seed_3"]) + float(row["seed_5"])) / 2, abs=1e-5)
        assert int(row["parameters"]) > 0
    assert json.loads((whole / "tabulate.json").read_text())["cells"] == 4


def test_a_stopped_table_has_the_finished_rows_and_goes_on_to_the_same(whole, tmp_path, monkeypatch):
    train = stand_alone.train_member
    left = [6]

    def stop_at_the_seventh(*given, **named):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return train(*given, **named)

    monkeypatch.setattr(stand_alone, "train_member", stop_at_the_seventh)
    with pytest.raises(KeyboardInterrupt):
        tabulate.run(config("tabulate", *SMALL), tmp_path)
    assert len(rows_of(tmp_path)) == 2  # both seeds of two cells: every cell has its first seed first
    monkeypatch.setattr(stand_alone, "train_member", train)
    tabulate.run(config("tabulate", *SMALL), tmp_path)
    assert (tmp_path / "cells.csv").read_bytes() == (whole / "cells.csv").read_bytes()


def test_a_ranking_reads_the_table_and_scores_its_cells_alone(whole, tmp_path):
    cfg = config("search", *TOY, "search.epochs=1", "search.final_samples=2", "search.random_cells=0", "name=x")
    search.run(cfg, tmp_path / "run")
    OmegaConf.save(cfg, tmp_path / "run" / "config.yaml", resolve=True)
    asked = ("truth=table", "table=cells", f"table.path={whole}/cells.csv", f"run={tmp_path}/run", "rank.part=all")
    report = rank.run(config("rank", *asked, "rank.resamples=100", "device=cpu", "name=x"), tmp_path / "rank")
    assert report["ordering"]["shared loss"]["tau"]["cells"] == 4
    assert "equal group" in report["ordering"]["parameters"]


def test_bins_are_narrow_and_lie_at_quantiles_of_size():
    torch.manual_seed(0)

    def size(genotype):
        return 100 + sum(SPACE.encode(genotype))

    drawn = [size(SPACE.decode(row)) for row in Uniform(SPACE.decisions).sample(1000).actions.tolist()]
    settings = TabulateSettings(cells=12, bins=3, width=0.02)
    for cells, share in zip(cells_in_bins(SPACE, settings, parameters=size), (1 / 6, 1 / 2, 5 / 6), strict=True):
        sizes = [size(cell) for cell in cells]
        assert len(cells) == 4
        assert max(sizes) / min(sizes) < 1.021
        assert np.mean(sizes) == pytest.approx(np.quantile(drawn, share), abs=2)


def test_agreement_is_the_correlation_of_seeds_within_bins():
    bins = np.array([0, 0, 1, 1])
    seeds = np.array([[1, 2], [3, 4], [11, 12], [9, 10]], dtype=float)
    assert agreement(seeds, bins) == pytest.approx(1)
    assert agreement(seeds * [1, 0] + [[0, 1], [0, 2], [0, 8], [0, 9]], bins) == pytest.approx(0)
    assert agreement(seeds[:, :1], bins) is None
    assert agreement(seeds * [1, 0], bins) is None  # the second seed tells no cells apart


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("tabulate.width=0.9", "overlap"),
        ("retrain.warm_start=search", "starts from scratch"),
        ("tabulate.cells=5", "multiple of bins"),
    ],
)
def test_what_would_make_another_table_is_refused_before_anything_trains(override, said, tmp_path):
    given = [one for one in SMALL if one.partition("=")[0] != override.partition("=")[0]]
    with pytest.raises(ValueError, match=said):
        tabulate.run(config("tabulate", *given, override), tmp_path)
    assert not (tmp_path / "trainings").exists()


def test_a_ranking_refuses_a_table_of_another_space(whole, tmp_path):
    other = [one for one in TOY if not one.startswith("search_space")] + ["search_space.blocks=1"]
    cfg = config("search", *other, "search.epochs=1", "search.final_samples=2", "search.random_cells=0", "name=x")
    search.run(cfg, tmp_path / "run")
    OmegaConf.save(cfg, tmp_path / "run" / "config.yaml", resolve=True)
    asked = ("truth=table", "table=cells", f"table.path={whole}/cells.csv", f"run={tmp_path}/run", "device=cpu")
    with pytest.raises(ValueError, match="take a table of its space"):
        rank.run(config("rank", *asked, "name=x"), tmp_path / "rank")
