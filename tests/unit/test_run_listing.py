import fcntl
import json
import os
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from nas.jobs import runs
from nas.jobs.runs import age
from nas.runs.listing import find_runs, read_run

CONFIG = {
    "seed": 0,
    "search": {"epochs": 4, "random_cells": 1},
    "retrain": {"epochs": 3, "seeds": [0, 1], "random_seeds": [0]},
    "latency": {"warmup": 1},
}


def put_run(root: Path, name: str, *, job: str | None = "pipeline", config: object = CONFIG, **files: object) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "environment.json").write_text(json.dumps({"command": ["nas"]} | ({"job": job} if job else {})))
    for file, content in files.items():
        stem, _, suffix = file.rpartition("_")
        (folder / f"{stem}.{suffix}").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


SEARCH_CSV = "epoch,reward,best\n0,0.1,0.2\n1,0.3,0.45\n"
CANDIDATES = [{"shared_accuracy": 0.5, "parameters": 12}]
METRICS = {"found": {"test_accuracy": {"mean": 0.9}, "parameters": 34}}
LATENCY = {"latency": [{"median_ms": 1.25, "batch_size": 1}]}


def test_a_run_tells_how_far_it_is_and_what_it_found(tmp_path):
    begun = read_run(put_run(tmp_path, "a", search_csv=SEARCH_CSV))
    assert (begun.state, begun.progress, begun.best_reward) == ("resumable", "search 2/4", 0.45)
    assert begun.shared_accuracy is None
    searched = read_run(put_run(tmp_path, "b", candidates_json=CANDIDATES, retrain_csv="label\nfound\nfound\nfound\n"))
    assert (searched.progress, searched.shared_accuracy, searched.parameters) == ("retrain 3/9", 0.5, 12)
    trained = read_run(put_run(tmp_path, "c", candidates_json=CANDIDATES, metrics_json=METRICS))
    assert (trained.state, trained.progress, trained.test_accuracy) == ("resumable", "latency", 0.9)
    timed = {"candidates_json": CANDIDATES, "metrics_json": METRICS, "latency_json": LATENCY}
    page = put_run(tmp_path, "d", **timed, report_html="")  # as nas report leaves it in a run that is not done
    assert read_run(page).state == "resumable"
    done = read_run(put_run(tmp_path, "e", **timed, digests_json={}))
    assert (done.state, done.progress, done.latency_ms, done.parameters) == ("finished", "", 1.25, 34)


def test_whatever_the_job_its_digests_say_that_it_is_done(tmp_path):
    for job in ("search", "bench", "permutations"):
        assert read_run(put_run(tmp_path, f"{job}-a", job=job, **{f"{job}_json": {}})).state == "resumable"
        assert read_run(put_run(tmp_path, f"{job}-b", job=job, digests_json={})).state == "finished"


def test_the_job_is_told_by_the_settings_where_nothing_else_does(tmp_path):
    assert read_run(put_run(tmp_path, "a", job=None)).job == "pipeline"
    assert read_run(put_run(tmp_path, "b", job=None, config={"retrain": {}})).job == "retrain"
    assert read_run(put_run(tmp_path, "c", job=None, config={})).job == "?"


def test_a_ranking_counts_its_trainings(tmp_path):
    config = {"rank": {"architectures": 6, "seeds": 2}, "retrain": {"epochs": 3, "seeds": [0], "random_seeds": [0]}}
    folder = put_run(tmp_path, "a", job="rank", config=config)
    (folder / "stand_alone").mkdir()
    for name in ("a-seed0.json", "b-seed0.json", "b-seed1.pt"):
        (folder / "stand_alone" / name).write_text("{}")
    assert read_run(folder).progress == "rank 2/12"


@pytest.mark.parametrize("job", ["compare", "rank"])
def test_a_run_in_portions_says_how_many_of_them_are_done(tmp_path, job):
    for portion, files in enumerate([{"digests_json": {}}, {"portion_json": {}}, {}]):
        config = {job: {"portion": portion, "portions": 4}}
        put_run(tmp_path, f"c/portion={portion}", job=job, config=config, **files)
    assert read_run(tmp_path / "c/portion=0").progress == "portion 0 of 4"
    put_run(tmp_path, "c/other", job=job, config={job: {"portion": 0, "portions": 1}}, digests_json={})
    whole = {"job": job, "config": {job: {"portion": 0, "portions": 1}}}
    (tmp_path / "c").rename(tmp_path / "below")
    put_run(tmp_path, "c", **whole, digests_json={})
    assert read_run(tmp_path / "c").progress == ""
    for below in (tmp_path / "below").iterdir():
        below.rename(tmp_path / "c" / below.name)
    assert read_run(tmp_path / "c").progress == "portions 2/4"


def test_a_portion_of_a_ranking_counts_its_own_trainings(tmp_path):
    config = {"rank": {"architectures": 5, "seeds": 1, "portion": 1, "portions": 2}}
    assert read_run(put_run(tmp_path, "a", job="rank", config=config)).progress == "rank 0/2 portion 1 of 2"
    odd = {"rank": {"architectures": "many", "portions": [2]}}
    assert read_run(put_run(tmp_path, "b", job="rank", config=odd)).progress == "rank 0/0"


def test_a_run_whose_lock_is_held_is_running_whatever_else_there_is(tmp_path):
    folder = put_run(tmp_path, "a", digests_json={})
    with (folder / ".lock").open("w") as lock:
        assert read_run(folder).state == "finished"
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert read_run(folder).state == "running"
    assert read_run(folder).state == "finished"


