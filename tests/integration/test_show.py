"""nas show: every kind of genotype, in the terminal and as files."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from nas.cli import hydra_overrides
from nas.command_line.following import followed
from nas.command_line.words import Words, read_words
from nas.costs.latency.model_entries import read_entry
from nas.data.image_data import ImageKind
from nas.jobs import show
from nas.jobs.building.compared_models import build_compared
from nas.jobs.building.parts import measure_size
from nas.models.genotype_files import load_genotype
from nas.models.of_runs import network_config
from nas.runs.checkpoints import save_weights
from search_spaces.published import PUBLISHED
from search_spaces.shufflenas import ShuffleNASSpace
from tests.commands import nas

ARCH = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|avg_pool_3x3~1|none~2|"


def run(*overrides: str, out):
    with initialize_config_module("conf", version_base="1.3"):
        return show.run(compose("show", overrides=list(overrides)), out)


def counted(*overrides: str, out: Path) -> dict[str, object]:
    """What the command finds, which first asks the run of the genotype."""
    return run(*hydra_overrides("show", Words((), overrides)), out=out)


def follow(*arguments: str, command: str = "show") -> list[str]:
    """What follows from the genotype that a command line names."""
    return followed(command, read_words(command, arguments))


def expected(genotype, *, size: int, channels: int, num_classes: int, **settings: object) -> int:
    """Parameters of a ShuffleNASNet, counted by hand of its settings."""
    network, shape = network_config("shufflenasnet", settings), (channels, size, size)
    return measure_size(network, genotype, ImageKind(shape, num_classes))["parameters"]


@pytest.fixture
def searched(tmp_path, genotype) -> Path:
    """A run folder: a search with 6 filters, for retraining with 10, on grey images of 5 classes."""
    folder = tmp_path / "four"
    folder.mkdir()
    network = OmegaConf.to_container(network_config("shufflenasnet", {"filters": 6, "cells_per_stage": 2}).network)
    config = {"network": network, "retrain": {"filters": 10, "cells_per_stage": None}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "data.json").write_text(json.dumps({"image_shape": [1, 8, 8], "class_names": list("abcde")}))
    (folder / "genotype.json").write_text(genotype.to_json())
    (folder / "candidates.json").write_text(json.dumps([{"genotype": genotype.to_dict()}] * 4))
    return folder


def test_a_genotype_is_drawn_in_the_terminal_as_svg_and_as_png(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "genotype.json").write_text(PUBLISHED["darts_v2"].genotype.to_json())
    small = ("network=darts", "network.filters=4", "network.cells_per_stage=1")
    run("genotype=genotype.json", *small, "svg=a/cell.svg", "png=a/cell.png", out=tmp_path)
    shown = capsys.readouterr()
    assert "normal cell" in shown.out
    assert "reduction cell" in shown.out
    assert "concat of ◆ 2, 3, 4, 5" in shown.out or "concat of @ 2, 3, 4, 5" in shown.out
    assert "drawing in a/cell.svg" in shown.err
    assert "drawing in a/cell.png" in shown.err
    assert (tmp_path / "a/cell.svg").read_text().startswith("<svg")
    assert (tmp_path / "a/cell.png").read_bytes().startswith(b"\x89PNG")


def test_a_cell_of_the_benchmark_is_drawn_named_and_counted(tmp_path, capsys):
    figures = counted(f"genotype='{ARCH}'", "network.filters=16", "network.cells_per_stage=5", out=tmp_path)
    assert figures["architecture"] == ARCH
    assert figures["parameters"] == 73_306 + 28_000 + 243_040  # as the benchmark's table has it
    shown = capsys.readouterr()
    assert "skip_connect" in shown.out
    assert ARCH in shown.out
    assert "network=nasbench201: the one that the cells of" in shown.err


def test_a_cell_with_learned_mixers_and_seven_blocks_is_shown(tmp_path, capsys):
    ops = ("auto_shuffle", "kaleidoscope", "conv_1x1")
    space = ShuffleNASSpace(blocks=7, ops=ops, mixers=("kaleidoscope", "static_dynamic_shuffle"))
    genotype = space.decode([min(1 + i % 3, len(d.choices) - 1) for i, d in enumerate(space.decisions)])
    (tmp_path / "genotype.json").write_text(genotype.to_json())
    figures = run(f"genotype={tmp_path}", "network.filters=4", "image_shape=[3,16,16]", out=tmp_path)
    assert figures["parameters"] > 0
    assert "static_dynamic_shuffle (mixer)" in capsys.readouterr().out


def test_drawings_of_a_network_without_cells_are_refused(tmp_path):
    with pytest.raises(ValueError, match="svg, png and notation are of the cells of a genotype"):
        run("network=shufflenet_v2", "png=cell.png", out=tmp_path)


@pytest.mark.parametrize("shape", ["32", "[3,32]", "[3,32,a]"])
def test_a_shape_that_is_none_is_said_to_be_none(tmp_path, shape):
    with pytest.raises(ValueError, match=r"image_shape must be \[channels, height, width\], got"):
        run("genotype=darts_v2", f"image_shape={shape}", out=tmp_path)


@pytest.mark.parametrize("reference", ["", "/genotype.json", "/candidates.json#3"])
def test_a_cell_of_a_run_is_counted_as_the_run_would_retrain_it(searched, genotype, reference, capsys):
    figures = counted(f"genotype={searched}{reference}", out=searched)
    size = {"filters": 10, "cells_per_stage": 2, "size": 8, "channels": 1, "num_classes": 5}
    assert figures["parameters"] == expected(genotype, **size)
    shown = capsys.readouterr()
    assert "with filters=10, cells_per_stage=2 on 1x8x8 images of 5 classes" in shown.out
    assert f"network, image_shape, num_classes: as in the run of {searched}{reference}" in shown.err


def test_the_cell_that_a_run_trained_is_counted_as_it_was_trained(searched, genotype):
    network = OmegaConf.to_container(network_config("shufflenasnet", {"filters": 14}).network)
    record = json.dumps({"genotype": genotype.to_dict(), "network": network})
    save_weights(searched / "weights.safetensors", {}, metadata={"model": record})
    size = {"size": 8, "channels": 1, "num_classes": 5}
    assert counted(f"genotype={searched}", out=searched)["parameters"] == expected(genotype, filters=14, **size)
    other = ShuffleNASSpace(blocks=2).decode([0] * len(ShuffleNASSpace(blocks=2).decisions))
    (searched / "genotype.json").write_text(other.to_json())
    sizes = {"filters": 10, "cells_per_stage": 2, **size}
    assert counted(f"genotype={searched}", out=searched)["parameters"] == expected(other, **sizes)


def test_weights_that_cannot_be_read_do_not_keep_a_cell_from_being_counted(searched, genotype):
    (searched / "weights.safetensors").write_bytes(b"cut")
    size = {"filters": 10, "cells_per_stage": 2, "size": 8, "channels": 1, "num_classes": 5}
    assert counted(f"genotype={searched}", out=searched)["parameters"] == expected(genotype, **size)


@pytest.mark.parametrize(
    ("overrides", "changed"),
    [
        (("network.filters=8",), {"filters": 8}),
        (("image_shape=[3,16,16]",), {"channels": 3, "size": 16}),
        (("num_classes=7",), {"num_classes": 7}),
        (("network=shufflenasnet",), {"filters": 20, "cells_per_stage": 1}),
        (("network=shufflenasnet", "network.filters=8"), {"filters": 8, "cells_per_stage": 1}),
    ],
)
def test_what_the_command_says_itself_comes_before_the_run(searched, genotype, overrides, changed):
    size = {"filters": 10, "cells_per_stage": 2, "size": 8, "channels": 1, "num_classes": 5}
    figures = counted(f"genotype={searched}", *overrides, out=searched)
    assert figures["parameters"] == expected(genotype, **{**size, **changed})


def test_a_run_without_these_files_is_counted_as_before(searched, genotype, capsys):
    (searched / "data.json").unlink()
    size = {"size": 32, "channels": 3, "num_classes": 10}
    sizes = {"filters": 10, "cells_per_stage": 2, **size}
    assert counted(f"genotype={searched}", out=searched)["parameters"] == expected(genotype, **sizes)
    assert "network: as in the run of" in capsys.readouterr().err
    (searched / "config.yaml").unlink()
    assert counted(f"genotype={searched}", out=searched)["parameters"] == expected(genotype, **size)
    told = capsys.readouterr().err
    assert "filters" not in told
    assert "does not tell its network" in told
    (searched / "config.yaml").write_text("network: {_target_: mine.Network, filters: 8}\n")
    assert counted(f"genotype={searched}", out=searched)["parameters"] == expected(genotype, **size)


def test_a_published_name_and_a_text_have_no_run(searched, monkeypatch):
    monkeypatch.chdir(searched)
    assert follow("genotype=enas") == ["network=enas"]
    assert follow("network=shufflenet_v2") == follow("genotype=null") == []
    with pytest.raises(FileNotFoundError, match=r"absent\.json"):
        follow("genotype=absent.json")
    cell = "normal=[('sep_conv_3x3', 1), ('skip_connect', 0)], normal_concat=[2]"
    cell = f"Genotype({cell}, {cell.replace('normal', 'reduce')})"
    assert follow(f"genotype={cell}") == ["network=darts"]


def test_runs_of_a_multirun_are_counted_as_they_are_where_they_agree(searched, capsys):
    several = ["-m", f"genotype={searched},{searched}/candidates.json#3"]
    assert "network.filters=10" in follow(*several)
    assert "network.filters=10" in follow(f"genotype='{searched}'")
    (searched / "other").mkdir()
    (searched / "other" / "genotype.json").write_text((searched / "genotype.json").read_text())
    capsys.readouterr()
    assert follow("-m", f"genotype={searched},{searched}/other") == ["network=shufflenasnet"]
    assert "the runs differ in image_shape, network, num_classes" in capsys.readouterr().err
    shutil.copy(searched / "config.yaml", searched / "other")
    alike = follow("-m", f"genotype={searched},{searched}/other")
    assert "network.filters=10" in alike
    assert not any(one.startswith("image_shape") for one in alike)


def test_the_command_counts_as_latency_does(searched):
    done = nas("show", f"genotype={searched}/candidates.json#3", cwd=searched)
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("latency")
    entry = read_entry(f"{searched}/candidates.json#3")
    facts = build_compared(entry, cfg, ImageKind((1, 8, 8), 5)).facts
    sizes = f"{facts['parameters']:,} parameters, {facts['multiply_adds']:,} multiply-adds"
    assert f"{sizes} with filters=10, cells_per_stage=2" in done.stdout


def test_latency_takes_network_and_images_from_the_run_unless_it_is_told(searched):
    def sizes(*overrides):
        return [one for one in follow(f"genotype={searched}", *overrides, command="latency") if "." in one]

    images = ["latency.image_shape=[1, 8, 8]", "latency.num_classes=5"]
    assert sizes()[-2:] == images
    assert "network.filters=10" in sizes()
    assert sizes("experiment=null") == sizes()
    assert sizes("experiment=cifar10_small") == []
    assert sizes("network=shufflenasnet") == images
    assert sizes("network=shufflenasnet", "data=cifar10") == []
    assert sizes("network=shufflenasnet", "data.root=DIR") == []
    assert sizes("network=shufflenasnet", "latency.num_classes=7") == images[:1]
    assert "network.filters=10" not in sizes("network.filters=4")


def test_the_command_times_the_runs_own_network(searched, tmp_path):
    quick = ("latency.repeats=3", "latency.warmup=0", "latency.batch_sizes=[2]", "device=cpu", "name=timed")
    done = nas("latency", f"genotype={searched}", *quick, cwd=tmp_path)
    assert "network, latency.image_shape, latency.num_classes: as in the run of" in done.stderr
    (row,) = json.loads((tmp_path / "results/runs/timed/latency.json").read_text())["models"]
    genotype = load_genotype(searched)
    size = {"filters": 10, "cells_per_stage": 2, "size": 8, "channels": 1, "num_classes": 5}
    assert row["parameters"] == expected(genotype, **size)
