"""The command line: `nas COMMAND [settings] [options]`. Nothing heavy is imported before a command is known."""

import difflib
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from nas import __version__
from nas.command_line.commands import COMMANDS, own_configs, usage
from nas.command_line.words import COMPLETION, HELP, MULTIRUN, Words, quote, read_words
from nas.compute.distributed.launch import check_command, let_first_speak, own_place, read_launch

if TYPE_CHECKING:
    from omegaconf import DictConfig

STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
"""Exit codes of a job that was asked to stop, which is no mistake of anybody's."""
QUESTIONS = ("--cfg", "-c", "--hydra-help")
"""Options with which Hydra answers and runs nothing."""


def main() -> None:
    """Runs the command in `sys.argv`; the exit code is 0, 1 for a failure, 2 for a misused command line."""
    try:
        _main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # of `nas … | head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _main(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] in (*HELP, "help"):
        if set(arguments[1:2]).isdisjoint(COMMANDS):
            sys.stdout.write(usage())
            sys.exit(0 if arguments else 2)
        arguments = [arguments[1], "--help"]
    command, *typed = arguments
    if command == "--version":
        sys.stdout.write(f"shufflenas {__version__}\n")
        return
    if command not in (*COMMANDS, *COMPLETION):
        near = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        sys.stderr.write(f"nas: unknown command {command!r}{hint}; `nas --help` lists the commands\n")
        sys.exit(2)
    try:
        words = Words((command,), tuple(typed)) if command in COMPLETION else read_words(command, typed)
        if COMPLETION & set(words.options):
            from nas.command_line.completion import complete

            sys.stdout.write(complete("".join(words.overrides[:1]), line=os.environ.get("COMP_LINE", "")))
        elif HELP & set(words.options):
            from nas.command_line.help import command_help

            sys.stdout.write(command_help(command, words))
        else:
            start(command, words)
    except (ValueError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        from nas.jobs.failures import explained

        let_first_speak()
        _fail(explained(error))


def hydra_overrides(command: str, words: Words) -> list[str]:
    """Returns what Hydra composes: what follows from the genotype, then what is typed, in Hydra's grammar.

    Raises:
        ValueError: If a genotype is not valid, or several are made for different networks.
        FileNotFoundError: If a genotype is not there.
    """
    from nas.command_line.following import followed

    typed = ["~experiment" if one == "experiment=null" else one for one in words.overrides]
    quoted = [quote(one, several=command == "sweep" or words.several) for one in typed]
    return [*followed(command, words), *quoted]


def start(command: str, words: Words) -> None:
    """Has Hydra compose the config and run the job, or answer a question about it."""
    own_configs()  # a folder that is not there is said before anything is done
    if read_launch() is not None:
        check_command(command, words.several, named="name" in words.values)
    overrides = hydra_overrides(command, words)
    run = partial(_run_hydra, command, words)
    if command != "sweep" and not words.several:
        run([*words.options, *overrides])
        return
    from nas.jobs import multirun, sweep

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report to its makers
    options = [one for one in words.options if one not in MULTIRUN]
    if not set(QUESTIONS).isdisjoint(options):
        run([*options, *multirun.first_values(overrides)])
    elif command == "sweep":
        sys.exit(sweep.start([*options, *overrides], launch=run))
    else:
        try:
            run(multirun.multirun_arguments([*words.options, *overrides]))
        finally:
            if "name" in words.values:
                multirun.remove_if_bare(Path("results/runs") / words.values["name"])


def _run_hydra(command: str, words: Words, arguments: Sequence[str]) -> None:
    """Runs the job, or each member of a multirun, on what Hydra composes of the arguments."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from nas.command_line.running import MistakeError, errors_raised, run_job, wants_traceback
    from nas.command_line.search_path import register_own_configs
    from nas.jobs.failures import explained

    begun: list[bool] = []
    failed: list[str] = []

    def task(cfg: "DictConfig") -> Any:
        begun.append(True)
        return run_job(command, cfg, words, failed=failed)

    register_own_configs()
    with own_place(read_launch()) as place, errors_raised():
        sys.argv = [f"nas {command}", *arguments, *place]
        try:
            hydra.main(version_base="1.3", config_path="pkg://conf", config_name=command)(task)()
        except SystemExit as stopped:
            if stopped.code not in (0, None, *STOPPED) and not begun:
                let_first_speak()
            raise
        except Exception as error:
            if wants_traceback():
                traceback.print_exc()
                sys.exit(1)
            if not begun:
                let_first_speak()
            if isinstance(error, MistakeError) or (
                isinstance(error, OSError) and not isinstance(error, HydraException)
            ):
                _fail(explained(error))
            if begun and not isinstance(error, HydraException | OmegaConfBaseException):
                traceback.print_exc()
                sys.exit(1)
            from nas.command_line.mistakes import explain

            _fail(explain(error, command, words))
        if failed:
            sys.exit(1)


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"error: {message}\n")
    sys.exit(1)
