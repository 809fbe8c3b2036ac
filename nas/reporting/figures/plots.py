"""The layout of charts: from values to a drawing, and what a reader's pointer needs to find the values again."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nas.reporting.figures.colours import NUM_SERIES, series_role
from nas.reporting.figures.drawing import Area, Dots, Drawing, Line, Mark, Position, Text
from nas.reporting.figures.figures import Axis, Chart, Series
from nas.reporting.figures.scales import Scale, fitted, linear_ticks, log_ticks, tick_text

WIDTH, HEIGHT = 520, 300
LEFT, RIGHT, TOP, BOTTOM = 50, 16, 34, 48
ROW = 60  # px of a category, its name above its marks
CHARACTER = 6.6  # px, about


@dataclass(frozen=True, slots=True)
class Plane:
    """The two scales of a chart, and the size of its drawing."""

    x: Scale
    y: Scale
    width: float
    height: float


def plot(chart: Chart) -> Drawing:
    """Lays a chart out, without its title and legend.

    Raises:
        ValueError: If it has no values.
    """
    plane = _plane(chart)
    marks = [*_frame(chart, plane)]
    order = sorted(range(len(chart.series)), key=lambda number: not chart.series[number].faint)
    for number in order:
        marks += _series(chart, chart.series[number], number, plane)
    return Drawing(plane.width, plane.height, tuple(marks))


def standalone(chart: Chart) -> Drawing:
    """Lays a chart out with its title and legend."""
    body = plot(chart)
    marks: list[Mark] = [Text(role="ink", at=(LEFT, 24), text=chart.title, bold=True)]
    x, y = float(LEFT), 46
    for one in chart.series:
        if not one.name:
            continue
        width = 26 + CHARACTER * len(one.name)
        if x > LEFT and x + width > body.width - RIGHT:
            x, y = float(LEFT), y + 20
        role = series_role(one.colour)
        marks.append(
            Dots(role=role, points=[(x + 5, y - 4)], radius=4)
            if one.mark == "dots"
            else Line(role=role, points=[(x, y - 4), (x + 12, y - 4)], width=3, dashed=_dashed(one))
        )
        marks.append(Text(role="ink", at=(x + 18, y), text=one.name))
        x += width + 10
    below = y + 4 if len(marks) > 1 else 30
    return Drawing(body.width, body.height + below, (*marks, *body.moved(0, below).marks))


def pointer_data(chart: Chart) -> dict[str, Any]:
    """Returns what the page's script needs to show the values of a chart: its scales, names and values."""
    plane = _plane(chart)
    ranked = bool(chart.y.categories) or any(one.mark == "dots" and not one.faint for one in chart.series)
    return {
        "near": "point" if ranked or any(_lifts_pen(one) for one in chart.series) else "x",
        "span": sorted([plane.y.start, plane.y.end]),
        "x": _scale_data(chart.x, plane.x),
        "y": _scale_data(chart.y, plane.y),
        "series": [
            {
                "name": one.name,
                "colour": one.colour % NUM_SERIES,
                "x": [_short(value) for value in one.x],
                "y": [_short(value) for value in one.y],
                **{
                    key: [_short(v) for v in getattr(one, key)]
                    for key in ("low", "high", "values")
                    if getattr(one, key)
                },
                **({"notes": list(one.notes)} if one.notes else {}),
            }
            for one in chart.series
        ],
    }


def _plane(chart: Chart) -> Plane:
    if chart.empty:
        raise ValueError(f"{chart.key} has no values to draw")
    flat = bool(chart.y.categories)  # the dependent axis is then the horizontal one
    xs, ys = [], []
    for one in chart.series:
        known = [number for number, (x, y) in enumerate(zip(one.x, one.y, strict=True)) if math.isfinite(x + y)]
        ends = [end[number] for end in (one.low, one.high) if end for number in known]
        xs += [one.x[number] for number in known] + (ends if flat else [])
        ys += [one.y[number] for number in known] + ([] if flat else ends)
    low, high = fitted([x for x in xs if math.isfinite(x)], limits=chart.x.limits, log=chart.x.log)
    if not flat:
        bottom, top = fitted([y for y in ys if math.isfinite(y)], limits=chart.y.limits, log=chart.y.log)
        x = Scale(low, high, LEFT, WIDTH - RIGHT, chart.x.log)
        return Plane(x, Scale(bottom, top, HEIGHT - BOTTOM, TOP, chart.y.log), WIDTH, HEIGHT)
    count = len(chart.y.categories)
    end = ROW * count
    x = Scale(low, high, 8, WIDTH - RIGHT, chart.x.log)
    return Plane(x, Scale(-0.72, count - 0.72, 0, end), WIDTH, end + BOTTOM)


