"""The layout of figures made of little squares: values over two axes as shades, and permutations as matrices."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from nas.reporting.figures.drawing import Area, Drawing, Line, Mark, Position, Text
from nas.reporting.figures.figures import HeatMap, Permutations
from nas.reporting.figures.plots import BOTTOM, CHARACTER, RIGHT, WIDTH
from nas.reporting.figures.scales import linear_ticks, tick_text

SHADES = 8
TOP = 6
MAX_NAME = 28  # characters
CELL_HEIGHT = 15
MATRICES_A_ROW, MATRIX, GAP, CAPTION = 4, 112, 20, 36
LIFT = (math.nan, math.nan)


def draw_heat_map(chart: HeatMap) -> Drawing:
    """Lays a heat map out: in each row a shade a column, with the ticks of the columns below."""
    left = 18 + CHARACTER * 0.92 * min(MAX_NAME, max(map(len, chart.rows)))
    wide = (WIDTH - RIGHT - left) / len(chart.columns)
    bottom = TOP + CELL_HEIGHT * len(chart.rows)
    shades: dict[int, list[Position]] = {}
    for row, values in enumerate(chart.values):
        for column, value in enumerate(values):
            if math.isfinite(value):
                shade = min(SHADES, max(0, round(SHADES * value)))
                x, y = left + wide * column, TOP + CELL_HEIGHT * row
                shades.setdefault(shade, []).extend(_rectangle(x, y, wide, CELL_HEIGHT - 1))
    marks: list[Mark] = [
        Area(role="s0", points=points, opacity=0.06 + 0.9 * shade / SHADES) for shade, points in sorted(shades.items())
    ]
    for row, name in enumerate(chart.rows):
        shown = name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…"
        marks.append(Text(role="soft", at=(left - 8, TOP + CELL_HEIGHT * row + 11), text=shown, anchor="end"))
    marks += _column_ticks(chart.columns, left=left, wide=wide, bottom=bottom)
    marks.append(Text(role="soft", at=((left + WIDTH - RIGHT) / 2, bottom + 39), text=chart.x.title, anchor="middle"))
    return Drawing(WIDTH, bottom + BOTTOM, tuple(marks))


def draw_permutations(chart: Permutations) -> Drawing:
    """Lays permutations out as matrices, four in a row, each with its name and size below."""
    rows = math.ceil(len(chart.indices) / MATRICES_A_ROW)
    marks: list[Mark] = []
    for number, (name, index) in enumerate(zip(chart.names, chart.indices, strict=True)):
        row, column = divmod(number, MATRICES_A_ROW)
        marks += _matrix(index, name, left=8 + column * (MATRIX + GAP), top=10 + row * (MATRIX + CAPTION + GAP))
    return Drawing(WIDTH, 10 + rows * (MATRIX + CAPTION + GAP), tuple(marks))


def with_title(body: Drawing, title: str) -> Drawing:
    """Returns a drawing with a title above it."""
    heading = Text(role="ink", at=(12, 24), text=title, bold=True)
    return Drawing(body.width, body.height + 30, (heading, *body.moved(0, 30).marks))


def _matrix(index: Sequence[int], name: str, *, left: float, top: float) -> Iterator[Mark]:
    side = MATRIX / len(index)
    corners = _rectangle(left, top, MATRIX, MATRIX)[:-1]
    yield Area(role="grid", points=corners, opacity=0.45)
    squares: list[Position] = []
    for output, source in enumerate(index):
        squares += _rectangle(left + side * source, top + side * output, max(side, 1.2), max(side, 1.2))
    yield Area(role="s0", points=squares, opacity=1.0)
    yield Line(role="rule", points=[*corners, corners[0]])
    shown = name if len(name) <= 18 else f"{name[:17]}…"
    yield Text(role="ink", at=(left, top + MATRIX + 16), text=shown)
    yield Text(role="soft", at=(left, top + MATRIX + 31), text=f"C = {len(index)}, {off_shuffle(index)} off")


def off_shuffle(index: Sequence[int]) -> int:
    """Returns how many output channels do not come from where the fixed shuffle of two groups takes them from."""
    half = (len(index) + 1) // 2
    return sum(source != output // 2 + half * (output % 2) for output, source in enumerate(index))


def _column_ticks(columns: Sequence[float], *, left: float, wide: float, bottom: float) -> Iterator[Mark]:
    """Yields the ticks of columns whose values need not lie at even distances."""
    if len(columns) == 1:
        yield Text(role="soft", at=(left + wide / 2, bottom + 18), text=tick_text(columns[0]), anchor="middle")
        return
    for tick in linear_ticks(columns[0], columns[-1], count=6):
        for number, (before, after) in enumerate(pairwise(columns)):
            if before <= tick <= after:
                place = left + wide * (number + 0.5 + (tick - before) / (after - before))
                yield Text(role="soft", at=(place, bottom + 18), text=tick_text(tick), anchor="middle")
                break


def _rectangle(x: float, y: float, width: float, height: float) -> list[Position]:
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height), LIFT]
