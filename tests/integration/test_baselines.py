"""Published cells, pair-block spaces and ShuffleNets through the jobs, at toy size."""

import csv
import json
from pathlib import Path

import pytest

from nas.command_line.following import followed
from nas.command_line.words import quote, read_words
from nas.jobs import latency, pipeline, retrain, show, table
from nas.models.genotype_files import load_genotype, network_group
from search_spaces.notations import darts_notation
from search_spaces.published import FROM_PAPERS, PUBLISHED
from tests.commands import nas
from tests.integration.test_jobs import TINY, config

RETRAIN = tuple(override for override in TINY if not override.startswith(("search", "latency.", "network.")))
LATENCY = ("latency.batch_sizes=[2]", "latency.repeats=2", "latency.warmup=0", "data=synthetic", "data.image_size=8")


@pytest.mark.parametrize("space", ["nasnet", "darts"])
def test_a_pipeline_in_a_pair_block_space_finds_a_cell_of_two_inputs(space, tmp_path):
    pipeline.run(
        config("pipeline", f"search_space={space}", *(one for one in TINY if not one.startswith("network.stages"))),
        tmp_path,
    )
    assert load_genotype(tmp_path).space == "nasnet"
    assert load_genotype(tmp_path).normal.num_inputs == 2
    assert ">concat</text>" in (tmp_path / "cells.svg").read_text()


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_cell_retrains_and_is_timed(name, tmp_path):
    network = (f"network={PUBLISHED[name].models[0].network}", "network.filters=4")
    metrics = retrain.run(config("retrain", f"genotype={name}", *network, *RETRAIN), tmp_path)
    assert 0 <= metrics["found"]["test_accuracy"]["mean"] <= 1
    assert load_genotype(tmp_path) == PUBLISHED[name].genotype
    latency.run(config("latency", f"genotype={name}", *network, *LATENCY), tmp_path)


def test_an_auxiliary_head_trains_along(tmp_path):
    overrides = ("genotype=darts_v2", "network=darts", "network.filters=4", *RETRAIN)
    retrain.run(
        config("retrain", *overrides, "network.auxiliary=true", "retrain.auxiliary_weight=0.4"), tmp_path / "with"
    )
    with pytest.raises(ValueError, match=r"network\.auxiliary=true"):
        retrain.run(config("retrain", *overrides, "retrain.auxiliary_weight=0.4"), tmp_path / "without")


@pytest.mark.parametrize("version", ["shufflenet_v1", "shufflenet_v2"])
def test_a_shufflenet_retrains_and_is_timed_without_a_genotype(version, tmp_path):
    network = (f"network={version}", "network.mixer=identity")
    metrics = retrain.run(config("retrain", *network, *RETRAIN), tmp_path)
    assert metrics["found"]["parameters"] > 0
    assert not (tmp_path / "genotype.json").exists()
    latency.run(config("latency", *network, *LATENCY), tmp_path)
    assert json.loads((tmp_path / "latency.json").read_text())["genotype"] is None


@pytest.mark.parametrize(
    ("command", "overrides", "message"),
    [
        ("retrain", (), "genotype is not set"),
        ("retrain", ("network=shufflenet_v2", "genotype=enas"), "has no cells to choose; leave genotype=enas out"),
        ("retrain", ("network=shufflenet_v2", "random_cells=x.json"), "no list of genotypes"),
        ("retrain", ("genotype=darts_v3",), "Published ones are shufflenasnet_a"),
        ("retrain", ("genotype=enas",), "such cells need network=enas"),
        ("retrain", ("genotype=DARTS_V3",), "did you mean darts_v2"),
        ("pipeline", ("network=shufflenet_v2",), "has no cells to choose; take network=shufflenasnet"),
        ("pipeline", ("search_space=nasnet", "network=shufflenasnet"), "such cells need network=enas"),
        ("pipeline", ("network=darts",), "this network search_space=nasnet or darts"),
        ("pipeline", ("search_space=nasnet", "network=darts"), "take output=all"),
    ],
)
def test_what_does_not_fit_together_is_refused(command, overrides, message, tmp_path):
    job = {"retrain": retrain, "pipeline": pipeline}[command]
    tiny = [] if command == "retrain" else ["search.epochs=1"]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        job.run(config(command, *overrides, *tiny), tmp_path)


