"""Butterfly and kaleidoscope matrices (Dao et al. 2020, arXiv:2012.14966, §2): products that apply in O(n log n).

A butterfly factor of size n and block size k is block-diagonal: n/k blocks [[D₁, D₂], [D₃, D₄]] of diagonal matrices
of size k/2. A butterfly matrix is the product of the factors of block sizes n, n/2 … 2, in this order. A kaleidoscope
matrix of width w is the product of w matrices BB*, that is M₁ M₂* with butterflies M₁ and M₂; with expansion e it is
the upper left corner of one e times as large. Everything acts on the last dimension.

A butterfly is stored as its twiddle (log₂ n, n/2, 2, 2): `twiddle[l, i·k/2 + j]` is [[D₁, D₂], [D₃, D₄]] at position j
of block i in the factor of block size k = 2^(l + 1). A kaleidoscope matrix is a tensor (w, 2, log₂ n, n/2, 2, 2), the
leftmost pair first and in each pair M₁ before M₂. Functions that return the matrix of a transform raise ValueError for
an n that is no power of 2.
"""

import math

import torch
from torch import Tensor, nn

from search_spaces.switches import by_layer, route


def butterfly_multiply(twiddle: Tensor, x: Tensor, *, adjoint: bool = False) -> Tensor:
    """Returns B x for a butterfly matrix B, or B* x, its conjugate transpose, (..., n) in the promoted dtype.

    Args:
        twiddle: (log₂ n, n/2, 2, 2), real or complex.
        x: (..., n).
        adjoint: Whether to apply B*.

    Raises:
        ValueError: If the shapes do not fit.
    """
    levels, n = len(twiddle), x.shape[-1]
    if n != 2**levels or twiddle.shape[1:] != (n // 2, 2, 2):
        raise ValueError(f"expected a twiddle (log₂ n, n/2, 2, 2) for n = {n}, got the shape {tuple(twiddle.shape)}")
    shape = x.shape
    # B's rightmost factor, of block size 2, acts first; B* has the factors conjugated, transposed and in reverse.
    for level in reversed(range(levels)) if adjoint else range(levels):
        factor = twiddle[level].mH if adjoint else twiddle[level]
        half = 2**level
        factor = factor.reshape(n // (2 * half), half, 2, 2).permute(0, 2, 3, 1)  # (blocks, row, column, half)
        x = x.reshape(*shape[:-1], n // (2 * half), 1, 2, half)
        x = factor[..., 0, :] * x[..., 0, :] + factor[..., 1, :] * x[..., 1, :]  # (..., blocks, row, half)
    return x.reshape(shape)


def butterfly_matrix(twiddle: Tensor) -> Tensor:
    """Returns the butterfly matrix (n, n) of a twiddle (log₂ n, n/2, 2, 2)."""
    return butterfly_multiply(twiddle, torch.eye(2 ** len(twiddle), dtype=twiddle.dtype, device=twiddle.device)).T


def kaleidoscope_multiply(twiddle: Tensor, x: Tensor) -> Tensor:
    """Returns the corner of (BB*)ʷ times x: x is padded with zeros to the size m of the butterflies, the result cut.

    Args:
        twiddle: (w, 2, log₂ m, m/2, 2, 2), real or complex.
        x: (..., n) with n ≤ m.

    Raises:
        ValueError: If the shapes do not fit.
    """
    size = x.shape[-1]
    inner = 2 ** twiddle.shape[2] if twiddle.dim() == 6 else 0
    if size > inner:
        raise ValueError(f"expected a twiddle (w, 2, log₂ m, m/2, 2, 2) with m ≥ {size}, got {tuple(twiddle.shape)}")
    x = nn.functional.pad(x, (0, inner - size))
    for left, right in twiddle.flip(0).unbind(0):
        x = butterfly_multiply(left, butterfly_multiply(right, x, adjoint=True))
    return x[..., :size]


def kaleidoscope_matrix(twiddle: Tensor, size: int) -> Tensor:
    """Returns the upper left corner (`size`, `size`) of the kaleidoscope matrix of a twiddle, in O(size · m log m)."""
    return kaleidoscope_multiply(twiddle, torch.eye(size, dtype=twiddle.dtype, device=twiddle.device)).T


def identity_twiddle(size: int, *, width: int = 1, dtype: torch.dtype | None = None) -> Tensor:
    """Returns the twiddle of a kaleidoscope matrix that is the identity.

    Args:
        size: n ≥ 1; for expansion e, e · n. The butterflies have size m, the smallest power of 2 that is at least n.
        width: w.
        dtype: The data type of the twiddle.

    Returns:
        (w, 2, log₂ m, m/2, 2, 2): 4wm log₂ m entries, the paper's count 4wne · log₂(ne) if ne is a power of 2. Each is
        one entry of a factor, so a complex one counts once.
    """
    levels = (size - 1).bit_length()
    return torch.eye(2, dtype=dtype).repeat(width, 2, levels, 2**levels // 2, 1, 1)


def random_twiddle(
    size: int,
    *,
    width: int = 1,
    dtype: torch.dtype | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Returns independent normal entries of variance 1/2: uncut, the product keeps the variance of its input.

    The arguments and the shape are those of `identity_twiddle`; complex entries have variance 1/4 in each part.
    """
    identity = identity_twiddle(size, width=width, dtype=dtype)
    return torch.randn(identity.shape, dtype=dtype, generator=generator) * math.sqrt(0.5)


def permutation_kaleidoscope(index: Tensor) -> Tensor:
    """Returns the twiddle of a permutation, which is exact, in BB*: a product of width 1 in float64.

    The layers of a Benes network are butterfly factors of swaps: those from its middle on have block sizes 2, 4 … n
    and make up M₁, those before it have n … 4 and make up M₂*.

    Args:
        index: (n,), n a power of 2: output i is input `index[i]`.

    Raises:
        ValueError: If `index` is not a permutation or n is not a power of 2.
    """
    n = _power_of_two(len(index))
    twiddle = identity_twiddle(n, dtype=torch.float64)
    swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    middle = len(twiddle[0, 0]) - 1
    for number, (layer, passes) in enumerate(by_layer(route(index), n)):
        level = abs(number - middle)
        swapped = layer[~passes, 0]  # the upper position of each swapped pair
        half = 2**level
        twiddle[0, int(number < middle), level, swapped // (2 * half) * half + swapped % half] = swap
    return twiddle


def hadamard_kaleidoscope(n: int) -> Tensor:
    """Returns the Hadamard transform (n, n) of Sylvester's order, a butterfly: every block is [[1, 1], [1, −1]].

    Returns:
        The twiddle of width 1 with M₂ = I, in float64; its matrix is symmetric with entries ±1, not normalised.
    """
    twiddle = identity_twiddle(_power_of_two(n), dtype=torch.float64)
    twiddle[0, 0] = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    return twiddle


def dft_kaleidoscope(n: int) -> Tensor:
    """Returns the Fourier transform (n, n), that of `torch.fft.fft`: a butterfly after the bit-reversal permutation.

    Returns:
        The twiddle of width 2, in complex128: the butterfly with M₂ = I, then bit reversal as BB*.
    """
    twiddle = identity_twiddle(_power_of_two(n), width=2, dtype=torch.complex128)
    twiddle[0, 0] = _fourier_butterfly(n)
    twiddle[1] = permutation_kaleidoscope(_bit_reversal(n))[0]
    return twiddle


def convolution_kaleidoscope(kernel: Tensor) -> Tensor:
    """Returns circular convolution with a kernel (n,): y[i] = Σⱼ kernel[j] · x[(i − j) mod n].

    It is F⁻¹ D F with D = diag(F kernel). With the Fourier butterfly B and bit reversal P, F = BP is symmetric, so it
    is PBᵀ, too, and F⁻¹ = conj(B) P / n. The product is conj(B) (PDP / n) conj(B)*: width 1, as the diagonal matrix
    only scales the columns of the rightmost factor.

    Returns:
        The twiddle of width 1, in complex128; for real kernels and inputs the result is real up to rounding.

    Raises:
        ValueError: If n is not a power of 2, or 1.
    """
    n = _power_of_two(len(kernel))
    if n == 1:
        raise ValueError("a kernel needs at least 2 entries: a butterfly of size 1 has no factor that could hold one")
    spectrum = torch.fft.fft(kernel.to(torch.complex128))[_bit_reversal(n)] / n
    twiddle = _fourier_butterfly(n).conj().repeat(1, 2, 1, 1, 1, 1)
    twiddle[0, 0, 0] *= spectrum.view(n // 2, 1, 2)  # the columns of block i are the positions 2i and 2i + 1
    return twiddle


def _fourier_butterfly(n: int) -> Tensor:
    """Returns the twiddle of the fast Fourier transform without bit reversal, (log₂ n, n/2, 2, 2), complex128."""
    twiddle = identity_twiddle(n, dtype=torch.complex128)[0, 0]
    for level, factor in enumerate(twiddle):
        half = 2**level
        angles = -math.pi / half * torch.arange(half, dtype=torch.float64)
        roots = torch.polar(torch.ones_like(angles), angles).repeat(n // (2 * half))  # (n/2,)
        ones = torch.ones_like(roots)
        factor[:] = torch.stack([torch.stack([ones, roots], -1), torch.stack([ones, -roots], -1)], -2)
    return twiddle


def _bit_reversal(n: int) -> Tensor:
    """Returns the permutation (n,) that reads the binary digits of each position backwards."""
    bits = range(n.bit_length() - 1)
    position = torch.arange(n)
    return sum(((position >> bit & 1) << (len(bits) - 1 - bit) for bit in bits), torch.zeros_like(position))


def _power_of_two(n: int) -> int:
    if n < 1 or n & (n - 1):
        raise ValueError(f"butterflies have a power of 2 as their size, got {n}")
    return n
