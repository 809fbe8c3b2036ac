"""The command line: `nas COMMAND [Hydra overrides]`. Nothing heavy is imported before a command is known."""

import contextlib
import difflib
import errno
import importlib
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.distributed.launch import check_command, let_first_speak, own_place, read_launch

if TYPE_CHECKING:
    from omegaconf import DictConfig

COMMANDS = {
    "pipeline": "search, retrain the found cell beside random ones, time it: the main job",
    "sweep": "the pipeline for every combination of values: search_space.blocks=2,3,4 seed=0,1,2",
    "search": "find a cell with a controller and a weight-shared supernet",
    "retrain": "train a found cell from scratch and test it: genotype=RUN or FILE.json",
    "latency": "time forward passes on this device: genotype=RUN, or several side by side: models=[RUN,enas,resnet18]",
    "bench": "how fast this machine searches and retrains, and how far that is from what it could do",
    "predictor": "time the parts of networks, and test how well they foretell the latency of whole ones",
    "rank": "do a search's shared weights order cells as stand-alone training does? run=RUN, or runs=[RUN,RUN]",
    "compare": "controllers side by side in a table such as NAS-Bench-201, over many seeds: table.path=FILE.csv.gz",
    "runs": "what runs there are, how far they are, what they found; in what two differ: --compare A B",
    "show": "draw a cell in the terminal, count it, check it against G1-G4: genotype=RUN, FILE.json or darts_v2",
    "export": "write a trained model as ONNX, torch.export program or one Python file, and check it: run=RUN",
    "predict": "run a trained model on image files: run=RUN images=FILE or FOLDER",
    "replay": "run a finished search, retrain or pipeline again and compare, to the bit: run=RUN",
    "permutations": "what learned permutations can do: the papers' demonstrations",
    "report": "one HTML page of runs, opened from disk: runs=RUN, runs=SWEEP or runs=[RUN,RUN]",
    "table": "the published figures beside what this code counts, and what runs measured",
}
CHOOSES_KEYS = ("experiment=", "network=", "search_space=", "controller=", "data=", "logger=", "reward=")
WITHOUT_RUN_FOLDER = ("show", "report", "table", "runs", "sweep")
MULTIRUN = {"-m", "--multirun"}
SWEEP_OPTIONS = {*MULTIRUN, "-cd", "--config-dir"}
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
"""Exit codes of a job that was asked to stop, which is no mistake of anybody's."""
OUT_OF_MEMORY = (
    "out of memory on the device; what was saved is whole. Take a smaller batch_size or fewer network.filters, "
    "or end what else uses the device"
)


