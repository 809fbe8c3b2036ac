"""Cells that papers published or searches of this project found, by name, and the figures that papers give.

A name stands wherever a genotype file does: `genotype=darts_v2`. The cells are written as in `_cell`: op@node, the two
ops of a block joined by a plus.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search_spaces.genotype import Block, CellGenotype, Genotype

OPS = {
    "s3": "sep_conv_3x3",
    "s5": "sep_conv_5x5",
    "s7": "sep_conv_7x7",
    "d3": "dil_conv_3x3",
    "d5": "dil_conv_5x5",
    "c1": "conv_1x1",
    "c7": "conv_7x1_1x7",
    "m3": "max_pool_3x3",
    "n3": "min_pool_3x3",
    "a3": "avg_pool_3x3",
    "id": "identity",
    "as": "auto_shuffle",
    "kl": "kaleidoscope",
}


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A network made of a published cell, and what is written of it.

    Attributes:
        cells: Normal and reduction cells as papers write it, "15+2".
        network: The config group of its network.
        settings: Settings of that network; `filters` among them.
        parameters: As this code counts them, without an auxiliary head.
        published_parameters: As the paper prints them.
        error: Test error on CIFAR-10 in percent.
        cutout_error: The same, trained with Cutout.
    """

    cells: str
    network: str
    settings: Mapping[str, Any]
    parameters: int
    published_parameters: str
    error: float | None = None
    cutout_error: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedCell:
    """A cell with a name.

    Attributes:
        title: As papers call it.
        genotype: The cell.
        source: Paper, and where the wiring is from.
        models: Networks made of it.
    """

    title: str
    genotype: Genotype
    source: str
    models: tuple[PublishedModel, ...] = field(default=())


def _blocks(text: str) -> tuple[Block, ...]:
    """Reads blocks such as `s5@1+s3@0, a3@1+id@0`."""
    edges = [[edge.split("@") for edge in block.split("+")] for block in text.split(", ")]
    return tuple(
        Block(inputs=tuple(int(node) for _, node in block), ops=tuple(OPS[op] for op, _ in block)) for block in edges
    )


def _cell(text: str, outputs: tuple[int, ...]) -> CellGenotype:
    """A pair-block cell; nodes 0 and 1 are the layer before the last and the last."""
    return CellGenotype(blocks=_blocks(text), mixer="identity", num_inputs=2, outputs=outputs)


def _pair_block(normal: CellGenotype, reduction: CellGenotype) -> Genotype:
    return Genotype(space="nasnet", normal=normal, reduction=reduction)


def _shufflenas(normal: str, reduction: str, *, mixer: str = "channel_shuffle") -> Genotype:
    return Genotype(
        space="shufflenas",
        normal=CellGenotype(blocks=_blocks(normal), mixer=mixer),
        reduction=CellGenotype(blocks=_blocks(reduction), mixer=mixer),
    )


def _net(filters: int, cells_per_stage: int | tuple[int, ...], **further: Any) -> dict[str, Any]:
    return {"filters": filters, "cells_per_stage": cells_per_stage, **further}


_PNAS_CELL = _cell("s5@0+m3@0, s7@1+m3@1, s5@1+s3@1, s3@4+m3@1, s3@0+id@1", (2, 3, 4, 5, 6))
_RECONSTRUCTED = (
    "Laube & Zell 2018, arXiv:1812.02975, Figure 1 and Table I; the ops follow from the parameter counts, "
    "the wiring and the weight-free ops are ours"
)


