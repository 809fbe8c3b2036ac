"""Settings of `nas latency`."""

from collections.abc import Sequence
from typing import Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from nas.settings import STRICT, Distinct, ImageShape


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LatencySettings:
    """What is timed.

    Attributes:
        batch_sizes: Images in a pass, one measurement each.
        warmup: Passes before the first timed one, at most.
        repeats: Rounds: passes timed for each model and batch size, at most.
        seconds: Time for the passes of a model at a batch size, at most (three passes always).
        backends: Some of eager, compile, cuda_graph, onnxruntime; what is not there is left out and said.
        precisions: Some of fp32, bf16, fp16, to which weights and images are cast; null: that of runtime.autocast.
        threads: Threads of the CPU, such as [1, 2] one after the other; null in the list: that of runtime.threads.
        reference: Name of the model, or list of names, to compare with; null: the first.
        image_shape: [channels, height, width]; null: the data set's, which must then be there.
        num_classes: Null: the data set's.
    """

    batch_sizes: Distinct[PositiveInt] = (1, 32, 128)
    warmup: NonNegativeInt = 10
    repeats: PositiveInt = 100
    seconds: PositiveFloat = 10
    backends: Distinct[Literal["eager", "compile", "cuda_graph", "onnxruntime"]] = ("eager",)
    precisions: Distinct[Literal["fp32", "bf16", "fp16"]] | None = None
    threads: Distinct[PositiveInt | None] = (None,)
    reference: str | Sequence[str] | None = None
    image_shape: ImageShape | None = None
    num_classes: PositiveInt | None = None

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
