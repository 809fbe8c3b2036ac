"""Regularized evolution (Real et al. 2019, arXiv:1802.01548, Algorithm 1): a population in which the oldest dies.

What is good spreads since the best of a few members becomes a parent; no member stays for its luck since all age.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from controllers.protocol import Repeats, Samples, check_num_samples
from controllers.uniform import Uniform
from search_spaces.genotype import Decision


class Evolution:
    """A controller that proposes children of its population, each with one decision of its parent changed.

    Each child has a parent of its own: the best of `sample_size` members drawn with replacement, as in the paper (of
    equals, the one drawn first). The decision to change is uniform over those with at least two choices, its answer
    uniform over the others; the paper's "hidden state" and "op" mutations are such changes, its mutation that changes
    nothing is left out. Children of one call of `sample` come from the same population, as those of parallel workers.

    Members lie in `population` from oldest to youngest, which is all that ageing needs to know.

    Args:
        decisions: Of the search space, T of them, at least one with two choices.
        population_size: P (Real et al.: 100, NAS-Bench-201's code: 10).
        sample_size: S, the members a parent is the best of (Real et al.: 25, NAS-Bench-201's code: 3).

    Raises:
        ValueError: If an argument is out of range, or no decision has a second choice.
    """

    repeats: ClassVar[Repeats] = "never"

    def __init__(self, decisions: Sequence[Decision], *, population_size: int = 10, sample_size: int = 3) -> None:
        for name, value in (("population_size", population_size), ("sample_size", sample_size)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.population_size = population_size
        self.sample_size = sample_size
        self.num_choices = torch.tensor([len(decision.choices) for decision in decisions], dtype=torch.int64)  # (T,)
        self._changeable = (self.num_choices > 1).nonzero().squeeze(1)  # (D,)
        if len(self._changeable) == 0:
            raise ValueError("evolution needs at least one decision with two choices")
        self._uniform = Uniform(decisions)
        self.population = torch.empty((0, len(decisions)), dtype=torch.int64)
        self.rewards = torch.empty(0, dtype=torch.float64)
        self.best: tuple[float, Tensor] | None = None

    @property
    def filled(self) -> bool:
        """Whether the population is complete; until then architectures are drawn uniformly."""
        return len(self.population) == self.population_size

    def sample(self, num_samples: int, *, greedy: bool = False) -> Samples:
        """Draws N children of the population, or uniformly until the population is filled.

        Args:
            num_samples: N, at least 1.
            greedy: Take the architecture with the highest reward of all observed, dead ones included; before the
                first reward, the first choice of every decision. It is no draw, so that its log_prob is 0. Where
                weights are shared, rewards of different epochs are those of different weights.

        Returns:
            Actions, their exact log-probabilities, `entropy()` and `probabilities()`, the same for all.

        Raises:
            ValueError: If `num_samples` is below 1.
        """
        check_num_samples(num_samples)
        entropy = torch.full((num_samples,), self.entropy())
        probabilities = self.probabilities().expand(num_samples, -1, -1)
        if greedy:
            best = self.best[1] if self.best is not None else torch.zeros_like(self.num_choices)
            actions = best.repeat(num_samples, 1)
        elif self.filled:
            actions = self._mutate(self.population[self._select(num_samples)])
        else:
            actions = self._uniform.sample(num_samples).actions
        log_prob = torch.zeros(num_samples) if greedy else self.log_prob(actions).to(entropy.dtype)
        return Samples(actions=actions, log_prob=log_prob, entropy=entropy, probabilities=probabilities)

    def observe(self, actions: Tensor, rewards: Tensor) -> Mapping[str, float]:
        """Appends architectures to the population in their order and lets as many of the oldest die; any will do.

        Args:
            actions: (N, T), sampled here or anywhere else.
            rewards: (N,), higher is better.

        Returns:
            `population_best` and `population_mean`, of the living members' rewards; `best_age`, the number of
            architectures observed since the best living member (the youngest of equals); `distinct`, the number of
            different members divided by the number of members.

        Raises:
            ValueError: If shapes are wrong or N is 0, a choice does not exist, or a reward is NaN.
        """
        actions, values = actions.detach().cpu(), rewards.detach().cpu().double()
        self._check(actions, values)
        if len(values) == 0:
            raise ValueError("there must be at least one architecture to observe")
        if self.best is None or values.max().item() > self.best[0]:
            self.best = values.max().item(), actions[int(values.argmax())].clone()
        self.population = torch.cat([self.population, actions])[-self.population_size :].clone()
        self.rewards = torch.cat([self.rewards, values])[-self.population_size :].clone()
        return {
            "population_best": self.rewards.max().item(),
            "population_mean": self.rewards.mean().item(),
            "best_age": float(self.rewards.flip(0).argmax()),
            "distinct": len(torch.unique(self.population, dim=0)) / len(self.population),
        }

    def log_prob(self, actions: Tensor) -> Tensor:
        """Returns the logarithm, (N,) float64, of the probability that the next draw is each of actions (N, T).

        It sums over all parents that a child could have; −∞ marks what is no child of any member.
        """
        if not self.filled:
            return -self.num_choices.double().log().sum().repeat(len(actions))
        changed = actions[:, None] != self.population  # (N, P, T)
        of_parent = torch.where(changed, self._change_prob(), 0.0).sum(dim=-1)  # (N, P)
        of_parent[changed.sum(dim=-1) != 1] = 0.0
        return (of_parent @ parent_probabilities(self.rewards, sample_size=self.sample_size)).log()

    def entropy(self) -> float:
        """Returns the sum over the decisions of the entropy, in nats, of each one's answer in the next draw.

        The answers of a child depend on one another, so that this bounds the entropy of the draw from above; it is on
        the scale of other controllers: Σ log K at first. It falls as members grow alike, but not to 0: a child differs.
        """
        return self._uniform.entropy if not self.filled else torch.special.entr(self.probabilities()).sum().item()

    def probabilities(self) -> Tensor:
        """Returns, (T, K) float64, how likely each answer to each decision is next; zero beyond its choices."""
        uniform = self._uniform.probabilities[0]  # (T, K)
        if not self.filled:
            return uniform
        parents = parent_probabilities(self.rewards, sample_size=self.sample_size)
        before = torch.zeros_like(uniform).scatter_add_(
            1, self.population.T, parents.expand(len(uniform), -1)
        )  # (T, K), of the parent
        change_prob = self._change_prob()[:, None]
        lost, gained = before * (self.num_choices[:, None] - 1) * change_prob, (1 - before) * change_prob
        return torch.where(uniform > 0, before - lost + gained, 0.0).clamp(min=0.0)

    def set_learning_rate_scale(self, scale: float) -> None:
        """Has no learning rate."""

    def state_dict(self) -> Mapping[str, Any]:
        """Returns population and rewards from oldest to youngest, and the best of all observed."""
        return {
            "population": self.population,
            "rewards": self.rewards,
            "best": None if self.best is None else list(self.best),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned.

        Raises:
            ValueError: If it is of other decisions or of a larger population.
        """
        population, rewards, best = (state_dict[key] for key in ("population", "rewards", "best"))
        self._check(population, rewards)
        if len(population) > self.population_size:
            raise ValueError(
                f"the state has {len(population)} members, more than population_size {self.population_size}"
            )
        self.population, self.rewards = population.clone(), rewards.clone()
        self.best = None if best is None else (best[0], best[1].clone())

    def _select(self, num_parents: int) -> Tensor:
        """Returns the places (N,) in the population of the best of S members each, drawn with replacement."""
        drawn = torch.randint(len(self.population), (num_parents, self.sample_size))  # (N, S)
        return drawn.gather(1, self.rewards[drawn].argmax(dim=1, keepdim=True)).squeeze(1)

    def _mutate(self, parents: Tensor) -> Tensor:
        """Returns children (N, T) of parents (N, T), one changeable decision of each with another answer."""
        rows = torch.arange(len(parents))
        columns = self._changeable[torch.randint(len(self._changeable), (len(parents),))]  # (N,)
        others = self.num_choices[columns] - 1
        steps = 1 + (torch.rand(len(parents), dtype=torch.float64) * others).long()  # (N,), in 1 … K − 1
        children = parents.clone()
        children[rows, columns] = (parents[rows, columns] + steps) % (others + 1)
        return children

    def _change_prob(self) -> Tensor:
        """Returns, (T,), the probability of a change of each decision into one given other answer."""
        others = (self.num_choices - 1).double()
        return torch.where(others > 0, 1 / (len(self._changeable) * others.clamp(min=1)), 0.0)

    def _check(self, actions: Tensor, rewards: Tensor) -> None:
        num_decisions = len(self.num_choices)
        if actions.ndim != 2 or actions.shape[1] != num_decisions or rewards.shape != actions.shape[:1]:
            raise ValueError(
                f"actions and rewards must be of shapes (N, {num_decisions}) and (N,), "
                f"got {tuple(actions.shape)} and {tuple(rewards.shape)}"
            )
        if ((actions < 0) | (actions >= self.num_choices)).any():
            raise ValueError("actions hold an answer that its decision does not offer")
        if rewards.isnan().any():
            raise ValueError("a reward is NaN, which cannot be compared")


def parent_probabilities(rewards: Tensor, *, sample_size: int) -> Tensor:
    """Returns the probability, (P,) float64, of each member to be the best of S drawn with replacement.

    All S draws are among the members up to a reward with probability (members up to it / P)^S; equals share theirs.

    Args:
        rewards: (P,).
        sample_size: S.
    """
    size = len(rewards)
    below = (rewards[None] < rewards[:, None]).sum(dim=1).double()  # (P,)
    up_to = (rewards[None] <= rewards[:, None]).sum(dim=1).double()
    return ((up_to / size) ** sample_size - (below / size) ** sample_size) / (up_to - below)
