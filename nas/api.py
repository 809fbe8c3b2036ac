"""The jobs from Python, in the run folders that the commands use: `run = nas.search(data="digits", epochs=4)`.

A keyword is a setting of the command: a config group or key as it is typed (`data`, `name`, `seed`), a dotted key with
two underscores for each dot (`search__lr_max=0.1`), or the last part of one where that is clear (`blocks=4` is
`search_space.blocks`, `epochs=4` of a search `search.epochs`). Ctrl-C stops a job as it does a command: the same call
goes on with the run, if it has a `name`.
"""

import contextlib
import difflib
import signal
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any

from nas.command_line.conf_files import CommandSettings, read_command
from nas.command_line.words import Words, read_words
from nas.reporting.run_result import RunResult, load_run

__all__ = ["RunResult", "latency", "load_run", "pipeline", "retrain", "search", "sweep"]


def search(**settings: Any) -> RunResult:
    """Finds a cell, as `nas search` does.

    Args:
        settings: Of `nas search --help`.

    Returns:
        The finished run: `genotype`, `candidates`, `rows` of an epoch each.

    Raises:
        ValueError: If a setting is unknown or out of range.
        OSError: If the data set is not there.

    >>> import nas
    >>> run = nas.search(experiment="toy", epochs=2, blocks=2, name="found")
    >>> len(run.rows("search.csv"))
    2
    >>> run.genotype.normal.blocks[0].ops[0] in nas.search(experiment="toy", epochs=2, blocks=2, name="found").text
    True
    """
    return _run("search", settings)


def retrain(genotype: object, **settings: Any) -> RunResult:
    """Trains a cell, as `nas retrain` does.

    Args:
        genotype: A run, its folder, a genotype file, or the name of a published cell.
        settings: Of `nas retrain --help`.

    Returns:
        The finished run: `metrics` holds the test accuracies.

    >>> import nas
    >>> run = nas.retrain("shufflenasnet_a", experiment="toy", epochs=1, seeds=[0], name="trained")
    >>> 0 <= run.metrics["found"]["test_accuracy"]["mean"] <= 1
    True
    """
    return _run("retrain", {"genotype": genotype, **settings})


def pipeline(**settings: Any) -> RunResult:
    """Searches, retrains the found cell beside random ones, times it and reports, as `nas pipeline` does.

    >>> import nas
    >>> run = nas.pipeline(experiment="toy", search__epochs=1, retrain__epochs=1, blocks=2, name="whole")
    >>> run.folder.joinpath("report.html").exists()
    True
    """
    return _run("pipeline", settings)


def latency(models: object, **settings: Any) -> RunResult:
    """Times forward passes of models side by side on this device, as `nas latency` does.

    Args:
        models: One or several: runs, their folders, published cells, networks of torchvision or, as
            `timm:NAME`, of timm; of the latter three `image_shape` and `num_classes` are needed.
        settings: Of `nas latency --help`.

    Returns:
        The finished run: `latencies`, a row a model and batch size.

    >>> import nas
    >>> shape = {"image_shape": [3, 8, 8], "num_classes": 10}
    >>> run = nas.latency(["shufflenasnet_a", "enas"], batch_sizes=[1], repeats=2, name="times", **shape)
    >>> [row["model"] for row in run.latencies]
    ['shufflenasnet_a', 'enas']
    """
    several = isinstance(models, Sequence) and not isinstance(models, str)
    return _run("latency", {"models": models if several else [models], **settings})


def sweep(**settings: Any) -> RunResult:
    """Runs the pipeline for every combination of values, as `nas sweep` does; a tuple is several values.

    Returns:
        The folder of the sweep: `record("sweep.json")` holds its rows.

    >>> import nas
    >>> small = {"experiment": "toy", "search__epochs": 1, "retrain__epochs": 1}
    >>> swept = nas.sweep(blocks=(1, 2), name="two", **small)
    >>> [row["search_space.blocks"] for row in swept.record("sweep.json")["rows"]]
    [1, 2]
    """
    from nas.cli import start

    words = _words("sweep", settings)
    try:
        with _own_hydra():
            start("sweep", words)
    except SystemExit as stopped:
        if stopped.code == 130:
            raise KeyboardInterrupt from None
        if stopped.code:
            raise ValueError("the sweep did not finish; what is printed above says why") from None
    return RunResult(Path("results/sweeps") / words.values["name"])


def _run(command: str, settings: Mapping[str, Any]) -> RunResult:
    from hydra import compose, initialize_config_module

    from nas.cli import hydra_overrides
    from nas.command_line.mistakes import explain
    from nas.command_line.running import run_composed
    from nas.command_line.search_path import register_own_configs

    words = _words(command, settings)
    register_own_configs()
    try:
        with _own_hydra(), initialize_config_module("conf", version_base="1.3"):
            cfg = compose(command, overrides=hydra_overrides(command, words))
    except Exception as error:
        raise ValueError(explain(error, command, words)) from None
    out = Path("results/runs") / words.values["name"]
    before = signal.getsignal(signal.SIGTERM)
    try:
        run_composed(command, cfg, words, out)
    finally:
        with contextlib.suppress(ValueError):  # not in the main thread, where no job has changed it
            signal.signal(signal.SIGTERM, before)
    return RunResult(out)


@contextlib.contextmanager
def _own_hydra() -> Iterator[None]:
    """Puts aside what a notebook has initialised of Hydra, while the context lasts."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.initialize import get_gh_backup, restore_gh_from_backup

    before = get_gh_backup()
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        restore_gh_from_backup(before)


def _words(command: str, settings: Mapping[str, Any]) -> Words:
    """Returns what would be typed for these settings.

    Raises:
        ValueError: If one is unknown, or could be several.
    """
    settings = {"name": datetime.now().strftime("%Y%m%d-%H%M%S-%f"), **settings}
    choices = {key: str(value) for key, value in settings.items() if isinstance(value, str)}
    known = read_command(command, choices=choices)
    texts = {key: _values(value) if command == "sweep" else _text(value) for key, value in settings.items()}
    return read_words(command, [f"{_key(command, key, known)}={text}" for key, text in texts.items()])


def _key(command: str, word: str, known: CommandSettings) -> str:
    """Returns the key of a command that a keyword means."""
    key = word.replace("__", ".")
    if "." in key or key in known.groups or key in known.settings:
        return key
    ending = [one for one in known.settings if one.endswith(f".{key}")]
    own = [one for one in ending if one == f"{command}.{key}"] or ending
    if len(own) > 1:
        raise ValueError(f"{word} could be any of {', '.join(own)}: write it with __ for each dot")
    if not own:
        words = {one.rpartition(".")[2] for one in known.settings} | set(known.groups)
        near = " or ".join(difflib.get_close_matches(word, words, n=2))
        raise ValueError(f"no setting {word!r}" + (f"; did you mean {near}?" if near else f" of nas {command}"))
    return own[0]


def _values(value: object) -> str:
    """Returns what is typed for a sweep, in which a tuple is several values."""
    return ",".join(map(_text, value)) if isinstance(value, tuple) else _text(value)


def _text(value: object) -> str:
    """Returns a value as it is typed."""
    if hasattr(value, "tolist"):  # of NumPy or torch
        return _text(value.tolist())
    if isinstance(value, RunResult):
        return str(value.folder)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(map(_text, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) if isinstance(value, str | PathLike) else repr(value)
