import math

import pytest
import torch

from search_spaces.butterfly import (
    butterfly_matrix,
    butterfly_multiply,
    convolution_kaleidoscope,
    dft_kaleidoscope,
    hadamard_kaleidoscope,
    identity_twiddle,
    kaleidoscope_matrix,
    kaleidoscope_multiply,
    permutation_kaleidoscope,
    random_twiddle,
)
from search_spaces.mixers import shuffle_index

SIZES = [1, 2, 4, 8, 16, 64]
EXACT = {"rtol": 0, "atol": 1e-12}


def dense_factor(factor, block_size):
    """The factor (n/2, 2, 2) as a matrix, entry by entry from the paper's definition."""
    n, half = 2 * len(factor), block_size // 2
    matrix = torch.zeros(n, n, dtype=factor.dtype)
    for block in range(n // block_size):
        for j in range(half):
            for row in range(2):
                for column in range(2):
                    place = block * block_size + j
                    matrix[place + row * half, place + column * half] = factor[block * half + j, row, column]
    return matrix


def dense_butterfly(twiddle):
    """The product of dense factors, block sizes n … 2 from the left."""
    matrix = torch.eye(2 ** len(twiddle), dtype=twiddle.dtype)
    for level, factor in enumerate(twiddle):
        matrix = dense_factor(factor, 2 ** (level + 1)) @ matrix
    return matrix


def test_butterfly_of_size_four_is_the_product_written_by_hand():
    twiddle = torch.tensor(
        [
            [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]],  # block size 2: positions (0, 1) and (2, 3)
            [[[1.0, 1.0], [0.0, 1.0]], [[1.0, 0.0], [2.0, 1.0]]],  # block size 4: positions (0, 2) and (1, 3)
        ]
    )
    by_hand = torch.tensor([[1.0, 2, 5, 6], [3, 4, 0, 0], [0, 0, 5, 6], [6, 8, 7, 8]])
    assert torch.equal(butterfly_matrix(twiddle), by_hand)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("n", SIZES)
def test_fast_multiply_is_the_dense_product(n, dtype):
    twiddle = random_twiddle(n, dtype=dtype)[0, 0]
    x = torch.randn(3, 2, n, dtype=dtype)
    dense = dense_butterfly(twiddle)
    torch.testing.assert_close(butterfly_matrix(twiddle), dense, **EXACT)
    torch.testing.assert_close(butterfly_multiply(twiddle, x), x @ dense.T, **EXACT)
    torch.testing.assert_close(butterfly_multiply(twiddle, x, adjoint=True), x @ dense.conj(), **EXACT)


def test_a_real_butterfly_takes_a_complex_input():
    twiddle, x = random_twiddle(8, dtype=torch.float64)[0, 0], torch.randn(8, dtype=torch.complex128)
    torch.testing.assert_close(butterfly_multiply(twiddle, x), dense_butterfly(twiddle).to(x.dtype) @ x, **EXACT)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize(("size", "width", "expansion"), [(4, 1, 1), (4, 3, 1), (4, 2, 4), (5, 2, 1), (3, 1, 2)])
def test_kaleidoscope_is_the_corner_of_the_product_of_pairs(size, width, expansion, dtype):
    twiddle = random_twiddle(size * expansion, width=width, dtype=dtype)
    dense = torch.eye(2 ** twiddle.shape[2], dtype=dtype)
    for left, right in twiddle:
        dense = dense @ dense_butterfly(left) @ dense_butterfly(right).mH
    corner = dense[:size, :size]
    torch.testing.assert_close(kaleidoscope_matrix(twiddle, size), corner, **EXACT)
    x = torch.randn(2, 3, size, dtype=dtype)
    torch.testing.assert_close(kaleidoscope_multiply(twiddle, x), x @ corner.T, **EXACT)


@pytest.mark.parametrize(("n", "width", "expansion"), [(2, 1, 1), (8, 1, 1), (8, 3, 1), (16, 2, 4)])
def test_parameters_are_those_of_the_paper(n, width, expansion):
    assert identity_twiddle(n * expansion, width=width).numel() == 4 * width * n * expansion * math.log2(n * expansion)


def test_identity_twiddle_is_the_identity():
    x = torch.randn(2, 6)
    assert torch.equal(kaleidoscope_multiply(identity_twiddle(12, width=2), x), x)


def test_random_twiddles_keep_the_variance():
    matrices = [kaleidoscope_matrix(random_twiddle(8), 8) for _ in range(300)]
    assert torch.stack(matrices).square().sum(-1).mean().item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("n", SIZES)
def test_hadamard_transform_is_that_of_scipy(n):
    from scipy.linalg import hadamard

    expected = torch.from_numpy(hadamard(n)).double()
    assert torch.equal(kaleidoscope_matrix(hadamard_kaleidoscope(n), n), expected)


@pytest.mark.parametrize("n", [*SIZES, 1024])
def test_dft_is_that_of_torch(n):
    x = torch.randn(3, n, dtype=torch.complex128)
    transformed = kaleidoscope_multiply(dft_kaleidoscope(n), x)
    torch.testing.assert_close(transformed, torch.fft.fft(x), rtol=0, atol=1e-12 * max(1, n / 64))


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("n", SIZES[1:])
def test_convolution_is_the_explicit_circulant(n, dtype):
    kernel = torch.randn(n, dtype=dtype)
    circulant = torch.stack([torch.stack([kernel[(i - j) % n] for j in range(n)]) for i in range(n)])
    dense = kaleidoscope_matrix(convolution_kaleidoscope(kernel), n)
    torch.testing.assert_close(dense, circulant.to(torch.complex128), **EXACT)


def test_the_channel_shuffle_of_1024_is_exact():
    index = shuffle_index(1024, 2)
    x = torch.randn(2, 1024, dtype=torch.float64)
    assert torch.equal(kaleidoscope_multiply(permutation_kaleidoscope(index), x), x[:, index])


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_gradients_agree_with_finite_differences(dtype):
    twiddle = random_twiddle(3, width=2, dtype=dtype).requires_grad_()
    x = torch.randn(2, 3, dtype=dtype, requires_grad=True)
    assert torch.autograd.gradcheck(kaleidoscope_multiply, (twiddle, x))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: butterfly_multiply(torch.ones(2, 2, 2, 2), torch.ones(8)), "for n = 8, got the shape"),
        (lambda: kaleidoscope_multiply(torch.ones(1, 2, 2, 2, 2, 2), torch.ones(5)), "with m ≥ 5"),
        (lambda: hadamard_kaleidoscope(6), "power of 2 as their size, got 6"),
        (lambda: dft_kaleidoscope(0), "power of 2 as their size, got 0"),
        (lambda: permutation_kaleidoscope(torch.tensor([0, 0])), "expected a permutation"),
        (lambda: convolution_kaleidoscope(torch.ones(1)), "at least 2 entries"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
