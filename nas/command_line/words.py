"""The words of a command line: options, and overrides in the form that Hydra's grammar takes."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

MULTIRUN = {"-m", "--multirun"}
HELP = {"-h", "--help"}
COMPLETION = {"-sc", "--shell-completion"}
FLAGS = MULTIRUN | HELP | COMPLETION | {"--hydra-help", "--resolve", "-r", "--run"}
WITH_VALUE = {
    *("-c", "--cfg", "-p", "--package", "-cd", "--config-dir", "-cn", "--config-name", "-cp", "--config-path"),
    "--experimental-rerun",
}
TEXTS = {
    *(
        "name",
        "genotype",
        "run",
        "random_cells",
        "random_search",
        "cells",
        "images",
        "out",
        "svg",
        "png",
        "json",
        "folder",
    ),
    *("runs", "models", "root"),
    *("data.root", "data.path", "table.path", "retrain.warm_start"),
    *("search.warm_start", "search.warm_up.file", "compare.warm_up.file", "rank.beside"),
}
"""Keys whose value is a name or a path even where it looks like a number or a list of values: `name=2024`."""
BRACKETS = (("[", "]"), ("{", "}"))
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

    @property
    def folders(self) -> list[str]:
        """The folder of the user's own configs, if one is named."""
        named = [value for word, value in pairwise(self.options) if word in ("--config-dir", "-cd")]
        return named[-1:]


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
            overrides.append(f"compare=[{','.join(_bare_or_quoted(left.pop(0), is_text=True) for _ in range(2))}]")
        elif name in WITH_VALUE:
            if not equals and not left:
                raise ValueError(f"{name} takes a value")
            options += [name, value if equals else left.pop(0)]
        elif word in FLAGS:
            options.append(word)
        elif word.startswith("-"):
            known = sorted(FLAGS | WITH_VALUE)
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
    is_text = key.lstrip("+") in TEXTS
    is_list = (value[:1], value[-1:]) in BRACKETS and key != "genotype"
    is_sweep = several and SWEEP.match(value)
    if not equals or value in ("", "null") or _is_quoted(value) or is_sweep:
        return override
    if is_list:
        reads = not is_text and _parse(override) is not None
        return override if reads else f"{key}={_structured(value, is_text=is_text)}"
    splits = several and not (key == "genotype" and re.search(r"[({\[]", value))  # else commas are the notation's
    values = _parts(value) if splits else [value]
    return f"{key}=" + ",".join(_bare_or_quoted(one, is_text=is_text) for one in values)


def _bare_or_quoted(value: str, *, is_text: bool) -> str:
    """Returns a value as it is typed where Hydra reads it so, else in quotes."""
    from hydra.core.override_parser.types import Quote, QuotedString

    parsed = _parse(f"key={value}") if value else None
    if parsed is not None and (not is_text or value == "null"):
        return value
    if parsed is not None and not parsed.is_sweep_override() and parsed.value() == value.strip():
        return value
    return QuotedString(text=value, quote=Quote.single).with_quotes()


def _parse(override: str) -> Any:
    """Returns the override as Hydra reads it; None if it cannot."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def _structured(value: str, *, is_text: bool) -> str:
    """Returns a value in Hydra's grammar, those within a list or a mapping quoted where it does not take them bare."""
    if _is_quoted(value):
        return value
    if (value[:1], value[-1:]) not in BRACKETS:
        return _bare_or_quoted(value, is_text=is_text)
    parts = [one.strip() for one in _parts(value[1:-1])]
    if value[0] == "[":
        return f"[{','.join(_structured(one, is_text=is_text) for one in parts)}]"
    pairs = [(key.strip(), item.strip()) for key, _, item in (one.partition(":") for one in parts)]
    return "{" + ",".join(f"{key}:{_structured(item, is_text=key in TEXTS)}" for key, item in pairs) + "}"


def _is_quoted(value: str) -> bool:
    return value[:1] in ("'", '"') and value[-1] == value[0]


def _parts(text: str) -> list[str]:
    """Splits at the commas that are within no brackets and no quotes; an empty text has no parts."""
    parts, depth, quote_sign = [""], 0, ""
    for sign in text:
        if quote_sign:
            quote_sign = "" if sign == quote_sign else quote_sign
        elif sign in "'\"" and not parts[-1].strip():  # else an apostrophe within a word
            quote_sign = sign
        else:
            depth += (sign in "[{(") - (sign in "]})")
        if sign == "," and depth == 0 and not quote_sign:
            parts.append("")
        else:
            parts[-1] += sign
    return parts if text.strip() else []
