"""Run folders from a stranger: no job calls, imports or looks up what their files name."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from PIL import Image
from torch import nn

import nas
from nas.command_line.following import followed
from nas.command_line.words import Words
from nas.jobs import export, latency, predict, rank, replay, report, retrain, runs, search, show
from nas.jobs.building.config import named_modules
from nas.jobs.building.parts import build_runtime
from nas.jobs.building.run_folder import opened_run
from nas.jobs.table import measured_runs
from nas.models.exporting.source_code import write_source
from nas.runs.checkpoints import save_weights
from nas.runs.configs import read_config_file
from nas.runs.trust import check_recorded, find_trusted
from nas.settings import CLASSES, config_node, settings_class
from tests.faults.campaign import RETRAIN, SEARCH, SMALL

SHORT = ("search.epochs=1", "search.final_samples=2", "search.random_cells=0", "device=cpu")
RANK = (
    *("rank.architectures=6", "rank.policy_architectures=1", "rank.pool=50", "rank.calibration_batches=[1]"),
    *("rank.top=[1,2]", "rank.resamples=100", "rank.workers=1", "retrain.epochs=1", "device=cpu"),
)
MARK = "MARK"
MAKES = {"_target_": "os.makedirs", "name": MARK}
WRITES = {"_target_": "nas.runs.checkpoints.write_text", "path": MARK, "text": "x"}
PLANTED = {
    "a function of Python": ("search_space", MAKES),
    "a method": ("search_space", {"_target_": "pathlib.Path.mkdir", "self": MARK}),
    "a function of this project that no config names": ("search_space", WRITES),
    "a name that a module has imported": (
        "search_space",
        {"_target_": "nas.jobs.building.run_folder.os.makedirs", "name": MARK},
    ),
    "the loader of modules": (
        "data",
        {"_target_": "nas.jobs.building.parts.importlib.import_module", "name": "planted"},
    ),
    "a nested one": ("controller.policy", MAKES),
    "another group": ("search.guard", MAKES),
    "one in a list": ("search_space.ops", [MAKES]),
    "one in a list of a list": ("search_space.ops", [["identity", {"deep": MAKES}]]),
    "one found by name": ("reward.key_of", {"_target_": "hydra.utils.get_method", "path": "os.makedirs"}),
    "Hydra's own caller": ("reward", {"_target_": "hydra.utils.call", "config": MAKES}),
    "one without a name": ("reward", {"_target_": ["os.makedirs"], "name": MARK}),
}


def config(command: str, *overrides: str):
    with initialize_config_module("conf", version_base="1.3"):
        return compose(command, overrides=list(overrides))


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a finished search."""
    run = tmp_path_factory.mktemp("runs") / "first"
    cfg = config("search", *SMALL, *SEARCH, *SHORT)
    with opened_run(cfg, run, runtime=build_runtime(cfg), command="search"):
        search.run(cfg, run)
    return run


@pytest.fixture(scope="module")
def trained(finished, tmp_path_factory) -> Path:
    """The folder of a finished retraining."""
    run = tmp_path_factory.mktemp("runs") / "trained"
    cfg = config("retrain", *SMALL, *RETRAIN, "retrain.epochs=1", "retrain.seeds=[0]", f"genotype={finished}")
    with opened_run(cfg, run, runtime=build_runtime(cfg), command="retrain"):
        retrain.run(cfg, run)
    return run


def with_key(run: Path, copy: Path, key: str, value: object) -> Path:
    """Copies a run and sets a key of its config."""
    shutil.copytree(run, copy)
    text = json.dumps(value).replace(MARK, str(copy.parent / MARK))
    node = found = yaml.safe_load((copy / "config.yaml").read_text())
    *groups, last = key.split(".")
    for group in groups:
        node = node[group]
    node[last] = json.loads(text)
    (copy / "config.yaml").write_text(yaml.safe_dump(found))
    return copy


