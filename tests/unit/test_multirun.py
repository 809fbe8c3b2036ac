import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from nas.command_line.words import quote
from nas.jobs.building.parts import member_device
from nas.jobs.multirun import current_member, multirun_arguments, objective, remove_if_bare


@pytest.fixture
def hydra_config(monkeypatch):
    """Sets what Hydra tells the member of a multirun."""

    def enter(**keys) -> None:
        cfg = OmegaConf.create({"hydra": {"mode": RunMode.MULTIRUN, **keys}})
        monkeypatch.setattr(HydraConfig.instance(), "cfg", cfg)

    return enter


def launched(launcher: str, number: int) -> dict[str, object]:
    return {"runtime": {"choices": {"hydra/launcher": launcher}}, "job": {"num": number}}


@pytest.mark.parametrize(("number", "device"), [(0, "cuda:0"), (1, "cuda:1"), (5, "cuda:1")])
def test_members_side_by_side_take_the_gpus_in_turns(hydra_config, monkeypatch, number, device):
    hydra_config(**launched("parallel", number))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert member_device("auto") == device
    assert member_device("cuda:0") == "cuda:0"


@pytest.mark.parametrize(("launcher", "gpus"), [("basic", 4), ("slurm", 1), ("parallel", 0)])
def test_a_member_that_is_alone_on_what_it_sees_keeps_its_device(hydra_config, monkeypatch, launcher, gpus):
    hydra_config(**launched(launcher, 3))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert member_device("auto") == "auto"


def test_outside_of_a_multirun_the_device_is_as_given(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert member_device("auto") == "auto"


def test_a_member_knows_what_it_alone_has(hydra_config):
    hydra_config(
        job={"config": {"override_dirname": {"exclude_keys": ["data", "name"]}}},
        overrides={"task": ["data=digits", "seed=3", "name=x", "~logger"]},
    )
    member = current_member()
    assert (member.swept, member.fixed, member.name) == ({"seed": "3"}, {"data": "digits"}, "seed-3")


def test_the_arguments_of_a_multirun_tell_what_all_members_have():
    arguments = ["genotype=enas", "-m", "seed=0,1", "name=x", "hydra/launcher=basic"]
    assert multirun_arguments(arguments)[:-1] == ["-m", "genotype=enas", "seed=0,1", "name=x", "hydra/launcher=basic"]
    assert multirun_arguments(arguments)[-1].endswith("exclude_keys=['genotype','name']")


@pytest.mark.parametrize(
    ("override", "kind"), [("hydra/launcher=ray_cluster", "launchers"), ("hydra/sweeper=tree_parzen", "optuna")]
)
def test_a_plugin_that_is_not_installed_is_named_with_what_installs_it(monkeypatch, override, kind):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=rf"{override} needs a plugin: pip install 'shufflenas\[{kind}\]'"):
        multirun_arguments(["-m", "seed=0,1", override])


def test_every_value_of_a_multirun_is_quoted_by_itself():
    assert quote("genotype=a/b.json#0,a/b.json#1", several=True) == "genotype='a/b.json#0','a/b.json#1'"
    assert quote("genotype=enas,darts_v2", several=True) == "genotype=enas,darts_v2"
    assert quote("genotype=Genotype(normal=[('a', 1)])", several=True) == quote("genotype=Genotype(normal=[('a', 1)])")


def test_the_objective_is_found_by_keys_and_indices():
    assert objective({"controllers": [{"mean": 1}, {"mean": 2}]}, "controllers.1.mean") == 2.0


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        ("controllers.1.mean", "objective=controllers.1.mean: no 1 among the results; there are 0"),
        ("rows", "no rows among the results; there are controllers, name"),
        ("name", "objective=name must be a number, got x"),
        ("controllers.0.mean.deep", "no deep among the results; there are none"),
    ],
)
def test_an_objective_that_there_is_not_is_told_with_what_there_is(figure, message):
    with pytest.raises(ValueError, match=message):
        objective({"controllers": [{"mean": 1}], "name": "x"}, figure)


def test_portions_are_checked_before_any_of_them_begins():
    given = ["compare.portions=2", "table.path=x"]
    assert multirun_arguments(["-m", "compare.portion=range(2)", *given])
    with pytest.raises(ValueError, match=r"portion must be in 0 … portions - 1 = 1, got 2"):
        multirun_arguments(["-m", "compare.portion=range(4)", *given])
    with pytest.raises(ValueError, match="portions must be at least 1, got 0"):
        multirun_arguments(["-m", "rank.portion=0,1", "rank.portions=0"])


def test_a_folder_with_members_is_not_bare(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "multirun.yaml").write_text("")
    (tmp_path / "run" / "seed-0").mkdir()
    remove_if_bare(tmp_path / "run")
    assert (tmp_path / "run" / "multirun.yaml").exists()
    (tmp_path / "run" / "seed-0").rmdir()
    remove_if_bare(tmp_path / "run")
    assert not (tmp_path / "run").exists()
