"""What is compared, and on which seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nas.runs.shards import check_portion
from nas.searching.reward_functions import CostReward

DEFAULT = "default"
"""The key of `samples_per_update` for controllers that it does not name."""
MOST_FRONT_SEEDS = 30
"""Of the part with cost, where no number is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontSettings:
    """The part in which cost counts too: what front of accuracy and cost does a search find?

    Attributes:
        controllers: Their names.
        seeds: How many, from the first of the comparison on; None: see `num_seeds`.
        reward: Of accuracy and cost.
    """

    reward: CostReward
    controllers: Sequence[str] = ("lstm", "evolution", "uniform")
    seeds: int | None = None

    def __post_init__(self) -> None:
        _check_names("front.controllers", self.controllers)
        if self.seeds is not None and self.seeds < 0:
            raise ValueError(f"front.seeds must be at least 0, got {self.seeds}")
        if not isinstance(self.reward, CostReward):
            raise ValueError("front.reward must ask for a cost, as latency_aware does")

    def num_seeds(self, compared: int) -> int:
        """Returns how many seeds are searched from: as given, otherwise as many as are compared, at most 30."""
        return min(compared, MOST_FRONT_SEEDS) if self.seeds is None else self.seeds


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonSettings:
    """The protocol of a comparison.

    Attributes:
        controllers: Their names, those of `conf/controller`.
        seeds: How many searches of each controller.
        first_seed: The seeds are this and those after it.
        budget: Cells looked up in a search, those met before counted again.
        at: Numbers of queries at which figures are taken; those beyond the budget are left out.
        samples_per_update: Cells averaged in one update, by controller; `default` holds for all others.
        baseline: The controller that others are held against; null: none.
        last: Samples at the end of a search whose mean tells where a policy has gone.
        workers: Processes, one thread each; null: as many as there are cores.
        portion: Which part of the seeds this run searches from, where they are cut among several runs.
        portions: How many such parts there are.
        published: Mean and standard deviation of published searches, by controller; only to stand beside.
    """

    controllers: Sequence[str] = ("lstm", "evolution", "uniform")
    seeds: int = 100
    first_seed: int = 0
    budget: int = 500
    at: Sequence[int] = (50, 100, 150, 200, 500)
    samples_per_update: Mapping[str, int] = field(default_factory=lambda: {DEFAULT: 5})
    baseline: str | None = "uniform"
    last: int = 50
    workers: int | None = None
    portion: int = 0
    portions: int = 1
    published: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_names("controllers", self.controllers)
        check_portion(self.portion, self.portions)
        for name in ("seeds", "budget", "last"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.first_seed < 0:
            raise ValueError(f"first_seed must be at least 0, got {self.first_seed}")
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be at least 1 or null, got {self.workers}")
        if any(number < 1 for number in self.at):
            raise ValueError(f"at must hold numbers of at least 1, got {list(self.at)}")
        for name, number in self.samples_per_update.items():
            if not isinstance(number, int) or number < 1:
                raise ValueError(f"samples_per_update.{name} must be a whole number of at least 1, got {number!r}")
        for name, figures in self.published.items():
            if len(figures) != 2:
                raise ValueError(f"published.{name} must be [mean, standard deviation], got {list(figures)}")

    @property
    def marks(self) -> list[int]:
        """The numbers of queries at which figures are taken, rising, the budget among them."""
        return sorted({number for number in self.at if number < self.budget} | {self.budget})

    def batch(self, controller: str) -> int:
        """Returns the cells averaged in one update of a controller.

        Raises:
            ValueError: If neither it nor a default is named.
        """
        number = self.samples_per_update.get(controller, self.samples_per_update.get(DEFAULT))
        if number is None:
            raise ValueError(f"samples_per_update names neither {controller} nor {DEFAULT}")
        return number


def _check_names(key: str, names: Sequence[str]) -> None:
    if not names:
        raise ValueError(f"{key} must name at least one controller")
    if len(set(names)) != len(names):
        raise ValueError(f"{key} names a controller twice: {', '.join(names)}")