@pytest.mark.parametrize(("key", "planted"), PLANTED.values(), ids=PLANTED)
@pytest.mark.parametrize("command", ["replay", "rank"])
def test_what_a_recorded_config_names_is_not_called(command, key, planted, finished, tmp_path):
    run = with_key(finished, tmp_path / "run", key, planted)
    job, settings = {"replay": (replay, ()), "rank": (rank, RANK)}[command]
    flat = json.dumps(planted)
    target = next(one for one in ("makedirs", "mkdir", "write_text", "import_module", "call") if one in flat)
    with pytest.raises(ValueError, match=target) as refused:
        job.run(config(command, f"run={run}", *settings), tmp_path / "out")
    assert key in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert not (tmp_path / MARK).exists()
    assert "planted" not in sys.modules


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "x ${now:%Y}", "${hydra:runtime.cwd}", "${seed}"])
def test_nothing_is_looked_up_for_a_recorded_config(value, finished, tmp_path):
    run = with_key(finished, tmp_path / "run", "search.bn", value)
    with pytest.raises(ValueError, match=r"search\.bn .*is left to be looked up"):
        replay.run(config("replay", f"run={run}"), tmp_path / "out")


def test_arguments_without_names_are_refused(finished, tmp_path):
    run = with_key(finished, tmp_path / "run", "search_space._args_", [[MARK]])
    with pytest.raises(ValueError, match=r"search_space\._args_"):
        replay.run(config("replay", f"run={run}"), tmp_path / "out")


@pytest.mark.parametrize("planted", [MAKES, WRITES])
def test_an_export_does_without_the_images_of_such_a_run(planted, trained, tmp_path, capsys):
    run = with_key(trained, tmp_path / "run", "data", planted)
    export.run(config("export", f"run={run}", "format=python", f"out={tmp_path / 'export'}"), tmp_path)
    assert f"names {planted['_target_']} (data)" in capsys.readouterr().err
    assert not (tmp_path / MARK).exists()


def own_network(module: str, folder: Path) -> str:
    """Writes a module with a network that leaves a mark when it is made; returns the network's dotted name."""
    (folder / f"{module}.py").write_text(
        "from pathlib import Path\nfrom nas.models.shufflenasnet import ShuffleNASNet\n"
        f"class Own(ShuffleNASNet):\n    def __init__(self, *a, **k):\n        Path({str(folder / MARK)!r}).mkdir()\n"
        "        super().__init__(*a, **k)\n"
    )
    return f"{module}.Own"


