"""What a job says that cannot go on: a full disk, a device without memory, folders that cannot be made or written."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from nas.command_line import running
from nas.command_line.words import Words
from nas.jobs.failures import explained, kept_of
from nas.runs.checkpoints import save_checkpoint, write_json
from tests.commands import bound_by_permissions, nas

NETWORK = ("genotype=shufflenasnet_a", "weights=random", "network.filters=4", "network.cells_per_stage=1", "device=cpu")
TOY = ("experiment=toy", "device=cpu")


def told(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines with which a command ended that made a mistake of the system's plain."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    error = next(number for number, line in enumerate(lines) if line.startswith("error: "))
    assert len(lines[error:]) <= 3
    return lines[error:]


def started(command: str, *overrides: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a job as the command line does once Hydra has composed its config."""
    hydra = OmegaConf.create({"runtime": {"output_dir": str(out)}})
    monkeypatch.setattr(running.HydraConfig, "get", lambda: hydra)
    monkeypatch.setattr(running, "is_multirun", lambda: False)
    monkeypatch.setattr(running.signal, "signal", lambda *_: None)
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose(command, overrides=list(overrides))
    running._run_alone(command, cfg, Words((), overrides))


def states(folder: Path, *, rows: int, key: str = "epoch") -> None:
    save_checkpoint(folder, {"rows": [{key: number} for number in range(rows)]})


@pytest.mark.parametrize(
    ("command", "files", "said", "unsaid"),
    [
        ("search", {}, "no checkpoint yet, the run starts at its beginning", "is kept"),
        ("retrain", {}, "no checkpoint yet", "is kept"),
        ("search", {"checkpoint.pt": 7}, "checkpoint.pt after 7 epochs, is kept", "beginning"),
        ("pipeline", {"checkpoint.pt": 7, "members/found-seed0.pt": 2}, "found-seed0.pt after 2 epochs", "beginning"),
        ("search", {"checkpoint.pt": 7, ".finals/ab-seed1.pt": 3}, "ab-seed1.pt after 3 epochs", "beginning"),
        ("search", {"trainings/ab-seed1.json": 0}, "no checkpoint, but 1 finished training; to go on", "beginning"),
        ("search", {"checkpoint.pt": 7, "trainings/ab-seed1.json": 0}, "is kept, 1 finished training too", "beginning"),
        ("search", {"trainings/a-seed1.json": 0, "trainings/b-seed1.pt": 2}, "b-seed1.pt after 2 epochs", "beginning"),
        ("rank", {"stand_alone/a-seed1.json": 0, "stand_alone/b-seed1.json": 0}, "2 finished trainings", "beginning"),
        ("search", {"checkpoint.diverged.pt": 7}, "no checkpoint yet", "is kept"),
        ("latency", {}, "nas latency keeps no checkpoints and starts at its beginning", "is kept"),
        ("bench", {}, "nas bench keeps no checkpoints", "is kept"),
        ("rank", {}, "Finished trainings are kept", "beginning"),
        ("compare", {}, "Finished trials are kept", "beginning"),
        ("permutations", {"members/a.pt": 2}, "a.pt after 2 epochs", "beginning"),
    ],
)
def test_what_is_kept_of_a_job_is_said_as_it_is(command, files, said, unsaid, tmp_path):
    for number, (name, rows) in enumerate(files.items()):
        states(tmp_path / name, rows=rows)
        os.utime(tmp_path / name, (number, number))
    text = kept_of(command, tmp_path, again="nas again")
    assert said in text
    assert unsaid not in text
    assert text.endswith("nas again")


