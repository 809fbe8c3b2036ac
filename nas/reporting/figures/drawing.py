"""A drawing is a list of marks in px, y downwards; each has a role, which a style turns into a colour.

A figure is laid out once, as a drawing, and written as part of the page, as an SVG file and as a PNG.
"""

import io
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from importlib import resources
from itertools import groupby
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.reporting.figures.colours import ROLES, with_colours
from nas.runs.checkpoints import write_bytes, write_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Position = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What all marks have.

    Attributes:
        role: One of `nas.reporting.figures.colours.ROLES`.
        series: The series it belongs to, which readers can hide; None belongs to the figure.
    """

    role: str
    series: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line(Mark):
    """A line through points; where a coordinate is NaN the pen is lifted."""

    points: Sequence[Position]
    width: float = 1.0
    dashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Area(Mark):
    """A filled outline, or several with a point of NaN between them."""

    points: Sequence[Position]
    opacity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Dots(Mark):
    """Round dots of one size."""

    points: Sequence[Position]
    radius: float
    opacity: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Mark):
    """A line of text; `at` is its anchor, on the baseline.

    Attributes:
        at: Where it is.
        text: Any characters.
        anchor: `start`, `middle` or `end`.
        bold: Whether it is set bold.
    """

    at: Position
    text: str
    anchor: str = "start"
    bold: bool = False


@dataclass(frozen=True, slots=True)
class Drawing:
    """Marks, the later over the earlier, on a page of `width` × `height` px."""

    width: float
    height: float
    marks: tuple[Mark, ...]

    def moved(self, right: float, down: float) -> "Drawing":
        """Returns the same marks further to the right and down, on a page of the same size."""
        return Drawing(self.width, self.height, tuple(_moved(mark, right, down) for mark in self.marks))


def svg_element(drawing: Drawing, *, label: str, hidden: Collection[int] = ()) -> str:
    """Returns a drawing as an element for an HTML page, styled there.

    Args:
        drawing: What to draw.
        label: Read out in its place.
        hidden: Series that are not shown at first.
    """
    return (
        f'<svg viewBox="0 0 {drawing.width:g} {drawing.height:g}" role="img" aria-label="{escape(label)}">'
        f"{_body(drawing, hidden)}</svg>"
    )


def write_svg(drawing: Drawing, path: Path, *, label: str) -> None:
    """Writes a drawing as an SVG file for light and dark pages."""
    sheet = chart_sheet()
    size = f'width="{drawing.width:g}" height="{drawing.height:g}"'
    write_text(
        path,
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {drawing.width:g} {drawing.height:g}">'
        f"<title>{escape(label)}</title><style>{with_colours(sheet, dark=False)}"
        f"@media (prefers-color-scheme:dark){{{with_colours(sheet, dark=True)}}}</style>"
        f'<rect class="page" {size}/>{_body(drawing)}</svg>\n',
    )


def write_png(drawing: Drawing, path: Path, *, scale: float = 2.0) -> None:
    """Writes a drawing as a PNG as it looks on a light page, `scale` pixels a px."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"text.parse_math": False, "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(drawing.width / 72, drawing.height / 72), dpi=72 * scale)  # a px is a point
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, drawing.width), ylim=(drawing.height, 0))
        axes.axis("off")
        for order, mark in enumerate(drawing.marks):
            _draw(axes, mark, order)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", facecolor=ROLES["page"][0], metadata={"Software": None})
    write_bytes(path, picture.getvalue())


def chart_sheet() -> str:
    """Returns the style sheet of drawings, with variables for the colours."""
    return resources.files("nas.reporting.figures").joinpath("chart.css").read_text(encoding="utf-8")


def _draw(axes: "Axes", mark: Mark, order: int) -> None:
    """Draws a mark over those of a lower order."""
    from matplotlib.collections import PolyCollection

    looks: dict[str, Any] = {"color": ROLES[mark.role][0], "zorder": order}
    if isinstance(mark, Line):
        x, y = zip(*mark.points, strict=True)
        axes.plot(x, y, linewidth=mark.width, linestyle=(0, (4, 4)) if mark.dashed else "-", **looks)
    elif isinstance(mark, Area):
        axes.add_collection(PolyCollection(_outlines(mark.points), alpha=mark.opacity, linewidths=0, **looks))
    elif isinstance(mark, Dots):
        x, y = zip(*mark.points, strict=True)
        axes.scatter(x, y, s=(2 * mark.radius) ** 2, alpha=mark.opacity, linewidths=0, **looks)
    elif isinstance(mark, Text):
        side = {"start": "left", "middle": "center", "end": "right"}[mark.anchor]
        weight = "bold" if mark.bold else "normal"
        axes.text(*mark.at, mark.text, fontsize=10.5, ha=side, va="baseline", weight=weight, **looks)


def _outlines(points: Sequence[Position]) -> list[list[Position]]:
    return [list(group) for known, group in groupby(points, key=lambda point: isfinite(point[0])) if known]


def _body(drawing: Drawing, hidden: Collection[int] = ()) -> str:
    parts = []
    for series, marks in groupby(drawing.marks, key=lambda mark: mark.series):
        body = "".join(_element(mark) for mark in marks)
        shown = ' class="hidden"' if series in hidden else ""
        parts.append(body if series is None else f'<g data-series="{series}"{shown}>{body}</g>')
    return "".join(parts)


def _element(mark: Mark) -> str:
    if isinstance(mark, Line):
        dashes = " dashed" if mark.dashed else ""
        width = "" if mark.width == 1 else f' stroke-width="{mark.width:g}"'
        return f'<path class="line {mark.role}{dashes}"{width} d="{_pen(mark.points)}"/>'
    if isinstance(mark, Area):
        return f'<path class="area {mark.role}" fill-opacity="{mark.opacity:g}" d="{_pen(mark.points)}Z"/>'
    if isinstance(mark, Dots):  # a line of no length with round ends is a dot
        pen = "".join(f"M{_number(x)} {_number(y)}h0" for x, y in mark.points)
        opacity = "" if mark.opacity == 1 else f' stroke-opacity="{mark.opacity:g}"'
        return f'<path class="dots {mark.role}" stroke-width="{2 * mark.radius:g}"{opacity} d="{pen}"/>'
    if isinstance(mark, Text):
        x, y = map(_number, mark.at)
        bold = " bold" if mark.bold else ""
        place = f'x="{x}" y="{y}" text-anchor="{mark.anchor}"'
        return f'<text class="{mark.role}{bold}" {place}>{escape(mark.text)}</text>'
    raise TypeError(f"unknown mark {type(mark).__name__}")


def _pen(points: Iterable[Position]) -> str:
    pen, drawing = [], False
    for x, y in points:
        known = isfinite(x) and isfinite(y)
        if known:
            pen.append(f"{'L' if drawing else 'M'}{_number(x)} {_number(y)}")
        drawing = known
    return "".join(pen)


def _number(value: float) -> str:
    return f"{round(value, 1) + 0.0:g}" if abs(value) < 10_000 else f"{value:.0f}"  # + 0.0: there is no −0


def _moved(mark: Mark, right: float, down: float) -> Mark:
    if isinstance(mark, Text):
        return replace(mark, at=(mark.at[0] + right, mark.at[1] + down))
    if isinstance(mark, Line | Area | Dots):
        return replace(mark, points=[(x + right, y + down) for x, y in mark.points])
    raise TypeError(f"unknown mark {type(mark).__name__}")
