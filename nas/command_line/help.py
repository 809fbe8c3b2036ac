"""What `nas COMMAND --help` prints, without loading torch."""

import json
import shutil
import textwrap
from typing import Any

from nas.command_line.conf_files import CommandSettings, Setting, read_command, split_comment
from nas.command_line.words import Words

KEY_COLUMNS = 36
OPTIONS = """\
options, before or after settings:
  -m, --multirun    one run for each value of KEY=A,B, for each combination of several
  --cfg job         print the composed config and do nothing
  --config-dir DIR  a folder of your own configs, laid out like conf/
  -sc install=bash  print what completes commands and keys in a shell: eval "$(nas -sc install=bash)"
"""


def command_help(command: str, words: Words) -> str:
    """Returns the help of a command with the options that are typed: examples, groups, and every key.

    Raises:
        FileNotFoundError: If a typed option of a config group does not exist.
    """
    found = read_command(command, choices=words.values, folders=words.folders)
    prose, examples = split_comment(found.header)
    return "\n".join(
        [
            prose,
            *(["", examples] if examples else []),
            *_required(found),
            *_groups(found),
            "",
            "settings:",
            *_settings(found),
            "",
            OPTIONS,
        ]
    )


def _required(found: CommandSettings) -> list[str]:
    lines = [_line(one.key, one.comment) for one in found.settings.values() if one.required]
    return ["", "required:", *lines] if lines else []


def _groups(found: CommandSettings) -> list[str]:
    shown = [
        group for group in found.groups.values() if len(group.options) > 1 and not group.key.startswith("settings@")
    ]
    lines = [
        _line(group.key, " ".join(f"[{name}]" if name == group.chosen else name for name in group.options))
        for group in shown
    ]
    return ["", "groups, GROUP=OPTION (in brackets: the one in use):", *lines] if lines else []


def _settings(found: CommandSettings) -> list[str]:
    lines = []
    titles = {group.key.rpartition("@")[2]: group.title for group in found.groups.values()}
    told = ""
    for setting in sorted(found.settings.values(), key=lambda one: _rank(one, found)):
        if setting.group != told:
            title = split_comment(titles.get(setting.group, ""))[0].replace("\n", " ")
            lines += ["", *textwrap.wrap(f"{setting.group}: {title}", _width())]
            told = setting.group
        lines.append(_line(f"{setting.key}={_shown(setting.value)}", setting.comment))
    return lines


def _rank(setting: Setting, found: CommandSettings) -> int:
    """Returns where a setting's group stands: the command's own first."""
    groups = list(dict.fromkeys(one.group for one in found.settings.values()))
    return -1 if not setting.group else groups.index(setting.group)


def _line(left: str, right: str) -> str:
    """Returns a row: what is typed, and beside it, wrapped, what it means."""
    indent = " " * (KEY_COLUMNS + 2)
    paragraphs = [part for line in right.splitlines() for part in textwrap.wrap(line, _width() - len(indent)) or [""]]
    if not paragraphs:
        return f"  {left}"
    if len(left) + 2 > KEY_COLUMNS:
        return "\n".join([f"  {left}", *(indent + part for part in paragraphs)])
    first, *others = paragraphs
    return "\n".join([f"  {left:<{KEY_COLUMNS}}{first}", *(indent + part for part in others)])


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return "" if value == "???" else value
    return json.dumps(value, ensure_ascii=False)


def _width() -> int:
    return max(80, min(140, shutil.get_terminal_size((120, 24)).columns))
