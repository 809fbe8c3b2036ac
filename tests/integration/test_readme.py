"""What the README tells a user to type is there: every command line composes, and what one leaves the next finds."""

import re
import shutil
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from nas.cli import COMMANDS
from nas.genotypes import load_genotype, load_genotypes
from nas.jobs import search, show
from nas.jobs.parts import read_genotype
from nas.overrides import follow_genotype, name_compared, quote
from tests.integration.readme import README, code_files, commands

LINES = commands()
CONF = README.parent / "conf"
TOY = ("experiment=toy", "search.epochs=1", "search.final_samples=8", "search.top_k=5")


def composed(command: str, *overrides: str) -> DictConfig:
    """The config of a command line, as `nas` makes it."""
    given = [quote(override) for override in follow_genotype(overrides)]
    if "--config-dir" in given:
        place = given.index("--config-dir")
        given[place : place + 2] = [f"hydra.searchpath=[file://{Path(given[place + 1]).resolve()}]"]
    with initialize_config_module("conf", version_base="1.3"):
        return compose(command, overrides=given)


@pytest.fixture
def folder(tmp_path, monkeypatch, genotype) -> Path:
    """A folder with the files that the README's own section makes, and the runs that its lines name."""
    monkeypatch.chdir(tmp_path)
    for name, text in code_files().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for run in {word for line in LINES for word in re.findall(r"results/runs/(\w+)", " ".join(line))}:
        (tmp_path / "results/runs" / run).mkdir(parents=True)
        (tmp_path / "results/runs" / run / "genotype.json").write_text(genotype.to_json())
    return tmp_path


def test_the_readme_has_command_lines_of_every_kind():
    assert len(LINES) > 30
    assert {line[0] for line in LINES} >= {"pipeline", "search", "retrain", "latency", "show", "export"}


def test_every_command_line_composes(folder):
    for command, *overrides in (line for line in LINES if len(line) > 1):
        if command == "sweep" or "-m" in overrides:  # its first member
            values = [re.sub(r"=([^\[(,]+),.*|=range\(.*", lambda found: f"={found[1] or 0}", one) for one in overrides]
            overrides = [one for one in values if one != "-m" and not one.startswith("hydra/")]
        assert composed(command, *name_compared(overrides)) is not None, (command, overrides)


def test_a_key_that_is_gone_would_be_found(folder):
    (line, *_) = commands("    nas search controller=uniform search.epoch=3    # a comment\n")
    assert line == ["search", "controller=uniform", "search.epoch=3"]
    with pytest.raises(HydraException):
        composed(*line)


def test_the_list_of_jobs_names_commands():
    text = README.read_text(encoding="utf-8")
    listed = text.partition("## The jobs\n")[2].partition("\n\nEvery setting")[0]
    names = re.findall(r"^    nas (\w+)", listed, flags=re.MULTILINE)
    assert len(names) >= 11
    assert set(names) <= set(COMMANDS)


def test_settings_named_in_the_text_are_settings_of_some_command(folder):
    prose = re.sub(r"^    .*$", "", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    named = set(re.findall(r"`([a-z][\w.]*)=([\w./]+)`", prose)) - {("name", "NAME")}
    configs = [composed("pipeline", "logger=wandb"), composed("retrain", "network=enas"), composed("show")]
    assert len(named) > 5
    for key, value in named:
        assert (CONF / key / f"{value}.yaml").exists() or any(has(config, key) for config in configs), f"{key}={value}"


def has(config: DictConfig, key: str) -> bool:
    """Whether a config has a key, set or not."""
    group, _, name = key.rpartition(".")
    node = OmegaConf.select(config, group) if group else config
    return OmegaConf.is_config(node) and name in set(node)


def test_lines_about_one_run_find_what_the_search_among_them_left(folder):
    """Training is left out: what a retraining reads is read as the job reads it."""
    shutil.rmtree(folder / "results/runs/four")
    lines = {line[0]: [] for line in LINES} | {"retrain": []}
    for command, *overrides in LINES:
        if any(word in " ".join(overrides) for word in ("results/runs/four", "name=four")):
            lines[command].append(overrides)
    (search_line,), (show_line,) = lines["search"], lines["show"]
    search.run(composed("search", *search_line, *TOY), folder / "results/runs/four")
    found = load_genotype(folder / "results/runs/four")
    assert len(found.normal.blocks) == 4
    third, beside_random = (composed("retrain", *overrides) for overrides in lines["retrain"])
    assert read_genotype(third) == load_genotype("results/runs/four/candidates.json#3") != found
    assert read_genotype(beside_random) == found
    assert len(load_genotypes(beside_random.random_cells)) == 2
    show.run(composed("show", *show_line), folder)
    assert (folder / "cell.svg").exists()
