"""Settings of searches: with shared weights, whose training they say too, and with rewards that need none."""

import math
from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from nas.costs.settings import CostName, PredictorSettings
from nas.searching.diagnostics.settings import GuardSettings
from nas.searching.successive_halving import check_budget, checked_budget
from nas.settings import STRICT, BelowOne, Fraction, Rising
from nas.training.settings import RetrainSettings, TrainingSettings


@dataclass(frozen=True, kw_only=True, config=STRICT)
class LoopSettings:
    """What every search sets.

    Attributes:
        samples_per_update: Cells averaged in one update of the controller [ENAS 10].
        top_k: Cells written to candidates.json.
        random_cells: Uniformly drawn cells kept in random.json, to be retrained next to the found one.
        random_parameters: 0.05: their parameters differ from the found cell's by 5 % at most; null: cells of any size.
        cost: Of the Pareto front: latency, parameters or multiply_adds; null: the reward's, else the table's, else
            multiply_adds.
        latency: How latency is measured where it is the cost of the reward or of the front.
        checkpoint_seconds: Between checkpoints, at least.
        guard: When a search warns that its policy collapsed, and what it does then.
    """

    samples_per_update: PositiveInt = 5
    top_k: PositiveInt = 10
    random_cells: NonNegativeInt = 5
    random_parameters: NonNegativeFloat | None = None
    cost: CostName | None = None
    latency: PredictorSettings = field(default_factory=PredictorSettings)
    checkpoint_seconds: NonNegativeFloat = 10
    guard: GuardSettings = field(default_factory=GuardSettings)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SearchSettings(LoopSettings, TrainingSettings):
    """How a search with shared weights trains, at the size the digits need; the paper's figures in brackets.

    Attributes:
        epochs: Turns of training weights and controller [630; ENAS 150].
        resample: epoch (one cell's weights an epoch, arXiv:1812.02975, §IV-A) or batch (a cell a batch, ENAS).
        warmup: Share of the epochs that train uniformly drawn cells, one a batch, before the controller learns [0].
            What is quick to train, ops without weights above all, would otherwise be rewarded for that, chosen more
            often and trained more.
        sampling: What is equally likely in the warm-up: strings (each genotype) or classes (each function, see
            search_spaces.classes).
        controller_samples: Cells rewarded an epoch, one batch each.
        common_images: Whether that is one batch for all cells of an epoch, so that their rewards differ by the cells
            alone; else each has a batch of its own [ENAS].
        anneal_controller: The controller's learning rate follows the weights'.
        bn: Batch norm when cells are scored on all reward images: recalibrate or batch.
        calibration_batches: Training batches that batch norm is recalibrated on.
        calibrate: Shared losses are those that are left when a temperature and a bias for each class are fitted to
            a path's outputs (arXiv:1706.04599, §4.2); reward=likelihood is made of them.
        keep_every: Epochs between copies of the shared weights; a cell's score at the end is the mean over all copies
            (arXiv:2008.03064, §6.1); 0, or more than the epochs: the last weights alone score.
        scoring_images: Reward images that a cell is scored on at the end, with each kept copy other ones; null: all.
        final_samples: Cells sampled at the end, duplicates dropped.
        finalists: Candidates trained stand-alone before one is called found; 0: shared weights decide.
        finalist_epochs: Of such a training, on the train images, in one cosine, all else as the shared weights were
            trained; the accuracy on the reward images decides. A list, such as [2,6,18], is successive halving
            (arXiv:1502.07943): with 27 finalists the best 9 are trained for 6 epochs, and the best 3 for 18.
        finals_budget: What finals may cost: `300 epochs`, or 10m of wall time; there are as many finalists then as it
            allows, at most search.finalists; null: no bound.
        finals_start: Where finalists start from: scratch, or shared, their shared weights.
        random_finalists: Share of the finalists that are drawn uniformly, from all sizes alike, whatever the shortlist.
        predicted_finalists: Share of the finalists that are chosen, four at a time, by a predictor of what was trained
            before them: a ridge regression on their ops, paths and shared scores.
        random_search: Let random cells pass through the finals, too, for the core-seconds of search and finals
            together; baseline=[random_same_cost] does.
        shortlist: What chooses the finalists among the candidates: the shared reward; zero_cost, the ranks by
            multiply-adds and jacob_cov of untrained networks; or both, all three ranks.
        finals_workers: Processes that train finalists side by side; null: one per core on a CPU, one on a GPU.
    """

    epochs: PositiveInt = 30
    batch_size: PositiveInt = 32
    lr_max: PositiveFloat = 0.05
    lr_min: NonNegativeFloat = 0.0005
    first_cycle: PositiveFloat = 10
    weight_decay: NonNegativeFloat = 2e-4
    resample: Literal["epoch", "batch"] = "batch"
    warmup: BelowOne = 0.33
    sampling: Literal["strings", "classes"] = "strings"
    controller_samples: PositiveInt = 10
    common_images: bool = False
    anneal_controller: bool = False
    bn: Literal["recalibrate", "batch"] = "recalibrate"
    calibration_batches: PositiveInt = 4
    calibrate: bool = False
    keep_every: NonNegativeInt = 0
    scoring_images: PositiveInt | None = None
    final_samples: PositiveInt = 40
    finalists: NonNegativeInt = 0
    shortlist: Literal["shared", "zero_cost", "both"] = "shared"
    finalist_epochs: PositiveInt | Rising = 10
    finals_budget: Annotated[str, BeforeValidator(checked_budget)] | None = None
    finals_start: Literal["scratch", "shared"] = "scratch"
    random_finalists: Fraction = 0.0
    predicted_finalists: BelowOne = 0.0
    random_search: bool = False
    finals_workers: PositiveInt | None = None

    def __post_init__(self) -> None:
        TrainingSettings.__post_init__(self)
        if self.finals_budget is not None:
            check_budget(self.rungs, self.finals_budget)
        if self.random_search and self.finals_start == "shared":
            raise ValueError("random_search trains from scratch: finals_start must be scratch")
        if self.finalists == 1:
            raise ValueError("finalists must be 0, or at least 2 to choose from, got 1")
        of_finals = {"finals_budget": None, "finals_start": "scratch", "random_search": False}
        asked = [name for name, off in of_finals.items() if getattr(self, name) != off]
        if asked and not self.finalists:
            raise ValueError(f"{asked[0]} is of finals, and there are none: finalists must be at least 2")

    @property
    def rungs(self) -> Sequence[int]:
        """Epochs of a training in each rung of the finals."""
        return (self.finalist_epochs,) if isinstance(self.finalist_epochs, int) else self.finalist_epochs

    @property
    def queries(self) -> int:
        """Cells rewarded in all epochs."""
        return self.epochs * self.controller_samples

    @property
    def warmup_epochs(self) -> int:
        """Epochs before the controller begins to learn."""
        return round(self.warmup * self.epochs)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class WarmUpSettings:
    """Cells that a search begins with, whatever its controller: the best by a score that costs less than a reward.

    Attributes:
        file: Scores of cells, such as scores.csv of `nas score`; null: the controller begins.
        by: The file's column of scores, higher is better.
        cells: That the search begins with.
        among: Cells drawn from the file, another draw for each seed; null: all.
    """

    file: str | None = None
    by: str = "combined"
    cells: PositiveInt = 20
    among: PositiveInt | None = 200