def _frame(chart: Chart, plane: Plane) -> Iterator[Mark]:
    """Yields grid, ticks and titles of the axes."""
    x, y = plane.x, plane.y
    middle = (x.start + x.end) / 2
    for value in _ticks(chart.x, x, count=7):
        yield Line(role="grid", points=[(x(value), y.start), (x(value), y.end)])
        yield Text(role="soft", at=(x(value), max(y.start, y.end) + 18), text=tick_text(value), anchor="middle")
    bottom = max(y.start, y.end)
    if chart.y.categories:
        for number, name in enumerate(chart.y.categories):
            yield Line(role="grid", points=[(x.start, y(number)), (x.end, y(number))])
            yield Text(role="ink", at=(x.start, y(number) - 21), text=name)
    else:
        for value in _ticks(chart.y, y, count=6):
            yield Line(role="grid", points=[(x.start, y(value)), (x.end, y(value))])
            yield Text(role="soft", at=(x.start - 8, y(value) + 4), text=tick_text(value), anchor="end")
        yield Text(role="soft", at=(2, 16), text=chart.y.title)
    yield Line(role="rule", points=[(x.start, bottom), (x.end, bottom)])
    yield Text(role="soft", at=(middle, bottom + 39), text=chart.x.title, anchor="middle")


def _ticks(axis: Axis, scale: Scale, *, count: int) -> Sequence[float]:
    if axis.ticks:
        inside = [tick for tick in axis.ticks if scale.low <= tick <= scale.high]
        return inside[:: math.ceil(len(inside) / (count + 1)) or 1]
    if axis.log:
        return log_ticks(scale.low, scale.high, count=count)
    return linear_ticks(scale.low, scale.high, count=count, whole=axis.whole)


def _series(chart: Chart, one: Series, number: int, plane: Plane) -> Iterator[Mark]:
    role = series_role(one.colour)
    x, y = plane.x, plane.y
    points = [(x(a), y(b)) if math.isfinite(a + b) else (math.nan, math.nan) for a, b in zip(one.x, one.y, strict=True)]
    known = [point for point in points if math.isfinite(point[0])]
    if one.low and one.mark == "dots":
        yield from _whiskers(chart, one, number, plane)
    elif one.low:
        yield Area(role=role, series=number, points=_band(one, plane), opacity=_opacity(one))
    if one.mark == "dots" and known:
        size = (2.0, 0.45) if one.faint else (4.0, 0.95)
        yield Dots(role=role, series=number, points=known, radius=size[0], opacity=size[1])
    elif one.mark == "line" and known:
        yield Line(role=role, series=number, points=points, width=1.8, dashed=_dashed(one))
        if lone := _lone(points):
            yield Dots(role=role, series=number, points=lone, radius=3.0)


def _band(one: Series, plane: Plane) -> list[Position]:
    edges = [
        (plane.x(x), plane.y(low), plane.y(high))
        for x, low, high in zip(one.x, one.low, one.high, strict=True)
        if math.isfinite(x + low + high)
    ]
    return [(x, low) for x, low, _ in edges] + [(x, high) for x, _, high in reversed(edges)]


def _whiskers(chart: Chart, one: Series, number: int, plane: Plane) -> Iterator[Mark]:
    pen: list[Position] = []
    for x, y, low, high in zip(one.x, one.y, one.low, one.high, strict=True):
        if math.isfinite(x + y + low + high):
            ends = ((low, y), (high, y)) if chart.y.categories else ((x, low), (x, high))
            pen += [*((plane.x(a), plane.y(b)) for a, b in ends), (math.nan, math.nan)]
    if pen:
        yield Line(role=series_role(one.colour), series=number, points=pen, width=1.6)


def _lone(points: Sequence[Position]) -> list[Position]:
    """Returns the points without a neighbour, which a line alone would not show."""
    known = [False, *(math.isfinite(x) for x, _ in points), False]
    return [point for i, point in enumerate(points, start=1) if known[i] and not known[i - 1] and not known[i + 1]]


def _lifts_pen(one: Series) -> bool:
    return any(not math.isfinite(x + y) for x, y in zip(one.x, one.y, strict=True))


def _dashed(one: Series) -> bool:
    return one.dashed or one.colour >= NUM_SERIES  # a colour's second use


def _scale_data(axis: Axis, scale: Scale) -> dict[str, Any]:
    ends = [scale.low, scale.high, scale.start, scale.end]
    return {"title": axis.title, "log": scale.log, "ends": ends, "categories": list(axis.categories)}


def _short(value: float) -> float | int | None:
    """Returns a number with as many digits as anyone reads; None for NaN, which JSON lacks."""
    if not math.isfinite(value):
        return None
    return int(value) if value == int(value) else float(f"{value:.5g}")


def _opacity(one: Series) -> float:
    if one.mark != "area":
        return 0.16
    return 0.75 if one.colour < NUM_SERIES else 0.4  # a colour's second use
