"""Settings of `nas export`, and the formats there are."""

from pydantic import PositiveInt
from pydantic.dataclasses import dataclass

from nas.settings import STRICT, ImageShape

FORMATS = ("onnx", "torch_export", "python")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ExportSettings:
    """What is written.

    Attributes:
        normalize: Within the model, which then takes images in [0, 1]; false: it takes normalised ones.
        uint8: With normalize: the model takes bytes.
        batch_size: Null: any; a number: that one (model.py takes any).
        opset: Of ONNX's operators.
        test_images: Test images that the export is compared on, where the run's data set is there; null: all.
        image_shape: [channels, height, width]; null: the run's, and 3x32x32 without a run.
        num_classes: Null: the run's, and 10 without a run.
    """

    normalize: bool = True
    uint8: bool = False
    batch_size: PositiveInt | None = None
    opset: int = 18
    test_images: PositiveInt | None = None
    image_shape: ImageShape | None = None
    num_classes: PositiveInt | None = None

    def __post_init__(self) -> None:
        if self.uint8 and not self.normalize:
            raise ValueError("uint8=true needs normalize=true: bytes are not normalised images")

    @property
    def takes(self) -> str:
        """What the model takes, for `nas.models.exporting.plain_layers.ImageCheck`."""
        return "bytes" if self.uint8 else "floats" if self.normalize else "normalised"

    @property
    def images(self) -> str:
        """What the model takes, in words."""
        words = {"bytes": "images as bytes, uint8", "floats": "images in [0, 1]", "normalised": "normalised images"}
        return words[self.takes]
