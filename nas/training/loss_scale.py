"""Training in fp16: the loss is scaled so that small gradients do not vanish, and the scale finds its own height.

Micikevicius et al., "Mixed Precision Training", arXiv:1710.03740, §3.2; constants and updates are those of
`torch.amp.GradScaler`, but nothing waits for the device, so that a step can be recorded. bf16 has the range of float32
and needs none of this.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

FIRST_SCALE = 2.0**16
GROWTH, BACKOFF = 2.0, 0.5
GROWTH_INTERVAL = 2000  # steps without overflow before the scale doubles


class LossScale:
    """A factor of the loss, a power of two, which halves when gradients overflow and doubles when long none did.

    Args:
        device: Of the training.

    Attributes:
        scale: The factor, float32 of shape ().
        good_steps: Steps since the last overflow or growth, int32 of shape ().
    """

    def __init__(self, device: torch.device) -> None:
        self.scale = torch.full((), FIRST_SCALE, device=device)
        self.good_steps = torch.zeros((), dtype=torch.int32, device=device)

    def unscale(self, weights: Sequence[Tensor]) -> None:
        """Divides the weights' gradients by the factor, which is exact; those that overflowed stay so."""
        if gradients := [weight.grad for weight in weights if weight.grad is not None]:
            torch._foreach_mul_(gradients, self.scale.reciprocal())

    def update(self, overflowed: Tensor, *, loss: Tensor) -> Tensor:
        """Adapts the factor after a step.

        Args:
            overflowed: 1.0 if the step was skipped, else 0.0, float32 of shape ().
            loss: Of the step, unscaled.

        Returns:
            1.0 if the step is to be counted as bad, for no smaller factor would have saved it: the loss itself is not
            finite, or the factor is below 1 already. Else 0.0, shape ().
        """
        bad = overflowed * (~loss.isfinite() | (self.scale < 1)).float()
        torch._amp_update_scale_(self.scale, self.good_steps, overflowed, GROWTH, BACKOFF, GROWTH_INTERVAL)
        return bad

    def state_dict(self) -> dict[str, Tensor]:
        """Returns what a resumed training needs."""
        return {"scale": self.scale, "good_steps": self.good_steps}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restores what `state_dict` returned, in place: a recorded step reads these tensors."""
        self.scale.copy_(state["scale"])
        self.good_steps.copy_(state["good_steps"])
