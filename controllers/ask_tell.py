"""Ask for architectures, tell what they were worth: a controller with a memory of what is known.

Many genotypes compute the same. Here the reward of a function is paid for once, and a controller that proposes it again
is told what is known, without a query. Searches with rewards that stay what they are go through this class, and so does
a training loop of your own:

    controller = AskTell(Uniform(space.decisions), space, seed=0)
    while not controller.exhausted:
        genotypes = controller.ask(5)
        controller.tell(genotypes, [train(genotype) for genotype in genotypes])
"""

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from controllers.protocol import Controller, Samples
from controllers.uniform import Uniform
from search_spaces.genotype import Genotype
from search_spaces.space import SearchSpace

MAX_PROPOSALS = 20
"""Proposals for each architecture that is asked for, before it is drawn uniformly."""
MOST_ENUMERATED = 100_000
"""Genotypes looked through for one that is not known, when hardly any is left."""


class Draw(NamedTuple):
    """Architectures to be rewarded.

    Attributes:
        samples: N of them, none of which computes what another of them or an earlier one computes.
        proposals: How many the controller proposed for them.
        own: How many of the N the controller proposed itself; the others were named before the search, or drawn
            uniformly since it found nothing new in 20 proposals.
    """

    samples: Samples
    proposals: int
    own: int


