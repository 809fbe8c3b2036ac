"""The settings of a command with their descriptions, from YAML files and settings classes, read without Hydra.

Hydra composes what a job gets. This reading is for people: for `--help`, completion, and near misses of a misspelt key.
A test compares it with Hydra's own for every command.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from nas.command_line.commands import CONF, own_configs
from nas.runs.listing import LOADER
from nas.settings import CLASSES, GROUP, config_node, descriptions, parts, settings_class, summary

GLOBAL = "# @package _global_"
OVERRIDING = ("experiment", "evaluator", "truth")
"""Config groups whose options choose those of other groups, the first also that of the second."""
HIDDEN = ("_target_", "_partial_", "hydra", "defaults")
"""Keys that are no settings of a user's."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A key of a command.

    Attributes:
        key: Dotted.
        value: As in the YAML.
        comment: What the YAML says of it.
        group: Package of the config group that it is of, such as `network`; empty for the command's own.
    """

    key: str
    value: Any
    comment: str
    group: str = ""

    @property
    def required(self) -> bool:
        """Whether the command does not run without it."""
        return self.value == "???" or self.comment.startswith("required")


@dataclass(frozen=True, slots=True)
class Group:
    """A config group of a command.

    Attributes:
        key: What is typed: `data`, or `reward@front.reward` where a group serves in another place.
        chosen: The option in use; None if none is.
        options: Names of all.
        title: First sentences of the chosen option's file.
    """

    key: str
    chosen: str | None
    options: tuple[str, ...]
    title: str


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A YAML file or settings class: its leading comment, its defaults list, its keys with their comments.

    Attributes:
        parts: Nested settings by key, with what they are.
    """

    header: str
    is_global: bool
    defaults: list[Any]
    values: dict[str, Any]
    comments: Mapping[str, str]
    parts: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class CommandSettings:
    """What a command takes: its settings by dotted key, its config groups by the key that is typed."""

    header: str
    settings: dict[str, Setting] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)


def read_command(
    command: str, *, choices: Mapping[str, str] | None = None, folders: Iterable[str] = ()
) -> CommandSettings:
    """Reads the settings of a command.

    Args:
        command: Such as `search`.
        choices: Option by config group, as typed; those of other keys are ignored.
        folders: Further folders of configs, beside the package's own and that of the environment.

    Raises:
        FileNotFoundError: If a chosen option has no file.
    """
    places = _places(folders)
    chosen = {key: value for key, value in (choices or {}).items() if value not in ("null", "")}
    for group in OVERRIDING:
        if group in chosen:
            chosen = {**_overrides(_find(places, group, chosen[group])), **chosen}
    found = CommandSettings(header=_read(_find(places, "", command)).header)
    _add_file(found, places, group="", option=command, package="", chosen=chosen)
    return found


def lacking_for(command: str, experiment: str, *, folders: Iterable[str] = ()) -> list[str]:
    """Returns what an experiment sets that a command does not have, so that they do not go together; empty if they do.

    A command must have every config group whose option the experiment sets; if it sets none, one of its keys: an
    experiment may have settings of several commands.
    """
    file = _find(_places(folders), "experiment", experiment)
    found = read_command(command, folders=folders)
    groups = [key for key in _overrides(file) if not key.startswith("hydra/")]
    lacking = [group for group in groups if group not in found.groups]
    keys = [key for key in _read(file).values if key not in (*HIDDEN, "objective")]
    heads = {key.partition(".")[0] for key in (*found.settings, *found.groups)}
    return lacking or ([] if groups or not keys or heads & set(keys) else keys)


def split_comment(comment: str) -> tuple[str, str]:
    """Returns the sentences of a comment and its examples, the lines indented within it."""
    lines = comment.splitlines()
    prose = [line for line in lines if not line.startswith("  ")]
    return "\n".join(prose), "\n".join(line for line in lines if line.startswith("  "))


def _add_file(
    found: CommandSettings, places: list[Path], *, group: str, option: str, package: str, chosen: Mapping[str, str]
) -> None:
    """Adds a file's settings in the order of its defaults list."""
    file = _read_option(places, group, option)
    package = "" if file.is_global else package
    for part, title in file.parts.items():
        found.groups[_joined(package, part)] = Group(_joined(package, part), part, (part,), title)
    for entry in file.defaults if "_self_" in file.defaults else [*file.defaults, "_self_"]:
        if entry == "_self_":
            _add_own(found, file, package)
        elif isinstance(entry, str):  # a file of the same group
            option = entry.removesuffix("@_here_")
            _add_file(found, places, group=group, option=option, package=package, chosen=chosen)
        else:
            for key, default in entry.items():
                if not key.startswith(("override ", "hydra/")):
                    name = key.lstrip("/")
                    _add_group(found, places, name, chosen.get(name, default), chosen=chosen)


