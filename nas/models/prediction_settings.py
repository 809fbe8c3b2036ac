"""How images are read for a prediction, and what is shown."""

from collections.abc import Sequence
from dataclasses import dataclass

RESIZES = ("crop", "stretch", "pad", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictSettings:
    """How images are read and what is shown.

    Attributes:
        top: Classes shown of each image.
        resize: How an image gets the model's size: one of `RESIZES`.
        batch_size: Images at once.
        image_shape: (C, H, W); null takes what is known of the model.
    """

    top: int = 3
    resize: str = "crop"
    batch_size: int = 64
    image_shape: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.top < 1 or self.batch_size < 1:
            raise ValueError(f"needs top ≥ 1 and batch_size ≥ 1, got {self.top} and {self.batch_size}")
        if self.resize not in RESIZES:
            raise ValueError(f"resize must be one of {', '.join(RESIZES)}, got {self.resize!r}")
        if self.image_shape is not None and (len(self.image_shape) != 3 or min(self.image_shape) < 1):
            raise ValueError(f"image_shape must be [channels, height, width], got {list(self.image_shape)}")