def test_a_search_in_a_table_has_updates_and_a_damaged_checkpoint_no_number(tmp_path):
    states(tmp_path / "checkpoint.pt", rows=3, key="update")
    assert "after 3 updates" in kept_of("search", tmp_path, again="")
    (tmp_path / "checkpoint.pt").write_bytes(b"x")
    assert "after" not in kept_of("search", tmp_path, again="")


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize("kind", ["disk", "device"])
def test_a_run_that_fails_says_whether_there_is_a_checkpoint(saved, kind, tmp_path, monkeypatch):
    out = tmp_path / "run"
    out.mkdir()
    if saved:
        states(out / "checkpoint.pt", rows=4)

    def full(*arguments: object) -> None:
        if kind == "disk":
            raise OSError(errno.ENOSPC, "No space left on device", "search.csv")
        raise torch.OutOfMemoryError("CUDA out of memory.\nmore")

    monkeypatch.setattr(running, "_run_job", full)
    with pytest.raises(running.MistakeError) as error:
        started("search", "name=run", "search.epochs=9", out=out, monkeypatch=monkeypatch)
    text = str(error.value)
    assert ("after 4 epochs" in text) is saved
    assert ("no checkpoint yet" in text) is not saved
    assert "whole" not in text
    assert text.endswith("nas search name=run search.epochs=9")
    assert len(text.splitlines()) <= 3


def test_a_job_without_a_name_says_what_a_full_disk_means_too(tmp_path, monkeypatch):
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "cell.svg")

    monkeypatch.setattr(running, "_run_job", full)
    with pytest.raises(running.MistakeError, match="starts at its beginning again: nas show genotype=enas"):
        started("show", "genotype=enas", out=tmp_path, monkeypatch=monkeypatch)


@pytest.mark.parametrize(
    ("code", "cure"),
    [
        (errno.EACCES, "get access"),
        (errno.EROFS, "can be written"),
        (errno.ENOTDIR, "a file is where a folder is needed"),
        (errno.ENAMETOOLONG, "shorter name"),
        (errno.EISDIR, "a folder is where a file is needed"),
    ],
)
def test_errors_of_the_system_name_the_place_and_a_cure(code, cure):
    text = explained(OSError(code, os.strerror(code), "some/place"))
    assert text.startswith("some/place: ")
    assert cure in text
    assert len(explained(OSError(code, os.strerror(code), "long" * 100))) < 300
    assert explained(ValueError("as it is")) == "as it is"
    assert explained(FileNotFoundError("as it is")) == "as it is"


def test_a_file_that_cannot_be_made_is_named_and_not_its_temporary_one(tmp_path, monkeypatch):
    def refused(*arguments: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", ".temporary.abc")

    monkeypatch.setattr("tempfile.mkstemp", refused)
    with pytest.raises(PermissionError) as error:
        write_json(tmp_path / "figures.json", {})
    assert error.value.filename == str(tmp_path / "figures.json")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("name=toy",), "results/runs/toy"),
        ((f"name={'n' * 300}",), "shorter name"),
        (("hydra.run.dir=results/below",), "results/below"),
        (("-m", "seed=0,1", "name=toy"), "results/runs/toy"),
    ],
)
def test_hydra_itself_does_not_answer_with_a_traceback(overrides, said, tmp_path):
    """`results` is a file; of a name that is too long, it need not be there."""
    if not overrides[0].startswith("name=n"):
        (tmp_path / "results").write_text("")
    (line,) = told(nas("search", "experiment=toy", *overrides, cwd=tmp_path))
    assert said in line


@pytest.fixture
def refused(tmp_path):
    """A folder that may not be written, with a run folder that may not either."""
    if not sys.platform.startswith("linux"):
        pytest.skip("permissions are taken from root on Linux alone")
    (tmp_path / "results/runs/toy").mkdir(parents=True)
    folders = [tmp_path, *(tmp_path / name for name in ("results/runs/toy", "results/runs", "results"))]
    for folder in folders:
        folder.chmod(0o555)
    yield tmp_path
    for folder in folders:
        folder.chmod(0o755)


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (("search", "experiment=toy", "name=new"), "results/runs/new"),
        (("search", "experiment=toy", "name=toy"), "results/runs/toy"),
        (("search", "experiment=toy", "-m", "seed=0,1", "name=toy"), "results/runs/toy"),
        (("show", "genotype=enas", "svg=cell.svg"), "cell.svg"),
        (("show", "genotype=enas", "json=new/cell.json"), "new"),
    ],
)
def test_a_folder_that_may_not_be_written_is_named_with_a_cure(arguments, place, refused):
    (line,) = told(nas(*arguments, cwd=refused, prepare=bound_by_permissions))
    assert line.startswith(f"error: {place}")
    assert line.endswith("permission denied: get access to it or choose another place")


