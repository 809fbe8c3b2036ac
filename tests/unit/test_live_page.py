"""A page that follows runs: written as their files change, whole at any time, and at rest when the runs are over."""

import fcntl
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from nas.command_line.mistakes import check_files
from nas.command_line.words import read_words
from nas.jobs.report import run as report
from nas.reporting.page import live
from nas.runs.checkpoints import write_csv, write_json
from nas.runs.listing import DONE_FILE
from tests.reporting import write_run
from tests.unit.test_reporting import Page, some_genotype

SCRIPT = "location.reload()"
CONFIG = "search: {epochs: 8}\n"


class Clock:
    """Time that passes only when somebody sleeps, and what happens meanwhile: a step each sleep, then Ctrl-C."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.now, self.steps = 0.0, list(steps)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if not self.steps:
            raise KeyboardInterrupt
        self.steps.pop(0)()


@pytest.fixture
def follow(tmp_path, monkeypatch) -> Callable[..., Clock]:
    """Runs `nas report watch=true` of folders below the working directory while steps happen."""
    monkeypatch.chdir(tmp_path)

    def follow(*folders: str, steps: list[Callable[[], object]]) -> Clock:
        clock = Clock(*steps)
        monkeypatch.setattr(live, "time", clock)
        node = {"_target_": "nas.jobs.report.ReportSettings"}
        report(OmegaConf.create({"runs": list(folders), "watch": True, "out": "out", "report": node}), Path())
        return clock

    return follow


@contextmanager
def at_work(run: Path) -> Iterator[None]:
    """Holds the folder of a run, as its process does."""
    run.mkdir(parents=True, exist_ok=True)
    with (run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def rows(run: Path, count: int) -> None:
    write_csv(run / "search.csv", [{"epoch": epoch, "reward": 0.1, "best": 0.1 * epoch} for epoch in range(count)])


def page() -> str:
    return Path("out/report.html").read_text()


def test_a_run_is_followed_from_before_it_begins_to_its_end(follow, tmp_path, capsys):
    run, seen = tmp_path / "four", list[str | bool]()
    lock = at_work(run)

    def see() -> None:
        exists = Path("out/report.html").exists()
        text = page() if exists else ""
        seen.append(next(iter(re.findall(r"at work: ([^·]*) ·", text)), False) if exists else "no page")

    def end() -> None:
        write_json(run / DONE_FILE, {})
        lock.__exit__(None, None, None)

    steps = [
        see,  # the folder is not there
        lambda: (see(), lock.__enter__()),
        see,  # nothing but its lock is there
        lambda: (see(), (run / "config.yaml").write_text(CONFIG)),
        see,  # nothing to draw
        lambda: (see(), rows(run, 3)),
        lambda: (see(), end()),
    ]
    follow("four", steps=steps)
    progress = ["four search 0/8", "four search 0/8", "four search 3/8"]
    assert seen == ["no page", "no page", "no page", "no page", *progress]
    assert SCRIPT not in page()
    assert "at work" not in page()
    assert Path("out/report_files/four--reward.svg").exists()
    said = capsys.readouterr()
    assert "waiting for a run to begin in four" in said.err
    assert "not finished" not in said.err
    assert said.out == "report of 1 run: out/report.html\n"


def test_a_page_at_work_holds_the_script_that_loads_it_allowed_by_its_policy_and_nothing_foreign(follow, tmp_path):
    run = write_run(tmp_path / "four", some_genotype())
    found = []
    with at_work(run):
        follow("four", steps=[lambda: found.append(page())])
    (text,) = found
    read = Page(text)
    scripts = [script for attributes, script in read.scripts if "type" not in attributes]
    assert [SCRIPT in script for script in scripts] == [False, False, True]
    assert text.partition("</head>")[0].count("sha256-") == 3
    places = [attributes[key] for _, attributes in read.tags for key in ("src", "href") if key in attributes]
    assert all(place.startswith(("data:", "#")) for place in places)
    assert page().partition("</head>")[0].count("sha256-") == 2


def test_the_page_is_written_again_only_where_something_changed(follow, tmp_path, monkeypatch):
    run, times = tmp_path / "four", list[int]()
    run.mkdir()
    (run / "config.yaml").write_text(CONFIG)
    write = live.Watch._update
    monkeypatch.setattr(live.Watch, "_update", lambda watch: (write(watch), times.append(stamp())))

    def stamp() -> int:
        return Path("out/report.html").stat().st_mtime_ns

    with at_work(run):
        steps = [lambda: None, lambda: (run / "report.html").touch(), lambda: rows(run, 2), lambda: None]
        follow("four", steps=steps)
    assert len(times) == 5
    assert times[0] == times[1] == times[2] < times[3] == times[4]


@pytest.mark.parametrize(
    ("failed", "said"),
    [
        (False, "resumable: no process is at work on it"),
        (True, "failed: e"),
    ],
)
def test_a_run_that_nobody_works_on_is_said_and_ends_the_watch(failed, said, follow, tmp_path, capsys):
    run = tmp_path / "four"
    run.mkdir()
    (run / "config.yaml").write_text(CONFIG)
    if failed:
        write_json(run / "failed.json", {"error": "e"})
    clock = follow("four", steps=[lambda: None] * 20)
    assert live.IDLE_SECONDS < clock.now < live.IDLE_SECONDS + 3 * live.POLL_SECONDS
    assert f"four is not finished, {said}" in capsys.readouterr().err.splitlines()
    assert SCRIPT not in page()


def test_a_finished_run_is_written_once_and_not_waited_for(follow, tmp_path):
    run = write_run(tmp_path / "four", some_genotype())
    write_json(run / DONE_FILE, {})
    clock = follow("four", steps=[lambda: pytest.fail("nothing is left to wait for")])
    assert clock.now == 0
    assert SCRIPT not in page()


def test_between_two_members_of_a_sweep_the_watch_goes_on(follow, tmp_path):
    first, second = (tmp_path / "sweep" / name for name in ("a", "b"))
    write_json(write_run(first, some_genotype()) / DONE_FILE, {})
    lock = at_work(second)

    def begin() -> None:
        lock.__enter__()
        (second / "config.yaml").write_text(CONFIG)

    def end() -> None:
        write_json(second / DONE_FILE, {})
        lock.__exit__(None, None, None)

    pause = [lambda: None] * 2
    clock = follow("sweep", steps=[*pause, begin, *pause, end, *[lambda: None] * 9])
    assert clock.now > live.IDLE_SECONDS
    assert "2 runs" in page()


def test_a_pause_is_counted_from_when_it_is_seen_however_long_a_page_takes(follow, tmp_path, monkeypatch):
    monkeypatch.setattr(live, "POLL_SECONDS", 6 * live.IDLE_SECONDS)
    first, second = (tmp_path / "sweep" / name for name in ("a", "b"))
    locks = [at_work(write_run(first, some_genotype())), at_work(second)]

    def begin() -> None:
        locks[1].__enter__()
        (second / "config.yaml").write_text(CONFIG)

    locks[0].__enter__()
    ends = [lambda lock=lock: lock.__exit__(None, None, None) for lock in locks]
    follow("sweep", steps=[ends[0], begin, ends[1], *[lambda: None] * 9])
    assert "2 runs" in page()


def test_ctrl_c_leaves_a_whole_page_that_does_not_load_itself(follow, tmp_path, capsys):
    run = write_run(tmp_path / "four", some_genotype())
    with at_work(run):
        follow("four", steps=[])
    Page(page())  # every tag is closed
    assert SCRIPT not in page()
    said = capsys.readouterr()
    assert "no longer watched" in said.err
    assert said.out == "report of 1 run: out/report.html\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_watch_in_the_background_where_ctrl_c_is_ignored_is_ended_by_signals(number, follow, tmp_path, capsys):
    run, before = write_run(tmp_path / "four", some_genotype()), signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with at_work(run):
            follow("four", steps=[lambda: signal.raise_signal(number), lambda: pytest.fail("went on")])
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert "no longer watched" in capsys.readouterr().err
    assert SCRIPT not in page()


def test_ctrl_c_before_anything_has_begun_writes_nothing(follow):
    with pytest.raises(KeyboardInterrupt):
        follow("four", steps=[])
    assert not Path("out").exists()


def test_of_two_runs_the_one_that_has_begun_is_shown(follow, tmp_path):
    write_json(write_run(tmp_path / "a", some_genotype()) / DONE_FILE, {})
    shown = []
    follow("a", "b", steps=[lambda: None] * 9 + [lambda: shown.append(page())])
    assert "1 run ·" in shown[0]
    assert SCRIPT in shown[0]  # the other is waited for, however long


def test_only_a_watched_run_may_be_absent(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = read_words("report", ["runs=four"])
    check_files(OmegaConf.create({"runs": "four", "watch": True}), words)
    with pytest.raises(FileNotFoundError, match="runs=four is not there"):
        check_files(OmegaConf.create({"runs": "four", "watch": False}), words)
