"""The transforms that kaleidoscope matrices write exactly, each beside its dense matrix (arXiv:2012.14966).

The dense matrices come from the definitions of the transforms and share no code with the products they check.
"""

import math
from typing import Any

import torch
from torch import Tensor

from search_spaces.butterfly import (
    ButterflyProduct,
    butterfly_matrix,
    convolution_kaleidoscope,
    dft_kaleidoscope,
    hadamard_kaleidoscope,
    permutation_kaleidoscope,
)

TRANSFORMS = ("permutation", "hadamard", "fourier", "convolution")
LEARNED = (*TRANSFORMS, "fourier, bits reversed")
"""The last is the Fourier matrix with its columns in bit-reversed order: what is left to learn, one butterfly, if the
permutation in front of it is known."""


@torch.no_grad()
def construct(transform: str, n: int, *, generator: torch.Generator) -> dict[str, Any]:
    """Compares a kaleidoscope matrix with the dense matrix of its transform.

    The counts are of real numbers and real multiplications, for one vector and without savings: a complex entry has 2
    numbers and takes 4 multiplications, and factors that are the identity count like others.

    Returns:
        `transform`, `n`, `width` w of (BB*)ʷ, `max_error` of an entry, `parameters` and `multiply_adds`, and the same
        two of the dense matrix.
    """
    product, target = expressible(transform, n, generator=generator)
    is_complex, needs_complex = product.twiddle.is_complex(), target.is_complex()
    return {
        "transform": transform,
        "n": n,
        "width": len(product.twiddle),
        "max_error": (product.dense() - target).abs().max().item(),
        "parameters": product.twiddle.numel() * (2 if is_complex else 1),
        "multiply_adds": product.twiddle.numel() * (4 if is_complex else 1),
        "dense_parameters": n * n * (2 if needs_complex else 1),
        "dense_multiply_adds": n * n * (4 if needs_complex else 1),
    }


def expressible(transform: str, n: int, *, generator: torch.Generator) -> tuple[ButterflyProduct, Tensor]:
    """Returns a transform twice: as a kaleidoscope product, and dense (n, n) by its definition, in double precision.

    Permutations are drawn uniformly, the kernels of convolutions from the normal distribution.

    Raises:
        ValueError: If the transform is not in `TRANSFORMS`, or n is no power of 2.
    """
    row, column = torch.arange(n)[:, None], torch.arange(n)
    if transform == "permutation":
        index = torch.randperm(n, generator=generator)
        return permutation_kaleidoscope(index), (index[:, None] == column).double()
    if transform == "hadamard":
        from scipy.linalg import hadamard

        return hadamard_kaleidoscope(n), torch.from_numpy(hadamard(n)).double()
    if transform == "fourier":
        angles = -2 * math.pi / n * (row * column % n).double()  # the remainder keeps the angles exact to rounding
        return dft_kaleidoscope(n), torch.polar(torch.ones_like(angles), angles)
    if transform == "convolution":
        kernel = torch.randn(n, dtype=torch.float64, generator=generator)
        return convolution_kaleidoscope(kernel), kernel[(row - column) % n]
    raise ValueError(f"unknown transform {transform!r}; known: {', '.join(TRANSFORMS)}")


def learnable(transform: str, n: int, *, generator: torch.Generator) -> tuple[Tensor, int]:
    """Returns what a descent is to find, and the width w of (BB*)ʷ that can write it.

    Returns:
        The matrix (n, n), scaled to ‖T‖²_F = n, so that errors of different transforms compare. It is complex, and the
        descent with it, if the kaleidoscope matrix that writes it is: also the convolution's, of zero imaginary part.

    Raises:
        ValueError: If the transform is not in `LEARNED`, or n is no power of 2.
    """
    if transform == LEARNED[-1]:
        # The butterfly of the Fourier product alone; the permutation is its second, rightmost pair.
        target, width = butterfly_matrix(dft_kaleidoscope(n).twiddle.detach()[0, 0]), 1
    else:
        product, dense = expressible(transform, n, generator=generator)
        target, width = dense.to(product.twiddle.dtype), len(product.twiddle)
    return target * math.sqrt(n) / torch.linalg.matrix_norm(target), width