def main() -> None:
    """Runs the command in `sys.argv`; the exit code is 0, 1 for a failure, 2 for a misused command line."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(usage())
        sys.exit(0 if arguments else 2)
    if arguments[0] == "--version":
        from importlib.metadata import version

        sys.stdout.write(f"shufflenas {version('shufflenas')}\n")
        return
    command, *overrides = arguments
    if command not in COMMANDS:
        near = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        sys.stderr.write(f"nas: unknown command {command!r}{hint}; `nas --help` lists the commands\n")
        sys.exit(2)
    several = command == "sweep" or not MULTIRUN.isdisjoint(overrides)
    try:
        launch = read_launch()
        if launch is not None:
            check_command(command, overrides)
        followed = [*(follow_run(overrides) if command == "show" else ()), *follow_genotype(overrides)]
        quoted = [quote(one, several=several) for one in name_compared(followed)]
        asks = any(one.startswith("-") and one.split("=")[0] not in SWEEP_OPTIONS for one in quoted)
        if several and not asks:  # any other option, such as --help, is a question to Hydra
            sys.exit(_run_several(command, quoted))
    except ValueError as error:
        let_first_speak()
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    _run_hydra(command, quoted)


def usage() -> str:
    """Returns the help of the program."""
    width = max(len(name) for name in COMMANDS)
    commands = "".join(f"  {name:<{width}}  {line}\n" for name, line in COMMANDS.items())
    return (
        "usage: nas COMMAND [KEY=VALUE ...] [-m]\n\n"
        f"commands:\n{commands}\n"
        "Every setting is a Hydra override: data=cifar10 search.epochs=50 search_space.blocks=4.\n"
        "  nas COMMAND --help       the settings and their values\n"
        "  nas COMMAND --cfg job    the composed config\n"
        "  nas COMMAND -m KEY=A,B   one run for each value\n"
        "  name=RUN                 the run folder results/runs/RUN; the same name goes on where a run stopped\n"
    )


def quote(override: str, *, several: bool = False) -> str:
    """Quotes a value that Hydra's grammar does not take bare: `run/candidates.json#3`, or a genotype as text.

    Args:
        override: A key and its value.
        several: Whether commas part values of a multirun, each to be quoted by itself.
    """
    key, equals, value = override.partition("=")
    is_text = key == "genotype" and any(sign in value for sign in "({[ ")
    if not equals or not ("#" in value or is_text) or value[:1] in ("'", '"') or (value[:1] in "[{" and not is_text):
        return override
    values = value.split(",") if several and not is_text else [value]
    escaped = [one.replace("\\", "\\\\").replace("'", "\\'") for one in values]
    return f"{key}=" + ",".join(f"'{one}'" for one in escaped)


def name_compared(arguments: Sequence[str]) -> list[str]:
    """Turns `--compare A B` into the override `compare=['A','B']`."""
    if "--compare" not in arguments:
        return list(arguments)
    at = arguments.index("--compare")
    names = ",".join(f"'{name}'" for name in arguments[at + 1 : at + 3])
    return [*arguments[:at], f"compare=[{names}]", *arguments[at + 3 :]]


def follow_genotype(overrides: Sequence[str]) -> list[str]:
    """Adds the network that the genotype's cells are made for, unless the command names a network.

    Raises:
        ValueError: If several genotypes of one multirun are made for different networks.
    """
    values = dict(override.split("=", 1) for override in overrides if "=" in override)
    reference = values.get("genotype", "")
    if "network" in values or reference in ("", "null"):
        return list(overrides)
    from nas.genotypes import load_genotype, network_group

    references = _references(overrides, reference)
    groups = {network_group(name) for name in references}
    if len(groups) > 1:
        try:
            for name in references:
                load_genotype(name)
        except FileNotFoundError as error:
            raise ValueError(str(error)) from error
        raise ValueError(
            "the genotypes of this multirun are made for different networks "
            f"({', '.join(sorted(group or 'unknown' for group in groups))}); start one multirun for each"
        )
    group = groups.pop()
    return list(overrides) if group is None else [f"network={group}", *overrides]


def follow_run(overrides: Sequence[str]) -> list[str]:
    """Returns, as overrides, with what network, images and classes the run of the genotype has it.

    What the command says itself is left out. Runs of a multirun that differ in them are counted alike.
    """
    values = dict(override.split("=", 1) for override in overrides if "=" in override)
    reference = values.get("genotype", "")
    if reference in ("", "null"):
        return []
    from nas.console import note
    from nas.jobs.run_networks import overrides_of_run

    found, *others = (overrides_of_run(one) for one in _references(overrides, reference))
    if any(other != found for other in others):
        note("the runs differ in network or images: all are counted as the command says")
        return []
    given = {*values, *(key for key in found if key.startswith("network.") and "network" in values)}
    added = {key: value for key, value in found.items() if key not in given}
    if added:
        note(f"{', '.join(dict.fromkeys(key.split('.')[0] for key in added))}: as in the run of {reference}")
    return [f"{key}={value}" for key, value in added.items()]


def _references(overrides: Sequence[str], genotype: str) -> list[str]:
    """Returns the genotypes that a command names, of a multirun several."""
    return genotype.split(",") if MULTIRUN & set(overrides) and "(" not in genotype else [genotype]


def _run_several(command: str, overrides: Sequence[str]) -> int:
    """Runs a sweep or a multirun; returns the exit code."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report to its makers
    if command == "sweep":
        from nas.jobs.sweep import start

        return start(overrides, launch=partial(_run_hydra, "sweep"))
    from nas.jobs.multirun import multirun_arguments, remove_if_bare

    try:
        _run_hydra(command, multirun_arguments(overrides))
    finally:
        for name in [one.partition("=")[2] for one in overrides if one.startswith("name=")]:
            remove_if_bare(Path("results/runs") / name)
    return 0


def _run_hydra(command: str, overrides: Sequence[str]) -> None:
    import hydra

    begun = []

    def task(cfg: "DictConfig") -> Any:
        begun.append(cfg)
        return run_job(command, cfg, overrides)

    with own_place(read_launch()) as place:
        sys.argv = [f"nas {command}", *overrides, *place]
        try:
            hydra.main(version_base="1.3", config_path="pkg://conf", config_name=command)(task)()
        except SystemExit as stopped:
            if stopped.code not in (0, None, *STOPPED):
                suggest_keys(command, overrides)
                if not begun:
                    let_first_speak()
            raise


def run_job(command: str, cfg: "DictConfig", overrides: Sequence[str]) -> Any:
    """Runs a job in its run folder; turns a user's mistake into a few lines, told once if several processes make it.

    Raises:
        CompactHydraException: For a mistake of the user's, which Hydra prints without a traceback.
    """
    launch = read_launch()
    if launch is None:
        return _run_alone(command, cfg, overrides)
    from hydra.errors import CompactHydraException

    from nas.distributed.failures import told_once

    with told_once(launch, mistakes=CompactHydraException):
        return _run_alone(command, cfg, overrides)


