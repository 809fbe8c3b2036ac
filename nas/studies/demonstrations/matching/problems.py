"""Random instances of graph matching with a planted permutation, and the objective on them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces.permutations import permutation_matrix


@dataclass(frozen=True, slots=True)
class Matchings:
    """Instances of graph matching.

    Attributes:
        a: (K, n, n), float64, symmetric, the entries on and above the diagonal independent and standard normal.
        b: (K, n, n), P*ᵀ A P* plus noise of the same kind.
        planted: The index of P*, (K, n).
    """

    a: Tensor
    b: Tensor
    planted: Tensor

    def objective(self, matrix: Tensor) -> Tensor:
        """Returns f of one M for each instance, (K, n, n) to (K,)."""
        return (self.a @ matrix - matrix @ self.b).square().sum(dim=(-1, -2)) / matrix.shape[-1]

    def gradient(self, matrix: Tensor) -> Tensor:
        """Returns the gradient of f, 2 (A R − R B) / n with R = A M − M B, (K, n, n)."""
        residual = self.a @ matrix - matrix @ self.b
        return 2 * (self.a @ residual - residual @ self.b) / matrix.shape[-1]

    def repeated(self, times: int) -> "Matchings":
        """Returns each instance `times` times in a row, in float32: what the descents need."""
        a, b = (values.float().repeat_interleave(times, dim=0) for values in (self.a, self.b))
        return Matchings(a, b, self.planted.repeat_interleave(times, dim=0))


def draw_matchings(instances: int, n: int, *, noise: float, seed: int) -> Matchings:
    """Draws instances with independent graphs, permutations and noise."""
    generator = torch.Generator().manual_seed(seed)

    def symmetric() -> Tensor:
        upper = torch.randn((instances, n, n), generator=generator, dtype=torch.float64).triu()
        return upper + upper.triu(1).mT

    a = symmetric()
    planted = torch.stack([torch.randperm(n, generator=generator) for _ in range(instances)])
    matrix = permutation_matrix(planted).double()
    return Matchings(a, matrix.mT @ a @ matrix + noise * symmetric(), planted)
