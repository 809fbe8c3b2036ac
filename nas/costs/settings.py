"""The costs there are, and how latency is measured where it is one of them."""

from dataclasses import dataclass

FIELDS = {"latency": "latency_ms", "parameters": "parameters", "multiply_adds": "multiply_adds"}
"""The name of each cost in files."""

UNITS = {"latency": "ms", "parameters": "weights", "multiply_adds": "multiply-adds"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorSettings:
    """How latencies are measured.

    Attributes:
        folder: Where the tables are kept, one file for each set of conditions.
        batch_size: Images in a pass.
        rounds: How often every part, and every genotype that is measured end to end, is timed.
        calibration_genotypes: Measured end to end for the correction; 0 leaves the sum as it is.
    """

    folder: str = "results/latency_tables"
    batch_size: int = 1
    rounds: int = 20
    calibration_genotypes: int = 12

    def __post_init__(self) -> None:
        for name in ("batch_size", "rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"latency.{name} must be at least 1, got {getattr(self, name)}")
        if self.calibration_genotypes < 0 or self.calibration_genotypes == 1:
            raise ValueError(f"latency.calibration_genotypes must be 0 or at least 2, got {self.calibration_genotypes}")


def check_cost(name: str) -> str:
    """Returns the name of a cost.

    Raises:
        ValueError: If there is no such cost; the message lists them.
    """
    if name not in FIELDS:
        raise ValueError(f"cost must be one of {', '.join(FIELDS)}, got {name!r}")
    return name
