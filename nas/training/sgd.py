"""SGD as ENAS has it: Nesterov momentum, gradients clipped tensor by tensor; learned mixers in a group of their own."""

import functools
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from nas.models.hardening import outermost_mixers


def make_sgd(
    network: nn.Module, *, momentum: float, weight_decay: float, mixer_lr_scale: float = 1.0
) -> torch.optim.SGD:
    """Makes SGD with Nesterov momentum; ENAS's l2 · sum(w²) is a weight decay of 2 · l2.

    Learned mixers have no weight decay, and a learning rate of `mixer_lr_scale` times their own scale. Parameters that
    a step does not touch have no gradient and stay as they are, momentum included.
    """
    scales = {
        id(weight): mixer_lr_scale * mixer.lr_scale
        for mixer in outermost_mixers(network)
        if not mixer.decays
        for weight in mixer.parameters()
    }
    weights = [weight for weight in network.parameters() if id(weight) not in scales]
    groups: list[dict[str, Any]] = [{"params": weights, "lr_scale": 1.0}]
    for scale in sorted(set(scales.values())):
        mixing = [weight for weight in network.parameters() if scales.get(id(weight)) == scale]
        groups.append({"params": mixing, "lr_scale": scale, "weight_decay": 0.0})
    optimizer = torch.optim.SGD(
        groups, lr=0.0, momentum=momentum, nesterov=momentum > 0, weight_decay=weight_decay, fused=True
    )
    if momentum > 0:
        # The fused step takes buffers for all its parameters or for none, and a path touches ever other ones.
        for parameter in network.parameters():
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def gradient_norms(parameters: Iterable[Tensor]) -> Tensor:
    """Returns the norms of the gradient tensors, (G,); not finite where a gradient is not."""
    return torch.stack(torch._foreach_norm([weight.grad for weight in parameters if weight.grad is not None]))


def clip_gradients(parameters: Iterable[Tensor], *, max_norm: float, together: bool | None = None) -> Tensor:
    """Scales every gradient tensor of norm above `max_norm` down to it, each on its own, as in ENAS's code.

    Args:
        parameters: Those whose gradients are clipped; their layout must be dense.
        max_norm: The largest norm.
        together: Whether to lay the gradients end to end and scale them all at once, after which they are views of one
            tensor; else each is scaled by itself, hundreds of launches on a GPU. None does what suits the device.

    Returns:
        The norms before, (G,).
    """
    touched = [parameter for parameter in parameters if parameter.grad is not None]
    gradients = [parameter.grad for parameter in touched if parameter.grad is not None]
    norms = gradient_norms(touched)
    scales = (max_norm / norms).clamp(max=1.0)
    if together is None:
        together = scales.device.type != "cpu"
    if not together:
        torch._foreach_mul_(gradients, list(scales.unbind()))
        return norms
    sizes = tuple(gradient.numel() for gradient in gradients)
    flat = torch.cat([gradient.as_strided((gradient.numel(),), (1,)) for gradient in gradients])
    flat *= scales[_segments(sizes, scales.device)]
    for parameter, gradient, part in zip(touched, gradients, torch.split(flat, list(sizes)), strict=True):
        parameter.grad = part.as_strided(gradient.size(), gradient.stride())
    return norms


@functools.lru_cache(maxsize=8)
def _segments(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """Returns which of the tensors laid end to end every element belongs to."""
    lengths = torch.tensor(sizes).to(device, non_blocking=True)
    return torch.arange(len(sizes), device=device).repeat_interleave(lengths, output_size=sum(sizes))
