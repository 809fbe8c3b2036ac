"""Local search: the first neighbour that is better is moved to; at a local optimum it begins anew somewhere else.

Strong on small tables (White et al. 2021, arXiv:2005.02960); what has one answer changed is a neighbour.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from controllers.protocol import Repeats, Samples, check_num_samples
from controllers.uniform import Uniform
from search_spaces.genotype import Decision


def neighbours(row: tuple[int, ...], num_choices: Sequence[int]) -> list[tuple[int, ...]]:
    """Returns what has one answer changed, given the number of choices of each decision."""
    return [
        (*row[:number], choice, *row[number + 1 :])
        for number, count in enumerate(num_choices)
        for choice in range(count)
        if choice != row[number]
    ]


class LocalSearch:
    """A controller that climbs: it proposes the neighbours of where it stands, in random order.

    Neighbours that compute what is known are told at once and cost nothing, so that neighbours count by what they
    compute. Several proposals of one call are several neighbours, or starts, and the first that is better is moved to.

    Args:
        decisions: Of the search space, T of them, at least one with two choices.
        starts: Uniformly drawn architectures of which the best is where it first stands, at least 1.

    Raises:
        ValueError: If `starts` is out of range, or no decision has a second choice.
    """

    repeats: ClassVar[Repeats] = "at once"

    def __init__(self, decisions: Sequence[Decision], *, starts: int = 1) -> None:
        if starts < 1:
            raise ValueError(f"starts must be at least 1, got {starts}")
        if all(len(decision.choices) < 2 for decision in decisions):
            raise ValueError("local search needs at least one decision with two choices")
        self.starts = starts
        self._num_choices = [len(decision.choices) for decision in decisions]
        self._uniform = Uniform(decisions)
        self.place: tuple[tuple[int, ...], float] | None = None  # where it stands
        self.left: list[tuple[int, ...]] = []  # neighbours that are not known, in the order of their turns
        self.best: tuple[tuple[int, ...], float] | None = None
        self.drawn = 0  # starts since it last stood somewhere
        self.climbs = 0

    def sample(self, num_samples: int, *, greedy: bool = False) -> Samples:
        """Proposes neighbours of where it stands, N of them, and uniform draws where there are no more.

        Args:
            num_samples: N, at least 1.
            greedy: Take the best so far, N times; before the first reward, the first choice of every decision.

        Raises:
            ValueError: If `num_samples` is below 1.
        """
        check_num_samples(num_samples)
        if greedy:
            best = self.best[0] if self.best is not None else [0] * len(self._num_choices)
            return Samples(torch.tensor([best] * num_samples), torch.zeros(num_samples), torch.zeros(num_samples))
        uniform = self._uniform.sample(num_samples)
        if not self.left:
            return uniform._replace(probabilities=None)
        count = min(num_samples, len(self.left))
        actions = torch.cat([torch.tensor(self.left[:count]), uniform.actions[count:]])
        entropy = uniform.entropy.clone()
        entropy[:count] = torch.tensor(float(len(self.left))).log()
        return Samples(actions, -entropy, entropy)

    def observe(self, actions: Tensor, rewards: Tensor) -> Mapping[str, float]:
        """Moves to the first neighbour that is better; begins anew where none is.

        Args:
            actions: (N, T), sampled here or anywhere else.
            rewards: (N,).

        Returns:
            `climbs`, the starts it has climbed from; `place`, the reward of where it stands, if it stands somewhere.
        """
        for row, reward in zip(map(tuple, actions.tolist()), rewards.tolist(), strict=True):
            self._take(row, reward)
        return {"climbs": float(self.climbs)} | ({} if self.place is None else {"place": self.place[1]})

    def _take(self, row: tuple[int, ...], reward: float) -> None:
        if self.best is None or reward > self.best[1]:
            self.best = row, reward
        if not self.left:  # a start
            self.drawn += 1
            if self.place is None or reward > self.place[1]:
                self.place = row, reward
            if self.drawn >= (1 if self.climbs else self.starts):
                self.climbs += 1
                self._stand(*self.place)
        elif row in self.left:
            assert self.place is not None
            self.left.remove(row)
            if reward > self.place[1]:
                self._stand(row, reward)
            elif not self.left:
                self.place, self.drawn = None, 0

    def _stand(self, row: tuple[int, ...], reward: float) -> None:
        self.place = row, reward
        near = neighbours(row, self._num_choices)
        self.left = [near[number] for number in torch.randperm(len(near)).tolist()]

    def set_learning_rate_scale(self, scale: float) -> None:
        """Has no learning rate."""

    def state_dict(self) -> Mapping[str, Any]:
        """Returns where it stands, the neighbours that are left, and the best so far."""
        return {
            "place": self.place,
            "left": list(self.left),
            "best": self.best,
            "drawn": self.drawn,
            "climbs": self.climbs,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.place, self.left, self.best = state_dict["place"], list(state_dict["left"]), state_dict["best"]
        self.drawn, self.climbs = state_dict["drawn"], state_dict["climbs"]
