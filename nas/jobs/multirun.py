"""Multiruns: what a command with several values of a key asks for, and which of its members this process runs.

Hydra's sweeper makes the combinations and its launcher says where they run. What is here holds for every command with
`-m` and for `nas sweep`, which adds a summary.
"""

import importlib.util
import itertools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode

from nas.reporting.sweeps.members import Member
from nas.runs.console import note
from nas.runs.shards import check_portion

PLUGINS = {
    "hydra_joblib_launcher": ("launcher", ("joblib", "parallel")),
    "hydra_submitit_launcher": ("launcher", ("submitit_local", "submitit_slurm", "slurm", "slurm_rehearsal")),
    "hydra_ray_launcher": ("launcher", ("ray", "ray_tasks", "ray_cluster")),
    "hydra_optuna_sweeper": ("sweeper", ("optuna", "tree_parzen")),
}
"""What a package brings: names in the group `hydra/launcher` or `hydra/sweeper`."""
EXTRAS = {"launcher": "launchers", "sweeper": "optuna"}
"""What of this package has to be installed for them."""


def read_overrides(overrides: Sequence[str]) -> tuple[dict[str, list[str]], set[str]]:
    """Returns the values of every key as Hydra's own sweeper writes them, and the keys that are swept.

    Raises:
        ValueError: If Hydra cannot read an override.
    """
    parser = OverridesParser.create()
    values: dict[str, list[str]] = {}
    swept = set()
    for text in overrides:
        try:
            override = parser.parse_override(text)
            key = override.get_key_element()
            if not override.is_sweep_override():
                values[key] = [override.get_value_element_as_str()]
                continue
            swept.add(key)
            # An interval has no values of its own: what it comes to is for the sweeper to say.
            values[key] = [] if override.is_interval_sweep() else list(override.sweep_string_iterator())
        except HydraException as error:
            raise ValueError(f"cannot read {text}: {str(error).splitlines()[0]}") from error
    return values, swept


def is_override(argument: str) -> bool:
    """Whether an argument of the command line sets a key."""
    return not argument.startswith("-") and ("=" in argument or argument.startswith("~"))


def common_keys(keys: Sequence[str]) -> str:
    """Returns the argument by which a member learns which keys all members have in common, `name` among them."""
    excluded = ",".join(f"'{key}'" for key in dict.fromkeys([*keys, "name"]))
    return f"hydra.job.config.override_dirname.exclude_keys=[{excluded}]"


def multirun_arguments(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments of a command with `-m`, options first, with what its members need to know.

    Raises:
        ValueError: If Hydra cannot read an override, the launcher is not installed, or there is no such portion.
    """
    overrides = [argument for argument in arguments if is_override(argument)]
    values, swept = read_overrides(overrides)
    check_installed(values)
    check_portions(values)
    common = common_keys([key for key in values if key not in swept and not is_of_hydra(key)])
    return [*(argument for argument in arguments if not is_override(argument)), *overrides, common]


def first_values(arguments: Sequence[str]) -> list[str]:
    """Returns the arguments of a multirun's first member: of every sweep its first value.

    Raises:
        ValueError: If Hydra cannot read an override, or a sweep has no values of its own, as an interval has not.
    """
    overrides = [one for one in arguments if is_override(one) and not one.startswith("hydra/")]
    values, swept = read_overrides(overrides)
    if empty := [key for key in swept if not values[key]]:
        raise ValueError(f"{empty[0]} has no first value: a sweeper chooses its values")
    note("the config of the first member:")
    firsts = {key: f"{key}={values[key][0]}" for key in swept}
    return [firsts.get(one.partition("=")[0], one) for one in arguments if one in overrides or not is_override(one)]


def check_portions(values: Mapping[str, Sequence[str]]) -> None:
    """Checks all portions that are asked for, before the first of them has taken its time.

    Args:
        values: By key, as `read_overrides` returns them.

    Raises:
        ValueError: If there is no such portion.
    """
    for key in [key for key in values if key.endswith(".portion")]:
        for portion, portions in itertools.product(values[key], values.get(f"{key}s", ())):
            if portion.isdecimal() and portions.isdecimal():
                check_portion(int(portion), int(portions))


def remove_if_bare(folder: Path) -> None:
    """Removes the folder of members that a mistake kept from beginning, and Hydra's record in it."""
    with suppress(OSError):  # it may be another's, or hold what another process has just written
        if {path.name for path in folder.iterdir()} <= {"multirun.yaml"}:
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()


def is_of_hydra(key: str) -> bool:
    """Whether a key is one of Hydra's own settings."""
    return key.startswith(("hydra.", "hydra/"))


def current_member() -> Member:
    """Returns the member of a multirun that this process runs, as Hydra's overrides tell it."""
    hydra = HydraConfig.get()
    shared = set(hydra.job.config.override_dirname.exclude_keys)
    values = dict(override.split("=", 1) for override in hydra.overrides.task if "=" in override)
    return Member(
        swept={key: value for key, value in values.items() if key not in shared},
        fixed={key: value for key, value in values.items() if key in shared and key != "name"},
    )


def is_multirun() -> bool:
    """Whether this process runs a member of a multirun."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def runs_alone() -> bool:
    """Whether members of this multirun run one after the other."""
    return bool(HydraConfig.get().runtime.choices["hydra/launcher"] == "basic")


def check_installed(values: Mapping[str, Sequence[str]]) -> None:
    """Refuses a launcher or a sweeper whose package is missing.

    Args:
        values: By key, as `read_overrides` returns them.

    Raises:
        ValueError: If it is; the message says what installs it.
    """
    for module, (kind, names) in PLUGINS.items():
        chosen = next(iter(values.get(f"hydra/{kind}", ())), None)
        there = map(importlib.util.find_spec, ("hydra_plugins", f"hydra_plugins.{module}"))  # the second may raise
        if chosen in names and not all(there):
            raise ValueError(f"hydra/{kind}={chosen} needs a plugin: pip install 'shufflenas[{EXTRAS[kind]}]'")


def objective(summary: Any, figure: str) -> float:
    """Returns a figure of a job's results, for a sweeper that looks for the best.

    Args:
        summary: What the job returned.
        figure: Keys and indices on the way to it, with dots: `controllers.0.mean_at_200`.

    Raises:
        ValueError: If there is no such number; the message names what there is.
    """
    value = summary
    for key in figure.split("."):
        steps = value if isinstance(value, Mapping) else range(len(value)) if isinstance(value, list) else ()
        known = list(map(str, steps))
        if key not in known:
            raise ValueError(f"objective={figure}: no {key} among the results; there are {', '.join(known) or 'none'}")
        value = value[key] if isinstance(value, Mapping) else value[int(key)]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"objective={figure} must be a number, got {str(value)[:60]}")
    return float(value)
