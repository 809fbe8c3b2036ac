"""Show: draw a genotype, count the model it makes, and examine it by the guidelines."""

import json
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import nn

from nas.costs.guidelines import examine
from nas.costs.guidelines_text import guidelines_text
from nas.data.image_data import ImageKind
from nas.jobs.building.config import plain
from nas.jobs.building.parts import counted_network, measure_size, merge_name, read_genotype
from nas.models.derived import model_size
from nas.models.of_runs import network_config
from nas.reporting.cells.drawing import genotype_svg, genotype_text
from nas.reporting.figures.drawing import write_cells_png
from nas.runs.checkpoints import write_json, write_text
from nas.runs.console import note, result, shown
from search_spaces import nasbench201
from search_spaces.genotype import Genotype
from search_spaces.notations import darts_notation
from search_spaces.published import PUBLISHED, PublishedCell

SIZES = ("filters", "cells_per_stage", "groups", "width", "mixer")
"""Settings that make a network as large as it is."""


def run(cfg: DictConfig, out: Path) -> dict[str, Any]:  # noqa: ARG001
    """Draws `cfg.genotype`, and examines the model that it makes with `cfg.network`.

    Returns:
        `parameters`, `multiply_adds` and `guidelines`, what `cfg.json` holds where it is named; of a cell of
        NAS-Bench-201 also its `architecture`, as the benchmark writes it.

    Raises:
        ValueError: If the genotype is not valid or a setting is out of range.
        FileNotFoundError: If the genotype file is not there.
    """
    genotype = read_genotype(cfg)
    if genotype is None and any(value is not None for value in (cfg.svg, cfg.png, cfg.notation)):
        raise ValueError("svg, png and notation are of the cells of a genotype, and this network has none")
    if cfg.notation not in (None, "darts"):
        raise ValueError(f"notation must be darts or null, got {cfg.notation!r}")
    network, figures = counted_network(cfg, genotype, _images(cfg)), dict[str, Any]()
    if genotype is not None:
        _show_cells(genotype, cfg, merge=merge_name(cfg))
        if genotype.space == nasbench201.NAME:
            figures["architecture"] = nasbench201.arch_string(genotype)
            result(figures["architecture"])
    figures |= _examine(cfg, network, genotype)
    if cfg.json is not None:
        write_json(Path(cfg.json), {"genotype": None if genotype is None else genotype.to_dict(), **figures})
        note(f"figures in {shown(Path(cfg.json))}")
    return figures


def _show_cells(genotype: Genotype, cfg: DictConfig, *, merge: str) -> None:
    """Draws the cells in the terminal and into the files that are named."""
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    result(genotype_text(genotype, unicode=encoding in ("utf8", "utf16"), merge=merge))
    if cfg.notation is not None:
        result(darts_notation(genotype))
    drawing = genotype_svg(genotype, merge=merge)
    for file, write in ((cfg.svg, write_text), (cfg.png, write_cells_png)):
        if file is not None:
            write(Path(file), drawing)
            note(f"drawing in {shown(Path(file))}")


def _examine(cfg: DictConfig, network: nn.Module, genotype: Genotype | None) -> dict[str, Any]:
    """Prints what the model costs and how it keeps to the guidelines; returns these figures."""
    shape, num_classes = _images(cfg)
    figures = model_size(network, genotype, image_shape=shape)
    sizes = [f"{name}={cfg.network[name]}" for name in SIZES if name in cfg.network]
    result(
        f"{figures['parameters']:,} parameters, {figures['multiply_adds']:,} multiply-adds with "
        f"{', '.join(sizes)} on {'x'.join(map(str, shape))} images of {num_classes} classes"
    )
    if cell := PUBLISHED.get(str(cfg.genotype)):
        result("\n".join(_published_lines(cell)))
    guidelines = examine(network, genotype, image_shape=shape)
    result("\n" + guidelines_text(guidelines))
    return {**figures, "guidelines": guidelines}


def _images(cfg: DictConfig) -> ImageKind:
    given = plain(cfg, "the config").get("image_shape")
    if not isinstance(given, list) or list(map(type, given)) != [int, int, int]:
        raise ValueError(f"image_shape must be [channels, height, width], got {given!r}")
    if not isinstance(cfg.num_classes, int):
        raise ValueError(f"num_classes must be a whole number, got {cfg.num_classes!r}")
    channels, height, width = cfg.image_shape
    return ImageKind((channels, height, width), cfg.num_classes)


def _published_lines(cell: PublishedCell) -> list[str]:
    """Returns where a cell was published, and a line for each network made of it."""
    lines = [f"{cell.title}: {cell.source}"]
    for model in cell.models:
        size = measure_size(network_config(model.network, model.settings), cell.genotype, ImageKind((3, 32, 32), 10))
        overrides = " ".join(f"network.{name}={_value(value)}" for name, value in model.settings.items())
        published = model.published_parameters or "not known"
        lines.append(
            f"  {size['parameters']:,} parameters (published: {published}) as {model.cells}, "
            f"network={model.network} {overrides}"
        )
    return lines


def _value(value: Any) -> str:
    """Returns a setting as a Hydra override has it."""
    return json.dumps(value, separators=(",", ":")).strip('"')
