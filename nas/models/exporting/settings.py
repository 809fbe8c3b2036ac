"""What is exported, and the formats there are."""

from collections.abc import Sequence
from dataclasses import dataclass

FORMATS = ("onnx", "torch_export", "python")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSettings:
    """What is written.

    Attributes:
        normalize: Whether the model normalises images itself.
        uint8: Whether it then takes bytes, not floats in [0, 1].
        batch_size: The one that it takes; null lets it take any.
        opset: Of ONNX's operators.
        test_images: Of the run's data set, that it is compared on; null takes all.
        image_shape: (C, H, W); null takes the run's.
        num_classes: Without a run; null takes 10.
    """

    normalize: bool = True
    uint8: bool = False
    batch_size: int | None = None
    opset: int = 18
    test_images: int | None = None
    image_shape: Sequence[int] | None = None
    num_classes: int | None = None

    def __post_init__(self) -> None:
        if self.uint8 and not self.normalize:
            raise ValueError("uint8=true needs normalize=true: bytes are not normalised images")
        for name in ("batch_size", "test_images", "num_classes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1 or null, got {value}")
        if self.image_shape is not None and (len(self.image_shape) != 3 or min(self.image_shape) < 1):
            raise ValueError(f"image_shape must be [channels, height, width], got {list(self.image_shape)}")

    @property
    def takes(self) -> str:
        """What the model takes, for `nas.models.exporting.plain_layers.ImageCheck`."""
        return "bytes" if self.uint8 else "floats" if self.normalize else "normalised"

    @property
    def images(self) -> str:
        """What the model takes, in words."""
        if not self.normalize:
            return "normalised images"
        return "images as bytes, uint8" if self.uint8 else "images in [0, 1]"
