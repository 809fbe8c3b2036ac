"""Settings of the guard, which warns of a search whose policy collapsed."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from nas.settings import STRICT, BelowOne, Fraction, Share

if TYPE_CHECKING:
    from search_spaces.genotype import Decision


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GuardSettings:
    """When a search warns that its policy collapsed, and what it does then (`nas.searching.diagnostics.collapse`).

    Attributes:
        action: What happens: warn; restart (a fresh controller, shared weights kept); stop (the search ends).
        max_restarts: After these, or with less than `earliest` of the search left, it only warns.
        entropy: Collapsed or converged below this share of a uniform policy's entropy; 0: never.
        skip_share: Ops without weights took over above this share, or above half way from chance to 1 if that is more.
        skip_ops: Ops that count as weight-free besides those of the op table.
        repeats: The policy repeats itself above this share of samples seen before, judged while less than a tenth of
            the space has been drawn.
        samples: Least number of samples, those of the last epochs, that these shares are taken of.
        reward_samples: First and last rewards whose means are compared.
        reward_after: Rewards after which the mean must have risen; after as many again, not have fallen.
        gain: A policy sure of itself has converged if the mean reward came so far from its start to the best.
        earliest: Share of the controller's epochs before which it cannot have converged.
    """

    action: Literal["warn", "restart", "stop"] = "warn"
    max_restarts: NonNegativeInt = 1
    entropy: Fraction = 0.2
    skip_share: Share = 0.85
    skip_ops: Sequence[str] = ("identity", "skip_connect", "none", "zero")
    repeats: Share = 0.9
    samples: PositiveInt = 10
    reward_samples: Annotated[int, Field(ge=2)] = 50
    reward_after: PositiveInt = 250
    gain: Share = 0.5
    earliest: BelowOne = 0.25

    def __post_init__(self) -> None:
        if self.reward_after < 2 * self.reward_samples:
            raise ValueError(
                f"reward_after must be at least twice reward_samples {self.reward_samples}, got {self.reward_after}"
            )

    def weight_free(self, decisions: "Sequence[Decision]") -> tuple[str, ...]:
        """Returns the names of the ops without weights among the choices of decisions."""
        from search_spaces.ops import OPS  # imports torch

        ops = dict.fromkeys(choice for decision in decisions if decision.kind == "op" for choice in decision.choices)
        return tuple(op for op in ops if op in self.skip_ops or (op in OPS and OPS[op].weight_free))
