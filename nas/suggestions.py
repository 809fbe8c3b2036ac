"""What somebody may have meant whose override Hydra did not take."""

import difflib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf

CHOOSES_KEYS = ("experiment=", "network=", "search_space=", "controller=", "data=", "logger=", "reward=")


def suggest_keys(command: str, overrides: Sequence[str]) -> None:
    """Prints the nearest valid key for each override whose key the command does not have."""
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("conf", version_base="1.3"):
            try:
                cfg = compose(command, overrides=[one for one in overrides if one.startswith(CHOOSES_KEYS)])
            except HydraException:  # such as a network that there is not
                cfg = compose(command)
    except HydraException:  # the configs themselves are at fault, and Hydra has said how
        return
    keys = list(_keys(cfg))
    for override in overrides:
        key = override.partition("=")[0]
        if override.startswith(("-", "+", "~", "hydra")) or "@" in key or "/" in key or key in (*keys, "experiment"):
            continue
        near = difflib.get_close_matches(key, keys, n=3, cutoff=0.5)
        if near:
            sys.stderr.write(f"no setting {key!r}; near it: {', '.join(near)}\n")


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Yields the dotted keys of a config node; of a group that is not set, only its own."""
    for key in node:
        yield f"{prefix}{key}"
        if OmegaConf.is_missing(node, key):
            continue
        child = node._get_node(key)
        if OmegaConf.is_dict(child):
            yield from _keys(child, f"{prefix}{key}.")
