"""nas show: every kind of genotype, in the terminal and as files."""

import json

import pytest
from hydra import compose, initialize_config_module

from nas.jobs import show
from search_spaces.nasbench201 import parse_arch_string
from search_spaces.published import PUBLISHED
from search_spaces.shufflenas import ShuffleNASSpace

ARCH = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|avg_pool_3x3~1|none~2|"


def run(*overrides: str, out):
    with initialize_config_module("conf", version_base="1.3"):
        return show.run(compose("show", overrides=list(overrides)), out)


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


def test_a_cell_of_the_table_is_drawn_though_there_is_no_network_of_it(tmp_path, capsys):
    (tmp_path / "genotype.json").write_text(parse_arch_string(ARCH).to_json())
    figures = run(f"genotype={tmp_path}", f"png={tmp_path}/cell.png", f"json={tmp_path}/cell.json", out=tmp_path)
    assert figures == {"architecture": ARCH}
    assert json.loads((tmp_path / "cell.json").read_text())["architecture"] == ARCH
    shown = capsys.readouterr().out
    assert "skip_connect" in shown
    assert f"{ARCH}: of the table NAS-Bench-201" in shown
    assert (tmp_path / "cell.png").exists()


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
