"""Other ways to match graphs, for comparison: annealed Sinkhorn matrices and SciPy's FAQ."""

import torch
from torch import Tensor

from nas.studies.demonstrations.relaxation import Gradient, round_all

SINKHORN_ITERATIONS = 10
FIRST_TEMPERATURE, LAST_TEMPERATURE = 1.0, 0.05
LEARNING_RATE = 0.1


def sinkhorn_matching(
    problems: int, n: int, gradient: Gradient, *, steps: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Descends M = Sinkhorn(X / τ) by Adam on X, τ falling geometrically from 1 to 0.05.

    Gumbel–Sinkhorn networks (Mena et al., arXiv:1802.08665) without the Gumbel noise.

    Args:
        problems: K.
        n: Vertices.
        gradient: Of the objective with respect to M.
        steps: Of Adam.
        generator: Of the starts.

    Returns:
        M before rounding, (K, n, n), and its permutations, (K, n).
    """
    logits = (0.1 * torch.randn((problems, n, n), generator=generator)).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=LEARNING_RATE)
    for step in range(steps):
        matrix = _sinkhorn(logits, temperature=_temperature(step / steps))
        optimizer.zero_grad()
        matrix.backward(gradient(matrix.detach()))  # type: ignore[no-untyped-call]
        optimizer.step()
    matrix = _sinkhorn(logits.detach(), temperature=LAST_TEMPERATURE)
    return matrix, round_all(matrix)[0]


def faq_matching(a: Tensor, b: Tensor, *, starts: int, seed: int) -> Tensor:
    """Matches by `scipy.optimize.quadratic_assignment(method="faq")`, on its default settings but for the starts.

    Args:
        a: (K, n, n), symmetric.
        b: (K, n, n), symmetric.
        starts: The first from the uniform matrix, which is the default, the others randomised; the best counts.
        seed: Of the randomised starts.

    Returns:
        The permutations, (K, n).
    """
    import numpy as np
    from scipy.optimize import quadratic_assignment

    generator = np.random.default_rng(seed)
    found = []
    for one, other in zip(a.double().numpy(), b.double().numpy(), strict=True):
        # On permutations ‖A P − P B‖² is a constant less 2 tr(Aᵀ P B Pᵀ).
        results = [
            quadratic_assignment(
                one,
                other,
                method="faq",
                options={"maximize": True, "rng": generator, "P0": "randomized" if start else "barycenter"},
            )
            for start in range(starts)
        ]
        found.append(torch.as_tensor(max(results, key=lambda result: float(result.fun)).col_ind))
    return torch.stack(found).long()


def _temperature(progress: float) -> float:
    return float(FIRST_TEMPERATURE * (LAST_TEMPERATURE / FIRST_TEMPERATURE) ** progress)


def _sinkhorn(logits: Tensor, *, temperature: float) -> Tensor:
    values = logits / temperature
    for _ in range(SINKHORN_ITERATIONS):
        values = values - values.logsumexp(dim=-2, keepdim=True)
        values = values - values.logsumexp(dim=-1, keepdim=True)
    return values.exp()