class AskTell:
    """Asks a controller for architectures whose reward is not known, and tells it the rewards of all it proposed.

    Args:
        controller: Proposes and learns.
        space: Says which genotypes compute the same.
        seed: Of the random draws, which then neither use nor change torch's global generator; None draws from that.
        first: Actions of architectures that are asked for before the controller proposes any.
        remember: Whether a function has one reward for good. Without it, as with shared weights in training, whatever
            the controller proposes is asked for, and only `draw` and `observe` are of use.
    """

    def __init__(
        self,
        controller: Controller,
        space: SearchSpace,
        *,
        seed: int | None = None,
        first: Sequence[Sequence[int]] = (),
        remember: bool = True,
    ) -> None:
        self.controller = controller
        self.space = space
        self.seed = seed
        self.first = first
        self.remember = remember
        self.known: dict[Hashable, float] = {}
        self._uniform = Uniform(space.decisions)
        self._proposed: list[tuple[int, ...]] = []  # again or twice, and not yet told
        self._asks = 0
        self._all = self._enumerate()
        self._next: tuple[int, ...] | None = None

    @property
    def exhausted(self) -> bool:
        """Whether every function of the space is known, of the first 100,000 genotypes of a large one."""
        return self.remember and self._unknown(()) is None

    def ask(self, count: int) -> list[Genotype]:
        """Returns N genotypes to be rewarded, fewer where fewer functions are unknown.

        Args:
            count: N, at least 1.

        Raises:
            ValueError: If `count` is below 1.
        """
        with self._random():
            drawn = self.draw(count)
        return [self.space.decode(row) for row in drawn.samples.actions.tolist()]

    def tell(self, genotypes: Sequence[Genotype], rewards: Sequence[float]) -> Mapping[str, float]:
        """Takes in the rewards of genotypes, asked for or not, and lets the controller learn from them.

        Returns:
            What the controller logs.

        Raises:
            ValueError: If the numbers differ or are 0, a genotype is not of the space, or a reward is not finite.
        """
        values = torch.tensor(list(rewards), dtype=torch.float64)
        if len(genotypes) != len(values) or not len(values):
            raise ValueError(f"expected a reward a genotype, got {len(genotypes)} genotypes and {len(values)} rewards")
        if not values.isfinite().all():
            raise ValueError(f"rewards must be finite, got {values.tolist()}")
        with self._random():
            return self.observe(torch.tensor([self.space.encode(genotype) for genotype in genotypes]), values)

    def draw(self, count: int) -> Draw:
        """Returns what `ask` returns as the controller's samples, drawn from torch's global generator.

        Of each sample the log-probability and the distributions are the controller's own. An architecture that it did
        not propose has those of the uniform distribution, or of its last proposal, which tell where the controller is.

        Raises:
            ValueError: If `count` is below 1.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        if not self.remember:
            return Draw(self.controller.sample(count), count, count)
        found: dict[Hashable, Samples] = {}
        for row in self.first:
            if len(found) < count and (key := self._key(row)) not in self.known:
                found.setdefault(key, self._uniform.sample(1)._replace(actions=torch.tensor([row])))
        named, proposals = len(found), 0
        most, one_by_one = MAX_PROPOSALS * (count - named), self.controller.repeats == "at once"
        while len(found) < count and proposals < most:
            wanted = count if one_by_one else 4 * count if not proposals else most  # few calls take less
            samples = self.controller.sample(min(wanted, most - proposals))
            for number, row in enumerate(samples.actions.tolist()):
                proposals += 1
                key = self._key(row)
                if key not in found and key not in self.known:
                    found[key] = _row(samples, number)
                elif one_by_one and key in self.known:
                    self.controller.observe(samples.actions[number : number + 1], self._rewards([key]))
                else:
                    self._proposed.append(tuple(row))
                if len(found) == count:
                    break
        own = len(found) - named
        for _ in range(MAX_PROPOSALS * (count - len(found))):
            actions = self._uniform.sample(1).actions
            key = self._key(actions[0].tolist())
            if key not in self.known:
                found.setdefault(key, _row(samples, -1)._replace(actions=actions))
            if len(found) == count:
                break
        while len(found) < count and (unknown := self._unknown(found)) is not None:
            found[self._key(unknown)] = _row(samples, -1)._replace(actions=torch.tensor([unknown]))
        return Draw(_joined(list(found.values()), self._uniform), proposals, own)

    def observe(self, actions: Tensor, rewards: Tensor) -> Mapping[str, float]:
        """Takes in the rewards, (N,), of actions (N, T), and lets the controller learn; returns what it logs."""
        if not self.remember:
            return self.controller.observe(actions, rewards)
        for row, reward in zip(actions.tolist(), rewards.tolist(), strict=True):
            self.known.setdefault(self._key(row), reward)
        if self.controller.repeats == "with the next":
            again = [row for row in self._proposed if self._key(row) in self.known]
            if again:
                actions = torch.cat([actions, torch.tensor(again)])
                rewards = torch.cat([rewards, self._rewards([self._key(row) for row in again])])
        self._proposed.clear()
        return self.controller.observe(actions, rewards)

    def remember_known(self, actions: Sequence[Sequence[int]], rewards: Sequence[float]) -> None:
        """Takes in rewards that the controller has learned from before, as when a search goes on."""
        for row, reward in zip(actions, rewards, strict=True):
            self.known.setdefault(self._key(row), reward)

    def state_dict(self) -> dict[str, Any]:
        """Returns all that is needed to go on exactly here: the controller's state and what is known."""
        return {
            "controller": self.controller.state_dict(),
            "known": dict(self.known),
            "proposed": list(self._proposed),
            "asks": self._asks,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.controller.load_state_dict(state["controller"])
        self.known, self._proposed, self._asks = dict(state["known"]), list(state["proposed"]), state["asks"]
        self._all, self._next = self._enumerate(), None

    def save(self, path: str | Path) -> None:
        """Writes the state into a file."""
        torch.save(self.state_dict(), path)

    def load(self, path: str | Path) -> None:
        """Goes on from a file that `save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
        """
        self.load_state_dict(torch.load(path, weights_only=True))

    def _key(self, actions: Sequence[int]) -> Hashable:
        return self.space.canonical(self.space.decode(actions))

    def _rewards(self, keys: Sequence[Hashable]) -> Tensor:
        return torch.tensor([self.known[key] for key in keys], dtype=torch.float64)

    def _enumerate(self) -> Iterator[tuple[int, ...]]:
        every = itertools.product(*(range(len(decision.choices)) for decision in self.space.decisions))
        return itertools.islice(every, MOST_ENUMERATED)

    def _unknown(self, found: Mapping[Hashable, Any] | tuple[()]) -> tuple[int, ...] | None:
        """Returns the first genotype whose function is neither known nor found; None if there is none."""
        if self._next is None or self._key(self._next) in self.known:
            self._next = next((one for one in self._all if self._key(one) not in self.known), None)
        if self._next is None or self._key(self._next) not in found:
            return self._next
        taken = {*self.known, *found}
        return next((one for one in self._enumerate() if self._key(one) not in taken), None)

    @contextmanager
    def _random(self) -> Iterator[None]:
        """Draws from a stream of its own for each ask and tell, if there is a seed."""
        if self.seed is None:
            yield
            return
        self._asks += 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + 1_000_003 * self._asks)
            yield


def _row(samples: Samples, number: int) -> Samples:
    one = slice(number, number + 1 or None)
    probabilities = None if samples.probabilities is None else samples.probabilities[one]
    return Samples(samples.actions[one], samples.log_prob[one], samples.entropy[one], probabilities)


def _joined(rows: Sequence[Samples], like: Uniform) -> Samples:
    """Returns samples of one architecture each as samples of all; of none, an empty draw."""
    if not rows:
        return _row(like.sample(1), 1)
    probabilities = [one.probabilities for one in rows if one.probabilities is not None]
    return Samples(
        torch.cat([one.actions for one in rows]),
        torch.cat([one.log_prob for one in rows]),
        torch.cat([one.entropy for one in rows]),
        torch.cat(probabilities) if len(probabilities) == len(rows) else None,
    )
