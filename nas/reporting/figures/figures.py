"""Figures, tables and texts of a report as plain data, in sections; `nas.reporting.figures.drawing` draws them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of a chart.

    Attributes:
        title: What is measured, with its unit.
        whole: Whether only whole numbers are marked.
        log: Base of the logarithm where the axis is logarithmic, else 0; the values must then be above 0.
        ticks: The values to be marked; empty takes round ones.
        limits: Ends of the axis, None where the values decide.
    """

    title: str
    whole: bool = False
    log: int = 0
    ticks: tuple[float, ...] = ()
    limits: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Values of one kind, in one colour.

    Attributes:
        name: Name in the legend; empty leaves it out.
        x: Values, shape (n,), or names of categories. NaN in x or y lifts the pen between two lines.
        y: The same. Where these are categories, the dependent value is x.
        mark: How they are drawn; an `area` lies between `low` and `high`.
        low: Lower ends of intervals of the dependent value, (n,) or empty; NaN where there is none.
        high: Upper ends.
        values: What is shown to who asks for a point's value, (n,), where that is not its place.
        notes: A text for each point, (n,), or empty.
        colour: Number of the colour.
        dashed: Whether lines are dashed.
        faint: Whether it stands behind the others.
        hidden: Whether the page shows it only when a reader asks for it.
    """

    name: str = ""
    x: Sequence[float | str]
    y: Sequence[float | str]
    mark: Literal["line", "dots", "area"] = "line"
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    values: Sequence[float] = ()
    notes: Sequence[str] = ()
    colour: int = 0
    dashed: bool = False
    faint: bool = False
    hidden: bool = False

    def __post_init__(self) -> None:
        for name in ("y", "low", "high", "values", "notes"):
            given = getattr(self, name)
            if len(given) != len(self.x) and (len(given) or name == "y"):
                raise ValueError(f"{self.name}: {len(given)} {name} for {len(self.x)} x")


@dataclass(frozen=True, slots=True)
class Figure:
    """What has a place among the files and in the page.

    Attributes:
        key: Its name among the files, and its anchor in the page.
        title: What it is.
        caption: What is shown and how to read it.
    """

    key: str
    title: str
    caption: str


@dataclass(frozen=True, slots=True)
class Chart(Figure):
    """Series in the plane of two axes.

    Attributes:
        x: The horizontal axis.
        y: The vertical axis.
        series: Drawn one over the other.
        marks: Places on the horizontal axis of dashed lines from bottom to top.
    """

    x: Axis
    y: Axis
    series: Sequence[Series]
    marks: Sequence[float] = ()

    @property
    def empty(self) -> bool:
        """Whether there is no value to draw."""
        return all(is_gap(value) for one in self.series for value in one.y)


@dataclass(frozen=True, slots=True)
class HeatMap(Figure):
    """Values over two axes, as shades: rows by name, columns by number.

    Attributes:
        x: The horizontal axis.
        columns: Values on the horizontal axis, ascending, (n,).
        rows: Names, (m,).
        values: (m, n), in percent.
        marks: Places of dashed lines, as in a chart.
    """

    x: Axis
    columns: Sequence[float]
    rows: Sequence[str]
    values: Sequence[Sequence[float]]
    marks: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Images(Figure):
    """Matrices and pictures in rows.

    Attributes:
        rows: By name, empty for none, the images with a line of text each. An image is (H, W, 3) in 0 … 1, or a
            matrix (H, W), which is white at 0, blue at its `limit` and red at minus that.
        limit: Largest entry that is shown, of all matrices; None takes the largest absolute entry of each.
    """

    rows: Mapping[str, Sequence[tuple[str, Any]]]
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Cells(Figure):
    """Cells of a genotype.

    Attributes:
        parts: The text of an SVG file each, which stand side by side where there is room.
        whole: The text of an SVG file with all of them.
    """

    parts: Sequence[str]
    whole: str


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table.

    Attributes:
        key: Key of the values in the rows, by which readers sort.
        title: Above it, with the unit.
        show: Makes the text of a row's cell, or the format of its value; used only where the value is known.
    """

    key: str
    title: str
    show: Callable[[Mapping[str, Any]], str] | str = ""

    @property
    def numeric(self) -> bool:
        """Whether it is set to the right: everything that has a format."""
        return self.show != ""

    def text(self, row: Mapping[str, Any]) -> str:
        """Returns what a row's cell says, a dash where its value is not known."""
        value = row.get(self.key)
        if value is None or value != value:
            return "–"
        return format(value, self.show) if isinstance(self.show, str) else self.show(row)


@dataclass(frozen=True, slots=True)
class DataTable:
    """Rows that readers can sort; all their values go to a CSV file, those of no column too."""

    key: str
    title: str
    caption: str
    columns: Sequence[TableColumn]
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph, of a `kind`: `loud` for what must not be missed, `lead` for what opens the page."""

    text: str
    kind: Literal["said", "loud", "lead"] = "said"


@dataclass(frozen=True, slots=True)
class Code:
    """Text in a fixed width, below a title; `folded` is to be opened first."""

    text: str
    title: str
    folded: bool = False


Block: TypeAlias = Figure | DataTable | Paragraph | Code


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report.

    Attributes:
        key: Anchor in the page.
        title: Heading of the section.
        blocks: From top to bottom; figures that follow each other stand side by side where there is room.
        folded: Whether it is to be opened first; None for a section that cannot be closed.
    """

    key: str
    title: str
    blocks: Sequence[Block]
    folded: bool | None = None


def is_gap(value: float | str) -> bool:
    """Whether a value of a series is no place."""
    return not isinstance(value, str) and not math.isfinite(value)
