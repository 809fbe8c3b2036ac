"""Metrics for TensorBoard, in the folder `tensorboard` of the run folder.

`tensorboard --logdir results/runs` shows those of all runs.
"""

import json
import math
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from nas.reporting.figures.drawing import write_cells_png
from nas.reporting.trackers import Tracker, final_figures
from nas.runs.configs import flatten


class TensorBoardTracker(Tracker):
    """Writes metrics as TensorBoard events, each section a folder of its own, so that equal metrics share a chart.

    Every step is on the disk when `log` returns. A resumed run writes another file into the same folders, which begins
    by withdrawing the steps that are about to be done again: TensorBoard shows each step once, as it was done last.

    Raises:
        ValueError: If the package tensorboard is not installed.
    """

    def __init__(self) -> None:
        if find_spec("tensorboard") is None:
            raise ValueError("logger=tensorboard needs the package: pip install 'shufflenas[tensorboard]'")
        self._out, self._config = Path(), dict[str, Any]()
        self._writers: dict[str, Any] = {}

    def start(self, config: Mapping[str, Any], *, out: Path) -> None:
        """Begins or resumes the run of a folder; the config is written at once, as text."""
        self._out, self._config = out, dict(config)
        self._text("config", yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))

    def log(self, values: Mapping[str, Any], *, step: int, section: str) -> None:
        """Writes the finite numbers among the values as `section/name`; steps of a section ascend."""
        writer = self._writer(section, step)
        for key, value in values.items():
            if isinstance(value, int | float) and math.isfinite(value):
                writer.add_scalar(f"{section.partition('/')[0]}/{key}", value, step)
        writer.flush()

    def finish(self, summary: Mapping[str, Any], *, completed: bool) -> None:
        """Writes, if completed, the summary, the settings with the figures, and the drawing of the cells."""
        if completed:
            self._hyperparameters(final_figures(self._out))
            self._text("summary", json.dumps(summary, indent=2, ensure_ascii=False, default=str))
            drawing = self._out / "cells.svg"
            if drawing.exists():
                picture = drawing.with_suffix(".png")
                write_cells_png(picture, drawing.read_text(encoding="utf-8"))
                with Image.open(picture) as image:
                    pixels = np.asarray(image.convert("RGB"))
                self._writer("cells", 0).add_image("cells/found", pixels, 0, dataformats="HWC")
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _hyperparameters(self, figures: Mapping[str, float]) -> None:
        """Writes the scalar settings of the run, and what they came to, for the tab HParams.

        The summary `experiment` of torch's `add_hparams` is left out: of several runs TensorBoard would show the
        settings of the first alone, and without it shows those of all.
        """
        from torch.utils.tensorboard import summary

        hparams: Any = summary.hparams  # has no annotations
        settings = {key: value for key, value in flatten(self._config).items() if isinstance(value, int | float | str)}
        writer = self._writer("hparams", 0)
        for record in hparams(settings, {})[1:]:
            writer.file_writer.add_summary(record)
        for key, value in figures.items():
            writer.add_scalar(f"final/{key}", value, 0)

    def _text(self, name: str, text: str) -> None:
        """Writes a text as it is, in a frame."""
        writer = self._writer(name, 0)
        writer.add_text(name, "".join(f"    {line}\n" for line in text.splitlines()), 0)
        writer.flush()

    def _writer(self, section: str, step: int) -> Any:
        """Returns the writer of a section; its first step withdraws what earlier starts of the run wrote from there."""
        if section not in self._writers:
            from torch.utils.tensorboard import SummaryWriter

            parts = [re.sub(r"[^\w@+=-]+", "_", part) for part in section.split("/")]  # labels can be anything
            folder = self._out.joinpath("tensorboard", *parts)
            self._writers[section] = SummaryWriter(str(folder), purge_step=step)
        return self._writers[section]
