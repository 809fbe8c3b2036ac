"""Show: draw a genotype in the terminal, count the model it makes, and hold it against the guidelines."""

import json
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from nas.checkpoint import write_json, write_text
from nas.console import note, result, shown
from nas.derived import count_multiply_adds, count_parameters
from nas.drawing import genotype_svg, genotype_text
from nas.guidelines import examine
from nas.guidelines_text import guidelines_text
from nas.jobs.parts import counted_network, measure_size, merge_name, network_config, read_genotype
from nas.tracking import Tracker
from search_spaces.genotype import Genotype
from search_spaces.notations import darts_notation
from search_spaces.published import PUBLISHED, PublishedCell


def run(cfg: DictConfig, out: Path, *, tracker: Tracker | None = None) -> dict[str, Any]:  # noqa: ARG001
    """Draws `cfg.genotype`, and examines the model that it makes with `cfg.network`.

    Returns:
        `parameters`, `multiply_adds` and `guidelines`, what `cfg.json` holds where it is named.

    Raises:
        ValueError: If the genotype is not valid or a setting is out of range.
        FileNotFoundError: If the genotype file is not there.
    """
    genotype = read_genotype(cfg)
    if genotype is None and (cfg.svg is not None or cfg.notation is not None):
        raise ValueError("svg and notation are of the cells of a genotype, and this network has none")
    if cfg.notation not in (None, "darts"):
        raise ValueError(f"notation must be darts or null, got {cfg.notation!r}")
    channels, height, width = _image_shape(cfg)
    network = counted_network(cfg, genotype, image_shape=(channels, height, width), num_classes=cfg.num_classes)
    if genotype is not None:
        encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
        result(genotype_text(genotype, unicode=encoding in ("utf8", "utf16"), merge=merge_name(cfg)))
    figures: dict[str, Any] = {
        "parameters": count_parameters(network),
        "multiply_adds": count_multiply_adds(network, genotype, image_shape=(channels, height, width)),
    }
    result(
        f"{figures['parameters']:,} parameters, {figures['multiply_adds']:,} multiply-adds with "
        f"{_size_settings(cfg)} on {channels}x{height}x{width} images"
    )
    if cell := PUBLISHED.get(str(cfg.genotype)):
        result("\n".join(_published_lines(cell)))
    if cfg.notation is not None and genotype is not None:
        result(darts_notation(genotype))
    guidelines = examine(network, genotype, image_shape=(channels, height, width))
    result("\n" + guidelines_text(guidelines))
    figures["guidelines"] = guidelines.to_dict()
    if cfg.svg is not None:
        assert genotype is not None
        write_text(Path(cfg.svg), genotype_svg(genotype, merge=merge_name(cfg)))
        note(f"drawing in {shown(Path(cfg.svg))}")
    if cfg.json is not None:
        write_json(Path(cfg.json), {"genotype": _record(genotype), **figures})
        note(f"figures in {shown(Path(cfg.json))}")
    return figures


def _image_shape(cfg: DictConfig) -> tuple[int, int, int]:
    if len(cfg.image_shape) != 3:
        raise ValueError(f"image_shape must be [channels, height, width], got {list(cfg.image_shape)}")
    if not isinstance(cfg.num_classes, int):
        raise ValueError(f"num_classes must be a whole number, got {cfg.num_classes!r}")
    channels, height, width = cfg.image_shape
    return channels, height, width


def _size_settings(cfg: DictConfig) -> str:
    """Returns the settings that make the network as large as it is."""
    names = ("filters", "cells_per_stage", "groups", "width", "mixer")
    return ", ".join(f"{name}={cfg.network[name]}" for name in names if name in cfg.network)


def _published_lines(cell: PublishedCell) -> list[str]:
    """Returns where a cell was published, and a line for each network made of it."""
    lines = [f"{cell.title}: {cell.source}"]
    for model in cell.models:
        size = measure_size(
            network_config(model.network, model.settings), cell.genotype, image_shape=(3, 32, 32), num_classes=10
        )
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


def _record(genotype: Genotype | None) -> dict[str, Any] | None:
    return None if genotype is None else genotype.to_dict()
