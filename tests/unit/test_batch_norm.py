import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nas.training.evaluation import batch_statistics
from search_spaces import batch_norm
from search_spaces.batch_norm import BatchNorm2d, as_images, as_rows, normalizes_by_rows, remove_scale_and_shift


@pytest.fixture(autouse=True, scope="module")
def whatever_the_size():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch_norm, "WORTH_ROWS", 0)
        yield


def pair(channels: int) -> tuple[BatchNorm2d, nn.BatchNorm2d]:
    ours, theirs = (kind(channels, eps=1e-5, momentum=0.1) for kind in (BatchNorm2d, nn.BatchNorm2d))
    with torch.no_grad():
        ours.weight.copy_(torch.rand(channels) + 0.5)
        ours.bias.copy_(torch.randn(channels))
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def images(*shape: int) -> torch.Tensor:
    return (3 * torch.randn(shape) + 2).to(memory_format=torch.channels_last)


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(2, 23), st.integers(1, 6), st.integers(2, 6)),
    seed=st.integers(0, 1000),
)
def test_output_gradients_and_statistics_are_torchs(shape, seed):
    torch.manual_seed(seed)
    ours, theirs = pair(shape[1])
    grad = images(*shape)
    results = []
    for norm in (ours, theirs):
        torch.manual_seed(seed)
        x = images(*shape).requires_grad_()
        for _ in range(2):
            out = norm(x)
        out.backward(grad)
        results.append([out.detach(), x.grad, norm.weight.grad, norm.bias.grad, *norm.buffers()])
    for mine, expected in zip(*results, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [3, 8])
def test_without_scale_and_shift_it_normalizes_and_no_more(channels):
    ours, theirs = BatchNorm2d(channels), nn.BatchNorm2d(channels, affine=False)
    remove_scale_and_shift(nn.Sequential(ours))
    assert list(ours.parameters()) == []
    grad, results = images(4, channels, 3, 5), []
    for norm in (ours, theirs):
        torch.manual_seed(1)
        x = images(4, channels, 3, 5).requires_grad_()
        norm(x).backward(grad)
        results.append([norm(x).detach(), norm.eval()(x).detach(), x.grad, *norm.buffers()])
    for mine, expected in zip(*results, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-4)


def test_gradients_are_those_of_finite_differences(monkeypatch):
    x = torch.randn(2, 3, 2, 2, dtype=torch.float64).to(memory_format=torch.channels_last).requires_grad_()
    weight, bias = torch.rand(3, dtype=torch.float64) + 0.5, torch.randn(3, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda *values: batch_norm._NormalizeRows.apply(*values, 1e-5)[0],
        (x, weight.requires_grad_(), bias.requires_grad_()),
    )


def test_what_follows_may_change_the_output_in_place():
    norm, reference = pair(6)
    x = images(2, 6, 4, 4)
    out, expected = (torch.relu_(module(x)) for module in (norm, reference))
    torch.testing.assert_close(out, expected)
    out.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(norm.weight.grad, reference.weight.grad)


def test_a_gradient_that_lies_otherwise_is_the_same():
    norm, _ = pair(6)
    x = images(2, 6, 4, 4).requires_grad_()
    grad = torch.randn(2, 8, 4, 4).to(memory_format=torch.channels_last)[:, 1:7]
    norm(x).backward(grad)
    sliced, x.grad = x.grad, None
    norm(x).backward(grad.contiguous())
    torch.testing.assert_close(sliced, x.grad)


def test_the_memory_format_stays_and_rows_are_a_view():
    norm, _ = pair(6)
    x = images(2, 6, 4, 4)
    assert norm(x).is_contiguous(memory_format=torch.channels_last)
    assert as_rows(x).shape == (1, 192)
    assert as_rows(x).data_ptr() == x.data_ptr()
    assert torch.equal(as_images(as_rows(x), x.shape), x)


def test_a_reward_keeps_no_statistics():
    norm, reference = pair(6)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    x = images(2, 6, 4, 4)
    with torch.no_grad(), batch_statistics(norm):
        out = norm(x)
    torch.testing.assert_close(out, reference(x))
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())


@pytest.mark.parametrize(
    "x",
    [
        torch.randn(2, 8, 4, 4).to(memory_format=torch.channels_last),
        torch.randn(2, 26, 4, 4).to(memory_format=torch.channels_last),
        torch.randn(2, 6, 4, 4),
        torch.randn(2, 6, 4, 4, dtype=torch.float64).to(memory_format=torch.channels_last),
    ],
)
def test_torchs_kernel_is_kept_where_it_is_faster_or_the_format_another(x):
    assert not normalizes_by_rows(x)


def test_without_training_nothing_is_normalized_by_the_batch():
    norm, reference = pair(6)
    x = images(2, 6, 4, 4)
    assert torch.equal(norm.eval()(x), reference.eval()(x))
