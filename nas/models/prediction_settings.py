"""Settings of `nas predict`."""

from typing import Literal

from pydantic import PositiveInt
from pydantic.dataclasses import dataclass

from nas.settings import STRICT, ImageShape


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PredictSettings:
    """How images are read and what is shown.

    Attributes:
        top: Classes shown of each image.
        resize: crop (the part that training's test images show), stretch, pad (with black), none (must fit).
        batch_size: Images in a pass.
        image_shape: [channels, height, width]; null: what the run or its model card says.
    """

    top: PositiveInt = 3
    resize: Literal["crop", "stretch", "pad", "none"] = "crop"
    batch_size: PositiveInt = 64
    image_shape: ImageShape | None = None
