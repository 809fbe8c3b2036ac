"""What a report shows, as plain data: figures, tables and texts, in sections. How they look is decided elsewhere."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

NAN = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis of a chart.

    Attributes:
        title: What is measured, with its unit.
        log: Whether it is logarithmic; the values must then be above 0.
        whole: Whether only whole numbers are marked.
        ticks: The values to be marked; empty takes round ones.
        categories: Names of the values 0, 1, …; empty for numbers.
        limits: Ends of the axis, None where the values decide.
    """

    title: str
    log: bool = False
    whole: bool = False
    ticks: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    limits: tuple[float | None, float | None] = (None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Values of one kind, in one colour.

    Attributes:
        name: In the legend; empty leaves it out.
        x: Values, shape (n,). NaN in x or y lifts the pen between two lines.
        y: The same.
        mark: How they are drawn; `band` fills between `low` and `high`, with a line through y where `line` asks.
        low: Lower ends of intervals of the dependent value, (n,) or empty; NaN where there is none.
        high: Upper ends.
        values: What is shown to who asks for a point's value, (n,), where that is not its place.
        notes: A text for each point, (n,), or empty.
        colour: Number of the colour.
        dashed: Whether lines are dashed.
        faint: Whether it stands behind the others.
        hidden: Whether the page shows it only when a reader asks for it.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Series in the plane of two axes.

    Attributes:
        key: Its name among the files, and its anchor in the page.
        title: What it is.
        caption: What is shown and how to read it.
        x: The horizontal axis; the dependent one where `y` has categories.
        y: The vertical axis.
        series: Drawn one over the other.
    """

    key: str
    title: str
    caption: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]

    @property
    def empty(self) -> bool:
        """Whether there is no value to draw."""
        return not any(math.isfinite(y) for one in self.series for y in one.y)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """Values over two axes, as shades: rows by name, columns by number.

    Attributes:
        key: As of a chart.
        title: As of a chart.
        caption: As of a chart.
        x: The horizontal axis.
        columns: Its values, ascending, (n,).
        rows: Names, (m,).
        values: (m, n), in 0 … 1 from light to dark.
    """

    key: str
    title: str
    caption: str
    x: Axis
    columns: Sequence[float]
    rows: Sequence[str]
    values: Sequence[Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Permutations:
    """Permutations as matrices of dots.

    Attributes:
        key: As of a chart.
        title: As of a chart.
        caption: As of a chart.
        names: One a permutation.
        indices: Each (C,): output i is input `index[i]`.
    """

    key: str
    title: str
    caption: str
    names: Sequence[str]
    indices: Sequence[Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A finished figure.

    Attributes:
        key: As of a chart.
        title: As of a chart.
        caption: As of a chart.
        svg: The text of an SVG file.
    """

    key: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TableColumn:
    """A column of a table.

    Attributes:
        key: Of the rows; its values sort.
        title: Above it, with the unit.
        show: Makes the text of a row's cell; it is asked only where the row's value is known.
        numeric: Whether it is set to the right.
    """

    key: str
    title: str
    show: Callable[[Mapping[str, Any]], str]
    numeric: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class DataTable:
    """Rows that readers can sort; all their values go to a CSV file, those of no column too."""

    key: str
    title: str
    caption: str
    columns: Sequence[TableColumn]
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph; `loud` for what must not be missed."""

    text: str
    loud: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Text in a fixed width.

    Attributes:
        text: Lines.
        title: Above it.
        folded: Whether it is to be opened first.
    """

    text: str
    title: str
    folded: bool = False


Figure: TypeAlias = Chart | HeatMap | Permutations | Picture
Block: TypeAlias = Figure | DataTable | Paragraph | Code


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a report.

    Attributes:
        key: Its anchor.
        title: Its heading.
        blocks: From top to bottom; figures that follow each other stand side by side where there is room.
        folded: Whether it is to be opened first; None for a section that cannot be closed.
    """

    key: str
    title: str
    blocks: Sequence[Block] = field(default_factory=list)
    folded: bool | None = None
