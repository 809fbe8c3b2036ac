import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from search_spaces import ops
from search_spaces.ops import MaxPool, MinPool, pools_by_rows


@pytest.fixture(autouse=True, scope="module")
def whatever_the_size():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops, "WORTH_ROWS", 0)
        yield


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 1000),
    ties=st.booleans(),
)
def test_pooling_by_rows_is_pooling(shape, seed, ties):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    x = (x.round() if ties else x).to(memory_format=torch.channels_last)
    for stride in (1, 2):
        assert torch.equal(MaxPool(stride=stride)(x), F.max_pool2d(x, 3, stride, padding=1))
        assert torch.equal(MinPool(stride=stride)(x), -F.max_pool2d(-x, 3, stride, padding=1))


@pytest.mark.parametrize("pool", [MaxPool(stride=1), MinPool(stride=1)])
def test_pooling_keeps_the_memory_format_and_passes_nan_on(pool):
    x = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    x[0, 1, 2, 2] = torch.nan
    out = pool(x)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert out[0, 1].isnan().sum() == 9
    assert not out[1].isnan().any()


@pytest.mark.parametrize("pool", [MaxPool(stride=1), MinPool(stride=1)])
def test_with_a_gradient_pooling_gives_it_to_the_extreme(pool):
    x = torch.randn(1, 2, 5, 5).to(memory_format=torch.channels_last).requires_grad_()
    assert not pools_by_rows(x)
    pool(x).sum().backward()
    assert x.grad.sum() == 50
    with torch.no_grad():
        assert pools_by_rows(x)
