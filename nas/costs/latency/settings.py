"""What `nas latency` times."""

from collections.abc import Sequence
from dataclasses import dataclass

BACKENDS = ("eager", "compile", "cuda_graph", "onnxruntime")
PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySettings:
    """What is timed.

    Attributes:
        batch_sizes: Images in a pass, one measurement each.
        warmup: Passes before the first timed one, at most.
        repeats: Passes timed for each model and batch size, at most.
        seconds: For the passes of a model at a batch size, at most.
        backends: Of `BACKENDS`.
        precisions: Number formats, to which weights and images are cast; null: that of `runtime.autocast`.
        threads: Of the CPU, one after the other; null in the list is the number that `runtime.threads` gives.
        reference: Name of the model, or several names, with which all are compared; null: the first.
        image_shape: (C, H, W); null takes the data set's, which must then be there.
        num_classes: Null takes the data set's.

    Raises:
        ValueError: If a value is out of range or unknown, or listed twice.
    """

    batch_sizes: Sequence[int] = (1, 32, 128)
    warmup: int = 10
    repeats: int = 1000
    seconds: float = 10.0
    backends: Sequence[str] = ("eager",)
    precisions: Sequence[str] | None = None
    threads: Sequence[int | None] = (None,)
    reference: str | Sequence[str] | None = None
    image_shape: Sequence[int] | None = None
    num_classes: int | None = None

    def __post_init__(self) -> None:
        if not self.batch_sizes or min(self.batch_sizes) < 1:
            raise ValueError(f"batch_sizes must list sizes of at least 1, got {list(self.batch_sizes)}")
        if self.warmup < 0 or self.repeats < 1:
            raise ValueError(f"needs warmup ≥ 0 and repeats ≥ 1, got {self.warmup} and {self.repeats}")
        if not self.seconds > 0:
            raise ValueError(f"seconds must be positive, got {self.seconds}")
        if self.image_shape is not None and (len(self.image_shape) != 3 or min(self.image_shape) < 1):
            raise ValueError(f"image_shape must be [channels, height, width], got {list(self.image_shape)}")
        if not self.threads or any(number is not None and number < 1 for number in self.threads):
            raise ValueError(f"threads must list numbers of at least 1 or null, got {list(self.threads)}")
        precisions = ["fp32"] if self.precisions is None else self.precisions
        for key, names, known in (("backends", self.backends, BACKENDS), ("precisions", precisions, PRECISIONS)):
            if not names or not set(names) <= set(known):
                raise ValueError(f"{key} must list some of {', '.join(known)}, got {list(names)}")
        for key in ("batch_sizes", "threads", "backends", "precisions"):
            values = list(getattr(self, key) or ())
            if len(set(values)) < len(values):
                raise ValueError(f"{key} must not list one twice, got {values}")

    def references_among(self, names: Sequence[str]) -> list[str]:
        """Returns the names of the models with which all are compared; none for a single model.

        Raises:
            ValueError: If one is not among the models.
        """
        if self.reference is None:
            return list(names[:1]) if len(names) > 1 else []
        chosen = [self.reference] if isinstance(self.reference, str) else list(self.reference)
        for name in chosen:
            if name not in names:
                raise ValueError(f"latency.reference {name!r} is not one of the models {', '.join(names)}")
        return chosen
