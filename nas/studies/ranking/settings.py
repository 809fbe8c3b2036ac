"""Settings of `nas rank`."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from nas.runs.shards import check_portion
from nas.settings import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RankSettings:
    """How a ranking is made.

    Attributes:
        architectures: Cells trained stand-alone.
        policy_architectures: Those of them that the runs' controllers sample, as far as they sample different ones; the
            others are uniform, within strata of the shared scores.
        pool: Uniform draws that are scored to find the strata.
        seeds: Trainings of each cell; from 2 on the report says how close any proxy can come.
        calibration_batches: Batches for recalibrating batch norm, next to the run's own number and `batch`.
        top: Best of the top k against the best of k random cells.
        resamples: Resamples of the bootstrap.
        workers: Processes, one thread each; null: as many as there are cores, and 1 on a GPU.
        portion: Part of the trainings, cut among several runs: -m "rank.portion=range(4)" rank.portions=4
        portions: How many parts the trainings are cut into.
    """

    architectures: Annotated[int, Field(ge=6)] = 24
    policy_architectures: NonNegativeInt = 6
    pool: PositiveInt = 120
    seeds: PositiveInt = 1
    calibration_batches: Sequence[PositiveInt] = (1, 4, 16)
    top: Annotated[Sequence[PositiveInt], Field(min_length=1)] = (1, 3, 5)
    resamples: Annotated[int, Field(ge=100)] = 2000
    workers: PositiveInt | None = None
    portion: NonNegativeInt = 0
    portions: PositiveInt = 1

    def __post_init__(self) -> None:
        check_portion(self.portion, self.portions)
        if self.policy_architectures >= self.architectures:
            raise ValueError(
                "policy_architectures must be below architectures "
                f"{self.architectures}, got {self.policy_architectures}"
            )
        if self.pool < self.architectures:
            raise ValueError(f"pool must be at least architectures {self.architectures}, got {self.pool}")
        if max(self.top) > self.architectures:
            raise ValueError(f"top must hold numbers in 1 … architectures {self.architectures}, got {list(self.top)}")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TableRankSettings:
    """How shared weights are compared with a table of results: nas rank truth=table.

    Attributes:
        part: Classes of cells that compute the same: development (on which settings are chosen: by a digest a seventh
            of NAS-Bench-201's, a quarter of other tables'), reported (the others) or all.
        classes: How many of them are scored at most, always the same ones; null: all.
        twins: Cells that compute the same count each, or once: by the mean of their truths, and by the size of the
            smallest.
        images: Reward images that a cell is scored on; null: as the run scores.
        beside: CSV of other scores, whose first column is the cell, such as the scores.csv of `nas score`: each of its
            columns of numbers is a row too, higher is better; cells that it lacks count as worst.
        resamples: Resamples of the bootstrap over classes and runs.
    """

    part: Literal["development", "reported", "all"] = "reported"
    classes: PositiveInt | None = None
    twins: Literal["each", "once"] = "each"
    images: PositiveInt | None = None
    beside: str | None = None
    resamples: Annotated[int, Field(ge=100)] = 200
