"""Settings of jobs that several processes share (`torchrun --nproc-per-node=N -m nas search`)."""

from typing import Literal

from pydantic import PositiveFloat
from pydantic.dataclasses import dataclass

from nas.settings import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class DistributedSettings:
    """How N processes share the work: torchrun --nproc-per-node=N -m nas search. One process ignores these.

    Attributes:
        sampling: The cell of a training step: shared (the same on every rank) or independent (each rank its own, the M
            samples of ENAS's Monte Carlo estimate, arXiv:1802.03268, §2.2).
        average: With independent cells, gradients are means over the ranks that use a weight (touched: the expected
            gradient over such cells) or over all (ranks: ENAS's estimate, which moves rarely used weights little).
        batch_norm: local (each rank's own statistics, averaged every epoch) or sync (those of the whole batch, as one
            process has them).
        timeout: Seconds after which a rank that does not hear from the others gives up.
    """

    sampling: Literal["shared", "independent"] = "shared"
    average: Literal["touched", "ranks"] = "touched"
    batch_norm: Literal["local", "sync"] = "local"
    timeout: PositiveFloat = 1800

    def __post_init__(self) -> None:
        if self.batch_norm == "sync" and self.sampling == "independent":
            raise ValueError("batch_norm=sync needs sampling=shared: independent cells have no statistics in common")
