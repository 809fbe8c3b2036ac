"""The command line: `nas COMMAND [Hydra overrides]`. Nothing heavy is imported before a command is known."""

import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omegaconf import DictConfig

COMMANDS = {
    "pipeline": "search, retrain the found cell beside random ones, time it: the main job",
    "search": "find a cell with a controller and a weight-shared supernet",
    "retrain": "train a found cell from scratch and test it: genotype=RUN or FILE.json",
    "latency": "time forward passes on this device: genotype=RUN, or several side by side: models=[RUN,enas,resnet18]",
    "bench": "how fast this machine searches and retrains, and how far that is from what it could do",
    "predictor": "time the parts of networks, and test how well they foretell the latency of whole ones",
    "compare": "controllers side by side in a table such as NAS-Bench-201, over many seeds: table.path=FILE.csv.gz",
    "show": "draw a cell in the terminal, count it, check it against G1-G4: genotype=RUN, FILE.json or darts_v2",
    "export": "write a trained model as ONNX, torch.export program or one Python file, and check it: run=RUN",
    "predict": "run a trained model on image files: run=RUN images=FILE or FOLDER",
    "permutations": "what learned permutations can do: the papers' demonstrations",
    "table": "the published figures beside what this code counts, and what runs measured",
}
CHOOSES_KEYS = ("network=", "search_space=", "controller=", "data=", "logger=", "reward=")
WITHOUT_RUN_FOLDER = ("show", "table")


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
        sys.stderr.write(f"nas: unknown command {command!r}{hint}\n\n{usage()}")
        sys.exit(2)
    try:
        followed = follow_genotype(overrides)
    except ValueError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    _run_hydra(command, [quote(override) for override in followed])


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


def quote(override: str) -> str:
    """Quotes a value that Hydra's grammar does not take bare: `run/candidates.json#3`, or a genotype as text."""
    key, equals, value = override.partition("=")
    is_text = key == "genotype" and any(sign in value for sign in "({[ ")
    if not equals or not ("#" in value or is_text) or value[:1] in ("'", '"') or (value[:1] in "[{" and not is_text):
        return override
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{escaped}'"


def follow_genotype(overrides: Sequence[str]) -> list[str]:
    """Adds the network that the genotype's cells are made for, unless the command names a network.

    Raises:
        ValueError: If several genotypes of one multirun are made for different networks.
    """
    values = dict(override.split("=", 1) for override in overrides if "=" in override)
    reference = values.get("genotype", "")
    if "network" in values or reference in ("", "null"):
        return list(overrides)
    from nas.genotypes import network_group

    several = {"-m", "--multirun"} & set(overrides) and "(" not in reference
    groups = {network_group(name) for name in (reference.split(",") if several else [reference])}
    if len(groups) > 1:
        raise ValueError(
            "the genotypes of this multirun are made for different networks "
            f"({', '.join(sorted(group or 'unknown' for group in groups))}); start one multirun for each"
        )
    group = groups.pop()
    return list(overrides) if group is None else [f"network={group}", *overrides]


def _run_hydra(command: str, overrides: Sequence[str]) -> None:
    import hydra

    sys.argv = [f"nas {command}", *overrides]

    def task(cfg: "DictConfig") -> Any:
        return run_job(command, cfg, overrides)

    try:
        hydra.main(version_base="1.3", config_path="pkg://conf", config_name=command)(task)()
    except SystemExit as stopped:
        if stopped.code not in (0, None):
            suggest_keys(command, overrides)
        raise


def run_job(command: str, cfg: "DictConfig", overrides: Sequence[str]) -> Any:
    """Runs a job in its run folder; turns a user's mistake into a few lines.

    Raises:
        CompactHydraException: For a mistake of the user's, which Hydra prints without a traceback.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import CompactHydraException

    out = Path(HydraConfig.get().runtime.output_dir)
    try:
        return _run_job(command, cfg, out)
    except KeyboardInterrupt:
        sys.stderr.write(f"\nstopped; to go on: {_again(command, out, overrides)}\n")
        sys.exit(130)
    except (ValueError, OSError) as error:
        if command not in WITHOUT_RUN_FOLDER and out.is_dir() and not any(out.iterdir()):
            out.rmdir()  # Hydra made it, and nothing came of it
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        raise CompactHydraException(f"error: {error}") from error


def _run_job(command: str, cfg: "DictConfig", out: Path) -> Any:
    from nas.config import build, plain
    from nas.jobs.parts import build_runtime
    from nas.runs import opened_run

    job = importlib.import_module(f"nas.jobs.{command}")
    if command in WITHOUT_RUN_FOLDER:
        return job.run(cfg, out)
    if not isinstance(cfg.seed, int):
        raise ValueError(f"seed must be a whole number, got {cfg.seed!r}")
    tracker = build(cfg.logger, "logger")
    runtime = build_runtime(cfg)
    with opened_run(cfg, out, runtime=runtime):
        tracker.start(plain(cfg, "the config"), out=out)
        completed = False
        summary: dict[str, Any] = {}
        try:
            summary = job.run(cfg, out, tracker=tracker)
            completed = True
        finally:
            tracker.finish(summary, completed=completed)
        return summary


def _again(command: str, out: Path, overrides: Sequence[str]) -> str:
    kept = [override for override in overrides if not override.startswith("name=")]
    return " ".join(["nas", command, f"name={out.name}", *kept])


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
