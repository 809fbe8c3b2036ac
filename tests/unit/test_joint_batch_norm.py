"""Batch norm over the images of several ranks is one process's over all of them."""

import copy

import pytest
import torch
from torch import nn

from nas.compute.distributed.gradients import check_norms, synchronized
from nas.compute.distributed.ranks import Ranks
from nas.compute.distributed.settings import DistributedSettings
from search_spaces.batch_norm import BatchNorm2d, remove_scale_and_shift
from tests.ranks import together


def passed(norm: nn.Module, x: torch.Tensor, grad: torch.Tensor) -> dict[str, torch.Tensor]:
    """Everything that a pass forward and backward computes."""
    x = x.clone().requires_grad_()
    out = norm(x)
    out.backward(grad)
    found = {"out": out, "x": x.grad, "mean": norm.running_mean, "var": norm.running_var}
    found |= {name: value.grad for name, value in norm.named_parameters()}
    return {name: value.detach().clone() for name, value in found.items()}


@pytest.mark.parametrize(
    ("size", "dtype", "shape", "affine"),
    [
        (2, torch.float32, (6, 5, 4, 4), True),
        (3, torch.float64, (12, 16, 3, 2), True),
        (2, torch.float32, (6, 3, 160, 160), True),
        (2, torch.float64, (6, 5, 4, 4), False),
    ],
)
def test_outputs_gradients_and_running_statistics_are_those_of_the_whole_batch(size, dtype, shape, affine):
    norm = BatchNorm2d(shape[1], eps=1e-5, momentum=0.1).to(dtype)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    if not affine:
        remove_scale_and_shift(norm)
    x, grad = (torch.randn(shape, dtype=dtype).to(memory_format=torch.channels_last) for _ in range(2))
    x = 3 * x + torch.arange(shape[1]).view(1, -1, 1, 1)  # means that lie apart
    expected = passed(copy.deepcopy(norm), x, grad)

    def work(ranks):
        with synchronized(norm, ranks):
            return passed(norm, x.tensor_split(size)[ranks.rank], grad.tensor_split(size)[ranks.rank])

    parts = together(work, size=size, batch_norm="sync")
    tolerance = {torch.float32: 1e-5, torch.float64: 1e-12}[dtype]
    for name in ("out", "x"):
        assert (torch.cat([part[name] for part in parts]) - expected[name]).abs().max() < tolerance
    for name in dict(norm.named_parameters()):
        sums = sum(part[name] for part in parts)
        assert ((sums - expected[name]).abs() < tolerance / 10 * grad.abs().sum(dim=(0, 2, 3))).all()
    for name in ("mean", "var"):
        assert all(torch.equal(part[name], parts[0][name]) for part in parts)
        assert (parts[0][name] - expected[name]).abs().max() < tolerance


def test_norms_stand_alone_outside_of_training_and_without_the_setting():
    norm = BatchNorm2d(3)
    with synchronized(norm, Ranks(rank=0, size=2)):
        assert norm.group is None
    ranks = Ranks(rank=0, size=2, settings=DistributedSettings(batch_norm="sync"))
    with synchronized(norm, ranks):
        assert norm.group is ranks
        norm.eval()(torch.randn(2, 3, 4, 4))  # would wait for the other rank if it asked it
    assert norm.group is None
    assert "group" not in norm.state_dict()


def test_a_norm_that_cannot_be_synchronized_is_named():
    ranks = Ranks(rank=0, size=2, settings=DistributedSettings(batch_norm="sync"))
    check_norms(nn.Sequential(BatchNorm2d(2)), ranks)
    check_norms(nn.Sequential(nn.BatchNorm2d(2)), Ranks(rank=0, size=2))
    with pytest.raises(ValueError, match="a batch norm of another class"):
        check_norms(nn.Sequential(nn.BatchNorm2d(2)), ranks)
