"""From the composed config to objects: builds what a `_target_` names, and says plainly what is wrong with a value.

Config objects end here: everything built gets plain keyword arguments.
"""

import dataclasses
import difflib
import importlib
import inspect
import json
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic.dataclasses import is_pydantic_dataclass

from nas.runs.old_names import current_key
from nas.runs.trust import target_modules
from nas.settings import STRICT, problem

MOST_SHOWN = 8
"""Keys that a message lists."""


def build(node: DictConfig, where: str, *arguments: Any, **given: Any) -> Any:
    """Calls the `_target_` of a config node with the node's other keys.

    Args:
        node: Has a `_target_`, the dotted name of a class or function.
        where: The node's key, for messages.
        arguments: Positional arguments beside the node's keys.
        given: Keyword arguments beside the node's keys.

    Raises:
        ValueError: If a key is unknown, has a value of the wrong type or out of range, or is not set.
        FileNotFoundError: If what is built needs a file that is not there.
        OSError: If it needs a file or folder that cannot be read or made.
    """
    settings = plain(node, where)
    built = _checked(settings, where, num_positional=len(arguments))
    if built is not settings and not given:
        return built
    try:
        return instantiate(settings, *arguments, _convert_="all", **given)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ValidationError):
            raise ValueError(problem(cause, where)) from cause
        if isinstance(cause, FileNotFoundError):
            raise FileNotFoundError(str(cause)) from cause
        if isinstance(cause, OSError) and cause.filename is not None:
            raise OSError(cause.errno, cause.strerror, cause.filename) from cause
        if isinstance(cause, ValueError | TypeError | ImportError):
            part = str(error).partition("\nfull_key: ")[2]  # of the node, where what it names could not be built
            raise ValueError(_placed(str(cause), where, node, part=part)) from cause
        if isinstance(cause, MemoryError | RuntimeError | OverflowError) and _is_about_size(cause):
            raise ValueError(f"{where}: does not fit into memory: {str(cause).splitlines()[0]}") from cause
        raise


def _placed(message: str, where: str, node: DictConfig, *, part: str) -> str:
    """Returns a message about a config node, or a part of it, with the dotted key that it is about in front."""
    key = message.partition(" ")[0]
    if key.startswith(f"{where}."):
        return message
    if part and key in (OmegaConf.select(node, part) or ()):
        return f"{where}.{part}.{message}"
    return f"{where}.{message}" if key.partition(".")[0] in node else f"{where}: {message}"


def _is_about_size(error: Exception) -> bool:
    return not isinstance(error, RuntimeError) or "memory" in str(error) or "overflow" in str(error)


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


def _checked(settings: Mapping[str, Any], where: str, *, num_positional: int) -> Any:
    """Checks the keys and values of a node; returns what it builds if that is of a settings class, else the node.

    Raises:
        ValueError: If the target does not take a key, or a value is not of the annotated type and range.
    """
    name = settings.get("_target_")
    if name is None:
        raise ValueError(f"{where} has no _target_ to build")
    try:
        target = get_object(name)
        known = arguments(target, num_positional=num_positional)
    except (TypeError, NameError):  # not introspectable: the call itself will tell
        return settings
    except Exception as error:
        raise ValueError(f"{where}: cannot import {name!r}: {error}") from error
    if known is None:
        return settings
    values = {key: value for key, value in settings.items() if key not in ("_target_", "_partial_")}
    for key, value in values.items():
        if key not in known:
            moved = current_key(f"{where}.{key}")
            near = [moved] if moved else difflib.get_close_matches(key, known, n=2)
            own = sorted(
                known, key=lambda one: one not in vars(target).get("__annotations__", ())
            )  # inherited ones last
            some = [*own[:MOST_SHOWN], *(["..."] if len(own) > MOST_SHOWN else [])]
            hint = f"did you mean {' or '.join(near)}?" if near else f"{name} takes {', '.join(some)}"
            raise ValueError(f"{where}.{key} is unknown; {hint}")
        if isinstance(value, dict) and "_target_" in value:
            num_nested = 1 if value.get("_partial_") else 0
            values[key] = _checked(value, f"{where}.{key}", num_positional=num_nested)
        elif not is_pydantic_dataclass(target):
            _check_value(value, known[key], f"{where}.{key}")
    if not is_pydantic_dataclass(target) or any(
        isinstance(value, dict) and "_target_" in value for value in values.values()
    ):
        return settings
    try:
        return target(**values)
    except ValidationError as error:
        raise ValueError(problem(error, where, settings=target)) from None


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
