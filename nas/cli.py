"""The command line: `nas COMMAND [Hydra overrides]`. Nothing heavy is imported before a command is known."""

import difflib
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.distributed.launch import check_command, let_first_speak, own_place, read_launch
from nas.overrides import MULTIRUN, follow_genotype, follow_run, name_compared, quote

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
FOLLOWING = {"show": "", "latency": "latency."}
"""Commands that take network and images from the run of a genotype, and the group where theirs of the images are."""
SWEEP_OPTIONS = {*MULTIRUN, "-cd", "--config-dir"}
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
"""Exit codes of a job that was asked to stop, which is no mistake of anybody's."""


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
        of_run = follow_run(overrides, images=FOLLOWING[command]) if command in FOLLOWING else []
        followed = [*of_run, *follow_genotype(overrides)]
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
        from nas.jobs.running import run_job

        begun.append(cfg)
        return run_job(command, cfg, overrides)

    with own_place(read_launch()) as place:
        sys.argv = [f"nas {command}", *overrides, *place]
        try:
            hydra.main(version_base="1.3", config_path="pkg://conf", config_name=command)(task)()
        except SystemExit as stopped:
            if stopped.code not in (0, None, *STOPPED):
                from nas.suggestions import suggest_keys

                suggest_keys(command, overrides)
                if not begun:
                    let_first_speak()
            raise
