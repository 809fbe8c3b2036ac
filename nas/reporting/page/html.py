"""The page: sections as HTML, one file with its style, its scripts and its data, which fetches nothing.

Every text of a run is escaped. The page's policy lets no script run but Vega's and the one of this package, and
nothing load.
"""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from itertools import groupby
from typing import Any

from nas.reporting.figures.colours import recoloured, variables
from nas.reporting.figures.drawing import COLUMNS, CONFIG, bundle, specification
from nas.reporting.figures.figures import Block, Cells, Chart, Code, DataTable, Figure, Paragraph, Section, TableColumn

MAX_NAVIGATION = 16  # links in the line at the top
KINDS = {"table": DataTable, "paragraph": Paragraph, "code": Code, "cells": Cells, "chart": Chart}


def page(sections: Sequence[Section], *, title: str, subtitle: str, problems: Sequence[str]) -> str:
    """Returns the text of the page.

    Args:
        sections: From top to bottom.
        title: Of the report.
        subtitle: Below it.
        problems: Sentences on files that could not be used.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters |= {"beside": _beside, "data_url": _data_url, "digest": _digest}
    environment.filters["drawn"] = lambda figure: Markup(embedded_json(specification(figure, page=True)))
    environment.tests |= {name: (lambda one, kind=kind: isinstance(one, kind)) for name, kind in KINDS.items()}
    constants = {"CONFIG": {**CONFIG, "background": None}, "COLUMNS": COLUMNS}
    ours = "".join(f"const {name} = {embedded_json(value)};\n" for name, value in constants.items())
    scripts = [bundle(), ours + _resource("page.js")]
    named = [section for section in sections if section.title]
    return environment.from_string(_resource("page.html")).render(
        title=title,
        subtitle=subtitle,
        light=variables(dark=False),
        dark=variables(dark=True),
        style=Markup(_resource("page.css") + recoloured(variable=True)),
        scripts=[Markup(script.replace("</script", "<\\/script")) for script in scripts],
        navigation=named if len(named) <= MAX_NAVIGATION else [one for one in named if one.folded is None],
        problems=problems,
        sections=sections,
        sorted_by=_sorted_by,
    )


def embedded_json(data: Any) -> str:
    """Returns data as JSON that can stand within a script element, whatever texts it holds."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _resource(name: str) -> str:
    return resources.files("nas.reporting.page").joinpath(name).read_text(encoding="utf-8")


def _beside(blocks: Sequence[Block]) -> Iterator[tuple[bool, list[Block]]]:
    """Yields figures that follow each other together, and what is between them."""
    for side_by_side, group in groupby(blocks, key=lambda block: isinstance(block, Figure)):
        yield side_by_side, list(group)


def _data_url(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _sorted_by(row: Mapping[str, Any], column: TableColumn) -> str:
    """Returns the value that a table's cell is sorted by; nothing where it is not known."""
    value = row.get(column.key)
    return "" if value is None or value != value else str(value)
