"""Figures in tests of whole jobs: nothing is laid out and drawn, which takes longer than the jobs themselves.

What a figure holds is made all the same, and its file is written. The unit tests of figures draw them.
"""

from typing import Any

import vl_convert

from nas.reporting.figures.drawing import bundle

NAMES = ("vegalite_to_svg", "javascript_bundle")
DRAWN = {name: getattr(vl_convert, name) for name in NAMES}


def _bare_svg(spec: Any) -> str:
    return '<svg xmlns="http://www.w3.org/2000/svg" class="marks" />\n'


def _bare_scripts(snippet: str) -> str:
    return "/* Vega */"


BARE = dict(zip(NAMES, (_bare_svg, _bare_scripts), strict=True))


def render(*, charts: bool) -> None:
    """Has figures drawn from now on in this process, or written bare."""
    for name, function in (DRAWN if charts else BARE).items():
        if getattr(vl_convert, name) is not function:
            setattr(vl_convert, name, function)
            bundle.cache_clear()