@pytest.mark.parametrize("command", ["latency", "predict", "export"])
def test_a_network_of_somebodys_own_must_be_named_by_the_command(command, trained, tmp_path, monkeypatch):
    module = f"own_of_{command}"
    run = with_key(trained, tmp_path / "run", "network._target_", own_network(module, tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    weights = nas.load_model(run, for_inference=False).network.state_dict()
    network = {**yaml.safe_load((run / "config.yaml").read_text())["network"]}
    model = json.dumps({"genotype": json.loads((run / "genotype.json").read_text()), "network": network})
    save_weights(run / "weights.safetensors", weights, metadata={"model": model})
    picture = tmp_path / "picture.png"
    Image.new("L", (8, 8)).save(picture)
    short = ("latency.repeats=2", "latency.warmup=1", "device=cpu")
    job, overrides = {
        "latency": (latency, ("latency", f'models=["{run}",shufflenet_v2]', *short)),
        "predict": (predict, ("predict", f"run={run}", f"images={picture}", "device=cpu")),
        "export": (export, ("export", f"run={run}", "format=python", f"out={tmp_path / 'export'}")),
    }[command]
    with pytest.raises(ValueError, match=rf"unknown network '{module}\.Own'.*imports=\[{module}\]"):
        job.run(config(*overrides), tmp_path / "out")
    assert module not in sys.modules
    assert not (tmp_path / MARK).exists()
    __import__(module)  # a class that happens to be there is not named yet
    with pytest.raises(ValueError, match="unknown network"):
        job.run(config(*overrides), tmp_path / "out")
    assert find_trusted(f"{module}.Own", modules=named_modules(config(*overrides, f"imports=[{module}]"))) is not None


def test_a_run_of_somebodys_own_modules_is_repeated_when_the_command_names_them(finished, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_images.py").write_text(
        "from nas.data.named import digits\n\n\ndef images(**settings):\n    return digits(**settings)\n"
    )
    (tmp_path / "own_op.py").write_text("")
    recorded = {**yaml.safe_load((finished / "config.yaml").read_text())["data"], "_target_": "own_images.images"}
    run = with_key(finished, tmp_path / "run", "data", recorded)
    with pytest.raises(ValueError, match=r"own_images\.images \(data\).*add imports=\[own_images\] to the command"):
        replay.run(config("replay", f"run={run}"), tmp_path / "out")
    again = with_key(run, tmp_path / "again", "imports", ["own_op", "own_images"])
    for named in ("[]", "[own_images]"):
        with pytest.raises(ValueError, match=r"own_op \(imports\).*imports=\[own_op,own_images\]"):
            replay.run(config("replay", f"run={again}", f"imports={named}"), tmp_path / "out")
    assert "own_op" not in sys.modules
    named = config("replay", f"run={again}", "imports=[own_op,own_images]", "device=cpu")
    assert replay.run(named, tmp_path / "out")["equal"] is True


def test_the_logger_of_a_run_is_not_taken_over_and_so_may_be_anything(finished, tmp_path):
    run = with_key(finished, tmp_path / "run", "logger", MAKES)
    assert replay.run(config("replay", f"run={run}"), tmp_path / "out")["equal"] is True
    assert not (tmp_path / MARK).exists()


def test_jobs_that_only_read_a_run_call_nothing(finished, trained, tmp_path, monkeypatch, capsys):
    """Every group of the config names a function that would leave a mark; the jobs that build nothing do not care."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", "hush")
    for number, source in enumerate((finished, trained)):
        run = tmp_path / f"run-{number}"
        shutil.copytree(source, run)
        keys = yaml.safe_load((run / "config.yaml").read_text())
        planted = json.loads(json.dumps(MAKES).replace(MARK, str(tmp_path / MARK)))
        config_of_run = {key: {**planted, "cutout": "${oc.env:SECRET}"} for key in keys}
        (run / "config.yaml").write_text(yaml.safe_dump(config_of_run))
        metrics = {"data": "cifar10", "epochs": 1, "found": {"parameters": 1, "test_accuracy": {"mean": 1, "std": 0}}}
        metrics["found"]["test_accuracy"]["values"] = [1]
        (run / "metrics.json").write_text(json.dumps(metrics))
    for job, overrides in (
        (runs, ("runs", f"root={tmp_path}")),
        (runs, ("runs", "compare=[run-0,run-1]")),
        (report, ("report", f"runs={tmp_path}", f"out={tmp_path / 'page'}")),
        (show, ("show", "genotype=run-0")),
    ):
        job.run(config(*overrides), tmp_path)
    assert len(measured_runs([str(tmp_path)])) == 2  # what the table is made of
    printed = capsys.readouterr()
    assert "hush" not in printed.out + printed.err
    assert not (tmp_path / MARK).exists()


def test_a_resumed_run_and_one_that_starts_from_its_weights_take_only_numbers(finished, tmp_path):
    run = with_key(finished, tmp_path / "run", "data", MAKES)
    cfg = config("search", *SMALL, *SEARCH, *SHORT)
    with (
        pytest.raises(ValueError, match=r"data\._target_ \(was os\.makedirs"),
        opened_run(cfg, run, runtime=build_runtime(cfg), command="search"),
    ):
        pass
    warm = (f"genotype={run}", f"retrain.warm_start={run}", "retrain.seeds=[0]", "retrain.epochs=1")
    retrain.run(config("retrain", *SMALL, *RETRAIN, *warm, "network.filters=4", "device=cpu"), tmp_path / "warm")
    assert not (tmp_path / MARK).exists()


@pytest.mark.parametrize("macro", ["../../../evil", "/evil", "a b", ["enas"], "enas,darts"])
def test_the_network_of_a_run_is_never_the_path_of_a_config(macro, trained, tmp_path):
    """Hydra would read a file there, and do all that it says."""
    network = {"_target_": "nas.models.stacked_cells.StackedCells", "macro": macro}
    run = with_key(trained, tmp_path / "run", "network", network)
    assert followed("retrain", Words((), (f"genotype={run}",))) in ([], ["network=shufflenasnet"])


def test_the_name_of_a_model_does_not_become_code_of_its_export():
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classifier = nn.Linear(2, 2)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.classifier(images)

    title = 'a\\"""\nraise SystemExit\n"""'
    settings = {"version": "1", "images": "floats", "takes": "unit", "make_images": "torch.rand(1, 2)"}
    text = write_source(Plain().eval(), torch.rand(1, 2), title=title, **settings)[0]
    compiled = compile(text, "model.py", "exec")
    assert "SystemExit" not in compiled.co_names


@pytest.mark.parametrize(
    ("target", "modules", "trusted"),
    [
        ("nas.models.shufflenasnet.ShuffleNASNet", (), True),
        ("nas.training.member.RetrainSettings", (), True),
        ("nas.training.settings.RetrainSettings", (), True),
        ("search_spaces.nasbench201.arch_string", (), True),
        ("nas.__main__.FilesOnly", (), False),
        ("nas.runs.checkpoints.write_text", ("nas.runs.checkpoints",), False),
        ("nas.nowhere.FilesOnly", (), False),
        ("os.makedirs", (), False),
        ("os.makedirs", ("os",), True),
        ("json.decoder.JSONDecoder", ("json",), True),
        ("json.decoder.scanner.make_scanner", ("json",), False),
        ("json.codecs.open", ("json",), False),
        ("jsonl.anything", ("json",), False),
        ("os.name", ("os",), False),
        ("makedirs", ("os",), False),
        ("", ("",), False),
        ("nas.\0.FilesOnly", (), False),
        (None, (), False),
        (["os.makedirs"], ("os",), False),
    ],
)
def test_trusted_is_what_configs_name_and_what_a_named_module_defines(target, modules, trusted):
    assert (find_trusted(target, modules=modules) is not None) is trusted


def test_every_config_of_this_project_may_come_back_from_a_run():
    for file in Path(nas.__file__).parents[1].glob("conf/**/*.yaml"):
        node = OmegaConf.to_container(OmegaConf.load(file))
        if "${" not in json.dumps(node):
            check_recorded(node, file.stem, source="a run")
    for option in CLASSES:
        check_recorded(config_node(settings_class(option)), option, source="a run")


def test_all_modules_to_be_named_are_named_at_once():
    node = {"data": {"_target_": "mine.images"}, "reward": {"_target_": "their.reward"}}
    with pytest.raises(ValueError, match=r"imports=\[mine,their\]"):
        check_recorded(node, "", source="a run")
    check_recorded({"imports": "mine"}, "", source="a run", modules=["mine"])
    with pytest.raises(ValueError, match=r"imports=\[mine,their\]"):
        check_recorded({"imports": "mine", **node}, "", source="a run", modules=["mine"])


@pytest.mark.parametrize(
    "text", ["a: [", "- 1", "a: &a [*a]", b"\xff\xfe\x00", "a: !!python/object/apply:os.system [x]"]
)
def test_a_damaged_config_of_a_run_is_a_mistake_and_no_traceback(text, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match="config"):
        read_config_file(file)
