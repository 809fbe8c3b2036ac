"""How the processes of one job share its work; without torchrun there is one, and none of this matters."""

import math
from dataclasses import dataclass

SAMPLING = ("shared", "independent")
AVERAGES = ("touched", "ranks")
BATCH_NORMS = ("local", "sync")


@dataclass(frozen=True, slots=True, kw_only=True)
class DistributedSettings:
    """What `distributed` in the config says.

    Attributes:
        sampling: Whether the ranks of a search train the weights of one cell in a step (`shared`), or each those of a
            cell of its own (`independent`): the M samples of ENAS's Monte Carlo estimate (arXiv:1802.03268, §2.2).
        average: Whether the gradient of a weight is, with independent cells, the mean over the ranks whose cells use it
            (`touched`: the expected gradient over such cells), or over all of them (`ranks`: ENAS's own estimate, in
            which a weight that few cells use moves little).
        batch_norm: Whether a rank normalises by the statistics of its own images (`local`), or all by those of the
            whole batch (`sync`), as one process does.
        timeout: Seconds after which a rank that does not hear of the others gives up.
    """

    sampling: str = "shared"
    average: str = "touched"
    batch_norm: str = "local"
    timeout: float = 1800.0

    def __post_init__(self) -> None:
        for name, known in (("sampling", SAMPLING), ("average", AVERAGES), ("batch_norm", BATCH_NORMS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if not 0 < self.timeout < math.inf:
            raise ValueError(f"timeout must be above 0 seconds, got {self.timeout}")
        if self.batch_norm == "sync" and self.sampling == "independent":
            raise ValueError("batch_norm=sync needs sampling=shared: cells of their own have no statistics in common")
