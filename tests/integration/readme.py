"""The README's code, read for tests: its command lines, its programs and its files."""

import re
import shlex
import textwrap
from itertools import groupby
from pathlib import Path

from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from nas.cli import hydra_overrides
from nas.command_line.words import read_words

README = Path(__file__).parents[2] / "README.md"
FILE = re.compile(r"# (mine/[\w/]+\.(?:py|yaml))")


def code_blocks(text: str | None = None) -> list[str]:
    """The indented blocks of a Markdown text, the README's own by default; blank lines do not end a block."""
    lines = (README.read_text(encoding="utf-8") if text is None else text).splitlines()
    blocks = []
    for is_code, group in groupby(lines, key=lambda line: line.startswith("    ") or not line.strip()):
        block = textwrap.dedent("\n".join(group)).strip("\n")
        if is_code and block:
            blocks.append(block)
    return blocks


def code_files(text: str | None = None) -> dict[str, str]:
    """The files among the code, by name: each begins with a comment that is its name."""
    files: dict[str, list[str]] = {}
    for block in code_blocks(text):
        name = ""
        for line in block.splitlines():
            if found := FILE.fullmatch(line):
                name = found[1]
            elif name:
                files.setdefault(name, []).append(line)
    return {name: "\n".join(lines).strip("\n") + "\n" for name, lines in files.items()}


def command_lines(text: str | None = None) -> list[str]:
    """The lines among the code that run `nas` with settings, as typed, without the comment behind them."""
    lines = [re.split(r"\s{2,}", line)[0] for block in code_blocks(text) for line in block.splitlines()]
    command = re.compile(r"(?:PYTHONPATH=\S+ )?(?:torchrun \S+ -m )?nas \w+ .*")
    return [line for line in lines if command.fullmatch(line)]


def commands(text: str | None = None) -> list[list[str]]:
    """The same, split as a shell does: the command and its arguments."""
    return [shlex.split(line[re.search(r"\bnas ", line).end() :]) for line in command_lines(text)]


def composed(command: str, *arguments: str) -> DictConfig:
    """The config of a command line, as `nas` makes it."""
    words = read_words(command, arguments)
    given = hydra_overrides(command, words)
    for folder in words.folders:
        given.insert(0, f"hydra.searchpath=[file://{Path(folder).resolve()}]")
    with initialize_config_module("conf", version_base="1.3"):
        return compose(command, overrides=given)