FROM_PAPERS: dict[str, PublishedCell] = {
    "shufflenasnet_a": PublishedCell(
        title="ShuffleNASNet-A",
        genotype=_shufflenas("s3@0, s5@0, c1@0, id@0, m3@0", "s5@0, c1@0, c1@0, id@0, id@0"),
        source=_RECONSTRUCTED,
        models=(
            PublishedModel("12+2", "shufflenasnet", _net(36, 4, merge_batch_norm=False), 236_196, "0.24M", 4.93, 4.31),
            PublishedModel("15+2", "shufflenasnet", _net(48, 5, merge_batch_norm=False), 470_880, "0.47M", 4.40, 3.85),
            PublishedModel("15+2", "shufflenasnet", _net(64, 5, merge_batch_norm=False), 801_152, "0.80M", 4.10, 3.49),
        ),
    ),
    "shufflenasnet_b": PublishedCell(
        title="ShuffleNASNet-B",
        genotype=_shufflenas("s3@0, s5@0, c1@0, id@0, m3@0", "s5@0, s5@0, c1@0, id@0, id@0"),
        source=_RECONSTRUCTED,
        models=(
            PublishedModel("15+2", "shufflenasnet", _net(96, 5, merge_batch_norm=True), 1_786_656, "1.79M", 3.69, 3.05),
            PublishedModel(
                "15+2", "shufflenasnet", _net(128, 5, merge_batch_norm=True), 3_095_936, "3.10M", 3.57, 2.85
            ),
        ),
    ),
    "enas": PublishedCell(
        title="ENAS",
        genotype=_pair_block(
            _cell("a3@0+s3@0, id@0+s5@0, id@0+s5@1, s3@1+s5@0, a3@0+s5@1", (2, 3, 4, 5, 6)),
            _cell("s3@1+s3@1, m3@0+a3@0, s5@1+s5@3, s3@1+id@0, m3@0+s5@1", (2, 4, 5, 6)),
        ),
        source="Pham et al. 2018, arXiv:1802.03268; the arc of the authors' final script",
        models=(PublishedModel("15+2", "enas", _net(36, 5, merge="concat"), 3_894_372, "4.6M", 3.54, 2.89),),
    ),
    "nasnet_a": PublishedCell(
        title="NASNet-A",
        genotype=_pair_block(
            _cell("s5@1+s3@0, s5@0+s3@0, a3@1+id@0, a3@0+a3@0, s3@1+id@1", (2, 3, 4, 5, 6)),
            _cell("s5@1+s7@0, m3@1+s7@0, a3@1+s5@0, id@3+a3@2, s3@2+m3@1", (4, 5, 6)),
        ),
        source="Zoph et al. 2018, arXiv:1707.07012, Figure 4",
        models=(PublishedModel("18+2", "darts", _net(33, 6, merge="concat"), 3_245_989, "3.3M", 3.41, 2.65),),
    ),
    "amoebanet_a": PublishedCell(
        title="AmoebaNet-A",
        genotype=_pair_block(
            _cell("a3@0+m3@1, s3@0+s5@2, s3@0+a3@3, s3@1+id@1, id@0+a3@1", (4, 5, 6)),
            _cell("a3@0+s3@1, m3@0+s7@2, s7@0+a3@1, m3@0+m3@1, c7@0+s3@5", (3, 4, 6)),
        ),
        source="Real et al. 2018, arXiv:1802.01548, Figure 5",
        models=(PublishedModel("18+2", "darts", _net(36, 6, merge="concat"), 3_145_078, ""),),
    ),
    "pnas_5": PublishedCell(
        title="PNAS-5",
        genotype=_pair_block(_PNAS_CELL, _PNAS_CELL),
        source="Liu et al. 2018, arXiv:1712.00559, Figure 1",
        models=(PublishedModel("7+2", "darts", _net(48, (3, 2, 2), merge="concat"), 3_176_602, "3.2M", 3.41),),
    ),
    "darts_v1": PublishedCell(
        title="DARTS (first order)",
        genotype=_pair_block(
            _cell("s3@1+s3@0, id@0+s3@1, id@0+s3@1, s3@0+id@2", (2, 3, 4, 5)),
            _cell("m3@0+m3@1, id@2+m3@0, m3@0+id@2, id@2+a3@0", (2, 3, 4, 5)),
        ),
        source="Liu et al. 2018, arXiv:1806.09055; the authors' code",
        models=(PublishedModel("18+2", "darts", _net(36, 6, merge="concat"), 3_169_414, "2.9M", None, 2.94),),
    ),
    "darts_v2": PublishedCell(
        title="DARTS (second order)",
        genotype=_pair_block(
            _cell("s3@0+s3@1, s3@0+s3@1, s3@1+id@0, id@0+d3@2", (2, 3, 4, 5)),
            _cell("m3@0+m3@1, id@2+m3@1, m3@0+id@2, id@2+m3@1", (2, 3, 4, 5)),
        ),
        source="Liu et al. 2018, arXiv:1806.09055; the authors' code",
        models=(PublishedModel("18+2", "darts", _net(36, 6, merge="concat"), 3_349_342, "3.4M", None, 2.83),),
    ),
}

