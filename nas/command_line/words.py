"""The words of a command line: options, and overrides in the form that Hydra's grammar takes."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MULTIRUN = {"-m", "--multirun"}
HELP = {"-h", "--help"}
COMPLETION = {"-sc", "--shell-completion"}
FLAGS = MULTIRUN | HELP | COMPLETION | {"--hydra-help", "--resolve", "-r", "--run"}
WITH_VALUE = {
    *("-c", "--cfg", "-p", "--package", "-cd", "--config-dir", "-cn", "--config-name", "-cp", "--config-path"),
    "--experimental-rerun",
}
INFO = {"-i", "--info"}
INFO_VALUES = {"all", "config", "defaults", "defaults-tree", "plugins", "searchpath"}
TEXTS = {
    *("name", "genotype", "run", "random_cells", "cells", "images", "out", "svg", "png", "json", "folder"),
    *("data.root", "data.path", "table.path", "retrain.warm_start"),
}
"""Keys whose value is a name or a path even where it looks like a number or a list of values: `name=2024`."""
SWEEP = re.compile(r"(choice|range|interval|glob|shuffle|sort|tag)\(")


@dataclass(frozen=True, slots=True)
class Words:
    """What is typed after a command.

    Attributes:
        options: Such as `--cfg`, `job`, in order, each followed by its value.
        overrides: `KEY=VALUE` and `~KEY`, in order, as typed.
    """

    options: tuple[str, ...]
    overrides: tuple[str, ...]

    @property
    def several(self) -> bool:
        """Whether one run for each value is asked for."""
        return not MULTIRUN.isdisjoint(self.options)

    @property
    def values(self) -> dict[str, str]:
        """The value typed for each key; of a key that is typed twice, the last."""
        return dict(word.split("=", 1) for word in self.overrides if "=" in word)

    def option(self, *names: str) -> str | None:
        """Returns the value of an option; None if it is not given."""
        found = [self.options[at + 1] for at, word in enumerate(self.options[:-1]) if word in names]
        return found[-1] if found else None


def read_words(command: str, arguments: Sequence[str]) -> Words:
    """Tells options from overrides, which may come in any order.

    `nas runs --compare A B` is short for the override `compare=[A,B]`.

    Raises:
        ValueError: If an option is unknown or lacks its value, or a word is neither option nor override.
    """
    options: list[str] = []
    overrides: list[str] = []
    left = list(arguments)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        if command == "runs" and word == "--compare":
            if len(left) < 2:
                raise ValueError("--compare takes the names of two runs: nas runs --compare A B")
            overrides.append(f"compare=[{','.join(_quoted(left.pop(0)) for _ in range(2))}]")
        elif name in WITH_VALUE:
            if not equals and not left:
                raise ValueError(f"{name} takes a value")
            options += [name, value if equals else left.pop(0)]
        elif name in INFO:
            asked = value if equals else left.pop(0) if left and left[0] in INFO_VALUES else "all"
            options.append(f"{name}={asked}")
        elif word in FLAGS:
            options.append(word)
        elif word.startswith("-"):
            known = sorted(FLAGS | WITH_VALUE | INFO)
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"options are {', '.join(known)}"
            raise ValueError(f"unknown option {name}; {hint}")
        elif equals or word.startswith("~") or COMPLETION & set(options):
            overrides.append(word)
        else:
            raise ValueError(f"{word!r} is no setting; write KEY=VALUE (nas {command} --help lists the keys)")
    return Words(tuple(options), tuple(overrides))


def quote(override: str, *, several: bool = False) -> str:
    """Returns an override in Hydra's grammar: a value that the grammar does not take bare is quoted.

    Spaces, parentheses, `|`, `#` and letters beyond ASCII then mean themselves, and the value of a key that holds a
    name or a path stays a text. Values already quoted, lists, mappings and sweeps keep their meaning.

    Args:
        override: A key and its value.
        several: Whether commas separate the values of a multirun, each to be quoted by itself.
    """
    key, equals, value = override.partition("=")
    if not equals or not value or value[0] in "'\"" or value == "null":
        return override
    is_text = key.lstrip("+") in TEXTS and (value[0] != "[" or key == "genotype")
    parsed = _parse(override)
    if parsed is not None and not (is_text and _is_changed(parsed, value, several=several)):
        return override
    if value[0] in "[{" and not is_text:
        return f"{key}={_structured(value)}"
    splits = several and not (key == "genotype" and re.search(r"[({\[]", value))  # else commas are the notation's
    return f"{key}=" + ",".join(map(_quoted, value.split(",") if splits else [value]))


def _parse(override: str) -> Any:
    """Returns the override as Hydra reads it; None if it cannot."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def _is_changed(parsed: Any, value: str, *, several: bool) -> bool:
    """Whether Hydra would read something else than the text that is given."""
    if parsed.is_sweep_override():
        return not several
    return not isinstance(parsed.value(), str) or parsed.value() != value.strip()


def _quoted(text: str) -> str:
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text=text, quote=Quote.single).with_quotes()


def _structured(value: str) -> str:
    """Returns a list or a mapping, read as YAML, in Hydra's grammar; if it is neither, the text unchanged."""
    import yaml

    try:
        return _encoded(yaml.safe_load(value))
    except yaml.YAMLError:
        return value


def _encoded(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_encoded, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_encoded(item)}" for key, item in value.items()) + "}"
    return (
        _quoted(value)
        if isinstance(value, str)
        else {None: "null", True: "true", False: "false"}.get(value, str(value))
    )
