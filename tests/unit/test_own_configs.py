"""A folder of the user's own configs that the environment names: read by help, completion, Hydra and Python alike."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

import nas
from nas.cli import hydra_overrides, main
from nas.command_line.commands import CONFIG_DIR
from nas.command_line.completion import candidates
from nas.command_line.conf_files import read_command
from nas.command_line.help import command_help
from nas.command_line.mistakes import explain
from nas.command_line.search_path import OwnConfigs, register_own_configs
from nas.command_line.words import read_words

EXPERIMENT = """# @package _global_
defaults:
  - override /controller: climber
search: {epochs: 3}
"""
CONTROLLER = """# A climber.
defaults:
  - evolution
  - _self_
population_size: 7          # of mine
"""


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """A folder with an experiment and a controller, named relative to the working directory."""
    for name, text in {"experiment/mine": EXPERIMENT, "controller/climber": CONTROLLER}.items():
        (tmp_path / "own configs" / name).with_suffix(".yaml").parent.mkdir(parents=True)
        (tmp_path / "own configs" / name).with_suffix(".yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CONFIG_DIR, "own configs")
    return tmp_path / "own configs"


@pytest.fixture
def hydra(own) -> Iterator[None]:
    register_own_configs()
    with initialize_config_module("conf", version_base="1.3"):
        yield


def test_help_lists_options_of_the_folder_beside_those_of_the_package(own):
    text = command_help("search", read_words("search", ["experiment=mine"]))
    assert {"[mine]", "toy", "[climber]", "evolution"} <= set(text.split())
    assert "controller: A climber." in text
    assert "controller.population_size=7        of mine" in text


def test_hydra_composes_what_the_files_say(hydra):
    words = read_words("search", ["experiment=mine", "seed=3"])
    cfg = compose("search", overrides=hydra_overrides("search", words))
    known = read_command("search", choices=words.values).settings
    keys = ("search.epochs", "controller.population_size", "controller.sample_size")
    assert [known[key].value for key in keys] == [OmegaConf.select(cfg, key) for key in keys] == [3, 7, 10]


def test_options_of_the_folder_are_completed_and_near_misses_named(hydra):
    assert candidates("nas search controller=cl") == ["controller=climber"]
    assert candidates("nas sweep experiment=mi") == ["experiment=mine"]
    words = read_words("search", ["experiment=mien"])
    with pytest.raises(Exception, match="mien") as error:
        compose("search", overrides=hydra_overrides("search", words))
    assert "no experiment=mien; did you mean mine?" in explain(error.value, "search", words)


def test_a_folder_of_the_command_line_comes_on_top(own, tmp_path):
    (tmp_path / "other" / "data").mkdir(parents=True)
    (tmp_path / "other" / "data" / "stripes.yaml").write_text("_target_: stripes.stripes\n")
    found = read_command("search", folders=["other"])
    assert "stripes" in found.groups["data"].options
    assert "climber" in found.groups["controller"].options


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("nowhere", "no folder nowhere, which NAS_CONFIG_DIR names"),
        ("file", "no folder file, which NAS_CONFIG_DIR names"),
        ("hides", "NAS_CONFIG_DIR=hides has data/digits.yaml, and so has this package; give yours another name"),
    ],
)
@pytest.mark.parametrize("line", ["search", "search --help", "sweep seed=0,1", "search -m seed=0,1", "show --cfg job"])
def test_a_folder_that_cannot_serve_is_said_in_a_line_before_anything(named, said, line, own, monkeypatch, capsys):
    Path("file").touch()
    Path("hides/data").mkdir(parents=True)
    Path("hides/data/digits.yaml").touch()
    monkeypatch.setenv(CONFIG_DIR, named)
    monkeypatch.setattr("sys.argv", ["nas", *line.split()])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    assert capsys.readouterr() == ("", f"error: {said}\n")
    with pytest.raises((OSError, ValueError)) as raised:
        nas.search()
    assert str(raised.value) == said
    assert not Path("results").exists()


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_nothing_is_added(value, own, monkeypatch):
    if value is None:
        monkeypatch.delenv(CONFIG_DIR)
    else:
        monkeypatch.setenv(CONFIG_DIR, value)
    assert "climber" not in read_command("search").groups["controller"].options
    path = []
    OwnConfigs().manipulate_search_path(path)
    assert path == []


def test_a_home_folder_is_written_as_in_a_shell(own, monkeypatch):
    monkeypatch.setenv("HOME", str(own.parent))
    monkeypatch.setenv(CONFIG_DIR, "~/own configs")
    assert "climber" in read_command("search").groups["controller"].options
