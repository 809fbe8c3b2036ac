"""Uniform draws over what genotypes compute, in spaces that are small enough to be enumerated.

A function that many genotypes compute is drawn as often as any other (Ning et al. 2021, arXiv:2008.03064, §6.2).
"""

import itertools
from collections.abc import Hashable

import torch
from torch import Tensor

from search_spaces.space import SearchSpace, size

MAX_GENOTYPES = 100_000
LARGE = 2**62  # so many numbers are divided among the genotypes of a class, to within one


class CanonicalClasses:
    """The genotypes of a space, all visited at about 0.15 ms each, divided into classes that share a canonical key.

    Attributes:
        actions: (G, T), of all genotypes, class by class.
        sizes: (K,), genotypes in each class.

    Raises:
        ValueError: If the space has more than 100,000 genotypes.
    """

    def __init__(self, space: SearchSpace) -> None:
        if size(space) > MAX_GENOTYPES:
            raise ValueError(
                "sampling=classes needs a space of at most "
                f"{MAX_GENOTYPES} genotypes, which are enumerated; {space.name} has {size(space)}"
            )
        classes: dict[Hashable, list[tuple[int, ...]]] = {}
        for actions in itertools.product(*(range(len(decision.choices)) for decision in space.decisions)):
            classes.setdefault(space.canonical(space.decode(actions)), []).append(actions)
        self.actions = torch.tensor([actions for members in classes.values() for actions in members])
        self.sizes = torch.tensor([len(members) for members in classes.values()])
        self._starts = self.sizes.cumsum(0) - self.sizes

    def sample(self, num_samples: int) -> Tensor:
        """Draws N classes uniformly, and of each a genotype uniformly, from torch's generator: actions (N, T)."""
        classes = torch.randint(len(self.sizes), (num_samples,))
        return self.members(classes, torch.randint(LARGE, (num_samples,)))

    def members(self, classes: Tensor, numbers: Tensor) -> Tensor:
        """Returns the actions, (N, T), of the genotypes of these numbers, modulo the size, of classes, both (N,)."""
        return self.actions[self._starts[classes] + numbers % self.sizes[classes]]
