"""The output for people: a header, a progress bar with the time left, fixed-width rows, and the next command.

Everything but a job's result goes to stderr.
"""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

stderr = Console(stderr=True, highlight=False, soft_wrap=True)
stdout = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table of epochs.

    Attributes:
        key: Key in the row.
        title: Printed above it.
        form: Format of a number, `.4f` for instance.
        scale: The number is multiplied by this first.
    """

    key: str
    title: str
    form: str
    scale: float = 1.0

    @property
    def width(self) -> int:
        """Characters of the column."""
        return max(len(self.title), 8)


class Table:
    """Prints rows of fixed width as they come, columns from left to right, the titles before the first."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns
        self._titled = False

    def row(self, values: Mapping[str, object]) -> None:
        """Prints one row."""
        if not self._titled:
            stderr.print(
                "  ".join(f"{column.title:>{column.width}}" for column in self.columns), style="bold", markup=False
            )
            self._titled = True
        stderr.print("  ".join(_cell(column, values.get(column.key)) for column in self.columns), markup=False)

    def rows(self, several: Iterable[Mapping[str, object]]) -> None:
        """Prints several rows."""
        for values in several:
            self.row(values)


@contextmanager
def progress(description: str, *, total: int, done: int = 0) -> Iterator["Bar"]:
    """Shows a progress bar on a terminal while the context lasts; elsewhere nothing."""
    bar = progress_bar(stderr)
    with bar:
        yield Bar(bar, bar.add_task(description, total=total, completed=done))


def progress_bar(console: Console) -> Progress:
    """Returns a bar with what is done and the time left, which vanishes when it stops; nothing without a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


class Bar:
    """A running progress bar: a display and its only task."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar = bar
        self._task = task

    def advance(self, count: int = 1) -> None:
        """Counts some more as done."""
        self._bar.advance(self._task, count)

    def reach(self, done: int) -> None:
        """Counts so many as done, those of an earlier start included."""
        self._bar.update(self._task, completed=done)


def silence() -> None:
    """Prints nothing from here on: in a process whose like another one prints."""
    stderr.quiet = stdout.quiet = True


def header(title: str, fields: Mapping[str, object]) -> None:
    """Prints what a job is about to do, one field a line."""
    stderr.print(title, style="bold", markup=False)
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        stderr.print(f"  {name:<{width}}  {value}", markup=False)


def note(text: str) -> None:
    """Prints a line that is not a result."""
    stderr.print(text, markup=False)


def result(text: str) -> None:
    """Prints a result, to stdout."""
    stdout.print(text, markup=False)


def next_command(command: str) -> None:
    """Prints the command that comes next."""
    if _says_next:
        stderr.print(f"next: {command}", style="green", markup=False)


_says_next = True


@contextmanager
def without_next() -> Iterator[None]:
    """Within the context no next command is printed: nothing follows a job that is only repeated."""
    global _says_next
    before, _says_next = _says_next, False
    try:
        yield
    finally:
        _says_next = before


def in_columns(lines: Sequence[Sequence[str]], *, left: Collection[int]) -> list[str]:
    """Sets texts in columns as wide as the widest of each, those of the numbers `left` to the left."""
    widths = [max(map(len, texts)) for texts in zip(*lines, strict=True)]
    forms = [f"{'<' if number in left else '>'}{width}" for number, width in enumerate(widths)]
    return ["  ".join(map(format, line, forms)).rstrip() for line in lines]


def shown(path: Path) -> str:
    """Returns a path as a user would type it: relative to the current folder where it lies below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd().resolve())) or "."
    except ValueError:
        return str(path)


def _cell(column: Column, value: object) -> str:
    if not isinstance(value, int | float) or (isinstance(value, float) and math.isnan(value)):
        return f"{'-' if value is None or isinstance(value, float) else value!s:>{column.width}}"
    scaled = value if column.scale == 1 else value * column.scale
    return f"{scaled:>{column.width}{column.form}}"