def test_show_counts_and_judges_a_published_cell(capsys, tmp_path):
    figures = show.run(
        config("show", "genotype=darts_v2", "network=darts", f"json={tmp_path}/x.json", f"svg={tmp_path}/x.svg"),
        tmp_path,
    )
    text = capsys.readouterr().out
    assert "3,349,342 parameters (published: 3.4M) as 18+2" in text
    for guideline in ("G1", "G2", "G3", "G4"):
        assert f"\n{guideline}  " in text
    assert "concat of ◆ 2, 3, 4, 5" in text
    assert figures["parameters"] == figures["guidelines"]["total"]["parameters"]
    assert json.loads((tmp_path / "x.json").read_text())["parameters"] == figures["parameters"]
    assert (tmp_path / "x.svg").read_text().startswith("<svg")


def test_show_reads_the_text_of_darts_from_the_command_line(tmp_path):
    text = darts_notation(PUBLISHED["darts_v1"].genotype)
    done = nas("show", f"genotype={text}", "network.filters=36", "network.cells_per_stage=6", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "3,169,414 parameters" in done.stdout


def test_show_counts_the_hardened_model(tmp_path):
    sizes = [
        show.run(config("show", "network=shufflenet_v2", f"network.mixer={mixer}"), tmp_path)["parameters"]
        for mixer in ("channel_shuffle", "auto_shuffle", "kaleidoscope")
    ]
    assert len(set(sizes)) == 1


def test_show_takes_a_shufflenet(capsys, tmp_path):
    figures = show.run(config("show", "network=shufflenet_v2", "network.mixer=identity"), tmp_path)
    assert "G1" in capsys.readouterr().out
    assert figures["parameters"] > 0


def test_the_table_counts_what_is_published_and_finds_what_was_measured(capsys, tmp_path):
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    (run / "genotype.json").write_text(PUBLISHED["shufflenasnet_a"].genotype.to_json())
    found = {"parameters": 236_196, "test_accuracy": {"mean": 0.95, "std": 0.001, "n": 2, "values": [0.949, 0.951]}}
    (run / "metrics.json").write_text(json.dumps({"data": "cifar10", "epochs": 630, "found": found}))
    rows = table.run(config("table", f"runs=[{tmp_path}]", f"folder={tmp_path}/table"), tmp_path)
    text = capsys.readouterr().out
    for name, cell in FROM_PAPERS.items():
        for model in cell.models:
            assert f"{model.parameters:,}" in text, name
    assert [row["measured"] for row in rows if row["measured"]] == ["5.00 ± 0.10 (2 seeds, 630 epochs)"]
    with (tmp_path / "table" / "table.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(rows)
    assert json.loads((tmp_path / "table" / "table.json").read_text())[0]["method"] == "FractalNet"


def test_a_run_of_another_cell_gets_a_row_of_its_own(tmp_path, genotype):
    (tmp_path / "genotype.json").write_text(genotype.to_json())
    found = {"parameters": 9, "test_accuracy": {"mean": 0.5, "std": None, "n": 1, "values": [0.5]}}
    (tmp_path / "metrics.json").write_text(json.dumps({"data": "cifar10", "epochs": 1, "found": found}))
    rows = table.run(config("table", f"runs=[{tmp_path}]"), tmp_path)
    assert rows[-1]["method"] == tmp_path.name
    assert rows[-1]["measured"] == "50.00 (1 seed, 1 epochs)"


@pytest.mark.parametrize("content", ['{"data": "cifar10"}', "[]", "{", '{"data": "cifar10", "found": 3}'])
def test_a_broken_run_is_named_and_left_out_of_the_table(content, tmp_path, capsys):
    (tmp_path / "metrics.json").write_text(content)
    rows = table.run(config("table", f"runs={tmp_path}"), tmp_path)  # one folder may be given as a text
    assert not any(row["measured"] for row in rows)
    assert "left out" in capsys.readouterr().err


def test_the_table_names_a_folder_that_is_not_there(capsys, tmp_path):
    table.run(config("table", f"runs=[{tmp_path}/nowhere]"), tmp_path)
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_settings_that_show_prints_give_the_count_it_prints(name, capsys, tmp_path):
    show.run(config("show", f"genotype={name}", f"network={PUBLISHED[name].models[0].network}"), tmp_path)
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "(published: " in line]
    assert len(lines) == len(PUBLISHED[name].models)
    for words in lines:
        overrides = [word for word in words if word.startswith("network")]
        figures = show.run(config("show", f"genotype={name}", *overrides), tmp_path)
        assert f"{figures['parameters']:,}" == words[0]


def test_random_cells_of_another_space_are_refused_before_any_training(tmp_path, genotype):
    (tmp_path / "random.json").write_text(json.dumps([genotype.to_dict()]))
    overrides = ("genotype=darts_v2", "network=darts", "network.filters=4", f"random_cells={tmp_path}/random.json")
    with pytest.raises(ValueError, match="such cells need network=shufflenasnet"):
        retrain.run(config("retrain", *overrides, *RETRAIN), tmp_path / "run")
    assert not (tmp_path / "run" / "members").exists()


def test_show_prints_a_genotype_as_darts_does(capsys, tmp_path):
    show.run(config("show", "genotype=darts_v1", "network=darts", "notation=darts"), tmp_path)
    assert darts_notation(PUBLISHED["darts_v1"].genotype) in capsys.readouterr().out
    with pytest.raises(ValueError, match="this network has none"):
        show.run(config("show", "network=shufflenet_v2", "svg=x.svg"), tmp_path)


def test_a_file_that_cannot_be_written_ends_in_a_few_lines(tmp_path):
    done = nas("show", "genotype=enas", f"svg={tmp_path}", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_nni_pnas_says_with_a_field_that_all_blocks_are_merged():
    blocks = PUBLISHED["pnas_5"].genotype.normal.blocks
    fields = {
        f"{cell}/{kind}_{node}_{slot}": value
        for cell in ("normal", "reduce")
        for node, block in enumerate(blocks, start=2)
        for slot in (0, 1)
        for kind, value in (("op", block.ops[slot].replace("identity", "skip_connect")), ("input", block.inputs[slot]))
    }
    assert load_genotype(json.dumps(fields)).normal.outputs == (2, 3, 5, 6)
    assert load_genotype(json.dumps({**fields, "merge_op": "all"})).normal == PUBLISHED["pnas_5"].genotype.normal


def test_the_network_follows_the_genotype_unless_one_is_named(tmp_path, genotype):
    file = tmp_path / "cell.json"
    file.write_text(genotype.to_json())

    def follow(*arguments):
        return followed("retrain", read_words("retrain", arguments))

    assert follow("genotype=enas") == ["network=enas"]
    assert follow("genotype=pnas_5", "network=enas") == []
    assert follow(f"genotype={file}") == ["network=shufflenasnet"]
    assert follow("-m", "genotype=darts_v1,darts_v2") == ["network=darts"]
    with pytest.raises(ValueError, match="made for different networks"):
        follow("-m", "genotype=enas,darts_v2")
    with pytest.raises(FileNotFoundError, match="darts_v3"):
        follow("-m", "genotype=enas,darts_v3")
    assert follow("genotype=null") == []
    file.write_text(PUBLISHED["enas"].genotype.to_json())
    assert network_group(str(file)) == "darts"
    (tmp_path / "config.yaml").write_text(
        "network:\n  _target_: nas.models.stacked_cells.StackedCells\n  macro: enas\n"
    )
    assert network_group(str(file)) == "enas"
    (tmp_path / "config.yaml").write_text("- not a config")
    assert network_group(str(file)) == "darts"


def test_a_file_or_folder_of_a_published_cells_name_comes_first(tmp_path, monkeypatch, genotype):
    monkeypatch.chdir(tmp_path)
    assert load_genotype("enas") == PUBLISHED["enas"].genotype
    Path("enas").write_text(genotype.to_json())
    assert load_genotype("enas") == genotype


@pytest.mark.parametrize(
    "content",
    [darts_notation(PUBLISHED["enas"].genotype), PUBLISHED["enas"].genotype.to_json()],
    ids=["notation", "json"],
)
def test_a_genotype_file_may_be_in_either_notation(content, tmp_path):
    (tmp_path / "cell.txt").write_text(content)
    assert load_genotype(tmp_path / "cell.txt") == PUBLISHED["enas"].genotype


@pytest.mark.parametrize("text", ["{}", "hello", "[1, 2]", '{"normal": {}}', "\x00\xff", "import os"])
def test_a_file_that_holds_no_genotype_is_refused(text, tmp_path):
    (tmp_path / "cell.json").write_text(text)
    with pytest.raises(ValueError, match=r"cell\.json: "):
        load_genotype(tmp_path / "cell.json")


@pytest.mark.parametrize(
    ("override", "quoted"),
    [
        ("genotype=runs/a.json#3", "genotype='runs/a.json#3'"),
        ("genotype=Genotype(normal=[('a', 1)])", r"genotype='Genotype(normal=[(\'a\', 1)])'"),
        ("genotype=0 1 2 3", "genotype=0 1 2 3"),
        ("retrain.seeds=[0,1]", "retrain.seeds=[0,1]"),
        ("name='a#b'", "name='a#b'"),
        ("-m", "-m"),
    ],
)
def test_values_that_hydra_does_not_take_bare_are_quoted(override, quoted):
    assert quote(override) == quoted
