"""Random search: every choice of every decision equally likely, nothing learned."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from controllers.protocol import Repeats, Samples, check_num_samples, joined_probabilities
from search_spaces.genotype import Decision


class Uniform:
    """The baseline every learned controller must beat under the same budget.

    Args:
        decisions: Of the search space, T of them.
    """

    repeats: ClassVar[Repeats] = "never"

    def __init__(self, decisions: Sequence[Decision]) -> None:
        self.num_choices = torch.tensor([len(decision.choices) for decision in decisions])
        self.entropy = sum(math.log(len(decision.choices)) for decision in decisions)
        self.probabilities = joined_probabilities(
            [torch.full((1, count), -math.log(count), dtype=torch.float64) for count in self.num_choices.tolist()]
        )  # (1, T, K)

    def sample(self, num_samples: int, *, greedy: bool = False) -> Samples:
        """Draws architectures uniformly; greedy takes the first choice of every decision, all being equally likely."""
        check_num_samples(num_samples)
        draws = torch.rand((num_samples, len(self.num_choices))) * (0.0 if greedy else 1.0)
        actions = (draws * self.num_choices).long().clamp(max=self.num_choices - 1)
        entropy = torch.full((num_samples,), self.entropy)
        probabilities = self.probabilities.expand(num_samples, -1, -1)
        return Samples(actions=actions, log_prob=-entropy, entropy=entropy, probabilities=probabilities)

    def observe(self, actions: Tensor, rewards: Tensor) -> Mapping[str, float]:  # noqa: ARG002
        """Learns nothing."""
        return {}

    def set_learning_rate_scale(self, scale: float) -> None:
        """Has no learning rate."""

    def state_dict(self) -> Mapping[str, Any]:
        """Has no state."""
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Has no state."""
