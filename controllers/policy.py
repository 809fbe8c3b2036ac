"""The part of a policy that all have: decisions, and the probability of given answers as a whole."""

from collections.abc import Sequence

from torch import Tensor, nn

from controllers.protocol import Samples
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
        return self._follow(actions)

    def _follow(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        raise NotImplementedError
