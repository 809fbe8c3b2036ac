"""Training and evaluating the weights of a network, one epoch at a time."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.hardening import outermost_mixers, penalty, soft_mixers
from nas.schedules import check_sgd
from search_spaces.genotype import Genotype
from search_spaces.mixers import Mixer

Batches = Iterable[tuple[Tensor, Tensor]]
"""Pairs of images (N, C, H, W), normalised, and labels (N,)."""


class Score(NamedTuple):
    """Means over images: cross-entropy in nats, and accuracy in [0, 1]."""

    loss: float
    accuracy: float


def make_sgd(
    network: nn.Module, *, momentum: float, weight_decay: float, mixer_lr_scale: float = 1.0
) -> torch.optim.SGD:
    """Makes SGD with Nesterov momentum; ENAS's l2 · sum(w²) is a weight decay of 2 · l2.

    Learned mixers have no weight decay, and a learning rate of `mixer_lr_scale` times their own scale. Parameters that
    a step does not touch have no gradient and stay as they are, momentum included.

    Raises:
        ValueError: If momentum is not in [0, 1), or weight_decay or mixer_lr_scale below 0.
    """
    check_sgd(momentum=momentum, weight_decay=weight_decay)
    if mixer_lr_scale < 0:
        raise ValueError(f"mixer_lr_scale must be at least 0, got {mixer_lr_scale}")
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


def clip_gradients(parameters: Iterable[Tensor], *, max_norm: float) -> None:
    """Scales every gradient tensor of norm above `max_norm` down to it, each on its own, as in ENAS's code."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = torch._foreach_norm(gradients)
    scales = [(max_norm / norm).clamp(max=1.0) for norm in norms]
    torch._foreach_mul_(gradients, scales)


@dataclass(slots=True, kw_only=True)
class WeightTrainer:
    """Trains a network's weights.

    Attributes:
        network: `network(images, genotype, drop_prob=…)` returns logits; with an auxiliary head,
            `network.forward_auxiliary` returns both.
        optimizer: Of its weights.
        learning_rate: From the time in epochs.
        drop_prob: From the time in epochs, drop-path probability in [0, 1).
        max_grad_norm: Clips every gradient tensor but those of learned mixers; None leaves them.
        label_smoothing: In [0, 1).
        auxiliary_weight: Of the auxiliary head's loss; 0 leaves the head out.
        mixer_penalty: From the time in epochs, the weight of the learned mixers' penalty.
        mixer_lr_scale: As the optimizer was made with.
        autocast: Data type of the forward pass; None stays in float32.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    learning_rate: Callable[[float], float]
    drop_prob: Callable[[float], float]
    max_grad_norm: float | None = 5.0
    label_smoothing: float = 0.0
    auxiliary_weight: float = 0.0
    mixer_penalty: Callable[[float], float] = lambda epoch: 0.0  # noqa: ARG005
    mixer_lr_scale: float = 1.0
    autocast: torch.dtype | None = None

    def train_epoch(
        self, batches: Batches, genotypes: Iterator[Genotype | None], *, epoch: int, num_batches: int
    ) -> Score:
        """Takes one step a batch.

        Args:
            batches: Of the training images.
            genotypes: The path of each step; None for a network without choices.
            epoch: Number of the epoch, from 0.
            num_batches: How many batches there are, for the schedules.

        Returns:
            The means over the epoch, of the weights as they were at each step.
        """
        self.network.train()
        learns_mixers = bool(soft_mixers(self.network))
        mixers: list[Mixer] = []
        path: Genotype | None = None
        totals: Tensor | None = None
        num_images = 0
        for step, (images, labels) in enumerate(batches):
            now = epoch + step / num_batches
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate(now) * group["lr_scale"]
            genotype = next(genotypes)
            if learns_mixers and (step == 0 or genotype is not path):
                mixers, path = soft_mixers(self.network, genotype), genotype
            step_totals = self._step(images, labels, genotype, now=now, mixers=mixers)
            totals = step_totals if totals is None else totals + step_totals
            num_images += len(labels)
        return _score(totals, num_images)

    def _step(
        self, images: Tensor, labels: Tensor, genotype: Genotype | None, *, now: float, mixers: list[Mixer]
    ) -> Tensor:
        drop_prob = self.drop_prob(now)
        self.optimizer.zero_grad(set_to_none=True)
        auxiliary: Tensor | None = None
        with _autocast(images, self.autocast):
            if self.auxiliary_weight > 0:
                logits, auxiliary = self.network.forward_auxiliary(images, genotype, drop_prob=drop_prob)  # type: ignore[operator]
            else:
                logits = self.network(images, genotype, drop_prob=drop_prob)
        loss = self._loss(logits, labels)
        total = loss if auxiliary is None else loss + self.auxiliary_weight * self._loss(auxiliary, labels)
        if mixers:
            step = self.learning_rate(now) / (1 - self.optimizer.defaults["momentum"])
            total = total + penalty(mixers, weight=self.mixer_penalty(now), step=step * self.mixer_lr_scale)
        total.backward()  # type: ignore[no-untyped-call]
        if self.max_grad_norm is not None:
            # The optimizer's list, since walking through a supernet's modules at every step costs more than clipping.
            # Its first group: clipping a learned mixer would weaken its loss where its penalty is strong.
            clip_gradients(self.optimizer.param_groups[0]["params"], max_norm=self.max_grad_norm)
        self.optimizer.step()
        for mixer in mixers:
            mixer.project()
        return _totals(loss.detach(), logits.detach(), labels)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing)


@torch.no_grad()
def evaluate(
    network: nn.Module, batches: Batches, genotype: Genotype | None, *, autocast: torch.dtype | None = None
) -> Score:
    """Scores a path in the mode the network is in; see `batch_statistics` and `network.eval()`."""
    totals: Tensor | None = None
    num_images = 0
    for images, labels in batches:
        with _autocast(images, autocast):
            logits = network(images, genotype)
        step_totals = _totals(F.cross_entropy(logits.float(), labels), logits, labels)
        totals = step_totals if totals is None else totals + step_totals
        num_images += len(labels)
    return _score(totals, num_images)


@contextlib.contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Within the context the network evaluates with the statistics of each batch and keeps none of them.

    ENAS rewards a path this way: the running statistics of a supernet are a mixture over all its paths.
    """
    training = network.training
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    network.eval()
    for norm in norms:
        norm.train()
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
        network.train(training)


@torch.no_grad()
def recalibrate_batch_norm(
    network: nn.Module, batches: Batches, genotype: Genotype | None, *, autocast: torch.dtype | None = None
) -> None:
    """Sets the path's running statistics to the mean over the batches (of training images), weights untouched."""
    training = network.training
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
        norm.train()
    for images, _ in batches:
        with _autocast(images, autocast):
            network(images, genotype)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(training)


def _autocast(images: Tensor, dtype: torch.dtype | None) -> torch.autocast:
    return torch.autocast(images.device.type, dtype=dtype, enabled=dtype is not None)


def _totals(mean_loss: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Returns (summed loss, number right) on the device, shape (2,)."""
    right = (logits.argmax(dim=1) == labels).sum()
    return torch.stack([mean_loss * len(labels), right.to(mean_loss.dtype)])


def _score(totals: Tensor | None, num_images: int) -> Score:
    """Reads the totals back, the one synchronisation of an epoch."""
    if totals is None:
        raise ValueError("there are no batches: the split is empty, or smaller than one batch")
    loss, right = (totals / num_images).tolist()
    return Score(loss=loss, accuracy=right)
