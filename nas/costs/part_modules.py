"""Modules that stand for what a network does between its modules, so that it can be timed by itself."""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.models.hardening import harden_mixers


def inference_form(module: nn.Module) -> nn.Module:
    """Returns a copy of a part of a network as inference has it: mixers exact, in evaluation mode."""
    held = nn.ModuleList([copy.deepcopy(module)]).eval()
    harden_mixers(held, linear_maps=True)
    return held[0]


class Add(nn.Module):
    """The sum of two nodes."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to the same shape."""
        return x + x


class Join(nn.Module):
    """What a folded layer reads: slices of two earlier outputs, joined.

    Args:
        channels: Of all slices together.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to (N, `channels`, H, W)."""
        first = self.channels // 2
        rest = self.channels - first
        return torch.cat([x.narrow(1, 0, first), x.narrow(1, x.shape[1] - rest, rest)], dim=1)


class Merge(nn.Module):
    """The merge of a cell's k outputs by concatenation, with a 1x1 convolution if it has one.

    Args:
        num_values: k.
        channels: C of each.
        convolves: Whether relu and a 1x1 convolution to C channels follow.
        batch_norm: That of the cell, if any.
    """

    def __init__(self, num_values: int, channels: int, *, convolves: bool, batch_norm: nn.Module | None) -> None:
        super().__init__()
        self.num_values = num_values
        self.weights = nn.ParameterList(
            [nn.Parameter(torch.zeros(channels, channels, 1, 1)) for _ in range(num_values if convolves else 0)]
        )
        self.batch_norm = batch_norm

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W), k times, to (N, C, H, W) or (N, kC, H, W)."""
        merged = torch.cat([x] * self.num_values, dim=1)
        if len(self.weights):
            merged = F.conv2d(F.relu(merged), torch.cat(list(self.weights), dim=1))
        out: Tensor = merged if self.batch_norm is None else self.batch_norm(merged)
        return out


class Head(nn.Module):
    """Relu, if the network has one, mean over the pixels, linear layer."""

    def __init__(self, classifier: nn.Module, *, relu: bool) -> None:
        super().__init__()
        self.classifier = classifier
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, C, H, W) to logits (N, num_classes)."""
        out: Tensor = self.classifier((F.relu(x) if self.relu else x).mean(dim=(2, 3)))
        return out
