"""When a user is warned of a search, and what is done about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from search_spaces.genotype import Decision


ACTIONS = ("warn", "restart", "stop")
SKIP_OPS = ("identity", "skip_connect", "none", "zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSettings:
    """Thresholds of the rules in `nas.searching.diagnostics.collapse`.

    Attributes:
        action: `warn` says what was found; `restart` also begins anew with a fresh controller, shared weights kept;
            `stop` ends the search.
        max_restarts: After these, findings are warned of, and so they are where less than `earliest` of the search is
            left.
        entropy: Entropy of the policy, as a share of a uniform policy's, below which it has collapsed or converged, in
            [0, 1]; 0 is never.
        skip_share: Share of ops without weights, in (0, 1], above which they took over; half way from what chance gives
            to 1 if that is higher.
        skip_ops: Ops that count as such besides those that the op table has as free of weights.
        repeats: Share of samples seen before, in (0, 1], above which the policy repeats itself. It is judged while less
            than a tenth of a space's genotypes has been drawn.
        samples: Least number of samples in the last epochs, of which these shares are taken.
        reward_samples: Least number of rewards at the start and at the end whose means are compared.
        reward_after: Rewards after which the mean must have risen, at least twice `reward_samples`; after as many again
            it must not have fallen.
        gain: How far the mean reward must have come from its start to the best, in (0, 1], for a policy that is sure of
            itself to have converged.
        earliest: Share of a controller's epochs, in [0, 1), before which it cannot have converged.
    """

    action: str = "warn"
    max_restarts: int = 1
    entropy: float = 0.2
    skip_share: float = 0.85
    skip_ops: Sequence[str] = SKIP_OPS
    repeats: float = 0.9
    samples: int = 10
    reward_samples: int = 50
    reward_after: int = 250
    gain: float = 0.5
    earliest: float = 0.25

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"guard.action must be one of {', '.join(ACTIONS)}, got {self.action!r}")
        if self.max_restarts < 0:
            raise ValueError(f"guard.max_restarts must be at least 0, got {self.max_restarts}")
        if not 0 <= self.entropy <= 1:
            raise ValueError(f"guard.entropy must lie in [0, 1], got {self.entropy}")
        for name in ("skip_share", "repeats", "gain"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"guard.{name} must lie in (0, 1], got {getattr(self, name)}")
        if not 0 <= self.earliest < 1:
            raise ValueError(f"guard.earliest must lie in [0, 1), got {self.earliest}")
        if self.samples < 1:
            raise ValueError(f"guard.samples must be at least 1, got {self.samples}")
        if self.reward_samples < 2:
            raise ValueError(f"guard.reward_samples must be at least 2, got {self.reward_samples}")
        if self.reward_after < 2 * self.reward_samples:
            raise ValueError(
                f"guard.reward_after must be at least twice guard.reward_samples {self.reward_samples}, "
                f"got {self.reward_after}"
            )

    def weight_free(self, decisions: "Sequence[Decision]") -> tuple[str, ...]:
        """Returns the names of the ops without weights among the choices of decisions."""
        from search_spaces.ops import OPS  # imports torch

        ops = dict.fromkeys(choice for decision in decisions if decision.kind == "op" for choice in decision.choices)
        return tuple(op for op in ops if op in self.skip_ops or (op in OPS and OPS[op].weight_free))