def _run_alone(command: str, cfg: "DictConfig", overrides: Sequence[str]) -> Any:
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import CompactHydraException
    from omegaconf import OmegaConf

    from nas.jobs.multirun import current_member, is_multirun, objective

    out = Path(HydraConfig.get().runtime.output_dir)
    if is_multirun() and command not in WITHOUT_RUN_FOLDER:
        out = out / current_member().name
    try:
        summary = _run_job(command, cfg, out)
        return objective(summary, figure) if (figure := OmegaConf.select(cfg, "objective")) else summary
    except KeyboardInterrupt as stopped:
        sys.stderr.write(f"\nstopped; to go on: {_again(command, cfg, overrides)}\n")
        sys.exit(getattr(stopped, "exit_code", 130))
    except (ValueError, OSError) as error:
        if command not in WITHOUT_RUN_FOLDER and out.is_dir() and not any(out.iterdir()):
            out.rmdir()  # Hydra made it, and nothing came of it
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        raise CompactHydraException(f"error: {_explained(error, command, cfg, overrides)}") from error
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError" or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        raise CompactHydraException(f"error: {OUT_OF_MEMORY}: {str(error).splitlines()[0]}") from error


def _heed_sigterm() -> None:
    """Has SIGTERM end a job as Ctrl-C does."""
    from nas.saving import only_here, stop_at_once

    with contextlib.suppress(ValueError):  # a launcher may run jobs in threads, where signals cannot be handled
        signal.signal(signal.SIGTERM, only_here(stop_at_once))


def _explained(error: Exception, command: str, cfg: "DictConfig", overrides: Sequence[str]) -> str:
    """Returns what an error says, and for a full disk what is to be done."""
    if getattr(error, "errno", None) not in (errno.ENOSPC, errno.EDQUOT):
        return str(error)
    return f"{error}; the last checkpoint is whole. With room again, go on: {_again(command, cfg, overrides)}"


def _run_job(command: str, cfg: "DictConfig", out: Path) -> Any:
    from nas.config import build, import_extensions, plain

    import_extensions(cfg)
    job = importlib.import_module(f"nas.jobs.{command}")
    if command == "sweep":
        return job.run(cfg, out, pipeline=partial(_run_job, "pipeline"))
    if command in WITHOUT_RUN_FOLDER:
        return job.run(cfg, out)
    from nas.console import silence
    from nas.jobs.parts import build_runtime  # imports torch
    from nas.runs import joint_run
    from nas.tracking import FilesOnly

    _heed_sigterm()
    if not isinstance(cfg.seed, int):
        raise ValueError(f"seed must be a whole number, got {cfg.seed!r}")
    tracker = build(cfg.logger, "logger")
    runtime = build_runtime(cfg)
    if not runtime.ranks.first:
        silence()
        tracker = FilesOnly()
    with joint_run(cfg, out, runtime=runtime, command=command):
        tracker.start(plain(cfg, "the config"), out=out)
        completed = False
        summary: dict[str, Any] = {}
        try:
            summary = job.run(cfg, out, tracker=tracker)
            completed = True
        finally:
            tracker.finish(summary, completed=completed)
        return summary


def _again(command: str, cfg: "DictConfig", overrides: Sequence[str]) -> str:
    """Returns the command that goes on with a run, to be pasted into a shell."""
    kept = [override for override in overrides if not override.startswith(("name=", "hydra.job.config."))]
    return shlex.join(["nas", command, f"name={cfg.name}", *kept])


def suggest_keys(command: str, overrides: Sequence[str]) -> None:
    """Prints the nearest valid key for each override whose key the command does not have."""
    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("conf", version_base="1.3"):
            try:
                cfg = compose(command, overrides=[one for one in overrides if one.startswith(CHOOSES_KEYS)])
            except HydraException:  # such as a network that there is not
                cfg = compose(command)
    except HydraException:  # the configs themselves are at fault, and Hydra has said how
        return
    keys: list[str] = []

    def collect(node: Any, prefix: str) -> None:
        for key in node:
            keys.append(f"{prefix}{key}")
            if OmegaConf.is_missing(node, key):
                continue
            child = node._get_node(key)
            if OmegaConf.is_dict(child):
                collect(child, f"{prefix}{key}.")

    collect(cfg, "")
    for override in overrides:
        key = override.partition("=")[0]
        if override.startswith(("-", "+", "~", "hydra")) or "@" in key or "/" in key or key in (*keys, "experiment"):
            continue
        near = difflib.get_close_matches(key, keys, n=3, cutoff=0.5)
        if near:
            sys.stderr.write(f"no setting {key!r}; near it: {', '.join(near)}\n")
