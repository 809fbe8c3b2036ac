"""How many cells are ranked, how they are scored, and what is reported."""

from collections.abc import Sequence
from dataclasses import dataclass

from nas.runs.shards import check_portion


@dataclass(frozen=True, slots=True, kw_only=True)
class RankSettings:
    """The protocol of a ranking.

    Attributes:
        architectures: K, cells trained stand-alone.
        policy_architectures: Those of them that the runs' controllers sample, as far as they sample different ones;
            the others are drawn uniformly, within strata of what the shared weights predict.
        pool: Uniform draws that are scored to find the strata.
        seeds: Stand-alone trainings of each cell; from 2 on their agreement bounds what any proxy can reach.
        calibration_batches: Numbers of training batches with which batch norm is recalibrated, to see what they change;
            the run's own is always among them.
        top: Numbers of cells k for the best of the top k against the best of k random ones.
        resamples: Of the bootstrap.
        workers: Processes, one thread each; null: as many as there are cores, and 1 on an accelerator.
        portion: Which part of the trainings this run does, where they are cut among several runs.
        portions: How many such parts there are.
    """

    architectures: int = 24
    policy_architectures: int = 6
    pool: int = 120
    seeds: int = 1
    calibration_batches: Sequence[int] = (1, 4, 16)
    top: Sequence[int] = (1, 3, 5)
    resamples: int = 2000
    workers: int | None = None
    portion: int = 0
    portions: int = 1

    def __post_init__(self) -> None:
        check_portion(self.portion, self.portions)
        for name, least in (("architectures", 6), ("policy_architectures", 0), ("seeds", 1), ("resamples", 100)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.policy_architectures >= self.architectures:
            raise ValueError(
                "policy_architectures must be below architectures "
                f"{self.architectures}, got {self.policy_architectures}"
            )
        if self.pool < self.architectures:
            raise ValueError(f"pool must be at least architectures {self.architectures}, got {self.pool}")
        if any(number < 1 for number in self.calibration_batches):
            raise ValueError(f"calibration_batches must be at least 1 each, got {list(self.calibration_batches)}")
        if not self.top or not all(1 <= k <= self.architectures for k in self.top):
            raise ValueError(f"top must hold numbers in 1 … architectures {self.architectures}, got {list(self.top)}")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be at least 1 or null, got {self.workers}")
