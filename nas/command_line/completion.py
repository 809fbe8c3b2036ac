"""Completion of commands, keys and values in bash, zsh and fish: eval "$(nas -sc install=bash)"."""

import itertools
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

from nas.command_line.commands import COMMANDS
from nas.command_line.conf_files import CommandSettings, read_command
from nas.command_line.words import FLAGS, WITH_VALUE, Words

SCRIPTS = {
    "bash": """\
_nas_complete() {
    local IFS=$'\\n' line="${COMP_LINE:0:$COMP_POINT}"
    local word="${line##* }"
    COMPREPLY=($(COMP_LINE="$line" nas -sc query=bash 2>/dev/null))
    if [[ "$COMP_WORDBREAKS" == *=* && "$word" == *=* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%%=*}="}")
    fi
}
complete -o nospace -o default -F _nas_complete nas
""",
    "fish": """\
complete -c nas -f -a '(COMP_LINE=(commandline -cp | string collect) nas -sc query=fish 2>/dev/null)'
""",
}
SCRIPTS["zsh"] = (
    "autoload -U +X compinit && compinit -u\nautoload -U +X bashcompinit && bashcompinit\n" + SCRIPTS["bash"]
)
PATHS = (
    "genotype",
    "run",
    "runs",
    "random_cells",
    "random_search",
    "cells",
    "images",
    "data.root",
    "data.path",
    "table.path",
)
"""Keys whose values are files or folders."""


def complete(request: str, *, line: str) -> str:
    """Returns what a shell asks for.

    Args:
        request: `install=SHELL`, for the script that the shell evaluates, or `query=SHELL`, for candidates.
        line: What is typed, up to the cursor.

    Raises:
        ValueError: If the request is neither, or the shell is unknown.
    """
    kind, _, shell = request.partition("=")
    if kind not in ("install", "query") or shell not in SCRIPTS:
        raise ValueError(f"--shell-completion takes install=SHELL, SHELL one of {', '.join(SCRIPTS)}, got {request!r}")
    return SCRIPTS[shell] if kind == "install" else "".join(f"{one}\n" for one in candidates(line))


def candidates(line: str) -> list[str]:
    """Returns what the last word of a command line can become; nothing where the shell's own completion serves."""
    typed = line.split(" ")
    try:
        words = shlex.split(line)
    except ValueError:  # an open quote
        words = line.split()
    word = words.pop() if words and typed[-1] else ""
    _, command, *before = [*itertools.dropwhile(lambda one: not one.endswith("nas"), words), "", ""]
    if not command:
        return [f"{name} " for name in COMMANDS if name.startswith(word)]
    if command not in COMMANDS:
        return []
    if word.startswith("-"):
        return sorted(f"{one} " for one in FLAGS | WITH_VALUE if one.startswith(word))
    given = Words(tuple(before), tuple(before))
    try:
        found = read_command(command, choices=given.values, folders=given.folders)
    except OSError:  # of a group that has no such option
        found = read_command(command, folders=given.folders)
    key, equals, value = word.partition("=")
    if equals:
        return [f"{key}={one}" for one in _values(key, value, found) if one.startswith(value)]
    keys = [f"{one}=" for one in (*found.groups, *found.settings) if one.startswith(word)]
    return sorted({one[: len(word)] + re.sub(r"\..*", ".", one[len(word) :]) for one in keys})  # up to the next dot


def _values(key: str, value: str, found: CommandSettings) -> Iterable[str]:
    if key in found.groups:
        return found.groups[key].options
    if key in PATHS:
        return _paths(key, value)
    return ("true", "false") if key in found.settings and isinstance(found.settings[key].value, bool) else ()


def _paths(key: str, value: str) -> Iterator[str]:
    """Yields paths that begin like a value, folders with a slash, and for genotypes the published names."""
    folder, _, begun = value.rpartition("/")
    root = Path(folder or ("/" if value.startswith("/") else "."))
    for path in sorted(root.glob(f"{begun}*") if root.is_dir() else ()):
        yield f"{value[: len(value) - len(begun)]}{path.name}{'/' if path.is_dir() else ''}"
    if key == "genotype":
        from search_spaces.published import PUBLISHED

        yield from PUBLISHED
