"""Settings of `nas compare`."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated, Any

from pydantic import Field, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from nas.runs.shards import check_portion
from nas.searching.settings import WarmUpSettings
from nas.settings import STRICT, Distinct

DEFAULT = "default"
"""The key of `samples_per_update` for controllers that it does not name."""
SAMPLES_PER_UPDATE = {
    **{DEFAULT: 5, "lstm_ranks": 2},
    **dict.fromkeys(("local_search", "bayesian", "evolution", "reinforce"), 1),
    **dict.fromkeys(("largest_first", "uniform", "enas", "ppo"), 10),
}
"""Cells averaged in one update; largest_first and uniform learn nothing, so that it is only a matter of speed."""
MOST_FRONT_SEEDS = 30
"""Of the part with cost, where no number is given."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class FrontSettings:
    """The part of a comparison in which cost counts too: the front of accuracy and cost that a search finds.

    Attributes:
        reward: Reward of accuracy and cost.
        controllers: Names in the group controller.
        seeds: Null: as many as compare.seeds, at most 30, none without costs; 0: leave this part out.
    """

    reward: Any
    controllers: Distinct[str] = ("uniform", "evolution", "lstm_ranks")
    seeds: NonNegativeInt | None = None

    def num_seeds(self, compared: int) -> int:
        """Returns how many seeds are searched from: as given, otherwise as many as are compared, at most 30."""
        return min(compared, MOST_FRONT_SEEDS) if self.seeds is None else self.seeds


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ComparisonSettings:
    """How controllers are compared.

    Attributes:
        controllers: Names in the group controller.
        seeds: Searches of each controller.
        first_seed: Choose settings on other seeds than those that are reported: compare.first_seed=1000
        budget: Cells looked up in a search, each function once.
        at: Numbers of queries at which figures are taken; those beyond the budget are left out.
        samples_per_update: Cells averaged in one update, by controller; default holds for all others.
        baseline: The controller that others are compared with, uniform where it is not among them; null: none.
        warm_up: Cells that every search begins with, such as the best by a score of untrained networks.
        last: Samples at the end of a search whose mean tells where a policy has gone.
        workers: Processes, one thread each; null: as many as there are cores.
        portion: Part of the seeds, cut among several runs: -m "compare.portion=range(4)" compare.portions=4
        portions: How many parts the seeds are cut into.
        published: Mean and deviation of published searches, NAS-Bench-201's paper, CIFAR-10, about 12,000 s of training
            (not queries).
    """

    controllers: Distinct[str] = (
        *("largest_first", "uniform", "local_search", "evolution", "reinforce", "enas", "ppo", "lstm_ranks"),
    )
    seeds: PositiveInt = 100
    first_seed: NonNegativeInt = 0
    budget: PositiveInt = 500
    at: Sequence[PositiveInt] = (50, 100, 150, 200, 500)
    samples_per_update: Mapping[str, PositiveInt] = field(default_factory=SAMPLES_PER_UPDATE.copy)
    baseline: str | None = "local_search"
    warm_up: WarmUpSettings = field(default_factory=WarmUpSettings)
    last: PositiveInt = 50
    workers: PositiveInt | None = None
    portion: NonNegativeInt = 0
    portions: PositiveInt = 1
    published: Mapping[str, Annotated[Sequence[float], Field(min_length=2, max_length=2)]] = field(
        default_factory=lambda: {"uniform": [93.70, 0.36], "evolution": [93.92, 0.30], "reinforce": [93.85, 0.37]}
    )

    def __post_init__(self) -> None:
        check_portion(self.portion, self.portions)

    @property
    def marks(self) -> list[int]:
        """The numbers of queries at which figures are taken, rising, the budget among them."""
        return sorted({number for number in self.at if number < self.budget} | {self.budget})

    @property
    def opponent(self) -> str | None:
        """The controller that others are compared with; None if there is none."""
        wanted = () if self.baseline is None else (self.baseline, "uniform")
        return next((name for name in wanted if name in self.controllers), None)

    def batch(self, controller: str) -> int:
        """Returns the cells averaged in one update of a controller.

        Raises:
            ValueError: If neither it nor a default is named.
        """
        number = self.samples_per_update.get(controller, self.samples_per_update.get(DEFAULT))
        if number is None:
            raise ValueError(f"samples_per_update names neither {controller} nor {DEFAULT}")
        return number
