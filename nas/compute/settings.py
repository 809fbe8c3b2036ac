"""Settings of the machine: threads, number format, compilation."""

from typing import Literal

from pydantic import PositiveInt
from pydantic.dataclasses import dataclass

from nas.settings import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RuntimeSettings:
    """How torch uses the device.

    Attributes:
        threads: CPU threads within an op; null leaves torch's choice.
        autocast: Number format of forward passes: auto (bf16 on a GPU that has it), off, bf16, fp16.
        channels_last: Store images channels last, with which convolutions are faster on CPUs and tensor cores.
        graphs: Record steps as CUDA graphs and replay them: auto (on a GPU), true, false.
        compile: torch.compile for retraining: auto (long trainings on a GPU), true, false.
        keep_memory: Keep freed memory for the next step instead of giving it back (glibc).
        deterministic: Refuse nondeterministic kernels (slower on a GPU).
    """

    threads: PositiveInt | None = None
    autocast: Literal["auto", "off", "bf16", "fp16"] = "auto"
    channels_last: bool = True
    graphs: bool | Literal["auto"] = "auto"
    compile: bool | Literal["auto"] = "auto"
    keep_memory: bool = True
    deterministic: bool = False
