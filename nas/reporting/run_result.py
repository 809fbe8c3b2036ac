"""What a finished run came to, for Python and notebooks, where it shows its cell and its figures."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nas.models.genotype_files import load_genotype
from nas.reporting.cells.drawing import genotype_text
from nas.runs.listing import RunSummary, read_json, read_run
from search_spaces.genotype import Genotype


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of a run, which a notebook shows.

    Attributes:
        file: The SVG.
    """

    file: Path

    def _repr_svg_(self) -> str:
        return self.file.read_text(encoding="utf-8")


@dataclass(frozen=True)
class RunResult:
    """A run folder and what its jobs left there.

    Attributes:
        folder: The run folder.
    """

    folder: Path

    @property
    def summary(self) -> RunSummary:
        """State, progress and best figures, as `nas runs` lists them."""
        return read_run(self.folder)

    @cached_property
    def genotype(self) -> Genotype:
        """The found or trained cell; raises FileNotFoundError where there is none."""
        return load_genotype(self.folder)

    @property
    def text(self) -> str:
        """The cell drawn with characters."""
        return genotype_text(self.genotype)

    @property
    def candidates(self) -> list[dict[str, Any]]:
        """The best cells of a search, best first: `genotype`, scores and costs of each."""
        return read_json(self.folder / "candidates.json") or []

    @property
    def metrics(self) -> Mapping[str, Any]:
        """What a retraining came to, see `metrics.json`: accuracies in [0, 1]; empty if there was none."""
        return self.record("metrics.json")

    @property
    def latencies(self) -> list[dict[str, Any]]:
        """A row a model and batch size: `median_ms`, `p95_ms`, `images_per_second`."""
        return list(self.record("latency.json").get("latency", []))

    def record(self, file: str) -> dict[str, Any]:
        """Returns what a JSON file of the run holds; empty if it is not there."""
        return read_json(self.folder / file) or {}

    def rows(self, file: str = "search.csv") -> list[dict[str, str]]:
        """Returns the rows of a CSV file of the run; none if it is not there."""
        path = self.folder / file
        return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) if path.exists() else []

    @property
    def figures(self) -> dict[str, Figure]:
        """The figures of the run by name, such as `search`, `cells` and `retrain`."""
        return {file.stem: Figure(file) for file in sorted(self.folder.glob("*.svg"))}

    def __repr__(self) -> str:
        run = self.summary
        figures = {"shared accuracy": run.shared_accuracy, "test accuracy": run.test_accuracy}
        said = [f"{name} {100 * value:.2f} %" for name, value in figures.items() if value is not None]
        return f"<{' · '.join([f'{run.job} {self.folder}', run.state, *said])}>"

    def _repr_html_(self) -> str:
        cells = self.figures.get("cells")
        return f"<p>{repr(self)[1:-1]}</p>" + (cells._repr_svg_() if cells else "")


def load_run(folder: str | Path) -> RunResult:
    """Returns what a run came to.

    Raises:
        FileNotFoundError: If the folder is none of a run.

    >>> import nas
    >>> nas.load_run("results/nowhere")
    Traceback (most recent call last):
    FileNotFoundError: results/nowhere is no run folder: it has no config.yaml
    """
    folder = Path(folder)
    if not (folder / "config.yaml").exists() and not (folder / "sweep.json").exists():
        raise FileNotFoundError(f"{folder} is no run folder: it has no config.yaml")
    return RunResult(folder)
