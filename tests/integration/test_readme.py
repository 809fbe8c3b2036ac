"""What the README tells a user to type works as typed: in the order of the README, each line a process.

Lines that need data, a cluster, a GPU or more than a minute run with `--cfg job` behind them; all others run whole.
A shell takes each line apart. Its words are run by a process forked from one that has the libraries loaded, or, where a
line does more than call `nas`, by the shell itself.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas.command_line.commands import COMMANDS
from nas.command_line.conf_files import read_command
from tests.commands import nas
from tests.integration.readme import README, code_blocks, code_files, command_lines, commands

ROOT = README.parent
LINES = command_lines()
WHOLE = re.compile(
    r"nas (?:show|runs|report|export|predict|table|replay|score) .*"
    r"|nas search experiment=nasbench201 .*"
    r"|PYTHONPATH=mine .*"
)
"""Lines that take a minute at most and need nothing that a fresh machine lacks."""
TOY = "experiment=toy search.final_samples=8 search.top_k=5 network.stages=2"


class Shell:
    """Runs lines in a folder where `nas` and `torchrun` are found.

    Args:
        folder: The working directory.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        programs = folder / "programs"
        programs.mkdir()
        for name, module in (("nas", "nas"), ("torchrun", "torch.distributed.run")):
            (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
            (programs / name).chmod(0o755)
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        roots = f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        self.environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "PYTHONPATH": roots}

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """Runs a line that calls `nas`; any other as `run_afresh` does."""
        if (found := re.match(r"(?:PYTHONPATH=(\S+) )?nas ", line)) is None:
            return self.run_afresh(line)
        taken_apart = ["bash", "-c", rf"printf '%s\0' {line[found.end() :]}"]
        words = subprocess.run(taken_apart, capture_output=True, cwd=self.folder, check=True).stdout.decode()
        return nas(*words.split("\0")[:-1], cwd=self.folder, PYTHONPATH=found[1] or "")

    def run_afresh(self, line: str) -> subprocess.CompletedProcess[str]:
        """Runs a line in a shell; what it sets for PYTHONPATH itself comes before where the package is."""
        line = re.sub(r"^PYTHONPATH=(\S+)", rf"PYTHONPATH=\1:{ROOT}", line)
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert "unrecognized arguments" not in done.stderr
        return done


@pytest.fixture(scope="module")
def shell(tmp_path_factory) -> Shell:
    """A folder with the README's files and the runs, photos and table that its lines name."""
    folder = tmp_path_factory.mktemp("readme")
    for name, text in code_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "tests").mkdir()
    (folder / "tests" / "data").symlink_to(ROOT / "tests" / "data")
    (folder / "results").mkdir()
    (folder / "results" / "published").symlink_to(ROOT / "results" / "published")
    (folder / "photos").mkdir()
    for name in "ab":
        Image.fromarray(np.zeros((20, 20, 3), dtype=np.uint8)).save(folder / "photos" / f"{name}.png")
    shell = Shell(folder)
    done = nas("pipeline", *TOY.split(), "search_space.blocks=2", "name=four", cwd=folder)
    assert done.returncode == 0, done.stderr
    for other in ("runs/other", "runs/a", "runs/b", "sweeps/B/seed-0"):
        shutil.copytree(folder / "results/runs/four", folder / "results" / other)
    return shell


def test_the_readme_has_command_lines_of_every_kind():
    assert len(LINES) > 30
    assert {line[0] for line in commands()} >= {"search", "retrain", "latency", "show", "export", "sweep", "rank"}
    assert sum(bool(WHOLE.fullmatch(line)) for line in LINES) >= 8


@pytest.mark.parametrize("line", LINES)
def test_a_line_works_as_typed(line, shell):
    if WHOLE.fullmatch(line):
        if "genotype=results/runs/own" in line and not (shell.folder / "results/runs/own").exists():
            (searching,) = [one for one in LINES if "name=own" in one]
            assert shell.run(searching).returncode == 0
        done = shell.run(line)
        assert done.returncode == 0, done.stderr
        return
    done = shell.run(f"{line} --cfg job")
    assert done.returncode == 0, done.stderr
    assert "seed: " in done.stdout


def test_a_setting_that_is_gone_would_be_found(shell):
    (line,) = command_lines("    nas search controller=uniform search.epoch=3    # a comment\n")
    assert line == "nas search controller=uniform search.epoch=3"
    assert shell.run(f"{line} --cfg job").returncode == 1


def test_the_commands_that_a_job_prints_next_work_as_typed(shell):
    """From a search on, each is run until a job prints none."""
    line, ran = f"nas search {TOY} name=first", []
    while line and len(ran) < 5:
        done = shell.run_afresh(line)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        ran.append(line.split()[1])
        line = next((one.removeprefix("next: ") for one in done.stderr.splitlines() if one.startswith("next: ")), "")
    assert ran == ["search", "retrain", "latency"]


@pytest.mark.parametrize(
    "line",
    [
        "nas retrain --cfg job genotype=results/runs/four experiment=toy",
        "nas latency --config-dir mine/configs genotype=results/runs/four --cfg job latency.repeats=3",
        "nas show --help genotype=enas",
        "nas search experiment=toy --cfg job search.epochs=3",
        "nas show notation=darts --config-dir=mine/configs genotype=enas",
        "nas runs --compare four other state=null",
    ],
)
def test_options_and_settings_may_be_mixed(line, shell):
    done = shell.run(line)
    assert done.returncode == 0, done.stderr


def test_what_a_table_search_and_an_export_print_next_works(shell):
    for line in (
        "nas search experiment=nasbench201 table.path=tests/data/nasbench201_cifar10.csv.gz search.queries=20",
        "nas export run=results/runs/four format=python out='an export'",
    ):
        done = shell.run(line)
        assert done.returncode == 0, done.stderr
        (following,) = [one.removeprefix("next: ") for one in done.stderr.splitlines() if one.startswith("next: ")]
        following = following.replace("images=FOLDER", "images=photos")
        done = shell.run(following if "predict" in following else f"{following} --cfg job")
        assert done.returncode == 0, done.stderr


def test_programs_of_the_readme_run(shell):
    programs = [block for block in code_blocks() if "import nas" in block]
    assert programs
    for block in programs:
        code = "\n".join(line for line in block.splitlines() if not line.startswith("nas "))
        (shell.folder / "program.py").write_text(code)
        done = shell.run(f'"{sys.executable}" program.py')
        assert done.returncode == 0, done.stderr


def test_the_list_of_jobs_names_commands():
    text = README.read_text(encoding="utf-8")
    listed = text.partition("## The jobs\n")[2].partition("\n\nEvery setting")[0]
    names = re.findall(r"^    nas (\w+)", listed, flags=re.MULTILINE)
    assert len(names) >= 11
    assert set(names) <= set(COMMANDS)


def test_settings_named_in_the_text_are_settings_of_some_command():
    prose = re.sub(r"^    .*$", "", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    named = set(re.findall(r"`([a-z][\w.]*)=([\w./]+)`", prose)) - {("name", "NAME")}
    known = {key for command in ("pipeline", "show") for key in read_command(command).settings}
    known |= set(read_command("retrain", choices={"network": "enas", "logger": "wandb"}).settings)
    assert len(named) > 5
    for key, value in named:
        assert (ROOT / "conf" / key / f"{value}.yaml").exists() or key in known, f"{key}={value}"
