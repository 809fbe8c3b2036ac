"""A controller from outside: changes a few decisions of the best architecture so far."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from controllers.protocol import Repeats, Samples
from controllers.uniform import Uniform
from search_spaces.genotype import Decision


class HillClimbing:
    """Draws every decision anew with some probability, and keeps it else.

    Args:
        decisions: Of the search space.
        change: The probability.
    """

    repeats: ClassVar[Repeats] = "with the next"

    def __init__(self, decisions: Sequence[Decision], *, change: float) -> None:
        self.uniform = Uniform(decisions)
        self.change = change
        self.best = self.uniform.sample(1).actions[0]
        self.reward = float("-inf")

    def sample(self, num_samples: int, *, greedy: bool = False) -> Samples:
        """Draws neighbours of the best architecture; greedy returns it."""
        drawn = self.uniform.sample(num_samples)
        changed = torch.rand(drawn.actions.shape) < (0.0 if greedy else self.change)
        return drawn._replace(actions=torch.where(changed, drawn.actions, self.best))

    def observe(self, actions: Tensor, rewards: Tensor) -> Mapping[str, float]:
        """Moves to the best of the actions if it is better."""
        if rewards.max() > self.reward:
            self.best, self.reward = actions[rewards.argmax()], rewards.max().item()
        return {"height": self.reward}

    def set_learning_rate_scale(self, scale: float) -> None:
        """Has no learning rate."""

    def state_dict(self) -> Mapping[str, Any]:
        """Returns where it stands."""
        return {"best": self.best, "reward": self.reward}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Goes on from there."""
        self.best, self.reward = state_dict["best"], state_dict["reward"]
