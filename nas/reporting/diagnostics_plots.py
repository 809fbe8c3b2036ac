"""The figure of a search's diagnostics: where the policy is unsure, which ops are likely, what is new."""

from collections.abc import Mapping, Sequence
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING

from nas.reporting.plots import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PALETTE,
    known_points,
    mark_whole_epochs,
    panels_in_file,
    point_marker,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, float]]


def diagnostics_plot(rows: Rows, path: str | Path, *, marks: Sequence[int] = ()) -> None:
    """Draws the entropy of every decision, the probability of every op and mixer, and repeats and regret.

    Args:
        rows: Of `nas.searching.diagnostics.recording`, one an epoch.
        path: Where the SVG goes.
        marks: Epochs in which something was found, drawn as dashed lines.

    Raises:
        ValueError: If `rows` is empty.
    """
    with panels_in_file(rows, path, width=13.0, panels=3) as (entropy, likely, shares):
        _entropy_map(entropy, rows)
        for number, key in enumerate(key for key in rows[0] if key.startswith("probability.")):
            dashes = "-" if number < len(PALETTE) else "--"  # a colour's second use
            epochs, values = known_points(rows, key, scale=100.0)
            name, color = key.split(".", 2)[2], PALETTE[number % len(PALETTE)]
            likely.plot(epochs, values, dashes, color=color, label=name, marker=point_marker(epochs))
        likely.set(title="probability of each choice (%)", ylim=(0, 100))
        for key, name, color in (
            ("repeats", "seen before", BLUE),
            ("weight_free", "ops without weights", ORANGE),
            ("entropy_share", "entropy", GREEN),
        ):
            epochs, values = known_points(rows, key, scale=100.0)
            shares.plot(epochs, values, color=color, label=name, marker=point_marker(epochs))
        shares.set(title="shares (%)", ylim=(0, 100))
        for axes in (likely, shares):
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        for axes in (entropy, likely, shares):
            axes.set(xlabel="epoch")
            mark_whole_epochs(axes)
            for epoch in marks:
                axes.axvline(epoch, color=GREY, linestyle="--", linewidth=0.9)


def _entropy_map(axes: "Axes", rows: Rows) -> None:
    """Draws a row of colours for each decision, from yellow, where all choices are equally likely, to dark blue."""
    axes.set(title="entropy of each decision (%)")
    axes.grid(visible=False)
    names = [key for key in rows[0] if key.startswith("entropy_share.")]
    if not names:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color=GREY)
        axes.set(yticks=[])
        return
    shares = [[100 * row.get(name, nan) for row in rows] for name in names]
    first, last = rows[0]["epoch"], rows[-1]["epoch"]
    edges = (first - 0.5, last + 0.5, len(names) - 0.5, -0.5)
    image = axes.imshow(shares, aspect="auto", interpolation="nearest", vmin=0, vmax=100, cmap="viridis", extent=edges)
    step = 1 + len(names) // 25
    shown = range(0, len(names), step)
    axes.set_yticks(shown, labels=[names[i].split(".", 1)[1] for i in shown], fontsize=6)
    assert axes.figure is not None
    axes.figure.colorbar(image, ax=axes)
