"""Charts in tests of whole jobs: matplotlib lays out and renders none, which takes longer than the jobs themselves.

What a chart holds is drawn all the same, and its file is written. The unit tests of charts render them.
"""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

BARE = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>\n'
RENDERED = Figure.savefig


def _bare(figure: Figure, file: Any, **settings: Any) -> None:
    if settings.get("format") != "svg":
        RENDERED(figure, file, **settings)
    elif hasattr(file, "write"):
        file.write(BARE)
    else:
        Path(file).write_bytes(BARE)


def render(*, charts: bool) -> None:
    """Has charts rendered from now on in this process, or written bare."""
    Figure.savefig = RENDERED if charts else _bare  # type: ignore[method-assign]
