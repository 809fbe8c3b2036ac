"""Show: draw a genotype in the terminal, and as SVG where asked."""

import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from nas.checkpoint import write_text
from nas.console import note, result, shown
from nas.drawing import genotype_svg, genotype_text
from nas.genotypes import load_genotype
from nas.jobs.parts import measure_size
from nas.tracking import Tracker


def run(cfg: DictConfig, out: Path, *, tracker: Tracker | None = None) -> dict[str, Any]:  # noqa: ARG001
    """Draws `cfg.genotype` and counts the model it makes with `cfg.network`.

    Returns:
        `parameters` and `multiply_adds`.

    Raises:
        ValueError: If the genotype file is not valid or a setting is out of range.
        FileNotFoundError: If the genotype file is not there.
    """
    genotype = load_genotype(cfg.genotype)
    if len(cfg.image_shape) != 3:
        raise ValueError(f"image_shape must be [channels, height, width], got {list(cfg.image_shape)}")
    if not isinstance(cfg.num_classes, int):
        raise ValueError(f"num_classes must be a whole number, got {cfg.num_classes!r}")
    channels, height, width = cfg.image_shape
    size: dict[str, Any] = measure_size(
        cfg, genotype, image_shape=(channels, height, width), num_classes=cfg.num_classes
    )
    encoding = sys.stdout.encoding or "ascii"
    result(genotype_text(genotype, unicode=encoding.lower().replace("-", "") in ("utf8", "utf16")))
    result(
        f"{size['parameters']:,} parameters, {size['multiply_adds']:,} multiply-adds with "
        f"filters={cfg.network.filters}, cells_per_stage={cfg.network.cells_per_stage} "
        f"on {channels}x{height}x{width} images"
    )
    if cfg.svg is not None:
        write_text(Path(cfg.svg), genotype_svg(genotype))
        note(f"drawing in {shown(Path(cfg.svg))}")
    return size
