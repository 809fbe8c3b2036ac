"""The best architectures that a search has met, for a policy to learn from again, or to edit.

A policy gradient sees each reward once, and forgets a good architecture that it met when it was still unlikely.
Priority queue training (Abolafia et al. 2018, arXiv:1801.03526) also raises the likelihood of the K best so far.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass(eq=False, kw_only=True)
class References:
    """The best architectures of all that were rewarded, for a policy that edits one of them.

    Nothing is forgotten: meant for rewards that are exact.

    Args:
        size: K, at least 1.
        decay: How often the next best is edited, as a share of the one before it, in (0, 1].
        after: Rewards that are known before any is edited, at least 1.

    Raises:
        ValueError: If an argument is out of range.
    """

    size: int
    decay: float
    after: int
    known: int = field(default=0, init=False)
    best: list[tuple[float, tuple[int, ...]]] = field(default_factory=list, init=False)  # best first, at most K

    def __post_init__(self) -> None:
        for name, value in (("size", self.size), ("after", self.after)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must lie in (0, 1], got {self.decay}")

    def observe(self, actions: Tensor, rewards: Tensor) -> None:
        """Takes in architectures (N, T) and their rewards (N,).

        Raises:
            ValueError: If a reward is NaN.
        """
        if rewards.isnan().any():
            raise ValueError("a reward is NaN, which cannot be compared")
        self.known += len(actions)
        for row, reward in zip(map(tuple, actions.tolist()), rewards.tolist(), strict=True):
            if all(row != other for _, other in self.best):
                self.best.append((reward, row))
        self.best = sorted(self.best, key=lambda one: -one[0])[: self.size]  # stable: the first of equals

    def drawn_from(self) -> tuple[Tensor, Tensor] | None:
        """Returns their actions, (K, T), best first, and their probabilities, (K,); None where too few are known."""
        if self.known < self.after:
            return None
        weights = self.decay ** torch.arange(len(self.best), dtype=torch.float32)
        return torch.tensor([row for _, row in self.best]), weights / weights.sum()

    def state_dict(self) -> Mapping[str, Any]:
        """Returns the best and how many are known."""
        return {"known": self.known, "best": list(self.best)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.known, self.best = state_dict["known"], list(state_dict["best"])


@dataclass(eq=False, kw_only=True)
class Elites:
    """The K best distinct architectures among the last W rewarded.

    Deviations from the paper, for rewards that are noisy and drift as those of shared weights do: what is older than W
    rewards is forgotten, as in regularized evolution (arXiv:1802.01548), so that nothing stays for having been lucky
    once; and an architecture rewarded several times counts with its mean.

    Args:
        size: K, at least 1.
        weight: Weight of their mean log-likelihood in what a policy maximises, above 0; on the scale of advantages.
        window: W, at least K.

    Raises:
        ValueError: If an argument is out of range.
    """

    size: int
    weight: float
    window: int
    actions: Tensor | None = field(default=None, init=False)  # (M, T), oldest first
    rewards: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.float64), init=False)  # (M,)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be at least 1, got {self.size}")
        if self.weight <= 0:
            raise ValueError(f"weight must be above 0, got {self.weight}")
        if self.window < self.size:
            raise ValueError(f"window must be at least size {self.size}, got {self.window}")

    def observe(self, actions: Tensor, rewards: Tensor) -> None:
        """Takes in architectures (N, T) and their rewards (N,), and forgets those beyond the last W.

        Raises:
            ValueError: If a reward is NaN.
        """
        if rewards.isnan().any():
            raise ValueError("a reward is NaN, which cannot be compared")
        new = actions.detach().cpu()
        joined = new if self.actions is None else torch.cat([self.actions, new])
        self.actions = joined[-self.window :].clone()
        self.rewards = torch.cat([self.rewards, rewards.detach().cpu().double()])[-self.window :].clone()

    def best(self) -> Tensor:
        """Returns the actions, (min(K, distinct), T), of the best, best first.

        Raises:
            ValueError: If nothing has been observed.
        """
        if self.actions is None or len(self.actions) == 0:
            raise ValueError("there are no elites before the first rewards")
        distinct, number, counts = torch.unique(self.actions, dim=0, return_inverse=True, return_counts=True)
        means = torch.zeros(len(distinct), dtype=torch.float64).index_add_(0, number, self.rewards) / counts
        order = torch.sort(means, descending=True, stable=True).indices
        best: Tensor = distinct[order[: self.size]]
        return best

    def replay(self) -> tuple[Tensor, Tensor]:
        """Returns actions, (M, T), and the weights, (M,), of their log-likelihoods in what a policy maximises."""
        best = self.best()
        return best, torch.full((len(best),), self.weight / len(best))

    def state_dict(self) -> Mapping[str, Any]:
        """Returns the last W architectures and their rewards, oldest first."""
        return {"actions": self.actions, "rewards": self.rewards}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.actions, self.rewards = state_dict["actions"], state_dict["rewards"]
