"""Scores: of a network without training it, with its batch norms set for that, and of the steps of an epoch.

A training step whose loss or gradients are not finite is skipped: the optimizer leaves weights and momentum alone, and
the scores of its images are not counted. The host learns of it when it reads the totals, at the end of the epoch; until
then nothing waits for the device, and a recorded step does the same whatever it meets.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.compute.cuda_graphs import Recorder, Repeated
from nas.compute.distributed.ranks import ALONE, Ranks
from nas.data.splits import Batches
from nas.runs.console import note
from search_spaces.genotype import Genotype

NO_BATCHES = "there are no batches: the split is empty, or smaller than one batch"


class Score(NamedTuple):
    """Means over images: cross-entropy in nats, and accuracy in [0, 1]."""

    loss: float
    accuracy: float


def evaluate(
    network: nn.Module,
    batches: Batches,
    genotype: Genotype | None,
    *,
    autocast: torch.dtype | None = None,
    recorder: Recorder | None = None,
    ranks: Ranks = ALONE,
) -> Score:
    """Scores a path in the mode the network is in; see `batch_statistics` and `network.eval()`.

    Where several ranks score together, each is given its share of the batches.
    """
    (score,) = evaluate_paths(network, [(genotype, batches)], autocast=autocast, recorder=recorder, ranks=ranks)
    return score


@torch.no_grad()
def evaluate_paths(
    network: nn.Module,
    paths: Iterable[tuple[Genotype | None, Batches]],
    *,
    autocast: torch.dtype | None = None,
    recorder: Recorder | None = None,
    ranks: Ranks = ALONE,
) -> list[Score]:
    """Scores paths, each on batches of its own, in the mode the network is in; the host waits once, at the end.

    What several ranks find on their shares of the batches is added up, if they are named.

    A batch that does not fit into the device's memory is halved, unless the network takes the batch's own statistics,
    which would be others then.

    Raises:
        ValueError: If a path has no batches.
        torch.OutOfMemoryError: If the memory is too small even so.
    """
    totals: list[Tensor] = []
    counts: list[int] = []
    device = next((weight.device for weight in network.parameters()), None)
    with recorder.stream() if recorder is not None else contextlib.nullcontext():
        for genotype, batches in paths:
            scorer, num_images = _Scorer(network, genotype, autocast), 0
            step = Repeated(scorer, recorder=recorder)
            for images, labels in batches:
                step(images, labels)
                num_images += len(labels)
            totals.append(torch.zeros(2, device=device) if scorer.totals is None else scorer.totals)
            counts.append(num_images)
        if not totals:
            return []
        sums = torch.stack(totals).cpu()
    if not ranks.alone:
        sums, counts = ranks.sum_(sums.double()), ranks.sum_(torch.tensor(counts)).tolist()
    if 0 in counts:
        raise ValueError(NO_BATCHES)
    return [Score(*means) for means in (sums / torch.tensor(counts)[:, None]).tolist()]


@dataclass(slots=True)
class _Scorer:
    """Adds up the scores of a path's batches.

    Attributes:
        network: In the mode in which it is scored.
        genotype: The path.
        autocast: Data type of the forward pass.
        totals: Summed loss and number right, (2,); None before the first batch.
        at_once: Images that fit into memory together; None as long as a batch does.
    """

    network: nn.Module
    genotype: Genotype | None
    autocast: torch.dtype | None
    totals: Tensor | None = None
    at_once: int | None = None

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        """Adds a batch, in pieces if it has to be."""
        done = 0
        while done < len(images):
            end = done + (self.at_once or len(images))
            totals = self._score(images[done:end], labels[done:end])
            if totals is not None:
                self.totals = totals if self.totals is None else self.totals.add_(totals)
                done = end

    def _score(self, images: Tensor, labels: Tensor) -> Tensor | None:
        """Returns the totals of a piece; None if it did not fit, and half of it is to be tried."""
        try:
            with autocasting(images, self.autocast):
                logits = self.network(images, self.genotype)
            return batch_totals(F.cross_entropy(logits.float(), labels), logits, labels)
        except torch.OutOfMemoryError:
            if len(images) == 1 or any(isinstance(m, nn.BatchNorm2d) and m.training for m in self.network.modules()):
                raise
        # Here what the pass held is free: the error that kept its frames is gone.
        self.at_once = len(images) // 2
        note(f"warning: {len(images)} images do not fit into memory, scoring {self.at_once} at once")
        return None


@contextlib.contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Within the context the network evaluates with the statistics of each batch and keeps none of them.

    ENAS rewards a path this way: the running statistics of a supernet are a mixture over all its paths.
    """
    with _only_norms_training(network) as norms:
        for norm in norms:
            norm.track_running_stats = False
        try:
            yield
        finally:
            for norm in norms:
                norm.track_running_stats = True


@torch.no_grad()
def recalibrate_batch_norm(
    network: nn.Module, batches: Batches, genotype: Genotype | None, *, autocast: torch.dtype | None = None
) -> None:
    """Sets the path's running statistics to the mean over the batches (of training images), weights untouched."""
    with _only_norms_training(network) as norms:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
        for number, (images, _) in enumerate(batches, start=1):
            for norm in norms:
                norm.momentum = 1 / number  # a cumulative average; torch's own would wait for the device at every norm
            with autocasting(images, autocast):
                network(images, genotype)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


@contextlib.contextmanager
def _only_norms_training(network: nn.Module) -> Iterator[list[nn.BatchNorm2d]]:
    """Within the context batch norm is in training mode and all else evaluates; gives the batch norms."""
    training = network.training
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    network.eval()
    for norm in norms:
        norm.train()
    try:
        yield norms
    finally:
        network.train(training)


def autocasting(images: Tensor, dtype: torch.dtype | None) -> torch.autocast:
    """Returns the context of a forward pass in a number format; None stays in float32."""
    return torch.autocast(images.device.type, dtype=dtype, enabled=dtype is not None)


def batch_totals(mean_loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Returns (summed loss, number right) on the device, shape (2,).

    Outputs that are not finite are wrong, whatever the label: a child that has diverged has accuracy 0.
    """
    highest, predicted = logits.max(dim=1)  # a NaN counts as the highest
    right = ((predicted == labels) & highest.isfinite()).sum()
    return torch.stack([mean_loss * len(labels), right.to(mean_loss.dtype)])


class DivergedError(ValueError):
    """More steps of an epoch than allowed had a loss or gradients that are not finite."""


class EpochTotals:
    """Sums over the steps of an epoch.

    Args:
        device: The device of the training.
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
