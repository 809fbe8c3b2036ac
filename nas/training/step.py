"""One step of training, to be read from top to bottom.

Forward pass, loss, penalty of learned mixers, loss scale, backward pass; then clipping, the optimizer's step,
projection of the mixers, and the mean of the weights. Nothing waits for the device, so that a step can be recorded as a
CUDA graph. A step whose loss or gradients are not finite leaves the weights alone, see `nas.training.evaluation`.

In fp16 the loss is scaled (Micikevicius et al., arXiv:1710.03740, §3.2). A step that the scale made overflow is left
out as well but is not a bad one: the next has half of the scale.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.nn import functional as F

from nas.compute.distributed.gradients import Bucket
from nas.compute.distributed.ranks import ALONE, Ranks
from nas.models.hardening import penalty
from nas.training.evaluation import EpochTotals, autocasting, batch_totals
from nas.training.sgd import clip_gradients, gradient_norms
from nas.training.weight_average import WeightAverage
from search_spaces.genotype import Genotype
from search_spaces.mixers import Mixer

Cells = Genotype | tuple[Genotype, ...] | None
"""The cells of one step: a path; one path for each rank; or None in a network without choices."""


@dataclass(slots=True)
class Dials:
    """The numbers that change from one step to the next.

    They are tensors of shape () for a step that is recorded or compiled, so that the recording or the compiled code
    need not change with them.

    Attributes:
        learning_rate: The learning rate of weights that have no scale of their own.
        drop_prob: Drop-path probability of the last layer.
        mixer_penalty: λ of the learned mixers.
    """

    learning_rate: float | Tensor
    drop_prob: float | Tensor
    mixer_penalty: float | Tensor

    def turn(self, **values: float) -> None:
        """Sets the dials named."""
        for name, value in values.items():
            dial = getattr(self, name)
            setattr(self, name, dial.fill_(value) if isinstance(dial, Tensor) else value)


@dataclass(slots=True, kw_only=True)
class TrainedPath:
    """A path through the network, and the weights that a step on it turned out to touch.

    A supernet has ten thousand weight tensors and a path some hundred. To go through them all several times a step
    would take as long as a small network does.

    Attributes:
        genotype: The path; None for a network without choices.
        cells: The genotype, or those of all ranks.
        drops: Whether there is drop-path.
        mixers: The soft mixers on the path.
        weights: The weights with a gradient, by group of the optimizer; None before the first step.
        bucket: The tensor that several ranks add up in a step of two halves; None before the first.
    """

    genotype: Genotype | None
    cells: Cells
    drops: bool
    mixers: list[Mixer]
    weights: list[list[Tensor]] | None = None
    bucket: Bucket | None = None

    def forget_gradients(self) -> None:
        """Lets go of the gradients of the step before."""
        for weight in itertools.chain.from_iterable(self.weights or []):
            weight.grad = None

    @contextlib.contextmanager
    def only_its_weights(self, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        """Within the context, after a backward pass, the optimizer's groups hold no other weights than the path's."""
        groups = [group["params"] for group in optimizer.param_groups]
        if self.weights is None:
            self.weights = [[weight for weight in group if weight.grad is not None] for group in groups]
        for group, weights in zip(optimizer.param_groups, self.weights, strict=True):
            group["params"] = weights
        try:
            yield
        finally:
            for group, weights in zip(optimizer.param_groups, groups, strict=True):
                group["params"] = weights


@dataclass(slots=True, kw_only=True)
class TrainingStep:
    """A step on the weights of a path.

    Attributes:
        network: `network(images, genotype, drop_prob=…)` returns logits (N, num_classes), with `auxiliary=True` also
            those of the auxiliary head.
        optimizer: The optimizer of its weights. Its first group is clipped, the others are learned mixers.
        max_grad_norm: The largest norm of a gradient tensor; None: gradients are not clipped.
        label_smoothing: In [0, 1).
        auxiliary_weight: The weight of the auxiliary head's loss; 0: the head is not computed.
        mixer_lr_scale: The learning rate of learned mixers, in those of the weights.
        autocast: Data type of the forward pass; None: float32. With fp16 the loss is scaled.
        average: A mean of the weights, updated by every step; None: none is kept.
        ranks: Those whose scores `take` adds up.
        compute: The network as a step computes it, perhaps compiled or wrapped for several ranks.
        dials: Learning rate, drop-path probability and penalty of the step.
        totals: The sums of the steps' scores.
        scaler: The scaler of the loss, enabled in fp16.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    max_grad_norm: float | None = 5.0
    label_smoothing: float = 0.0
    auxiliary_weight: float = 0.0
    mixer_lr_scale: float = 1.0
    autocast: torch.dtype | None = None
    average: WeightAverage | None = None
    ranks: Ranks = ALONE
    compute: Callable[..., Any] = field(init=False)
    dials: Dials = field(init=False)
    totals: EpochTotals = field(init=False)
    scaler: GradScaler = field(init=False)

    def __post_init__(self) -> None:
        device = next(self.network.parameters()).device
        self.compute = self.network
        self.dials = Dials(0.0, 0.0, 0.0)
        self.totals = EpochTotals(device)
        self.scaler = GradScaler(device.type, enabled=self.autocast == torch.float16)

    def take(self, images: Tensor, labels: Tensor, *, path: TrainedPath) -> None:
        """Takes the whole step; several ranks need a `compute` that averages their gradients.

        Args:
            images: (N, C, H, W).
            labels: (N,), or probabilities (N, num_classes).
            path: What is trained.
        """
        totals = self.ranks.sum_(self.find_gradients(images, labels, path=path))
        self.move(path, totals=totals, num_images=len(labels) * self.ranks.size)

    def find_gradients(self, images: Tensor, labels: Tensor, *, path: TrainedPath) -> Tensor:
        """Takes the first half: gives the path's weights their gradients; returns what `batch_totals` does."""
        path.forget_gradients()
        options = {"auxiliary": True} if self.auxiliary_weight > 0 else {}
        with autocasting(images, self.autocast):
            out = self.compute(images, path.genotype, drop_prob=self.dials.drop_prob if path.drops else 0.0, **options)
        logits, auxiliary = out if self.auxiliary_weight > 0 else (out, None)
        loss = self._loss(logits, labels)
        total = loss if auxiliary is None else loss + self.auxiliary_weight * self._loss(auxiliary, labels)
        if path.mixers:
            step = self.dials.learning_rate / (1 - self.optimizer.defaults["momentum"])
            total = total + penalty(path.mixers, weight=self.dials.mixer_penalty, step=step * self.mixer_lr_scale)
        self.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        likeliest = labels if labels.ndim == 1 else labels.argmax(dim=1)
        return batch_totals(loss.detach(), logits.detach(), likeliest)

    def move(self, path: TrainedPath, *, totals: Tensor, num_images: int) -> None:
        """Takes the second half: moves the weights along their gradients, unless something is not finite.

        Args:
            path: What is trained.
            totals: Summed loss and number right, (2,).
            num_images: Images of the step.
        """
        with path.only_its_weights(self.optimizer):
            self.scaler.unscale_(self.optimizer)
            bad = self._clip(totals[0])
            for group in self.optimizer.param_groups:
                group["lr"] = self.dials.learning_rate * group["lr_scale"]
            self.optimizer.found_inf = bad  # type: ignore[attr-defined]  # the fused step does nothing then
            self.optimizer.step()
        if self.scaler.is_enabled():  # bad is then what no smaller scale would have saved
            bad = bad * (~totals[0].isfinite() | (self.scaler.scale(torch.ones_like(bad)) < 1))
        self.scaler.update()
        for mixer in path.mixers:
            mixer.project()
        if self.average is not None:
            self.average.update()
        self.totals.add(totals, bad, num_images=num_images)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing)

    def _clip(self, loss: Tensor) -> Tensor:
        """Clips the gradients; returns 1 if they or the loss were not finite, else 0, float32 of shape ()."""
        total = loss
        for number, group in enumerate(self.optimizer.param_groups):
            if number == 0 and self.max_grad_norm is not None:
                # The first group: clipping a learned mixer would weaken its loss where its penalty is strong.
                total = total + clip_gradients(group["params"], max_norm=self.max_grad_norm).sum()
            elif group["params"]:
                total = total + gradient_norms(group["params"]).sum()
        return (~total.isfinite()).float()
