"""The text of `nas COMMAND --help`, made without loading torch."""

import json
import shutil
import textwrap

from nas.command_line.conf_files import CommandSettings, read_command, split_comment
from nas.command_line.words import Words

KEY_COLUMNS = 36
OPTIONS = """\
options, before or after settings:
  -m, --multirun    one run for each value of KEY=A,B, for each combination of several
  --cfg job         print the composed config and do nothing
  --config-dir DIR  a folder of your own configs, laid out like conf/;
                    NAS_CONFIG_DIR=DIR in the environment has every command read one
  -sc install=bash  print what completes commands and keys in a shell: eval "$(nas -sc install=bash)"
"""


def command_help(command: str, words: Words) -> str:
    """Returns the help of a command with the options that are typed: examples, groups, and every key.

    Raises:
        FileNotFoundError: If a typed option of a config group does not exist.
    """
    found = read_command(command, choices=words.values, folders=words.folders)
    prose, examples = split_comment(found.header)
    required = [_line(one.key, one.comment) for one in found.settings.values() if one.required]
    groups = [
        _line(group.key, " ".join(f"[{name}]" if name == group.chosen else name for name in group.options))
        for group in found.groups.values()
        if len(group.options) > 1 and not group.key.startswith("settings@")
        if group.key != "reward" or group.chosen is not None  # else it is there for experiments that choose one
    ]
    return "\n".join(
        [
            prose,
            *(["", examples] if examples else []),
            *(["", "required:", *required] if required else []),
            *(["", "groups, GROUP=OPTION (in brackets: the one in use):", *groups] if groups else []),
            "",
            "settings:",
            *_settings(found),
            "",
            OPTIONS,
        ]
    )


def _settings(found: CommandSettings) -> list[str]:
    lines = []
    titles = {group.key.rpartition("@")[2]: group.title for group in found.groups.values()}
    group = ""
    order = ["", *dict.fromkeys(one.group for one in found.settings.values())]  # the command's own first
    for setting in sorted(found.settings.values(), key=lambda one: order.index(one.group)):
        if setting.group != group:
            title = split_comment(titles.get(setting.group, ""))[0].replace("\n", " ")
            lines += ["", *textwrap.wrap(f"{setting.group}: {title}", _width())]
            group = setting.group
        value = json.dumps(setting.value, ensure_ascii=False) if not isinstance(setting.value, str) else setting.value
        lines.append(_line(f"{setting.key}={value.replace('???', '')}", setting.comment))
    return lines


def _line(left: str, right: str) -> str:
    """Returns a row: what is typed, and in the second column, wrapped, what it means."""
    indent = " " * (KEY_COLUMNS + 2)
    lines = [part for line in right.splitlines() for part in textwrap.wrap(line, _width() - len(indent)) or [""]]
    if lines and len(left) + 2 <= KEY_COLUMNS:
        left = f"{left:<{KEY_COLUMNS}}{lines.pop(0)}"
    return "\n".join([f"  {left}", *(indent + line for line in lines)])


def _width() -> int:
    return max(80, min(140, shutil.get_terminal_size((120, 24)).columns))
