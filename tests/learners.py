"""Learners with ENAS's constants, for tests that care about some of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from controllers.policy_gradients import (
    Adam,
    ClippedObjective,
    EntropyBonus,
    MovingAverageBaseline,
    ReinforceObjective,
)
from controllers.reinforce import Reinforce
from search_spaces.genotype import Decision

ADAM = {"lr": 0.0035, "betas": (0.0, 0.999), "eps": 1e-3}
BASELINE = {"decay": 0.99, "start": 0.0}
ENTROPY = {"weight": 1e-4, "part_of": "reward", "weight_end": None, "schedule": "linear", "updates": 100}


def learner(
    decisions: Sequence[Decision],
    policy: Callable[..., Any],
    *,
    optimizer: Mapping[str, Any] | None = None,
    baseline: Mapping[str, Any] | None = None,
    entropy: Mapping[str, Any] | None = None,
    objective: ReinforceObjective | ClippedObjective | None = None,
    **others: Any,
) -> Reinforce:
    """Makes one, with what differs from ENAS's constants."""
    return Reinforce(
        decisions,
        policy=policy,
        optimizer=Adam(**{**ADAM, **(optimizer or {})}),
        baseline=MovingAverageBaseline(**{**BASELINE, **(baseline or {})}),
        entropy=EntropyBonus(**{**ENTROPY, **(entropy or {})}),
        objective=objective or ReinforceObjective(),
        **others,
    )
