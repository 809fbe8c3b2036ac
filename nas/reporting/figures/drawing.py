"""Figures as Vega-Lite, from which the page, SVG files and PNGs are drawn.

The specifications are written directly, without altair: it takes a second to import and would add nothing to them.
`vl_convert` draws them without a browser, and has the scripts by which the page draws them.
"""

import base64
import functools
import io
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nas.reporting.figures import colours
from nas.reporting.figures.figures import Axis, Chart, Figure, HeatMap, Images, Series, is_gap
from nas.runs.checkpoints import write_bytes, write_text

Spec = dict[str, Any]
WIDTH, HEIGHT = 460, 220
IMAGE, GAP = 96, 16  # px, the side of an image of many, and the distance between two
CHARACTER = 6.5  # px, about
COLUMNS = ("s", "x", "y", "low", "high", "v", "note")
"""Of a chart's data: number of the series, place, interval, shown value where that is not the place, and note."""
FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Helvetica, Arial, sans-serif"
CONFIG: Spec = {
    "background": colours.PAGE,
    "font": FONT,
    "view": {"stroke": None},
    "title": {"anchor": "start", "color": colours.INK, "fontSize": 13, "offset": 14},
    "axis": {
        "labelColor": colours.SOFT,
        "titleColor": colours.SOFT,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "gridColor": colours.GRID,
        "domainColor": colours.RULE,
        "ticks": False,
        "labelPadding": 6,
        "tickCount": 6,
        "labelOverlap": "greedy",
        "labelLimit": 260,
    },
    "axisY": {"titleAngle": 0, "titleAlign": "left", "titleX": 0, "titleY": -10, "domain": False},
    "legend": {"labelColor": colours.INK, "titleColor": colours.SOFT, "labelFontSize": 12, "labelLimit": 0},
    "line": {"strokeWidth": 1.8, "strokeJoin": "round", "strokeCap": "round"},
}
"""Looks of all figures, in light colours; those of a dark page come from `nas.reporting.figures.colours.recoloured`."""


def write_figure(path: str | Path, *figures: Figure) -> None:
    """Writes figures, three in a row, as an SVG file for light and dark pages, or as a PNG if the path ends so.

    Figures without values are left out. Equal figures give equal files.

    Raises:
        ValueError: If no figure has any value.
    """
    path = Path(path)
    shown = [figure for figure in figures if not (isinstance(figure, Chart) and figure.empty)]
    if not shown:
        raise ValueError(f"nothing to draw in {path}: there are no values")
    import vl_convert

    spec = {"concat": [specification(figure) for figure in shown], "columns": 3, "config": CONFIG, "spacing": 40}
    spec |= {"resolve": {"scale": {"color": "independent", "strokeDash": "independent"}}}
    if path.suffix == ".png":
        write_bytes(path, vl_convert.vegalite_to_png(spec, scale=2))
        return
    svg = re.sub(r"gradient_\d+", "gradient", vl_convert.vegalite_to_svg(spec))  # numbered through all figures
    sheet = f"<style>@media (prefers-color-scheme:dark){{{colours.recoloured(variable=False)}}}</style>"
    write_text(path, svg.replace(">", f">{sheet}", 1) + "\n")


def write_cells_png(path: Path, svg: str) -> None:
    """Writes the drawing of cells, the text of an SVG file, as a PNG as it looks on a light page."""
    import vl_convert

    light, _, dark = svg.partition("@media")
    write_bytes(path, vl_convert.svg_to_png(f"{light}</style>{dark.partition('</style>')[2]}", scale=2))