def _add_group(
    found: CommandSettings, places: list[Path], key: str, option: str | None, *, chosen: Mapping[str, str]
) -> None:
    name, _, place = key.partition("@")
    files = {path.stem for root in places for path in (root / name).glob("*.yaml")}
    options = tuple(sorted(files | (CLASSES.keys() if name == GROUP else set())))
    title = "" if option is None else _read_option(places, name, option).header
    found.groups[key] = Group(key, option, options, title)
    if option is not None:
        _add_file(found, places, group=name, option=option, package=place or name, chosen=chosen)


def _add_own(found: CommandSettings, file: ConfigFile, package: str) -> None:
    for key, value in _leaves(file.values):
        dotted = _joined(package, key)
        before = found.settings.get(dotted)
        earlier = before.comment if before else ""
        comment = file.comments.get(key) or file.comments.get(key.rpartition(".")[0]) or earlier
        head = dotted.partition(".")[0]
        part = next((one for one in file.parts if key.startswith(f"{one}.")), "")
        group = before.group if before else _joined(package, part) or (head if head in found.groups else "")
        for one in list(found.settings):  # null in the place of keys, or keys in the place of null
            if one.startswith(f"{dotted}.") or dotted.startswith(f"{one}."):
                del found.settings[one]
        found.settings[dotted] = Setting(dotted, value, comment, group)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if key in HIDDEN:
            continue
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _overrides(experiment: Path) -> dict[str, str]:
    """Returns the options that an experiment chooses, by config group."""
    entries = [entry for entry in _read(experiment).defaults if isinstance(entry, dict)]
    pairs = [(key, option) for entry in entries for key, option in entry.items() if key.startswith("override ")]
    return {key.removeprefix("override ").lstrip("/"): option for key, option in pairs if option is not None}


def _joined(package: str, key: str) -> str:
    return f"{package}.{key}".strip(".")


def _read_option(places: list[Path], group: str, option: str) -> ConfigFile:
    if group != GROUP or option not in CLASSES:
        return _read(_find(places, group, option))
    settings = settings_class(option)
    titles = {name: summary(nested) for name, nested in parts(settings)}
    return ConfigFile(summary(settings), False, [], config_node(settings), descriptions(settings), titles)


def _places(folders: Iterable[str]) -> list[Path]:
    """Returns all folders of configs; as with Hydra, the first that has a file counts."""
    own = own_configs()
    return [CONF, *([] if own is None else [own]), *map(Path, folders)]


def _find(places: list[Path], group: str, option: str) -> Path:
    for place in places:
        if (file := place / group / f"{option}.yaml").is_file():
            return file
    raise FileNotFoundError(f"no {group}={option}" if group else f"no config {option}")


@cache
def _read(path: Path) -> ConfigFile:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    try:
        values, root = yaml.load(text, Loader=LOADER) or {}, yaml.compose(text, Loader=LOADER)
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold keys and values")
    comments: dict[str, str] = {}
    if isinstance(root, yaml.MappingNode):
        _collect(root, lines, "", comments)
    header = itertools.takewhile(_is_comment, (line for line in lines if line.strip() != GLOBAL))
    defaults = values.get("defaults", [])
    return ConfigFile("\n".join(map(_uncommented, header)), GLOBAL in lines, defaults, values, comments)


def _collect(node: yaml.MappingNode, lines: list[str], prefix: str, comments: dict[str, str]) -> None:
    """Gathers the comment of every key: behind it, on the lines that continue it, or right above it."""
    for key, value in node.value:
        at, column, name = key.start_mark.line, key.start_mark.column, f"{prefix}{key.value}"
        last = value.end_mark.line if isinstance(value, yaml.SequenceNode) and value.flow_style else at
        deeper = [line.lstrip() if not line[: column + 1].strip() else "" for line in lines[last + 1 :]]
        below = itertools.takewhile(_is_comment, deeper)
        comment = " ".join(filter(None, [_behind(lines[last]), *(line.lstrip("# ") for line in below)]))
        aligned = [line.strip() if not line[:column].strip() else "" for line in reversed(lines[:at])]
        above = list(itertools.takewhile(_is_comment, aligned))
        is_header = len(above) == at and prefix == ""  # the file's, and about no key
        if not comment and not is_header:
            comment = "\n".join(map(_uncommented, reversed(above)))
        comments[name] = comment or comments.get(prefix.removesuffix("."), "")
        if isinstance(value, yaml.MappingNode):
            _collect(value, lines, f"{name}.", comments)


def _is_comment(line: str) -> bool:
    return line.startswith("#")


def _uncommented(line: str) -> str:
    return line.removeprefix("#").removeprefix(" ")


def _behind(line: str) -> str:
    """Returns the comment behind a value; `#` is none where no space precedes it."""
    before, sign, comment = line.partition(" #")
    return comment.strip() if sign and before.count('"') % 2 == 0 and before.count("'") % 2 == 0 else ""
