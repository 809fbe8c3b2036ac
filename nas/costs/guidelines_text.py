"""The guideline check in words, and its table of layers, for a terminal of 80 columns."""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

COLUMNS = (
    ("", "layer", -22),
    ("output", "shape", 13),
    ("", "weights", 7),
    ("multiply-", "adds", 9),
    ("memory", "access", 8),
    ("element-", "wise", 8),
    ("", "kernels", 7),
)
"""Columns of the table of layers: two lines of title and the width, negative where text stands to the left."""
WIDTH = 80
UNITS = ("", "k", "M", "G", "T")

Figures = Mapping[str, Any]


def guidelines_text(guidelines: Figures) -> str:
    """Returns the check in words and a table of the layers, consecutive equal ones in one row.

    Memory access is in elements, the element-wise column its share of that. A row of several layers has the figures of
    one of them.

    Args:
        guidelines: What `nas.costs.guidelines.examine` returned.
    """
    lines = []
    for number, words in enumerate(_words(guidelines), start=1):
        lines += textwrap.wrap(f"G{number}  {words}", WIDTH, subsequent_indent="    ")
    layers = [*_merged(guidelines["layers"]), ("total", guidelines["total"])]
    rows = [[upper for upper, _, _ in COLUMNS], [lower for _, lower, _ in COLUMNS], *(_row(*one) for one in layers)]
    forms = [f"{'<' if size < 0 else '>'}{abs(size)}" for _, _, size in COLUMNS]
    return "\n".join([*lines, "", *(" ".join(map(format, row, forms)).rstrip() for row in rows), ""])


def _words(guidelines: Figures) -> Iterator[str]:
    """Yields a sentence on each of G1 … G4."""
    widths, groups = guidelines["equal_widths"], guidelines["groups"]
    fragmentation, element_wise = guidelines["fragmentation"], guidelines["element_wise"]
    words = f"equal widths: {_convolutions(widths['num_convolutions'])} without groups"
    if worst := widths["worst"]:
        words += (
            f", {widths['equal_width_share']:.0%} with equal channels in and out, "
            f"{widths['memory_access_ratio']:.2f}x the least memory access; worst {worst['memory_access_ratio']:.2f}x, "
            f"{worst['in_channels']} to {worst['out_channels']} channels in {worst['layer']}"
        )
    yield words
    words = f"few groups: {_convolutions(groups['num_convolutions'])} with groups, depthwise ones apart"
    if groups["num_convolutions"]:
        words += (
            f", at most {groups['largest_groups']} groups, {groups['multiply_adds_share']:.0%} of the multiply-adds, "
            f"{groups['memory_access_ratio']:.2f}x the memory access of as many multiply-adds without groups"
        )
    yield words
    cells = [
        f"; {name} cell: ops {cell['num_ops']}, side by side {cell['branches']}, in a row {cell['longest_path_ops']}, "
        f"loose ends {cell['loose_ends']}, outputs {cell['outputs']}, additions {cell['additions']}"
        for name, cell in fragmentation["cells"].items()
    ]
    yield (
        f"little fragmentation: {fragmentation['kernels']:,} kernels, {fragmentation['sequential_kernels']:,} of them "
        f"in the longest chain{''.join(cells)}"
    )
    named = ", ".join(f"{name} {count}" for name, count in element_wise["kernels_by_name"].items())
    yield (
        f"few element-wise operations: {element_wise['memory_access_share']:.0%} of the memory access "
        f"({element_wise['memory_access_share_with_depthwise']:.0%} with depthwise convolutions), "
        f"{element_wise['kernels_share']:.0%} of the kernels: {named or 'none'}"
    )


def _convolutions(number: int) -> str:
    return f"{number or 'no'} convolution{'' if number == 1 else 's'}"


def _merged(layers: Sequence[Figures]) -> Iterator[tuple[str, Figures]]:
    """Yields pairs of a name and a layer, consecutive layers that differ in number alone being one."""
    for _, run in groupby(layers, key=lambda layer: {**layer, "name": re.sub(r"\.\w+$", "", layer["name"])}):
        first, *others = run
        numbers = f"-{others[-1]['name'].rpartition('.')[2]} x{len(others) + 1}" if others else ""
        yield first["name"] + numbers, first


def _row(name: str, layer: Figures) -> list[str]:
    return [
        name if len(name) <= -COLUMNS[0][2] else name[: -COLUMNS[0][2] - 3] + "...",
        "x".join(map(str, layer["output_shape"])),
        _short(layer["parameters"]),
        _short(layer["multiply_adds"]),
        _short(layer["memory_access_elements"]),
        f"{layer['elementwise_memory_access_elements'] / max(1, layer['memory_access_elements']):.0%}",
        str(layer["kernels"]),
    ]


def _short(number: int) -> str:
    """Writes 1234567 as 1.23M, with three digits."""
    if number < 1000:
        return str(number)
    power = min((len(str(number)) - 1) // 3, len(UNITS) - 1)
    value = number / 1000**power
    return f"{value:.{max(0, 3 - len(str(int(value))))}f}{UNITS[power]}"
