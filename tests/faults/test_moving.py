"""A run that is carried to another machine goes on there with its own data, and with no others."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig

from nas.compute.device import make_runtime
from nas.compute.settings import RuntimeSettings
from nas.jobs import permutations, replay, retrain, search
from nas.jobs.building.run_folder import keep_data, opened_run
from nas.reporting.trackers import FilesOnly
from nas.runs.comparison import compare_runs
from nas.runs.configs import may_change
from tests.integration.test_jobs import config

SETTINGS = (
    "name=moved",
    "data=arrays",
    "network.filters=4",
    "network.cells_per_stage=1",
    "runtime.threads=1",
)
SEARCH = ("search.epochs=4", "search.batch_size=8", "search.controller_samples=2", "search.samples_per_update=2")
SEARCH += ("search.final_samples=2", "search.random_cells=1", "search.checkpoint_seconds=0")
RETRAIN = ("genotype=shufflenasnet_a", "retrain.epochs=2", "retrain.batch_size=8", "retrain.seeds=[0]")


class Unplugged(FilesOnly):
    """Stands for a machine that goes away in the third epoch."""

    def log(self, row, *, step, section):
        if step == 2:
            raise KeyboardInterrupt


def put_images(file: Path, *, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    file.parent.mkdir(exist_ok=True)
    np.savez(file, images=rng.integers(0, 256, (60, 8, 8), dtype=np.uint8), labels=np.arange(60) % 3)
    return file


def at(cfg: DictConfig, data: Path, out: Path, job, *, tracker: FilesOnly | None = None) -> None:
    cfg.data.path = str(data)
    with opened_run(cfg, out, runtime=make_runtime(RuntimeSettings(threads=1)), command="search"):
        job.run(cfg, out, tracker=tracker)


def test_a_search_goes_on_in_another_place_to_the_same_end(tmp_path):
    cfg = config("search", *SETTINGS, *SEARCH, "data.path=?")
    images = put_images(tmp_path / "here" / "images.npz")
    at(cfg, images, tmp_path / "whole" / "moved", search)
    with pytest.raises(KeyboardInterrupt):
        at(cfg, images, tmp_path / "here" / "moved", search, tracker=Unplugged())
    assert not (tmp_path / "here" / "moved" / "genotype.json").exists()
    shutil.move(tmp_path / "here", tmp_path / "there")
    cfg.device = "cpu"
    at(cfg, tmp_path / "there" / "images.npz", tmp_path / "there" / "moved", search)
    compared = compare_runs(tmp_path / "whole" / "moved", tmp_path / "there" / "moved")
    assert {"search.csv", "scored.csv", "checkpoint.pt", "candidates.json"} <= {one.file for one in compared}
    assert [one for one in compared if one.difference is not None] == []


@pytest.mark.parametrize(("job", "settings"), [(search, SEARCH), (retrain, RETRAIN)])
def test_a_run_does_not_go_on_with_other_images(tmp_path, job, settings):
    command = job.__name__.rpartition(".")[2]
    cfg = config(command, *SETTINGS, *settings, "data.path=?")
    with pytest.raises(KeyboardInterrupt):
        at(cfg, put_images(tmp_path / "a.npz"), tmp_path / "moved", job, tracker=UnpluggedAtOnce())
    record = (tmp_path / "moved" / "data.json").read_text()
    with pytest.raises(ValueError, match="was begun with other data than are here now"):
        at(cfg, put_images(tmp_path / "b.npz", seed=1), tmp_path / "moved", job)
    assert (tmp_path / "moved" / "data.json").read_text() == record


class UnpluggedAtOnce(FilesOnly):
    def log(self, row, *, step, section):
        raise KeyboardInterrupt


def test_data_are_known_by_their_digest(tmp_path):
    for record in ({"data_sha256": "a"}, {"files_sha256": "a"}, {"sha256": "a"}):
        out = tmp_path / next(iter(record))
        out.mkdir()
        keep_data(out, record)
        keep_data(out, {**record, "table": "elsewhere"})
        with pytest.raises(ValueError, match="other data"):
            keep_data(out, dict.fromkeys(record, "b"))
        assert json.loads((out / "data.json").read_text()) == {**record, "table": "elsewhere"}
    (tmp_path / "data.json").write_text("no JSON")
    keep_data(tmp_path, {"sha256": "a"})


def test_mixers_are_not_compared_on_two_data_sets(tmp_path):
    overrides = ("tasks=bodies", "data=arrays", "bodies.bodies=[shufflenasnet]", "bodies.epochs=1", "bodies.filters=4")
    overrides += ("bodies.mixers=[channel_shuffle]", "bodies.batch_size=16")
    cfg = config("permutations", *overrides, f"data.path={put_images(tmp_path / 'a.npz')}")
    permutations.run(cfg, tmp_path / "run")
    (tmp_path / "run" / "bodies.json").unlink()
    cfg.data.path = str(put_images(tmp_path / "b.npz", seed=1))
    with pytest.raises(ValueError, match="was begun with other data"):
        permutations.run(cfg, tmp_path / "run")


def test_what_measures_a_device_does_not_go_on_with_another(tmp_path):
    cfg = config("latency", "name=one", "device=cpu")
    for command in ("latency", "search"):
        with opened_run(cfg, tmp_path / command, runtime=make_runtime(RuntimeSettings(threads=1)), command=command):
            pass
    other = config("latency", "name=one", "device=auto")
    with opened_run(other, tmp_path / "search", runtime=make_runtime(RuntimeSettings(threads=1)), command="search"):
        pass
    with (
        pytest.raises(ValueError, match=r"device \(was cpu, is auto\)"),
        opened_run(other, tmp_path / "latency", runtime=make_runtime(RuntimeSettings(threads=1)), command="latency"),
    ):
        pytest.fail("went on")


def test_a_run_is_replayed_where_its_data_are_now(tmp_path):
    cfg = config("search", *SETTINGS, *SEARCH, "search.epochs=1", "data.path=?")
    images = put_images(tmp_path / "a.npz")
    at(cfg, images, tmp_path / "run", search)
    (tmp_path / "there").mkdir()
    images.rename(tmp_path / "there" / "a.npz")
    with pytest.raises(FileNotFoundError):
        replay.run(config("replay", f"run={tmp_path}/run"), tmp_path / "again")
    here = config("replay", f"run={tmp_path}/run", f"data.path={tmp_path}/there/a.npz", "device=cpu")
    assert replay.run(here, tmp_path / "here")["equal"]


def test_where_things_are_may_change_and_what_they_are_may_not():
    assert all(may_change(key) for key in ("data.root", "+data.path", "device", "logger.mode", "table.path"))
    assert not any(may_change(key) for key in ("data.held_out", "data.name", "seed", "device.x", "table.report"))
