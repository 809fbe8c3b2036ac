"""Settings of searches: with shared weights, whose training they say too, and with exact rewards."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

from nas.costs.settings import PredictorSettings, check_cost
from nas.searching.diagnostics.settings import GuardSettings
from nas.training.retrain_settings import RetrainSettings
from nas.training.schedules import TrainingSettings

RESAMPLE = ("epoch", "batch")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings(TrainingSettings):
    """The protocol of a search; an epoch is a turn of training weights and controller (150 in ENAS, 630 in the paper).

    Attributes:
        resample: `epoch` trains the weights of one sampled cell for a whole epoch (arXiv:1812.02975, §IV-A), `batch`
            samples a cell for every batch (ENAS).
        warmup: Share of the epochs, at the beginning, in which the weights of uniformly drawn cells are trained, one a
            batch, and the controller learns nothing. What is quick to train, ops without weights above all, would
            otherwise be rewarded for that, chosen the more and trained the more.
        controller_samples: Cells rewarded an epoch, one batch each.
        samples_per_update: Cells averaged in one update of the controller.
        anneal_controller: Whether the controller's learning rate follows the weights' schedule.
        bn: Batch norm when whole-split scores are taken: `recalibrate` or `batch`.
        calibration_batches: Training batches for `recalibrate`.
        final_samples: Cells sampled at the end, duplicates dropped before scoring.
        finalists: So many of the best candidates are trained stand-alone before one is called found, see
            `nas.searching.finals`; 0: the shared weights decide.
        finalist_epochs: Epochs of such a training, one cosine; all else is as the shared weights were trained.
        finals_workers: Processes that train finalists side by side; None: one per core on the CPU, one on an
            accelerator.
        top_k: Cells written to `candidates.json`, all finalists in any case.
        random_cells: Uniformly drawn cells kept in `random.json`, to be retrained beside the found one.
        random_parameters: Largest relative difference of their parameters to the found cell's, such as 0.05 for 5 %;
            None takes cells of any size.
        cost: The cost of the Pareto front, one of `nas.costs.settings.FIELDS`; None takes the reward's, else
            multiply-adds.
        latency: How latency is measured where it is the cost.
        guard: When to warn of a policy that collapsed, and what to do.
    """

    lr_min: float = 0.0005
    weight_decay: float = 2e-4
    resample: str = "epoch"
    warmup: float = 0.0
    controller_samples: int = 10
    samples_per_update: int = 10
    anneal_controller: bool = False
    bn: str = "recalibrate"
    calibration_batches: int = 4
    final_samples: int = 100
    finalists: int = 0
    finalist_epochs: int = 10
    finals_workers: int | None = None
    top_k: int = 10
    random_cells: int = 3
    random_parameters: float | None = None
    cost: str | None = None
    latency: PredictorSettings = field(default_factory=PredictorSettings)
    guard: GuardSettings = field(default_factory=GuardSettings)

    def __post_init__(self) -> None:
        TrainingSettings.__post_init__(self)
        for name in ("controller_samples", "samples_per_update", "final_samples", "finalist_epochs", "top_k"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.finals_workers is not None and self.finals_workers < 1:
            raise ValueError(f"finals_workers must be at least 1 or null, got {self.finals_workers}")
        if self.resample not in RESAMPLE:
            raise ValueError(f"resample must be one of {', '.join(RESAMPLE)}, got {self.resample!r}")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup must be in [0, 1), got {self.warmup}")
        if self.finalists < 0 or self.finalists == 1:
            raise ValueError(f"finalists must be 0, or at least 2 to choose from, got {self.finalists}")
        _check_random_cells(self)

    @property
    def queries(self) -> int:
        """Cells rewarded in all epochs."""
        return self.epochs * self.controller_samples

    @property
    def warmup_epochs(self) -> int:
        """Epochs before the controller begins to learn."""
        return round(self.warmup * self.epochs)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuerySettings:
    """The protocol of a search whose rewards are exact, such as those of a table: an epoch is an update.

    Attributes:
        queries: Cells rewarded, repeated ones counted again.
        samples_per_update: Cells averaged in one update of the controller.
        top_k: Cells written to `candidates.json`.
        random_cells: Uniformly drawn cells kept in `random.json`, to be retrained next to the found one.
        random_parameters: Largest relative difference of their parameters to the found cell's; None: cells of any size.
        cost: The cost of the Pareto front, one of `nas.costs.settings.FIELDS`; None takes the reward's, else the
            table's or multiply-adds.
        latency: How latency is measured where it is the cost.
        checkpoint_seconds: Time between two checkpoints.
        guard: When to warn of a policy that collapsed, and what to do.
    """

    queries: int = 500
    samples_per_update: int = 5
    top_k: int = 10
    random_cells: int = 0
    random_parameters: float | None = None
    cost: str | None = None
    latency: PredictorSettings = field(default_factory=PredictorSettings)
    checkpoint_seconds: float = 10.0
    guard: GuardSettings = field(default_factory=GuardSettings)
    warmup_epochs: ClassVar[int] = 0
    final_samples: ClassVar[int] = 0
    finalists: ClassVar[int] = 0
    anneal_controller: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("queries", "samples_per_update", "top_k"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.checkpoint_seconds < 0:
            raise ValueError(f"checkpoint_seconds must be at least 0, got {self.checkpoint_seconds}")
        _check_random_cells(self)

    @property
    def epochs(self) -> int:
        """Updates of the controller."""
        return math.ceil(self.queries / self.samples_per_update)

    @property
    def controller_samples(self) -> int:
        """Cells rewarded in an epoch."""
        return self.samples_per_update


@dataclass(frozen=True, slots=True, kw_only=True)
class StandAloneSettings:
    """How a search trains cells to reward them.

    Attributes:
        training: The protocol of a training.
        workers: Processes that train side by side, at most as many as cells in an update; None: one per core on the
            CPU, one on an accelerator.
    """

    training: RetrainSettings
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be at least 1, got {self.workers}")
        if self.training.warm_start is not None:
            raise ValueError("training.warm_start must be null: a stand-alone training starts from scratch")


def _check_random_cells(settings: SearchSettings | QuerySettings) -> None:
    if settings.random_cells < 0:
        raise ValueError(f"random_cells must be at least 0, got {settings.random_cells}")
    if settings.random_parameters is not None and not 0 <= settings.random_parameters < math.inf:
        raise ValueError(f"random_parameters must be at least 0, got {settings.random_parameters}")
    if settings.cost is not None:
        check_cost(settings.cost)
