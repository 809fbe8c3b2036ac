"""Run folders as a report reads them: files of jobs, any of which may be absent, cut off or of another content."""

import csv
import io
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from nas.runs.listing import LOADER, runs_below

MAX_BYTES = 64 * 2**20
RUN_FILES = (
    "config.yaml",
    "environment.json",
    "member.json",
    "search.csv",
    "metrics.json",
    "latency.json",
    "rank.json",
    "compare.json",
)
"""A folder with one of these is a run."""

UNREADABLE = (
    *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError, OSError),
    *(csv.Error, yaml.YAMLError),
)

Row = dict[str, Any]
"""A line of a CSV file: numbers as numbers, empty fields as None, the rest as texts."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A file that could not be used, and why."""

    file: str
    reason: str


@dataclass(slots=True, kw_only=True, eq=False)
class RunRecord:
    """The files of one run; what cannot be read is noted in `problems` once and then counts as absent.

    Attributes:
        folder: The folder of the run.
        name: The name shown to the reader.
        key: The run's part of anchors and file names, different for every run of a report.
        problems: Problems with files that could not be used.
    """

    folder: Path
    name: str
    key: str
    problems: list[Problem] = field(default_factory=list)
    _read: dict[Any, Any] = field(default_factory=dict, init=False)

    def text(self, file: str) -> str | None:
        """Returns the text of a file; None if it is absent or not readable."""
        found: str | None = self._once(file, _text, self.folder / file)
        return found

    def json(self, file: str) -> Any:
        """Returns what a JSON file holds; None as for `text`."""
        return self._parsed(file, json.loads)

    def record(self, file: str) -> Mapping[str, Any]:
        """Returns the object that a JSON file holds; empty as for `text`, or if it is none."""
        found = self.json(file)
        if found is not None and not isinstance(found, dict):
            self.note(file, "not a record of figures")
        return found if isinstance(found, dict) else {}

    def yaml(self, file: str) -> Any:
        """Returns what a YAML file holds; None as for `text`."""
        return self._parsed(file, _yaml)

    def rows(self, file: str) -> list[Row]:
        """Returns the rows of a CSV file; none as for `text`."""
        return self._parsed(file, _rows) or []

    @property
    def config(self) -> Mapping[str, Any]:
        """The run's config, empty if it is not known."""
        config = self.yaml("config.yaml")
        return config if isinstance(config, dict) else {}

    @property
    def environment(self) -> Mapping[str, Any]:
        """Versions, device and command of the run, empty if they are not known."""
        return self.record("environment.json")

    @contextmanager
    def reading(self, file: str) -> Iterator[None]:
        """Notes a problem with a file, instead of failing, where its content is not what is expected."""
        try:
            yield
        except UNREADABLE as error:
            self.note(file, _reason(error))

    def note(self, file: str, reason: str) -> None:
        """Notes a problem with a file, once."""
        problem = Problem(f"{self.name}/{file}", reason)
        if problem not in self.problems:
            self.problems.append(problem)

    def _parsed(self, file: str, parse: Callable[[str], Any]) -> Any:
        text = self.text(file)
        return None if text is None else self._once(file, parse, text)

    def _once(self, file: str, read: Callable[[Any], Any], given: Any) -> Any:
        """Returns what a function reads out of a file, which it is asked for once; None if it fails."""
        if (file, read) not in self._read:
            self._read[file, read] = None
            with self.reading(file):
                self._read[file, read] = read(given)
        return self._read[file, read]


def find_runs(folders: Sequence[Path]) -> list[RunRecord]:
    """Finds the runs in folders: each is a run itself, or runs lie below it.

    Args:
        folders: At least one.

    Returns:
        The runs, each once, in the order of the folders and within a folder by name, with different names and keys.

    Raises:
        FileNotFoundError: If a folder is not there.
        ValueError: If there is no run in a folder.
    """
    found: dict[Path, str] = {}
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f"no run folder at {folder}; `nas runs` lists those that there are")
        runs = runs_in(folder)
        if not runs:
            raise ValueError(f"{folder} holds no run: none of {', '.join(RUN_FILES)} is in it or in the folders below")
        for run in runs:
            name = folder.resolve().name if run == folder else run.relative_to(folder).as_posix()
            found.setdefault(run.resolve(), name)
    names, keys = set[str](), set[str]()
    return [
        RunRecord(folder=path, name=_unused(name, names), key=_unused(slug(name), keys)) for path, name in found.items()
    ]


def runs_in(folder: Path) -> list[Path]:
    """Returns the runs that a folder is or that lie below it; none where it is not there or none has begun."""
    try:
        return list(runs_below(folder, is_run=_is_run))
    except (FileNotFoundError, NotADirectoryError):  # also of one below that has just been removed
        return []


def slug(text: str) -> str:
    """Returns a text as an anchor and file name: lower-case letters, digits and hyphens, at most 48."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:48].strip("-") or "run"


def number(value: Any) -> float:
    """Returns a number of a file as a float; NaN for anything else."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def _unused(name: str, used: set[str]) -> str:
    candidates = (name if count == 1 else f"{name}-{count}" for count in itertools.count(1))
    free = next(candidate for candidate in candidates if candidate not in used)
    used.add(free)
    return free


def _is_run(folder: Path) -> bool:
    """Whether a folder holds files of a run; those in a sweep's own folder do not make it one."""
    return not (folder / "sweep.json").exists() and any((folder / name).is_file() for name in RUN_FILES)


def _text(path: Path) -> str | None:
    if not path.is_file():
        return None
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"larger than {MAX_BYTES // 2**20} MiB")
    return path.read_text(encoding="utf-8")


def _yaml(text: str) -> Any:
    return yaml.load(text, Loader=LOADER)


def _rows(text: str) -> list[Row]:
    reader = csv.DictReader(io.StringIO(text), restkey="", strict=True)
    rows = [{key: _value(value) for key, value in row.items()} for row in reader]
    if any("" in row for row in rows):
        raise ValueError("a line has more fields than the title line")
    return rows


def _value(text: Any) -> Any:
    if not isinstance(text, str):
        return None  # the line has too few fields
    try:
        return float(text)
    except ValueError:
        return text or None


def _reason(error: Exception) -> str:
    match error:
        case UnicodeDecodeError():
            return "not a text in UTF-8"
        case json.JSONDecodeError():
            return f"not JSON: {error.msg} in line {error.lineno}"
        case KeyError():
            return f"lacks {error}"
        case TypeError() | AttributeError() | LookupError() | RecursionError():
            return "not what the job writes"
    return (str(error).splitlines() or [type(error).__name__])[0]
