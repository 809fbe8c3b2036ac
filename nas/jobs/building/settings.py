"""Settings of small jobs: report, predictor, score and tabulate."""

from dataclasses import field
from typing import Annotated

from pydantic import Field, PositiveInt
from pydantic.dataclasses import dataclass

from nas.costs.settings import PredictorSettings
from nas.settings import STRICT, ImageShape, Inside


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ReportSettings:
    """Settings of a report.

    Attributes:
        title: Heading of the page; null: the runs' names.
        png: Figures as PNG as well.
    """

    title: str | None = None
    png: bool = False


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PredictorTestSettings:
    """Settings of the test of the latency predictor.

    Attributes:
        genotypes: Genotypes drawn at random and measured end to end, none of them used for the correction.
        image_shape: [channels, height, width]; null: the data set's, which must then be there.
        num_classes: Null: the data set's.
        latency: How latency is measured.
    """

    genotypes: Annotated[int, Field(ge=2)] = 40
    image_shape: ImageShape | None = None
    num_classes: PositiveInt | None = None
    latency: PredictorSettings = field(default_factory=PredictorSettings)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ScoreSettings:
    """The images on which cells are scored untrained.

    Attributes:
        batch_size: Training images; arXiv:2101.08134 takes 64.
    """

    batch_size: Annotated[int, Field(ge=2)] = 64


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TabulateSettings:
    """The cells of a table.

    Attributes:
        cells: Distinct cells, as many in each bin.
        bins: Bins of size, each around an evenly spaced quantile of the parameters of cells drawn uniformly.
        width: Width of a bin as a share of its centre; within a narrow bin, size does not distinguish cells.
        workers: Processes, one thread each; null: as many as there are cores, and 1 on a GPU.
    """

    cells: PositiveInt = 240
    bins: PositiveInt = 4
    width: Inside = 0.05
    workers: PositiveInt | None = None

    def __post_init__(self) -> None:
        if self.cells < 2 * self.bins or self.cells % self.bins:
            raise ValueError(
                f"cells must be a multiple of bins {self.bins}, and at least {2 * self.bins}, got {self.cells}"
            )
