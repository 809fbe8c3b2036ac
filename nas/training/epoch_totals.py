"""What the steps of an epoch come to, added up on the device, and which of them were no use.

A step whose loss or gradients are not finite is skipped: the optimizer leaves weights and momentum alone, and the
scores of its images are not counted. The host learns of it when it reads the totals, at the end of the epoch; until
then nothing waits for the device, and a recorded step does the same whatever it meets.
"""

import math

import torch
from torch import Tensor

from nas.runs.console import note
from nas.training.evaluation import NO_BATCHES, Score


class DivergedError(ValueError):
    """More steps of an epoch than allowed had a loss or gradients that are not finite."""


class EpochTotals:
    """Sums over the steps of an epoch.

    Args:
        device: Of the training.
    """

    def __init__(self, device: torch.device) -> None:
        self.skipped_steps = 0
        self._scores = torch.zeros(2, device=device)  # summed loss and number right
        self._steps = torch.zeros(4, device=device)  # images skipped, steps skipped, steps, the last one skipped

    def clear(self) -> None:
        """Begins an epoch."""
        self._scores.zero_()
        self._steps.zero_()

    def add(self, totals: Tensor, bad: Tensor, *, num_images: int) -> None:
        """Adds a step.

        Args:
            totals: Summed loss and number right, (2,).
            bad: 1.0 if the step was skipped, else 0.0, ().
            num_images: Images in the batch.
        """
        self._scores += totals.masked_fill(bad > 0, 0.0)
        images, skipped, steps, last = self._steps.unbind()
        images.add_(bad, alpha=num_images)
        skipped.add_(bad)
        steps.add_(1)
        last.copy_(torch.maximum(last, steps * bad))

    def wait(self) -> None:
        """Waits for the device."""
        self._scores.tolist()

    def read(self, *, num_images: int, epoch: int, max_bad_steps: int) -> Score:
        """Returns the means over the images of the steps that were taken, which waits for the device.

        Args:
            num_images: Images of the epoch, those of skipped steps included.
            epoch: For messages.
            max_bad_steps: Steps that may have been skipped.

        Raises:
            ValueError: If there were no images.
            DivergedError: If more steps were skipped, or all; the message names the last one.
        """
        if not num_images:
            raise ValueError(NO_BATCHES)
        loss, right, images, skipped, steps, last = torch.cat([self._scores, self._steps]).tolist()
        self.skipped_steps = int(skipped)
        if skipped:
            found = f"epoch {epoch}: loss or gradients not finite in {skipped:.0f} of {steps:.0f} steps"
            found += f", the last of these step {last:.0f}"
            if skipped > max_bad_steps:
                raise DivergedError(f"{found}; more than max_bad_steps={max_bad_steps}; a lower lr_max may help")
            if skipped == steps:
                raise DivergedError(f"{found}, that is in all; a lower lr_max may help")
            note(f"warning: {found}; they were skipped")
        taken = num_images - int(images)
        return Score(loss / taken, right / taken) if taken else Score(loss=math.nan, accuracy=0.0)