BELOW_A_FILE = {
    "svg": ("show", "genotype=enas", "svg=file/cell.svg"),
    "png": ("show", "genotype=enas", "png=file/cell.png"),
    "json": ("show", "genotype=enas", "json=file/cell.json"),
    "a long name": ("show", "genotype=enas", f"json={'n' * 300}"),
    "a folder": ("show", "genotype=enas", "json=folder"),
    "report": ("report", "runs=run", "out=file/page"),
    "table": ("table", "runs=[]", "folder=file/table"),
    "onnx": ("export", *NETWORK, "format=onnx", "out=file/export"),
    "torch_export": ("export", *NETWORK, "format=torch_export", "out=file/export"),
    "python": ("export", *NETWORK, "format=python", "out=file/export"),
    "latency tables": ("search", *TOY, "reward=latency_aware", "search.latency.folder=file/tables"),
    "data folder": ("search", *TOY, "data=cifar10", "data.root=file/data"),
    "a long data folder": ("search", *TOY, "data=cifar10", f"data.root={'n' * 300}"),
    "a long data file": ("search", *TOY, "data=arrays", f"data.path={'n' * 300}"),
    "a data folder that is a file": ("search", *TOY, "data=image_folder", "data.root=file/images"),
    "a long table": ("search", "experiment=nasbench201", f"table.path={'n' * 300}", "device=cpu"),
    "a table below a file": ("search", "experiment=nasbench201", "table.path=file/table.csv", "device=cpu"),
    "tensorboard": ("search", *TOY, "logger=tensorboard", "name=logged"),
    "a long run": ("replay", f"run={'n' * 300}"),
    "a run of rank": ("rank", f"run={'n' * 300}"),
    "images": ("predict", "run=run", f"images={'n' * 300}"),
    "a model": ("predict", f"run={'n' * 300}", "images=folder"),
    "an exported run": ("export", f"run={'n' * 300}"),
    "weights": (
        "retrain",
        "genotype=enas",
        "network=enas",
        f"retrain.warm_start={'n' * 300}",
        "data=toy",
        "device=cpu",
    ),
    "runs": ("runs", f"root={'n' * 300}"),
    "two runs": ("runs", f"compare=[{'n' * 300},run]"),
    "reported runs": ("report", f"runs={'n' * 300}"),
    "compared models": ("latency", f"models=[{'n' * 300}]", "device=cpu"),
}


@pytest.mark.parametrize("arguments", BELOW_A_FILE.values(), ids=BELOW_A_FILE)
def test_a_place_that_cannot_be_used_is_told_in_few_lines(arguments, tmp_path, monkeypatch):
    """Places below a regular file, names of 300 characters, folders in place of files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.json").write_text("{}")
    monkeypatch.setattr("nas.jobs.table.TABLE_I", ())  # takes long to count
    command, *overrides = arguments
    out = tmp_path / "results" / "runs" / "toy"
    out.mkdir(parents=True)
    if "logger=tensorboard" in overrides:
        (out / "tensorboard").write_text("")
    with pytest.raises(running.MistakeError) as error:
        started(command, *overrides, out=out, monkeypatch=monkeypatch)
    text = str(error.value)
    assert len(text.splitlines()) <= 3
    assert len(text) < 700


@pytest.mark.parametrize("job", ["python", "torch_export", "onnx"])
def test_a_model_that_cannot_be_written_is_no_traceback(job, tmp_path, monkeypatch):
    """torch's own writers raise a RuntimeError where a file cannot be made."""
    for name in ("model.pt2", "model_weights.pt", "model.py", "model.onnx", "weights.safetensors"):
        (tmp_path / "export" / name).mkdir(parents=True)
    out = tmp_path / "run"
    out.mkdir()
    overrides = (*NETWORK, f"format={job}", f"out={tmp_path / 'export'}")
    with pytest.raises(running.MistakeError, match=r"a folder is where a file is needed|Is a directory"):
        started("export", *overrides, out=out, monkeypatch=monkeypatch)
