"""The part of a policy that all have: decisions, and the probability of given answers as a whole."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from controllers.protocol import Samples, check_num_samples, joined_probabilities
from search_spaces.genotype import Decision


class DecisionPolicy(nn.Module):
    """A distribution over the answers to a list of decisions; how each is answered is for a subclass to say.

    Args:
        decisions: Of the search space, T of them.

    Raises:
        ValueError: If there are no decisions.
    """

    def __init__(self, decisions: Sequence[Decision]) -> None:
        super().__init__()
        if not decisions:
            raise ValueError("a policy needs at least one decision")
        self.decisions = tuple(decisions)

    @torch.no_grad()
    def sample(self, num_samples: int, *, greedy: bool = False) -> Samples:
        """Draws N architectures, without a gradient.

        Args:
            num_samples: N, at least 1.
            greedy: Take the likeliest choice of every decision; all N are then equal.

        Raises:
            ValueError: If `num_samples` is below 1.
        """
        check_num_samples(num_samples)
        actions, log_probs, entropies, distributions = self._unroll(num_samples, actions=None, greedy=greedy)
        return Samples(
            actions=actions,
            log_prob=log_probs.sum(dim=1),
            entropy=entropies.sum(dim=1),
            probabilities=joined_probabilities(distributions),
        )

    def evaluate(self, actions: Tensor) -> Samples:
        """Returns log-probability and entropy of given actions (N, T), with gradients.

        Raises:
            ValueError: If `actions` is not of shape (N, T).
        """
        actions, log_probs, entropies = self.evaluate_decisions(actions)
        return Samples(actions=actions, log_prob=log_probs.sum(dim=1), entropy=entropies.sum(dim=1))

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns the log-probability, (N,), of actions (N, T), with gradients."""
        return self.evaluate(actions).log_prob

    def evaluate_decisions(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns actions, log-probabilities and entropies decision by decision, each (N, T), with gradients.

        Raises:
            ValueError: If `actions` is not of shape (N, T).
        """
        if actions.ndim != 2 or actions.shape[1] != len(self.decisions):
            raise ValueError(f"actions must be of shape (N, {len(self.decisions)}), got {tuple(actions.shape)}")
        return self._unroll(len(actions), actions=actions, greedy=False)[:3]

    def _unroll(
        self, num_samples: int, *, actions: Tensor | None, greedy: bool
    ) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
        """Walks through the decisions, choosing or following `actions`.

        Returns:
            Actions, log-probabilities and entropies, each (N, T); the log-probabilities, (N, K), of each decision.
        """
        raise NotImplementedError