SEARCHES = {
    "cifar10_small": ("cifar10", "experiment=cifar10_small search.finalists=0", "channel_shuffle"),
    "cifar10_finals": ("cifar10", "experiment=cifar10_small", "channel_shuffle"),
    "cifar10_learned": ("cifar10", "experiment=cifar10_learned search.finalists=0", "dynamic_shuffle"),
    "fashion_small": (
        "fashion_mnist",
        "experiment=cifar10_small data=fashion_mnist search.finalists=0",
        "channel_shuffle",
    ),
}
"""Searches of the reduced protocol: the data set, what was typed, and the mixer that was found."""


def _found(name: str, seed: int, normal: str, reduction: str, parameters: int) -> PublishedCell:
    """A cell that a search of the reduced protocol found, and its network of that protocol, counted with 3 channels."""
    data, options, mixer = SEARCHES[name]
    return PublishedCell(
        title=f"{data}, reduced protocol",
        genotype=_shufflenas(normal, reduction, mixer=mixer),
        source=f"found by `nas search {options} seed={seed}`; results/published/cifar10.md",
        models=(PublishedModel("3+2", "shufflenasnet", _net(8, 1, merge_batch_norm=True), parameters, ""),),
    )


FOUND: dict[str, PublishedCell] = {
    f"{row[0]}_{row[1]}": _found(*row)
    for row in (
        ("cifar10_small", 0, "s5@0, c1@0, s5@0, s3@0, c1@0", "s5@0, id@0, s5@0, id@0, s3@0", 13_912),
        ("cifar10_small", 10, "s3@0, id@0, c1@0, m3@0, s5@0", "c1@0, m3@0, id@0, id@0, c1@0", 7_032),
        ("cifar10_small", 20, "s5@0, s3@1, s5@2, id@2, s5@2", "id@0, m3@1, s5@2, id@2, s5@2", 13_776),
        ("cifar10_finals", 0, "s5@0, s5@0, id@0, m3@0, s5@0", "s5@0, m3@0, s5@2, c1@0, s5@2", 14_424),
        ("cifar10_finals", 10, "c1@0, s5@0, id@0, m3@0, s3@0", "m3@0, id@0, c1@0, id@1, m3@0", 6_296),
        ("cifar10_finals", 20, "id@0, s5@1, s3@1, m3@1, id@1", "m3@0, id@0, s5@1, id@2, s5@2", 9_408),
        ("cifar10_finals", 30, "id@0, n3@1, m3@1, s3@1, s5@0", "s5@0, s3@1, s5@1, s5@0, s3@4", 13_312),
        ("cifar10_finals", 40, "s5@0, m3@0, s5@0, m3@2, m3@4", "s3@0, id@0, s5@0, m3@0, s5@1", 11_472),
        ("cifar10_learned", 0, "kl@0, s3@0, kl@0, s5@0, as@0", "s5@0, id@0, kl@0, as@2, s5@0", 11_332),
        ("fashion_small", 0, "id@0, id@0, s5@0, m3@0, id@0", "m3@0, s5@1, m3@1, m3@3, id@4", 5_816),
        ("fashion_small", 10, "s3@0, id@0, s5@0, m3@2, id@1", "s5@0, s5@0, id@0, m3@2, id@3", 9_408),
        ("fashion_small", 20, "s5@0, s5@1, id@1, s5@1, s5@0", "s5@0, id@0, s5@0, id@3, id@4", 14_672),
    )
}
"""Found on a small budget; the file of results says how they compare with random cells of their size."""

PUBLISHED: dict[str, PublishedCell] = {**FROM_PAPERS, **FOUND}


def published_names() -> str:
    """Returns the names of the published cells for messages; those that differ in a number are put together."""
    numbers: dict[str, list[str]] = {}
    for name in PUBLISHED:
        stem, _, number = name.rpartition("_")
        key, end = (f"{stem}_", number) if number.isdecimal() else (name, "")
        numbers.setdefault(key, []).append(end)
    return ", ".join(key + "/".join(ends) for key, ends in numbers.items())
