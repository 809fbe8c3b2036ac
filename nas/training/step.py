"""One step of training, to be read from top to bottom.

Forward pass, loss, penalty of learned mixers, loss scale, backward pass; then clipping, the optimizer's step,
projection of the mixers, and the mean of the weights. Nothing waits for the device, so that a step can be recorded as a
CUDA graph. A step whose loss or gradients are not finite leaves the weights alone, see `nas.training.epoch_totals`.

In fp16 the loss is scaled (Micikevicius et al., arXiv:1710.03740, §3.2). A step that the scale made overflow is left
out as well but is not a bad one: the next has half of the scale.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.amp import GradScaler
from torch.nn import functional as F

from nas.compute.distributed.ranks import Ranks
from nas.models.hardening import penalty
from nas.training.dials import Dials
from nas.training.epoch_totals import EpochTotals
from nas.training.evaluation import autocasting, batch_totals
from nas.training.sgd import clip_gradients, gradient_norms
from nas.training.trained_path import TrainedPath
from nas.training.weight_average import WeightAverage


@dataclass(slots=True, kw_only=True)
class TrainingStep:
    """A step on the weights of a path.

    Attributes:
        compute: `compute(images, genotype, drop_prob=…)` returns logits (N, num_classes), with `auxiliary=True` also
            those of the auxiliary head.
        optimizer: Its first group is clipped, the others are learned mixers.
        dials: Learning rate, drop-path probability and penalty of the step.
        totals: Takes the step's scores.
        max_grad_norm: Of a gradient tensor; None: gradients are not clipped.
        label_smoothing: In [0, 1).
        auxiliary_weight: The weight of the auxiliary head's loss; 0: the head is not computed.
        mixer_lr_scale: The learning rate of learned mixers, in those of the weights.
        autocast: Data type of the forward pass; None: float32.
        scaler: Scales the loss if it is enabled.
        average: A mean of the weights; None: none is kept.
        ranks: Those whose scores `take` adds up.
    """

    compute: Callable[..., Any]
    optimizer: torch.optim.Optimizer
    dials: Dials
    totals: EpochTotals
    max_grad_norm: float | None
    label_smoothing: float
    auxiliary_weight: float
    mixer_lr_scale: float
    autocast: torch.dtype | None
    scaler: GradScaler
    average: WeightAverage | None
    ranks: Ranks

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