@dataclass(frozen=True, kw_only=True, config=STRICT)
class QuerySettings(LoopSettings):
    """How a search without shared weights goes: rewards from a table or from trainings. An epoch is an update.

    Attributes:
        queries: Cells rewarded, each function once; one that is known is told to the controller and costs none.
        warm_start: Rewards known before: the run folder of a search, or FILE.csv with a cell and its `reward` a row.
            The controller learns from them; what is found is of the cells that this search rewards.
        warm_up: Cells that the search begins with.
    """

    queries: PositiveInt = 500
    random_cells: NonNegativeInt = 0
    warm_start: str | None = None
    warm_up: WarmUpSettings = field(default_factory=WarmUpSettings)
    warmup_epochs: ClassVar[int] = 0
    final_samples: ClassVar[int] = 0
    random_search: ClassVar[bool] = False
    finalists: ClassVar[int] = 0
    anneal_controller: ClassVar[bool] = False
    common_images: ClassVar[bool] = False
    sampling: ClassVar[str] = "strings"

    @property
    def epochs(self) -> int:
        """Updates of the controller."""
        return math.ceil(self.queries / self.samples_per_update)

    @property
    def controller_samples(self) -> int:
        """Cells rewarded in an epoch."""
        return self.samples_per_update


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StandAloneSettings:
    """How cells are trained from scratch to reward them.

    Attributes:
        training: On the train images; the accuracy on the reward images is rewarded.
        workers: Trainings side by side, search.samples_per_update at most; null: one per core on a CPU, one on a GPU.
    """

    training: RetrainSettings = field(
        default_factory=lambda: RetrainSettings(epochs=3, first_cycle=3, last_epochs=1, evaluate_every=0)
    )
    workers: PositiveInt | None = None

    def __post_init__(self) -> None:
        if self.training.warm_start is not None:
            raise ValueError("training.warm_start must be null: a stand-alone training starts from scratch")
