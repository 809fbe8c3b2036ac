"""The README's code, read for tests: its commands and its files."""

import re
import shlex
import textwrap
from itertools import groupby
from pathlib import Path

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


def commands(text: str | None = None) -> list[list[str]]:
    """The `nas` command lines among the code, split as a shell does, without the words `nas` and what explains them."""
    found = []
    for line in (line for block in code_blocks(text) for line in block.splitlines()):
        start = re.match(r"(?:[\w=/ .'\[\]-]+&& )?(?:PYTHONPATH=\S+ )?(?:torchrun \S+ -m )?nas ", line)
        if start:
            found.append(shlex.split(re.split(r"\s{2,}", line[start.end() :])[0]))
    return found