@functools.cache
def bundle() -> str:
    """Returns the scripts of Vega, Vega-Lite and Vega-Embed as one, which asks for nothing from elsewhere."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def specification(figure: Figure, *, page: bool = False) -> Spec:
    """Returns a figure as Vega-Lite; for the page without title and legend, which stand in the HTML, but with values.

    Args:
        figure: What to draw, a chart, a heat map or images.
        page: Whether it is for the page, whose script sets `width` and names the `COLUMNS` of a chart's rows.
    """
    spec = _SPECIFICATIONS[type(figure)](figure, page=page)
    return spec if page else {"title": figure.title, "width": WIDTH, **spec}


def _chart(chart: Chart, *, page: bool) -> Spec:
    flat = any(isinstance(y, str) for one in chart.series for y in one.y)  # categories; the dependent axis is x
    across, along = ("x", "y") if flat else ("y", "x")
    names = [one.name or chart.y.title for one in chart.series]
    palette = colours.PALETTE
    scale = {"domain": [*range(len(names))], "range": [palette[one.colour % len(palette)] for one in chart.series]}
    places = {channel: _place(channel, axis, chart) for channel, axis in (("x", chart.x), ("y", chart.y))}
    ends = {across: {**places[across], "field": "low"}, f"{across}2": {"field": "high"}}
    dashed = [one.dashed or one.colour >= len(palette) for one in chart.series]  # also a colour's second line
    dashes = {"condition": {"test": _among(dashed), "value": [4, 4]}, "value": [1, 0]}
    opacity = 0.75 if any(one.mark == "area" for one in chart.series) else 0.16
    encoding = {
        **places,
        "color": {"field": "s", "type": "nominal", "scale": scale, "legend": None if page else _legend(chart.series)},
    }
    if places[along]["type"] == "nominal" and len(names) > 1:
        encoding[f"{along}Offset"] = {"field": "s", "type": "nominal"}
    order = {"strokeDash": dashes, "order": {"field": "i", "type": "quantitative"}}
    several = [
        _layer("area", chart, lambda one: one.mark != "dots" and len(one.low) > 0, ends, fillOpacity=opacity),
        _layer("rule", chart, lambda one: one.mark == "dots" and len(one.low) > 0, ends, strokeWidth=1.6),
        _layer("line", chart, lambda one: one.mark == "line", order, invalid="break-paths-show-path-domains"),
        _layer("circle", chart, lambda one: one.mark == "dots" and one.faint, {}, size=14, opacity=0.45),
        _layer("circle", chart, lambda one: one.mark == "dots" and not one.faint, {}, size=50, opacity=0.95),
        _layer("circle", chart, lambda one: one.mark == "line" and len(one.x) == 1, {}, size=40, opacity=1),
    ]
    layers = [*(_rule(mark) for mark in chart.marks), *(layer for layer in several if layer)]
    rows = [row for number, one in enumerate(chart.series) for row in _rows(number, one)]
    spec: Spec = {
        "data": {"values": rows if page else [dict(zip(COLUMNS, row, strict=False)) for row in rows]},
        "height": 44 * len({y for one in chart.series for y in one.y}) if flat else HEIGHT,
        "transform": [{"window": [{"op": "row_number", "as": "i"}]}],  # the order in which lines are drawn
        "encoding": encoding,
        "layer": layers,
    }
    if page:
        hidden = [number for number, one in enumerate(chart.series) if one.hidden]
        spec["params"] = [{"name": "hidden", "value": hidden}]
        spec["transform"].append({"filter": "indexof(hidden, datum.s) < 0"})
        layers.append(_hover(chart, names, across))
    return spec


def _place(channel: str, axis: Axis, chart: Chart) -> Spec:
    """Returns the encoding of a position."""
    given = [value for one in chart.series for value in getattr(one, channel)]
    if any(isinstance(value, str) for value in given):
        longest = max(len(str(value)) for value in given)
        turned = -30 if channel == "x" and longest * len(set(given)) > 60 else 0
        names = {"labelAngle": turned, "grid": False, "title": axis.title or None}
        return {"field": channel, "type": "nominal", "sort": None, "axis": names}
    ends = zip(("domainMin", "domainMax"), axis.limits, strict=True)
    scale: Spec = {key: end for key, end in ends if end is not None}
    scale |= (
        {"type": "log", "base": axis.log, "padding": 12, "nice": False}
        if axis.log
        else {"zero": False, "nice": channel == "y"}
    )
    looks = {
        "title": axis.title,
        **({"format": ",~g"} if axis.log else {}),
        **({"tickMinStep": 1, "format": "d"} if axis.whole else {}),
        **({"values": [*axis.ticks], "format": ",~g"} if axis.ticks else {}),
    }
    return {"field": channel, "type": "quantitative", "scale": scale, "axis": looks}


def _layer(mark: str, chart: Chart, drawn: Callable[[Series], bool], encoding: Spec, **looks: Any) -> Spec | None:
    """Returns a layer of the series that are drawn in it; None if there are none."""
    chosen = [drawn(one) for one in chart.series]
    filters = [{"filter": _among(chosen)}]
    return {"transform": filters, "mark": {"type": mark, **looks}, "encoding": encoding} if any(chosen) else None


def _among(chosen: Sequence[bool]) -> str:
    return f"indexof({[number for number, one in enumerate(chosen) if one]}, datum.s) >= 0"


def _rule(place: float) -> Spec:
    mark = {"type": "rule", "color": colours.PALETTE[colours.GREY], "strokeDash": [4, 4]}
    return {"data": {"values": [{}]}, "mark": mark, "encoding": {"x": {"datum": place}, "y": None, "color": None}}


def _hover(chart: Chart, names: Sequence[str], across: str) -> Spec:
    """Returns the layer that shows the values of the point below the pointer."""
    value = f"(isValid(datum.v) ? datum.v : datum.{across})"
    interval = f"format({value}, ',.5~r') + (isValid(datum.low) && !isValid(datum.v) && datum.high > datum.low ? "
    interval += "' (' + format(datum.low, ',.5~r') + ' … ' + format(datum.high, ',.5~r') + ')' : '')"
    axes = {"x": chart.x.title, "y": chart.y.title}
    along = "y" if across == "x" else "x"
    fields = [("name", "title"), (along, axes[along]), ("text", axes[across]), ("note", "note")]
    fields = [(key, title) for key, title in fields if title and (key != "note" or any(s.notes for s in chart.series))]
    halo = {"condition": {"param": "pointed", "empty": False, "value": 0.3}, "value": 0}
    return {
        "transform": [
            {"filter": "isValid(datum.x) && isValid(datum.y)"},
            {"calculate": f"{[*names]}[datum.s]", "as": "name"},
            {"calculate": interval, "as": "text"},
        ],
        "params": [{"name": "pointed", "select": {"type": "point", "on": "pointerover", "clear": "pointerout"}}],
        "mark": {"type": "circle", "size": 250},
        "encoding": {"opacity": halo, "tooltip": [{"field": key, "title": title} for key, title in fields]},
    }


def _legend(series: Sequence[Series]) -> Spec | None:
    named = [number for number, one in enumerate(series) if one.name]
    if not named:
        return None
    longest = max(len(series[number].name) for number in named)
    return {
        "title": None,
        "orient": "bottom",
        "columns": max(1, int(WIDTH / (CHARACTER * longest + 34))),
        "values": named,
        "labelExpr": f"{[one.name for one in series]}[datum.value]",
        "symbolType": "circle" if all(series[number].mark == "dots" for number in named) else "square",
    }


def _rows(number: int, one: Series) -> Iterator[list[Any]]:
    """Yields a row for each point of a series, with the columns `COLUMNS` as far as it has them."""
    for index, (x, y) in enumerate(zip(one.x, one.y, strict=True)):
        given = [column[index] if column else None for column in (one.low, one.high, one.values)]
        row = [number, *map(_short, (x, y, *given)), one.notes[index] or None if one.notes else None]
        while row[-1] is None:
            row.pop()
        yield row


def _short(value: Any) -> float | int | str | None:
    """Returns a number with as many digits as anyone reads; None for NaN, which JSON lacks."""
    if value is None or isinstance(value, str) or is_gap(value):
        return value if isinstance(value, str) else None
    return int(value) if value == int(value) else float(f"{value:.5g}")


def _heat_map(chart: HeatMap, **_: bool) -> Spec:
    values = [
        {"x": _short(column), "row": name, "value": _short(value)}
        for name, row in zip(chart.rows, chart.values, strict=True)
        for column, value in zip(chart.columns, row, strict=True)
        if not is_gap(value)
    ]
    nearest = [min(chart.columns, key=lambda column: abs(column - mark)) for mark in chart.marks]
    colour = {"field": "value", "type": "quantitative", "scale": {"scheme": "viridis", "domain": [0, 100]}}
    return {
        "data": {"values": values},
        "height": 15 * len(chart.rows),
        "encoding": {"x": {"field": "x", "type": "ordinal", "axis": {"title": chart.x.title, "labelAngle": 0}}},
        "layer": [
            {
                "mark": "rect",
                "encoding": {
                    "y": {"field": "row", "type": "ordinal", "sort": None, "title": None},
                    "color": {**colour, "legend": {"title": "%", "orient": "top", "titleOrient": "left"}},
                    "tooltip": [
                        {"field": "row", "title": "title"},
                        {"field": "x", "title": chart.x.title},
                        {"field": "value", "title": "%"},
                    ],
                },
            },
            *(_rule(place) for place in nearest),
        ],
    }


def _images(figure: Images, **_: bool) -> Spec:
    """Returns rows of images, each with its text above it, and the names of the rows on the left."""
    values = [
        {"x": column, "y": row, "url": _image_url(image, figure.limit), "text": text, "name": "" if column else name}
        for row, (name, images) in enumerate(figure.rows.items())
        for column, (text, image) in enumerate(images)
    ]
    most = max(map(len, figure.rows.values()))
    side = min(2 * IMAGE, max(IMAGE, WIDTH // most - GAP))  # a few may be larger
    step = side + GAP
    place = {"type": "quantitative", "axis": None}
    looks = {"color": colours.SOFT, "fontSize": 11, "dy": -side / 2 - 7}
    left = {"type": "text", "align": "right", "color": colours.INK, "fontSize": 12, "dx": -side / 2 - 8}
    image = {"type": "image", "width": side, "height": side, "aspect": False}
    return {
        "data": {"values": values},
        "width": step * most,
        "height": (step + 12) * len(figure.rows),
        "encoding": {
            "x": {"field": "x", **place, "scale": {"domain": [-0.5, most - 0.5], "nice": False}},
            "y": {"field": "y", **place, "scale": {"domain": [len(figure.rows) - 0.5, -0.5], "nice": False}},
        },
        "layer": [
            {"mark": image, "encoding": {"url": {"field": "url"}}},
            {"mark": {"type": "square", "size": side**2, "filled": False, "stroke": colours.RULE, "strokeWidth": 1}},
            {"mark": {"type": "text", **looks}, "encoding": {"text": {"field": "text"}}},
            {"mark": left, "encoding": {"text": {"field": "name"}}},
        ],
    }


def _image_url(values: Any, limit: float | None) -> str:
    """Returns an image as a URL that holds its PNG, each value a square of pixels."""
    from PIL import Image

    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError("an image to be drawn is not finite")
    if array.ndim == 2:
        limit = limit or float(np.abs(array).max()) or 1.0
        share = np.clip(array / limit, -1, 1)[..., None]
        ends = np.where(share < 0, [0.70, 0.09, 0.17], [0.03, 0.19, 0.42])  # red and blue
        array = 1 + np.abs(share) * (ends - 1)
    pixels = np.broadcast_to((255 * array.clip(0, 1)).round().astype(np.uint8), (*array.shape[:2], 3))
    scale = max(1, 4 * IMAGE // max(pixels.shape[:2]))
    stream = io.BytesIO()
    Image.fromarray(pixels.repeat(scale, 0).repeat(scale, 1)).save(stream, "PNG")
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


_SPECIFICATIONS: dict[type, Callable[..., Spec]] = {Chart: _chart, HeatMap: _heat_map, Images: _images}
