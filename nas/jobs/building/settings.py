"""Settings of small jobs: report and predictor."""

from dataclasses import field
from typing import Annotated

from pydantic import Field, PositiveInt
from pydantic.dataclasses import dataclass

from nas.costs.settings import PredictorSettings
from nas.settings import STRICT, ImageShape


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ReportSettings:
    """What a report holds.

    Attributes:
        title: Heading of the page; null: the runs' names.
        png: Figures as PNG as well.
    """

    title: str | None = None
    png: bool = False


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PredictorTestSettings:
    """What the predictor of latencies is tested on.

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
