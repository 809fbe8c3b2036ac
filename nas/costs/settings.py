"""Costs of an architecture, and settings of how its latency is measured."""

from typing import Literal

from pydantic import NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from nas.settings import STRICT

FIELDS = {"latency": "latency_ms", "parameters": "parameters", "multiply_adds": "multiply_adds"}
"""The name of each cost in files."""

UNITS = {"latency": "ms", "parameters": "weights", "multiply_adds": "multiply-adds"}

CostName = Literal["latency", "parameters", "multiply_adds"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PredictorSettings:
    """How latencies are measured: from tables of parts, corrected by genotypes measured end to end.

    Attributes:
        folder: Tables of parts measured once on a device, a file for each set of conditions.
        batch_size: Images in a pass.
        rounds: Timings of every part and network, in turns; the shortest counts.
        calibration_genotypes: Genotypes measured end to end to correct the sums over parts; 0: no correction.
    """

    folder: str = "results/latency_tables"
    batch_size: PositiveInt = 1
    rounds: PositiveInt = 20
    calibration_genotypes: NonNegativeInt = 12

    def __post_init__(self) -> None:
        if self.calibration_genotypes == 1:
            raise ValueError("calibration_genotypes must be 0 or at least 2, got 1")


def check_cost(name: str) -> None:
    """Raises ValueError if there is no cost of that name; the message lists those there are."""
    if name not in FIELDS:
        raise ValueError(f"cost must be one of {', '.join(FIELDS)}, got {name!r}")
