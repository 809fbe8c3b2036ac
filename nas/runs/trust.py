"""Trust in dotted names of a run folder, a model file or its card, which may come from a stranger.

Two kinds may: what this project's own configs name, and what is defined in modules that the command itself names.
"""

import importlib
import itertools
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from nas.runs.listing import LOADER
from nas.settings import CLASSES, config_node, settings_class

PACKAGES = ("nas", "search_spaces", "controllers")
GET_METHOD = "hydra.utils.get_method"
"""Returns a function without calling it; what counts is the function's own name, under `path`."""


def find_trusted(target: object, *, modules: Collection[str] = ()) -> Any:
    """Returns what a dotted name names, or None if it may not be called; imports nothing but modules that are trusted.

    A name that a module has merely imported, such as `nas.jobs.building.run_folder.os.makedirs`, is not the module's
    own.

    Args:
        target: The dotted name, from a file.
        modules: Those the command names; their submodules are trusted as well.
    """
    module, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    if not module:
        return None
    top = module.partition(".")[0]
    if top in PACKAGES:
        known = [one for one in _configured_names() if one.rpartition(".")[2] == name]
        found = _find(module, name) if known and "._" not in f".{module}" else None
        own = any(found is _find(*one.rsplit(".", 1)) for one in known)  # or by a name from before it moved
    elif any(module == one or module.startswith(f"{one}.") for one in modules):
        found = _find(module, name)
        own = str(getattr(found, "__module__", None)).partition(".")[0] == top
    else:
        return None
    return found if own and callable(found) else None


def check_recorded(node: object, where: str, *, source: Path | str, modules: Collection[str] = ()) -> None:
    """Checks a part of a config that was read from a file, before anything is built of it.

    Args:
        node: What the file holds, interpolations not resolved; of a whole config its `imports` are checked too.
        where: Its dotted key, empty for the whole.
        source: The file, for messages.
        modules: Those the command names.

    Raises:
        ValueError: If something that may not be called or imported is named, or a text would be looked up, in the
            environment for one. The message says what to add to the command for all of it to be trusted.
    """
    for key, value in _nodes(node, where):
        if key.rpartition(".")[2] == "_args_":  # would pass by the check of types
            raise ValueError(f"{key} of {source} is not allowed: arguments are given by name")
        for text in (key, value):
            if isinstance(text, str) and "${" in text:
                raise ValueError(
                    f"{key} of {source} is {text!r}; in the config of a run nothing is left to be looked up"
                )
    given = node.get("imports") if isinstance(node, Mapping) and not where else None
    imports = [] if given is None else list(map(str, given)) if isinstance(given, list) else [str(given)]
    targets = _targets(node, where)
    refused = [f"{one} (imports)" for one in imports if one not in modules]
    refused += [f"{one} ({key})" for key, one in targets if find_trusted(one, modules=modules) is None]
    if refused:
        needed = dict.fromkeys([*imports, *(str(one).rpartition(".")[0] for _, one in targets)])
        foreign = [one for one in needed if one and one.partition(".")[0] not in (*PACKAGES, "hydra")]
        cure = f"; if you trust it, add imports=[{','.join(foreign)}] to the command" if foreign else ""
        raise ValueError(f"{source} names {', '.join(refused)}, which this project's configs do not{cure}")


def target_modules(node: object) -> set[str]:
    """Returns the modules of everything that a config, one that is trusted, names to be called."""
    named = {str(target).rpartition(".")[0] for _, target in _targets(node, "")}
    return {module for module in named if module and module.partition(".")[0] != "hydra"}


def _targets(node: object, where: str) -> list[tuple[str, object]]:
    """Returns key and dotted name of everything that a node names to be called or returned."""
    parts = [(key, part) for key, part in _nodes(node, where) if isinstance(part, Mapping) and "_target_" in part]
    return [(key, part.get("path") if part["_target_"] == GET_METHOD else part["_target_"]) for key, part in parts]


def _nodes(node: object, where: str) -> Iterator[tuple[str, object]]:
    """Yields a node and everything below it with its dotted key."""
    yield where, node
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _nodes(value, f"{where}.{key}".lstrip("."))
    elif isinstance(node, list | tuple):
        for number, value in enumerate(node):
            yield from _nodes(value, f"{where}[{number}]")


def _find(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name, None)
    except (ImportError, ValueError):  # there is none, or there can be none of such a name
        return None


@cache
def _configured_names() -> frozenset[str]:
    """Returns every dotted name of this project that its configs and settings name."""
    conf = Path(__file__).parents[2] / "conf"
    files = (yaml.load(file.read_text(encoding="utf-8"), Loader=LOADER) for file in conf.rglob("*.yaml"))
    nodes = itertools.chain(files, map(config_node, map(settings_class, CLASSES)))
    named = (str(target) for node in nodes for _, target in _targets(node, ""))
    return frozenset(target for target in named if target.partition(".")[0] in PACKAGES)