def test_a_failure_counts_until_the_run_is_finished(tmp_path):
    failed = {"error": "blocks must be at least 1"}
    found = read_run(put_run(tmp_path, "a", failed_json=failed))
    assert (found.state, found.error) == ("failed", "blocks must be at least 1")
    later = read_run(put_run(tmp_path, "b", failed_json=failed, digests_json={}))
    assert (later.state, later.error) == ("finished", None)


def test_files_that_cannot_be_read_leave_blanks(tmp_path):
    broken = {"search_csv": "", "candidates_json": "{", "metrics_json": "[1]", "latency_json": "null"}
    found = read_run(put_run(tmp_path, "a", config="text", **broken))
    assert (found.best_reward, found.shared_accuracy, found.test_accuracy, found.latency_ms) == (None,) * 4


def test_runs_are_found_in_folders_of_folders_but_not_in_runs(tmp_path):
    put_run(tmp_path, "one")
    put_run(tmp_path, "sweep/member")
    put_run(tmp_path, "one/export")
    put_run(tmp_path, "sweep/.submitit/log")
    put_run(tmp_path, "a/b/c/deep")
    put_run(tmp_path, "a/b/c/d/too_deep")
    (tmp_path / "sweep" / "broken").mkdir()
    (tmp_path / "sweep" / "broken" / "failed.json").write_text("{}")
    names = [str(path.relative_to(tmp_path)) for path in find_runs([tmp_path, tmp_path / "absent"])]
    assert names == ["a/b/c/deep", "one", "sweep/broken", "sweep/member"]
    with pytest.raises(FileNotFoundError, match="no folder nowhere"):
        find_runs([Path("nowhere")])


def settings(**given: object) -> object:
    return OmegaConf.create({"root": ["runs"], "state": None, "compare": None, **given})


def test_the_list_has_a_line_for_each_run_last_changed_last(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    put_run(tmp_path, "runs/new", search_csv=SEARCH_CSV)
    os.utime(put_run(tmp_path, "runs/old", failed_json={"error": "no such file"}), (0, 0))
    found = runs.run(settings(), tmp_path)
    assert [entry["run"] for entry in found] == ["runs/old", "runs/new"]
    printed = capsys.readouterr()
    titles, old, why, new = printed.out.splitlines()
    assert titles.split()[:4] == ["run", "job", "state", "progress"]
    assert old.split()[:3] == ["runs/old", "pipeline", "failed"]
    assert why.strip() == "no such file"
    assert new.index("search 2/4") == titles.index("progress")
    assert "1 failed, 1 resumable" in printed.err
    assert [entry["run"] for entry in runs.run(settings(state="failed", root="runs"), tmp_path)] == ["runs/old"]


def test_two_runs_are_compared_in_settings_and_environment(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    put_run(tmp_path, "results/runs/a")
    put_run(tmp_path, "results/sweeps/s/b", job="search", config={**CONFIG, "seed": 1})
    (found,) = runs.run(settings(compare=["a", "s/b"]), tmp_path)
    assert found["differences"] == ["seed (was 0, is 1)", "environment.job (was pipeline, is search)"]
    assert "seed (was 0, is 1)" in capsys.readouterr().out
    runs.run(settings(compare=["a", "results/runs/a"]), tmp_path)
    assert capsys.readouterr().out == "no difference\n"


def test_runs_of_two_commands_are_compared_group_by_group(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    common = {"seed": 0, "data": {"_target_": "nas.data.named.digits", "split_seed": 0, "flip": True}}
    search = {**common, "search": {str(i): i for i in range(40)}, "network": {str(i): 0 for i in range(9)}}
    other = {"data": {**common["data"], "flip": False}, "network": {str(i): 1 for i in range(9)}}
    put_run(tmp_path, "results/runs/a", job="search", config=search)
    put_run(tmp_path, "results/runs/b", job="compare", config={**common, **other, "table": {"x": 1}, "controller": {}})
    (found,) = runs.run(settings(compare=["a", "b"]), tmp_path)
    by_group = {line.split(" ")[0]: line for line in found["differences"]}
    assert list(by_group) == ["data.flip", "network", "search", "table", "environment.job"]
    assert "of 40, is absent" in by_group["search"]
    assert "9 settings differ" in by_group["network"]
    assert capsys.readouterr().out.splitlines() == found["differences"]


def test_of_a_group_of_another_kind_only_what_both_have_is_compared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kinds = [{"_target_": f"data.{name}", "flip": name, **{f"{name}{i}": i for i in range(9)}} for name in ("a", "b")]
    for name, kind in zip("ab", kinds, strict=True):
        put_run(tmp_path, f"results/runs/{name}", config={**CONFIG, "data": kind})
    (found,) = runs.run(settings(compare=["a", "b"]), tmp_path)
    assert found["differences"] == ["data._target_ (was data.a, is data.b)", "data.flip (was a, is b)"]
    put_run(tmp_path, "results/runs/c", config={**CONFIG, "data": {**kinds[0], **{f"a{i}": -1 for i in range(9)}}})
    (found,) = runs.run(settings(compare=["a", "c"]), tmp_path)
    assert len(found["differences"]) == 9


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"state": "done"}, ValueError, "state must be one of running, finished, failed, resumable, got 'done'"),
        ({"compare": ["a"]}, ValueError, r"compare takes two runs, compare=\[a,b\], got \['a'\]"),
        ({"compare": ["a", "b"]}, FileNotFoundError, "no run a; `nas runs` lists them"),
    ],
)
def test_mistakes_end_in_a_line(tmp_path, monkeypatch, given, kind, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=message):
        runs.run(settings(**given), tmp_path)


def test_ages_are_given_in_their_largest_unit():
    assert [age(seconds) for seconds in (-1, 59, 60, 7199, 86400, 1e6)] == [
        "0 s",
        "59 s",
        "1 min",
        "1 h",
        "1 d",
        "11 d",
    ]
