"""The page: sections as HTML, one file with its style, its script and its data, which fetches nothing.

Every text of a run is escaped. The page's policy lets no script run but the one of this package, and nothing load.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib import resources
from itertools import groupby
from string import Template
from typing import Any

from nas.reporting.figures.colours import series_role, variables
from nas.reporting.figures.drawing import Drawing, chart_sheet, svg_element
from nas.reporting.figures.figures import (
    Block,
    Chart,
    Code,
    DataTable,
    Figure,
    HeatMap,
    Paragraph,
    Permutations,
    Picture,
    Section,
)
from nas.reporting.figures.matrices import draw_heat_map, draw_permutations
from nas.reporting.figures.plots import plot, pointer_data

MAX_NAVIGATION = 16  # links in the line at the top


def page(sections: Sequence[Section], *, title: str, subtitle: str, problems: Sequence[str]) -> str:
    """Returns the text of the page.

    Args:
        sections: From top to bottom.
        title: Of the report.
        subtitle: Below it.
        problems: Sentences on files that could not be used.
    """
    script = _resource("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    style = _resource("page.css") + chart_sheet()
    return Template(_resource("page.html")).substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        light=variables(dark=False),
        dark=variables(dark=True),
        style=style,
        script=script,
        digest=digest,
        navigation=_navigation(sections),
        problems=_problems(problems),
        sections="\n".join(_section(section) for section in sections),
    )


def drawing_of(figure: Chart | HeatMap | Permutations) -> Drawing:
    """Lays a figure out, without title and legend."""
    if isinstance(figure, Chart):
        return plot(figure)
    return draw_heat_map(figure) if isinstance(figure, HeatMap) else draw_permutations(figure)


def embedded_json(data: Any) -> str:
    """Returns data as JSON that can stand within a script element, whatever texts it holds."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _resource(name: str) -> str:
    return resources.files("nas.reporting.page").joinpath(name).read_text(encoding="utf-8")


def _navigation(sections: Sequence[Section]) -> str:
    shown = sections if len(sections) <= MAX_NAVIGATION else [one for one in sections if one.folded is None]
    return "".join(f'<a href="#section-{escape(one.key)}">{escape(one.title)}</a>' for one in shown)


def _problems(problems: Sequence[str]) -> str:
    if not problems:
        return ""
    items = "".join(f"<li>{escape(problem)}</li>" for problem in problems)
    return f'<aside class="problems"><h2>Files that could not be used</h2><ul>{items}</ul></aside>'


def _section(section: Section) -> str:
    body = "".join(_blocks(section.blocks))
    heading = f"<h2>{escape(section.title)}</h2>"
    if section.folded is None:
        return f'<section id="section-{escape(section.key)}">{heading}{body}</section>'
    opened = "" if section.folded else " open"
    return (
        f'<section id="section-{escape(section.key)}"><details class="run"{opened}><summary>{heading}</summary>'
        f"{body}</details></section>"
    )


def _blocks(blocks: Sequence[Block]) -> Iterator[str]:
    for side_by_side, group in groupby(blocks, key=lambda block: isinstance(block, Figure)):
        body = "".join(_block(block) for block in group)
        yield f'<div class="figures">{body}</div>' if side_by_side else body


def _block(block: Block) -> str:
    if isinstance(block, DataTable):
        return _table(block)
    if isinstance(block, Paragraph):
        return f'<p class="{"loud" if block.loud else "said"}">{escape(block.text)}</p>'
    if isinstance(block, Code):
        body = f"<pre><code>{escape(block.text)}</code></pre>"
        title = escape(block.title)
        if block.folded:
            return f'<details class="code"><summary>{title}</summary>{body}</details>'
        return f'<div class="code"><h3>{title}</h3>{body}</div>'
    return _figure(block)


def _figure(figure: Figure) -> str:
    title, legend, data = escape(figure.title), "", ""
    wide = ""
    if isinstance(figure, Picture):
        source = base64.b64encode(figure.svg.encode()).decode()
        body = f'<img src="data:image/svg+xml;base64,{source}" alt="{title}">'
        wide = " wide"
    else:
        series = figure.series if isinstance(figure, Chart) else ()
        hidden = [number for number, one in enumerate(series) if one.hidden]
        body = svg_element(drawing_of(figure), label=figure.title, hidden=hidden)
    if isinstance(figure, Chart):
        legend = _legend(figure)
        data = f'<script type="application/json">{embedded_json(pointer_data(figure))}</script>'
    return (
        f'<figure id="{escape(figure.key)}" class="figure{wide}"><h3>{title}</h3>{legend}'
        f'<div class="drawing">{body}</div><figcaption>{escape(figure.caption)}</figcaption>{data}</figure>'
    )


def _legend(chart: Chart) -> str:
    keys = [
        f'<button type="button" class="key {series_role(one.colour)} {one.mark}" data-series="{number}" '
        f'aria-pressed="{"false" if one.hidden else "true"}"><i></i>{escape(one.name)}</button>'
        for number, one in enumerate(chart.series)
        if one.name
    ]
    return f'<div class="legend">{"".join(keys)}</div>' if keys else ""


def _table(table: DataTable) -> str:
    titles = "".join(
        f'<th scope="col" class="{"number" if column.numeric else "text"}">'
        f'<button type="button">{escape(column.title)}</button></th>'
        for column in table.columns
    )
    rows = "".join(f"<tr>{''.join(_cells(table, row))}</tr>" for row in table.rows)
    return (
        f'<div class="table" id="{escape(table.key)}"><h3>{escape(table.title)}</h3>'
        f'<div class="scroll" tabindex="0"><table><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table></div>'
        f'<p class="caption">{escape(table.caption)}</p></div>'
    )


def _cells(table: DataTable, row: Mapping[str, Any]) -> Iterator[str]:
    for column in table.columns:
        value = row.get(column.key)
        kind = "number" if column.numeric else "text"
        text = "–" if value is None or value != value else escape(column.show(row))
        sorted_by = "" if value is None or value != value else escape(str(value))
        yield f'<td class="{kind}" data-value="{sorted_by}">{text}</td>'
