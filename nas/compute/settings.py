"""Settings of the machine's use: threads, number format, compilation."""

from dataclasses import dataclass

AUTOCAST = ("auto", "off", "bf16", "fp16")


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """What torch is to do with the device.

    Attributes:
        threads: CPU threads within an op; None leaves torch's choice.
        autocast: `off`, `bf16`, `fp16`, or `auto`: bf16 on a CUDA device that has it.
        channels_last: Faster on CPUs and tensor cores alike.
        graphs: Whether steps are recorded as CUDA graphs; `auto` does so on CUDA devices.
        compile: Whether retraining compiles the network; `auto` does so for long trainings on CUDA devices.
        keep_memory: Whether memory once freed is kept for the next step (`nas.compute.allocator`).
        deterministic: Refuse nondeterministic kernels (slower on a GPU; the CPU needs no flag).

    Raises:
        ValueError: If a value is unknown or out of range.
    """

    threads: int | None = None
    autocast: str = "auto"
    channels_last: bool = True
    graphs: bool | str = "auto"
    compile: bool | str = "auto"
    keep_memory: bool = True
    deterministic: bool = False

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"runtime.threads must be at least 1, got {self.threads}")
        for name, value in (("graphs", self.graphs), ("compile", self.compile)):
            if value not in (True, False, "auto"):
                raise ValueError(f"runtime.{name} must be true, false or auto, got {value!r}")
        if self.autocast not in AUTOCAST:
            raise ValueError(f"runtime.autocast must be one of {', '.join(AUTOCAST)}, got {self.autocast!r}")
