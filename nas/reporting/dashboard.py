"""A search as it runs, at the foot of the terminal: its rewards and entropy as curves, the best cell, the time left.

Where there is no terminal nothing is shown, so that what is piped into a file is the rows alone. The rows of a search
scroll by above. The screen is drawn once a second and when a row is printed, never by the search itself: an epoch only
leaves word of what is best.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise, zip_longest

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from nas.reporting.cells.drawing import genotype_text
from nas.runs.console import Bar, progress_bar, stderr
from search_spaces.genotype import Genotype

BLOCKS, ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.-=+*#@"
MAX_CURVE = 60  # characters
FIGURES = 34  # columns left for the text to the right of a curve
SPACE_BETWEEN = 4  # columns between two cells
SPARE_LINES = 3  # of the terminal, so that a row printed above does not push the drawing out


@contextmanager
def dashboard(
    description: str,
    rows: Sequence[Mapping[str, float]],
    *,
    total: int,
    best: Callable[[], Genotype | None],
    merge: str = "sum",
    console: Console = stderr,
) -> Iterator["Dashboard"]:
    """Shows how a search goes while the context lasts, as `nas.runs.console.progress` shows how far it is.

    Args:
        description: What is being done, written before the bar.
        rows: One an epoch or update, with `reward`, `best` and `entropy` (nats); the list that the search adds to.
        total: What counts as all of it.
        best: Returns the best cell so far, None before there is one; asked after every epoch.
        merge: What joins the loose ends of a cell, `"sum"` or `"concat"`.
        console: Where it is shown.
    """
    bar = progress_bar(console)
    task = bar.add_task(description, total=total, completed=len(rows))
    view = Dashboard(bar=Bar(bar, task), rows=rows, best=best, merge=merge, console=console)
    if not console.is_interactive:
        yield view
        return
    with Live(
        get_renderable=lambda: Group(view.drawing(), bar.get_renderable()),
        console=console,
        transient=True,
        refresh_per_second=1,
    ):
        yield view


@dataclass(slots=True, kw_only=True)
class Dashboard:
    """Live view of a search, which reports to it how far it is.

    Attributes:
        bar: Progress bar of the search.
        rows: Rows of the search, which adds to them.
        best: Returns the best cell so far.
        merge: What joins the loose ends of a cell.
        console: Where it is shown.
        cell: The best one when it was last looked at.
    """

    bar: Bar
    rows: Sequence[Mapping[str, float]]
    best: Callable[[], Genotype | None]
    merge: str
    console: Console
    cell: Genotype | None = None

    def advance(self) -> None:
        """Counts one more as done."""
        self.bar.advance()
        self._look()

    def reach(self, done: int) -> None:
        """Counts so many as done, those of an earlier start included."""
        self.bar.reach(done)
        self._look()

    def drawing(self) -> RenderableType:
        """Returns the curves and, where the terminal is high enough, the best cell."""
        size, unicode = self.console.size, not self.console.options.ascii_only
        lines = curve_lines(self.rows, width=size.width, blocks=BLOCKS if unicode else ASCII_BLOCKS)
        if self.cell is not None:
            cell = cell_lines(self.cell, width=size.width, unicode=unicode, merge=self.merge)
            if len(lines) + len(cell) + 2 + SPARE_LINES <= size.height:
                lines += ["best cell", *cell]
        return Text("\n".join(lines), no_wrap=True, overflow="crop")

    def _look(self) -> None:
        """Takes down the best cell here, in the search's own thread, since another one draws."""
        if self.console.is_interactive:
            self.cell = self.best()


def curve_lines(rows: Sequence[Mapping[str, float]], *, width: int, blocks: str = BLOCKS) -> list[str]:
    """Returns a line for the rewards and one for the entropy, as far as the rows have them."""
    last = rows[-1] if rows else {}
    figures = {
        "reward": f"{last.get('reward', math.nan):.4f}" + (f", best {last['best']:.4f}" if "best" in last else ""),
        "entropy": f"{last.get('entropy', math.nan):.3f} nats",
    }
    lines = []
    for key, text in figures.items():
        values = [row.get(key, math.nan) for row in rows]
        if any(map(math.isfinite, values)):
            curve = sparkline(values, width=max(8, min(MAX_CURVE, width - FIGURES)), blocks=blocks)
            lines.append(f"{key:<8} {curve}  {text}")
    return lines


def cell_lines(genotype: Genotype, *, width: int, unicode: bool, merge: str) -> list[str]:
    """Returns the drawing of a genotype, its cells side by side where that fits the width."""
    cells = [cell.splitlines() for cell in genotype_text(genotype, unicode=unicode, merge=merge).strip().split("\n\n")]
    widths = [max(map(len, cell)) + SPACE_BETWEEN for cell in cells]
    if sum(widths) - SPACE_BETWEEN > width:
        return [line for cell in cells for line in cell]
    lines = zip_longest(*cells, fillvalue="")
    return ["".join(f"{line:<{room}}" for line, room in zip(row, widths, strict=True)).rstrip() for row in lines]


def sparkline(values: Sequence[float], *, width: int, blocks: str = BLOCKS) -> str:
    """Draws values as a row of blocks, the lowest as the first and the highest as the last.

    Args:
        values: Any number; those that are not finite are left out of their block.
        width: Characters at most, at least 1; more values than that are averaged in groups.
        blocks: From low to high.

    Returns:
        A character a value or group, a blank for one without a finite value.
    """
    count = min(width, len(values))
    edges = [len(values) * i // count for i in range(count + 1)] if count else [0]
    groups = [[value for value in values[start:end] if math.isfinite(value)] for start, end in pairwise(edges)]
    means = [sum(group) / len(group) if group else math.nan for group in groups]
    known = [value for value in means if math.isfinite(value)]
    if not known:
        return " " * count
    low, span = min(known), max(known) - min(known)
    levels = [(value - low) / span if span > 0 else 0.5 for value in means]
    return "".join(
        " " if math.isnan(level) else blocks[min(len(blocks) - 1, int(level * len(blocks)))] for level in levels
    )
