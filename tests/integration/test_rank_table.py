"""Rankings whose truth is a table: every cell of a small space scored with shared weights, and resumed."""

import csv
import itertools
import json
from dataclasses import replace

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from nas.jobs import rank, search
from nas.jobs.building.parts import build_runtime
from nas.jobs.building.ranked_runs import read_runs
from nas.reporting.figures.studies import ranking_blocks, ranking_clouds
from nas.reporting.page.records import RunRecord
from search_spaces.shufflenas import ShuffleNASSpace

SPACE = ShuffleNASSpace(blocks=1)
SEARCH = (
    *("experiment=toy", "search_space.blocks=1"),
    *("search.epochs=1", "search.final_samples=2", "search.random_cells=0", "search.bn=batch", "device=cpu", "name=x"),
)


def config(command, *overrides):
    with initialize_config_module("conf", version_base="1.3"):
        return compose(command, overrides=list(overrides))


@pytest.fixture(scope="module")
def overrides(tmp_path_factory):
    """Of a ranking, by a table in which cells are the better the more convolutions they have."""
    folder = tmp_path_factory.mktemp("table")
    cfg = config("search", *SEARCH)
    search.run(cfg, folder / "run")
    OmegaConf.save(cfg, folder / "run" / "config.yaml", resolve=True)
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["cell", "seen", "final"])
        for actions in itertools.product(*(range(len(one.choices)) for one in SPACE.decisions)):
            genotype = SPACE.decode(actions)
            convolutions = sum("conv" in edge[-1] for cell in genotype.cells.values() for edge in cell.edges)
            writer.writerow([genotype.to_json(), 50 + convolutions, 60 + convolutions])
    columns = ("table.key=cell", "table.reward=seen", "table.report=final", "table.cost=null")
    key = "table.key_of.path=search_spaces.genotype.Genotype.to_json"
    return (
        *(f"run={folder}/run", "truth=table", f"table.path={folder}/table.csv", *columns, key),
        *("rank.part=all", "rank.images=16", "rank.resamples=100", "name=rank", "device=cpu"),
    )


def decoded(cell):
    return SPACE.decode([int(number) for number in cell.split("-")])


def test_every_cell_is_scored_once_and_held_against_the_table(overrides, tmp_path):
    cfg = config("rank", *overrides)
    report = rank.run(cfg, tmp_path)
    (file,) = (tmp_path / "scores").iterdir()
    rows = list(csv.DictReader(file.read_text().splitlines()))
    assert len(rows) == len({row["cell"] for row in rows}) == 36
    assert {
        "shared loss",
        "shared accuracy",
        "shared calibrated loss",
        "parameters",
        "multiply adds",
        "random",
    } <= set(report["ordering"])
    assert report["ordering"]["parameters"]["tau"]["value"] > 0.3
    assert json.loads((tmp_path / "rank.json").read_text())["ordering"] == report["ordering"]
    scorer = read_runs(cfg, build_runtime(cfg))[0].search.evaluator.scorer
    (score,) = replace(scorer, max_images=16, seed=0).score([decoded(rows[5]["cell"])])
    assert score.loss == pytest.approx(float(rows[5]["loss"]), rel=1e-6)

    ranked = RunRecord(folder=tmp_path, name="rank", key="rank")
    (chart,), (table,) = ranking_clouds(ranked), ranking_blocks(ranked)
    assert [len(series.x) for series in chart.series] == [36, 36]
    assert min(chart.series[0].x) > 0  # nats
    assert [row["scored by"] for row in table.rows] == list(report["ordering"])
    tau = report["ordering"]["parameters"]["tau"]
    (row,) = (row for row in table.rows if row["scored by"] == "parameters")
    assert table.columns[1].text(row) == f"{tau['value']:.2f} ({tau['low']:.2f} … {tau['high']:.2f})"

    written = file.read_bytes()
    file.write_bytes(written[: len(written) // 2 - 3])  # a process that was killed while it wrote
    assert rank.run(cfg, tmp_path)["ordering"] == report["ordering"]
    assert sorted(file.read_bytes().split()) == sorted(written.split())


def test_another_table_is_refused_for_the_same_ranking(overrides, tmp_path):
    (tmp_path / "data.json").write_text(json.dumps({"table": "table.csv", "sha256": "other", "rows": 36}))
    with pytest.raises(ValueError, match="begun with other data"):
        rank.run(config("rank", *overrides), tmp_path)


def test_kept_copies_score_in_turn_members_of_a_class_and_their_mean_counts(overrides, tmp_path, monkeypatch):
    monkeypatch.setattr(ShuffleNASSpace, "canonical", lambda _, genotype: genotype.normal)  # 6 classes of 6
    cfg = config("search", *SEARCH, "search.epochs=3", "search.keep_every=1", "search.calibrate=true")
    search.run(cfg, tmp_path / "run")
    OmegaConf.save(cfg, tmp_path / "run" / "config.yaml", resolve=True)
    mine = [f"run={tmp_path}/run" if one.startswith("run=") else one for one in overrides]
    report = rank.run(config("rank", *mine), tmp_path / "rank")
    files = [list(csv.DictReader(file.read_text().splitlines())) for file in (tmp_path / "rank" / "scores").iterdir()]
    cells = [[decoded(row["cell"]) for row in rows] for rows in files]
    assert [len({cell.normal for cell in copy}) for copy in cells] == [len(copy) for copy in cells] == [6, 6, 6]
    assert len({cell for copy in cells for cell in copy}) == 18
    assert report["ordering"]["shared loss"]["tau"]["cells"] == 36


@pytest.mark.parametrize("reward", ["accuracy", "likelihood"])
def test_the_header_of_a_search_names_its_reward(reward, tmp_path, capsys):
    search.run(config("search", *SEARCH, f"reward={reward}"), tmp_path)
    assert f"reward      {reward}" in capsys.readouterr().err
