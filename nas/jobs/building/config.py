"""From the composed config to objects: builds what a `_target_` names, and says plainly what is wrong with a value.

Config objects end here: everything built gets plain keyword arguments.
"""

import dataclasses
import difflib
import functools
import importlib
import inspect
import json
import textwrap
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic.dataclasses import is_pydantic_dataclass

from nas.runs.configs import read_config_file
from nas.runs.old_names import current_key
from nas.runs.trust import check_recorded, target_modules
from nas.settings import STRICT, problem

MOST_SHOWN = 120
"""Characters of the keys that a message lists."""


def build(node: DictConfig, where: str, *arguments: Any, **given: Any) -> Any:
    """Calls the `_target_` of a config node with the node's other keys; nested nodes are built first.

    Args:
        node: Has a `_target_`, the dotted name of a class or function.
        where: The node's key, for messages.
        arguments: Positional arguments, in addition to the node's keys.
        given: Keyword arguments, which replace the node's keys of the same names.

    Raises:
        ValueError: If a key is unknown, has a value of the wrong type or out of range, or is not set.
        FileNotFoundError: If what is built needs a file that is not there.
        OSError: If it needs a file or folder that cannot be read or made.
    """
    return _built(plain(node, where), where, *arguments, **given)


def _built(node: Mapping[str, Any], where: str, *positional: Any, **given: Any) -> Any:
    if node.get("_target_") is None:
        raise ValueError(f"{where} has no _target_ to build")
    try:
        target = get_object(node["_target_"])
    except Exception as error:
        raise ValueError(f"{where}: cannot import {node['_target_']!r}: {error}") from error
    values = {key: value for key, value in node.items() if key not in ("_target_", "_partial_")}
    nested = [key for key, value in values.items() if isinstance(value, dict) and "_target_" in value]
    is_partial = bool(node.get("_partial_"))
    _check(target, values, where, num_positional=len(positional) + is_partial, unchecked=nested)
    values = {key: _with_parts(value, f"{where}.{key}") for key, value in values.items()} | given
    if is_partial:
        return functools.partial(target, *positional, **values)
    try:
        return target(*positional, **values)
    except ValidationError as error:
        raise ValueError(problem(error, where, settings=target)) from error
    except (ValueError, TypeError, ImportError) as error:
        raise ValueError(_placed(str(error), where, node)) from error
    except (MemoryError, RuntimeError, OverflowError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error) and "overflow" not in str(error):
            raise
        first, *_ = str(error).splitlines() or [type(error).__name__]
        raise ValueError(f"{where}: does not fit into memory: {first}") from error


