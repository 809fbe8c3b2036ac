"""The guideline check in words, and its table of layers, for the terminal."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from nas.costs.guidelines import Guidelines
from nas.costs.operation_costs import LayerCost

COLUMNS = (
    ("output", "shape", 13),
    ("", "weights", 7),
    ("multiply-", "adds", 9),
    ("memory", "access", 8),
    ("element-", "wise", 8),
    ("", "kernels", 7),
)
"""Of the table of layers: two lines of title and the width; before them stands the layer."""

UNITS = ("", "k", "M", "G", "T")
MIN_LAYER_WIDTH, MAX_LAYER_WIDTH = 18, 28


def guidelines_text(guidelines: Guidelines, *, width: int = 80) -> str:
    """Returns the check in words and a table of the layers, consecutive equal ones in one row.

    Memory access is in elements, the element-wise column its share of that. A row of several layers has the figures of
    one of them.

    Args:
        guidelines: What `examine` returned.
        width: Characters in a line, at least 76.

    Raises:
        ValueError: If `width` is too small.
    """
    layer_width = min(width - sum(size + 1 for _, _, size in COLUMNS), MAX_LAYER_WIDTH)
    if layer_width < MIN_LAYER_WIDTH:
        raise ValueError(f"width must be at least {width - layer_width + MIN_LAYER_WIDTH}, got {width}")
    lines = []
    for number, words in enumerate(_words(guidelines), start=1):
        lines += textwrap.wrap(f"G{number}  {words}", width, subsequent_indent="    ")
    rows = [("", [column[0] for column in COLUMNS]), ("layer", [column[1] for column in COLUMNS])]
    rows += [(name, _figures(layer)) for name, layer in (*_merged(guidelines.layers), ("total", guidelines.total))]
    lines.append("")
    for name, figures in rows:
        shortened = name if len(name) <= layer_width else name[: layer_width - 3] + "..."
        cells = [f"{figure:>{size}}" for figure, (_, _, size) in zip(figures, COLUMNS, strict=True)]
        lines.append(" ".join([f"{shortened:<{layer_width}}", *cells]).rstrip())
    return "\n".join(lines) + "\n"


def _words(guidelines: Guidelines) -> Iterator[str]:
    """What is said of G1 … G4."""
    widths, groups = guidelines.equal_widths, guidelines.groups
    fragmentation, element_wise = guidelines.fragmentation, guidelines.element_wise
    words = f"equal widths: {_convolutions(widths.num_convolutions)} without groups"
    if widths.worst is not None:
        words += (
            f", {widths.equal_width_share:.0%} with equal channels in and out, {widths.memory_access_ratio:.2f}x the "
            f"least memory access; worst {widths.worst.memory_access_ratio:.2f}x, {widths.worst.in_channels} to "
            f"{widths.worst.out_channels} channels in {widths.worst.layer}"
        )
    yield words
    words = f"few groups: {_convolutions(groups.num_convolutions)} with groups, depthwise ones apart"
    if groups.num_convolutions:
        words += (
            f", at most {groups.largest_groups} groups, {groups.multiply_adds_share:.0%} of the multiply-adds, "
            f"{groups.memory_access_ratio:.2f}x the memory access of as many multiply-adds without groups"
        )
    yield words
    words = (
        f"little fragmentation: {fragmentation.kernels:,} kernels, {fragmentation.sequential_kernels:,} of them in the "
        "longest chain"
    )
    for name, cell in fragmentation.cells.items():
        words += (
            f"; {name} cell: ops {cell.num_ops}, side by side {cell.branches}, in a row {cell.longest_path_ops}, "
            f"loose ends {cell.loose_ends}, outputs {cell.outputs}, additions {cell.additions}"
        )
    yield words
    named = ", ".join(f"{name} {count}" for name, count in element_wise.kernels_by_name.items())
    yield (
        f"few element-wise operations: {element_wise.memory_access_share:.0%} of the memory access "
        f"({element_wise.memory_access_share_with_depthwise:.0%} with depthwise convolutions), "
        f"{element_wise.kernels_share:.0%} of the kernels: {named or 'none'}"
    )


def _convolutions(number: int) -> str:
    return f"{number or 'no'} convolution{'' if number == 1 else 's'}"


def _merged(layers: Sequence[LayerCost]) -> Iterator[tuple[str, LayerCost]]:
    """Pairs of a name and a layer, consecutive layers that differ in number alone being one."""
    for _, run in groupby(layers, key=lambda layer: replace(layer, name=layer.name.rpartition(".")[0] or layer.name)):
        first, *others = run
        last = others[-1].name.rpartition(".")[2] if others else ""
        yield (f"{first.name}-{last} x{len(others) + 1}" if others else first.name), first


def _figures(layer: LayerCost) -> list[str]:
    return [
        "x".join(map(str, layer.output_shape)),
        _short(layer.parameters),
        _short(layer.multiply_adds),
        _short(layer.memory_access_elements),
        f"{layer.elementwise_memory_access_elements / max(1, layer.memory_access_elements):.0%}",
        str(layer.kernels),
    ]


def _short(number: int) -> str:
    """Writes 1234567 as 1.23M, with three digits."""
    if number < 1000:
        return str(number)
    power = min((len(str(number)) - 1) // 3, len(UNITS) - 1)
    value = number / 1000**power
    return f"{value:.{max(0, 3 - len(str(int(value))))}f}{UNITS[power]}"
