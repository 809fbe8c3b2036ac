"""The figure of a search's diagnostics: where the policy is unsure, which ops are likely, what is new."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from nas.reporting.figures.drawing import write_figure
from nas.reporting.figures.policy import diagnostic_charts


def diagnostics_plot(rows: Sequence[Mapping[str, float]], path: str | Path, *, marks: Sequence[int] = ()) -> None:
    """Draws repeats and regret, the entropy of every decision and the probability of every op and mixer.

    Args:
        rows: Of `nas.searching.diagnostics.watch`, one an epoch.
        path: Where the SVG goes.
        marks: Epochs in which something was found, drawn as dashed lines.

    Raises:
        ValueError: If `rows` is empty.
    """
    write_figure(path, *diagnostic_charts(rows, marks=marks))
