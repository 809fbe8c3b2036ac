"""The largest first: no search at all, and hard to beat where more weights are better. A warning, not a method.

An architecture counts as many weights as its ops have; the reward is never looked at.
"""

import heapq
import random
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any, ClassVar

import torch
from torch import Tensor

from controllers.protocol import Repeats, Samples, check_num_samples
from search_spaces.genotype import Decision
from search_spaces.ops import OPS

CHANNELS = 16  # at which an op's weights are counted
Row = tuple[int, ...]


class LargestFirst:
    """A controller that proposes architectures by the weights of their ops, those with the most first.

    Of equal ones a random order is proposed, drawn when the controller is made.

    Args:
        decisions: Of the search space, T of them.
    """

    repeats: ClassVar[Repeats] = "at once"

    def __init__(self, decisions: Sequence[Decision]) -> None:
        self.decisions = tuple(decisions)
        self.seed = int(torch.randint(2**31, ()))
        self.done: dict[Row, None] = {}  # rewarded, in the order in which they were
        self._order = self._by_size()
        self._next: list[Row] = []

    def sample(self, num_samples: int, *, greedy: bool = False) -> Samples:
        """Proposes the N largest whose reward is not known, the last again where fewer are left; greedy the largest.

        Raises:
            ValueError: If `num_samples` is below 1.
        """
        check_num_samples(num_samples)
        if greedy:
            actions = [next(self._by_size())] * num_samples
        else:
            self._next = [row for row in self._next if row not in self.done]
            fresh = (row for row in self._order if row not in self.done)
            self._next += islice(fresh, max(0, num_samples - len(self._next)))
            actions = self._next[:num_samples] or list(self.done)[-1:]
            actions += actions[-1:] * (num_samples - len(actions))
        return Samples(torch.tensor(actions), torch.zeros(num_samples), torch.zeros(num_samples))

    def observe(self, actions: Tensor, rewards: Tensor) -> Mapping[str, float]:  # noqa: ARG002
        """Takes note of actions (N, T) only, which are not proposed again."""
        self.done |= dict.fromkeys(map(tuple, actions.tolist()))
        return {}

    def set_learning_rate_scale(self, scale: float) -> None:
        """Has no learning rate."""

    def state_dict(self) -> Mapping[str, Any]:
        """Returns the seed of the order, and what is done."""
        return {"seed": self.seed, "done": list(self.done)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.seed, self.done = state_dict["seed"], dict.fromkeys(map(tuple, state_dict["done"]))
        self._order, self._next = self._by_size(), []

    def _by_size(self) -> Iterator[Row]:
        """Yields all architectures, the largest first."""
        draw = random.Random(self.seed)
        columns = [
            sorted(
                (
                    (_weights(decision, choice) + draw.random() / 100, number)
                    for number, choice in enumerate(decision.choices)
                ),
                reverse=True,
            )
            for decision in self.decisions
        ]  # of each decision, weights (equal ones in random order) and number of its choices
        heap = [(-sum(column[0][0] for column in columns), (0,) * len(columns), 0)]
        while heap:
            size, places, first = heapq.heappop(heap)
            yield tuple(column[place][1] for column, place in zip(columns, places, strict=True))
            for number in range(first, len(columns)):  # one choice further in one decision, each reached on one way
                column, place = columns[number], places[number]
                if place + 1 < len(column):
                    less = column[place][0] - column[place + 1][0]
                    heapq.heappush(heap, (size + less, (*places[:number], place + 1, *places[number + 1 :]), number))


@cache
def _weights(decision: Decision, choice: str) -> int:
    """Returns the weights of an op at 16 channels; of other answers and of ops that are not in the table, 0."""
    if decision.kind != "op" or choice not in OPS:
        return 0
    return sum(weight.numel() for weight in OPS[choice].build(CHANNELS, 1).parameters())
