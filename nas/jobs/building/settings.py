"""Settings of the jobs that are small: report and predictor."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from nas.costs.settings import PredictorSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings:
    """What a report holds beside the page.

    Attributes:
        title: Heading of the page; None makes one of the runs' names.
        png: Whether figures are written as PNG beside the SVG.
    """

    title: str | None = None
    png: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorTestSettings:
    """What the predictor is tested on.

    Attributes:
        genotypes: Drawn at random and measured end to end, none of them among those of the correction.
        image_shape: (C, H, W); None takes the data set's, which must then be there.
        num_classes: None takes the data set's.
        latency: How latency is measured.
    """

    genotypes: int = 40
    image_shape: Sequence[int] | None = None
    num_classes: int | None = None
    latency: PredictorSettings = field(default_factory=PredictorSettings)

    def __post_init__(self) -> None:
        if self.genotypes < 2:
            raise ValueError(f"genotypes must be at least 2, got {self.genotypes}")
        if self.image_shape is not None and (len(self.image_shape) != 3 or min(self.image_shape) < 1):
            raise ValueError(f"image_shape must be [channels, height, width], got {list(self.image_shape)}")
