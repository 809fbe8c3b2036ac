"""Trackers: what they leave on the disk, after a kill too, is read back with the formats' own means."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from nas.reporting.cells.drawing import genotype_svg
from nas.reporting.tensorboard import TensorBoardTracker
from nas.reporting.trackers import WandbTracker, _read_journal
from nas.runs.checkpoints import write_json

KEY = "0123456789abcdef" * 2 + "deadbeef"  # of the form of an account's
KILLED = """
import os, shutil, signal, sys, time
from pathlib import Path
from nas.reporting.trackers import WandbTracker

out = Path(sys.argv[1])
tracker = WandbTracker(mode="offline")
tracker.start({"seed": 7, "search": {"epochs": 5}}, out=out)
for step in range(3):
    tracker.log({"reward": step / 10, "start": 0}, step=step, section="search")
time.sleep(1.0)  # twice what wandb may hold back
shutil.copytree(out / "wandb", out.parent / "killed", symlinks=True)
tracker.log({"reward": 0.3, "start": 0}, step=3, section="search")
os.kill(os.getpid(), signal.SIGKILL)
"""


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    """The steps and values that TensorBoard shows."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, round(event.value, 4)) for event in events.Scalars(tag)]


def wandb_records(path: Path) -> Iterator[object]:
    """The records of a .wandb file: LevelDB's log format (blocks of 32 KiB) after a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, pending = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (room := 32768 - at % 32768) < 7:
            at += room
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        pending += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            record = Record()
            record.ParseFromString(pending)
            pending = b""
            yield record


@pytest.fixture(scope="module")
def wandb_run(tmp_path_factory) -> Path:
    """A run killed in the fourth of its steps that went on from the second; its neighbour is what was there before."""
    out = tmp_path_factory.mktemp("wandb") / "run"
    out.mkdir()
    environment = {**os.environ, "WANDB_API_KEY": KEY, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", KILLED, str(out)]
    killed = subprocess.run(command, env=environment, timeout=120, check=False, cwd=Path(__file__).parents[2])
    assert killed.returncode == -signal.SIGKILL
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_API_KEY", KEY)
        tracker = WandbTracker(mode="offline")
        tracker.start({"seed": 7, "search": {"epochs": 5}}, out=out)
        for step in range(1, 6):
            tracker.log({"reward": step / 10, "start": 1}, step=step, section="search")
        put_results(out)
        tracker.finish({"shared_accuracy": 0.5, "search": {"reward": 0.25}}, completed=True)
    return out


def put_results(out: Path) -> None:
    """Writes what a finished run has: figures, a cell and its weights."""
    write_json(out / "candidates.json", [{"shared_accuracy": 0.5, "parameters": 12}])
    write_json(out / "metrics.json", {"found": {"test_accuracy": {"mean": 0.75}, "parameters": 34}})
    write_json(out / "latency.json", {"latency": [{"median_ms": 1.25, "batch_size": 1}]})
    (out / "genotype.json").write_text('{"space": "some"}')
    (out / "weights.safetensors").write_bytes(b"weights")


def history(records: list) -> list[dict[str, str]]:
    rows = [record.history.item for record in records if record.WhichOneof("record_type") == "history"]
    return [{item.key or "/".join(item.nested_key): item.value_json for item in row} for row in rows]


def begun(records: list) -> object:
    (run,) = [record.run for record in records if record.WhichOneof("record_type") == "run"][:1]
    return run


def test_wandb_offline_has_the_config_and_all_steps_when_killed(wandb_run):
    (file,) = wandb_run.parent.glob("killed/offline-run-*/*.wandb")
    killed = list(wandb_records(file))
    config = {item.key: yaml.safe_load(item.value_json) for item in begun(killed).config.update}
    assert config["seed"] == 7
    assert config["search"] == {"epochs": 5}
    assert [row["search/step"] for row in history(killed)] == ["0", "1", "2"]


def test_wandb_offline_goes_on_as_the_same_run_with_every_step_once_and_none_lost(wandb_run):
    (killed,) = wandb_run.parent.glob("killed/offline-run-*/*.wandb")
    (resumed,) = wandb_run.glob("wandb/offline-run-*/*.wandb")
    records = list(wandb_records(resumed))
    assert begun(records).run_id == begun(list(wandb_records(killed))).run_id
    rows = [(row["search/step"], row["search/start"]) for row in history(records)]
    assert rows == [("0", "0"), ("1", "0"), ("2", "0"), ("3", "0"), ("4", "1"), ("5", "1")]


def test_wandb_has_the_final_figures_and_artifacts_of_cell_and_weights_without_a_network(wandb_run):
    (file,) = wandb_run.glob("wandb/offline-run-*/*.wandb")
    records = list(wandb_records(file))
    items = [
        item for record in records if record.WhichOneof("record_type") == "summary" for item in record.summary.update
    ]
    summary = {item.key or "/".join(item.nested_key): item.value_json for item in items}
    figures = {"test_accuracy": 0.75, "parameters": 34, "latency_ms": 1.25, "shared_accuracy": 0.5}
    assert {key: float(summary[key]) for key in figures} == figures
    artifacts = [record.artifact for record in records if record.WhichOneof("record_type") == "artifact"]
    run_id = begun(records).run_id
    assert [(one.name, one.type) for one in artifacts] == [
        (f"genotype-{run_id}", "genotype"),
        (f"weights-{run_id}", "model"),
    ]
    for artifact, name in zip(artifacts, ("genotype.json", "weights.safetensors"), strict=True):
        (entry,) = artifact.manifest.contents
        assert (entry.path, Path(entry.local_path)) == (name, wandb_run / name)
        assert json.loads(artifact.metadata) == figures


def test_wandb_of_a_run_that_failed_has_no_artifacts(tmp_path):
    put_results(tmp_path)
    tracker = WandbTracker(mode="offline")
    tracker.start({}, out=tmp_path)
    tracker.finish({}, completed=False)
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    deadline, kinds = time.monotonic() + 60, []
    while "exit" not in kinds and time.monotonic() < deadline:  # its service writes what is left of the file
        kinds = [record.WhichOneof("record_type") for record in wandb_records(file)]
    assert "run" in kinds
    assert "artifact" not in kinds


def test_wandb_leaves_no_key_in_the_run_folder(wandb_run):
    files = [path for path in wandb_run.rglob("*") if path.is_file()]
    assert len(files) > 4
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_wandb_disabled_does_nothing(tmp_path):
    tracker = WandbTracker(mode="disabled")
    tracker.start({}, out=tmp_path)
    tracker.log({"reward": 1.0}, step=0, section="search")
    tracker.finish({}, completed=True)
    assert not list(tmp_path.iterdir())


def test_wandb_refuses_an_unknown_mode():
    with pytest.raises(ValueError, match=r"logger\.mode must be one of online, offline, disabled, got 'off'"):
        WandbTracker(mode="off")


def test_a_line_cut_short_by_a_kill_is_no_step(tmp_path):
    (tmp_path / "rows").write_text('{"step": 0}\n{"step": 1}\n{"ste')
    assert _read_journal(tmp_path / "rows") == [{"step": 0}, {"step": 1}]
    assert _read_journal(tmp_path / "absent") == []


def test_tensorboard_shows_each_step_of_a_resumed_run_once_as_it_was_done_last(tmp_path, monkeypatch):
    now = time.time
    for start, (first, last) in enumerate([(0, 4), (2, 6)]):
        # Within a second the files would be in the order of a counter read as text, 10 before 9.
        monkeypatch.setattr(time, "time", lambda start=start: now() + 10 * start)
        tracker = TensorBoardTracker()
        tracker.start({"seed": 0}, out=tmp_path)
        for step in range(first, last):
            tracker.log({"reward": step + start / 10}, step=step, section="search")
        tracker.log({"reward": 9.0}, step=start, section="retrain")
    search = scalars(tmp_path / "tensorboard/search", "search/reward")
    assert search == [(0, 0.0), (1, 1.0), (2, 2.1), (3, 3.1), (4, 4.1), (5, 5.1)]
    assert [step for step, _ in scalars(tmp_path / "tensorboard/retrain", "retrain/reward")] == [0, 1]


def test_tensorboard_has_a_step_on_the_disk_before_the_next(tmp_path):
    tracker = TensorBoardTracker()
    tracker.start({}, out=tmp_path)
    for step in range(3):
        tracker.log({"reward": float(step)}, step=step, section="search")
        assert scalars(tmp_path / "tensorboard/search", "search/reward")[-1] == (step, float(step))


def test_tensorboard_draws_sections_of_one_kind_in_one_chart_and_leaves_out_what_is_no_number(tmp_path):
    tracker = TensorBoardTracker()
    tracker.start({}, out=tmp_path)
    for model in ("a@64", "../b"):
        values = {"median_ms": 2.0, "label": model, "p95_ms": float("nan"), "retries": None}
        tracker.log(values, step=8, section=f"latency/{model}")
    tracker.finish({}, completed=False)
    folders = {path.parent for path in tmp_path.rglob("events.*")}
    root = tmp_path / "tensorboard"
    assert folders == {root / "config", root / "latency/a@64", root / "latency/_/b"}
    assert scalars(root / "latency/a@64", "latency/median_ms") == [(8, 2.0)]
    with pytest.raises(KeyError):
        scalars(root / "latency/a@64", "latency/p95_ms")


def test_tensorboard_gets_the_found_cells_as_an_image_and_the_config_as_text(tmp_path, genotype):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = TensorBoardTracker()
    tracker.start({"search": {"epochs": 5}}, out=tmp_path)
    (tmp_path / "cells.svg").write_text(genotype_svg(genotype))
    tracker.finish({"shared_accuracy": 0.5}, completed=True)
    cells = EventAccumulator(str(tmp_path / "tensorboard/cells"))
    cells.Reload()
    (image,) = cells.Images("cells/found")
    assert min(image.width, image.height) > 300
    config = EventAccumulator(str(tmp_path / "tensorboard/config"))
    config.Reload()
    (text,) = config.Tensors("config/text_summary")
    assert b"    search:\n      epochs: 5\n" in text.tensor_proto.string_val[0].replace(b"\n        ", b"\n      ")


def test_tensorboard_has_the_settings_of_all_runs_with_their_figures_under_hparams(tmp_path):
    """Asked as its page asks it: of every run, also where runs have different settings."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.hparams.backend_context import Context

    for name, settings in {
        "a": {"search": {"epochs": 5, "cost": None, "warm": [1]}},
        "b": {"retrain": {"lr": 0.1}},
    }.items():
        put_results(tmp_path / name)
        tracker = TensorBoardTracker()
        tracker.start({"seed": 3, "device": "cpu", **settings}, out=tmp_path / name)
        tracker.finish({}, completed=True)
    events = EventMultiplexer().AddRunsFromDirectory(str(tmp_path))
    events.Reload()
    provider, request = MultiplexerDataProvider(events, str(tmp_path)), RequestContext()
    backend = Context(SimpleNamespace(data_provider=provider, flags=None))
    metadata = backend.hparams_metadata(request, "")
    experiment = backend.experiment_from_metadata(
        request, "", True, metadata, backend.hparams_from_data_provider(request, "", None)
    )
    assert {info.name for info in experiment.hparam_infos} == {"seed", "device", "search.epochs", "retrain.lr"}
    figures = {"final/test_accuracy", "final/parameters", "final/latency_ms", "final/shared_accuracy"}
    assert {info.name.tag for info in experiment.metric_infos} == figures
    assert scalars(tmp_path / "a/tensorboard/hparams", "final/test_accuracy") == [(0, 0.75)]


def test_tensorboard_of_a_run_that_failed_has_no_hparams(tmp_path):
    put_results(tmp_path)
    tracker = TensorBoardTracker()
    tracker.start({"seed": 3}, out=tmp_path)
    tracker.finish({}, completed=False)
    assert not (tmp_path / "tensorboard/hparams").exists()


def test_tensorboard_says_what_to_install(monkeypatch):
    monkeypatch.setattr("nas.reporting.tensorboard.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'shufflenas\[tensorboard\]'"):
        TensorBoardTracker()