def _with_parts(value: Any, where: str) -> Any:
    """Returns the value of a key, in which nodes have been built, those in lists and in other dicts too."""
    if isinstance(value, list):
        return [_with_parts(one, f"{where}[{number}]") for number, one in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if "_target_" in value:
        return _built(value, where)
    return {key: _with_parts(one, f"{where}.{key}") for key, one in value.items()}


def _placed(message: str, where: str, node: Mapping[str, Any]) -> str:
    """Returns a message about a config node with the dotted key that it is about in front."""
    key = message.partition(" ")[0]
    if key.startswith(f"{where}."):
        return message
    return f"{where}.{message}" if key.partition(".")[0] in node else f"{where}: {message}"


def _check(
    target: Any, values: Mapping[str, Any], where: str, *, num_positional: int, unchecked: Collection[str]
) -> None:
    """Raises ValueError if the target does not take a key, or a value is not of the annotated type and range."""
    try:
        known = arguments(target, num_positional=num_positional)
    except (TypeError, NameError, ValueError):  # not introspectable: the call itself will tell
        return
    if known is None:
        return
    for key, value in values.items():
        if key not in known:
            moved = current_key(f"{where}.{key}")
            near = [moved] if moved else difflib.get_close_matches(key, known, n=2)
            takes = f"it takes {textwrap.shorten(', '.join(known), MOST_SHOWN)}"
            hint = f"did you mean {' or '.join(near)}?" if near else takes
            raise ValueError(f"{where}.{key} is unknown; {hint}")
        if key not in unchecked and not is_pydantic_dataclass(target):
            _check_value(value, known[key], f"{where}.{key}")


def _check_value(value: Any, hint: Any, key: str) -> None:
    """Raises ValueError for a config value that is not of an annotated type, as far as pydantic knows the type."""
    try:
        adapter = TypeAdapter(hint, config=None if dataclasses.is_dataclass(hint) else STRICT)
    except (PydanticUserError, TypeError, NameError):
        return
    try:
        adapter.validate_json(json.dumps(value))  # as JSON, a list may become a tuple
    except ValidationError as error:
        raise ValueError(problem(error, key, of_value=True)) from None


def arguments(function: Callable[..., Any], *, num_positional: int = 0) -> dict[str, Any] | None:
    """Returns the annotations of the arguments that a class or function takes by name, Any where there is none.

    Args:
        function: Its `**options` count as the keys of their `TypedDict`.
        num_positional: Arguments that are left out, the first ones.

    Returns:
        By name; None if it takes any name.
    """
    has_init = inspect.isclass(function) and not dataclasses.is_dataclass(function)
    hints = typing.get_type_hints(function.__init__ if has_init else function, include_extras=True)
    found: dict[str, Any] = {}
    for parameter in list(inspect.signature(function).parameters.values())[num_positional:]:
        hint = hints.get(parameter.name, Any)
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            found[parameter.name] = hint
        elif typing.get_origin(hint) is typing.Unpack:
            found |= typing.get_type_hints(typing.get_args(hint)[0])
        else:
            return None
    return found


def plain(node: DictConfig, where: str) -> dict[str, Any]:
    """Returns a config node as dicts and lists, interpolations resolved.

    Raises:
        ValueError: If a mandatory value is not set or an interpolation fails.
    """
    try:
        settings = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    except MissingMandatoryValue as error:
        key = getattr(error, "full_key", None) or where
        raise ValueError(f"{key} is not set; add {key}=VALUE to the command") from None
    except OmegaConfBaseException as error:
        raise ValueError(f"{where}: {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{where} must be a group of keys, got {settings!r}")
    return {str(key): value for key, value in settings.items()}


def merged(cfg: DictConfig, changes: Mapping[str, Any]) -> DictConfig:
    """Returns a config in which some keys have other values, those of nested configs too."""
    made = OmegaConf.merge(cfg, changes)
    assert isinstance(made, DictConfig)
    return made


def chosen_names(key: str, given: object, known: Sequence[str]) -> list[str]:
    """Returns the names that a value chooses, one or a list of them, each once.

    Raises:
        ValueError: If there is none, or one that is not known.
    """
    names = given if isinstance(given, list) else [given]
    if not names or any(name not in known for name in names):
        got = next((repr(name) for name in names if name not in known), "none")
        raise ValueError(f"{key} must be one of {', '.join(known)}, or a list of these, got {got}")
    return list(dict.fromkeys(names))


def import_extensions(cfg: DictConfig) -> None:
    """Imports the modules under `imports`, so that an op of somebody's own is in the op table before it is met.

    Raises:
        ValueError: If one cannot be imported.
    """
    for name in _imports(cfg):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ValueError(f"imports: {error}; is the folder of {name} on PYTHONPATH?") from error


def named_modules(cfg: DictConfig) -> set[str]:
    """Returns the modules that a command names: its `imports`, and those of what its own config builds."""
    return {*_imports(cfg), *target_modules(OmegaConf.to_container(cfg))}


def _imports(cfg: DictConfig) -> list[str]:
    names = OmegaConf.select(cfg, "imports") or ()
    return [names] if isinstance(names, str) else list(names)


def recorded_config(run: Path, cfg: DictConfig, *, parts: Collection[str] | None = None) -> DictConfig:
    """Returns the config of a run, in which everything that is to be built is trusted; its logger is left out.

    Args:
        run: Its folder.
        cfg: Config of the command, which may name modules to be trusted.
        parts: The top-level keys that are needed; None means all.

    Raises:
        FileNotFoundError: If it has no config.
        ValueError: If the config is damaged, or names what this command must not call or import.
    """
    file, modules = run / "config.yaml", named_modules(cfg)
    recorded = {
        key: value
        for key, value in read_config_file(file).items()
        if key != "logger" and (parts is None or key in parts)
    }
    check_recorded(recorded, "", source=file, modules=modules)
    return OmegaConf.create(recorded)
