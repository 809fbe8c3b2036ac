"""Scores of architectures under the weights that they share in a supernet, on images that never train these.

Under shared weights every path has the last layer of a network that was trained for all paths: the scale of its outputs
and their bias to classes say more of the other paths than of the architecture. So losses can be taken after a simple
readout of the outputs is fitted to the images themselves: a temperature and a bias for each class (vector scaling with
one temperature, Guo et al. 2017, arXiv:1706.04599, §4.2).
"""

import copy
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.compute.cuda_graphs import Recorder
from nas.compute.distributed.ranks import ALONE, Ranks
from nas.data.splits import Batches, Split
from nas.models.hardening import harden_mixers, soft_mixers
from nas.training.evaluation import Score, autocasting, batch_statistics, evaluate_paths, recalibrate_batch_norm
from search_spaces.genotype import Genotype

PRIOR = 1e-3
"""Weight of half the squared distance from a factor of 1 and biases of 0, in nats: it bounds them on few images."""
STEPS = 5
SHARES = (1.0, 0.25, 0.0625, 0.015625)
"""Of a Newton step, tried one after the other."""
WORST_LOSS = 1e6
"""In nats, of outputs that are not finite."""
SMALL = 1e-12


class Readout(NamedTuple):
    """Means over images: `loss` and `calibrated_loss` in nats, and `accuracy`."""

    loss: float
    accuracy: float
    calibrated_loss: float


@torch.no_grad()
def read_out(
    network: nn.Module, paths: Iterable[tuple[Genotype, Batches]], *, autocast: torch.dtype | None = None
) -> list[Readout]:
    """Scores paths in the mode the network is in; the host waits once, at the end.

    Args:
        network: The network of all paths.
        paths: Each with its batches, at least one; all have as many images.
        autocast: Data type of the forward pass; None stays in float32.
    """
    outputs, labels = [], []
    for genotype, batches in paths:
        own = []
        for images, wanted in batches:
            with autocasting(images, autocast):
                own.append((network(images, genotype).float(), wanted))
        outputs.append(torch.cat([logits for logits, _ in own]))
        labels.append(torch.cat([wanted for _, wanted in own]))
    if not outputs:
        return []
    logits, wanted = torch.stack(outputs), torch.stack(labels)
    highest, predicted = logits.max(dim=2)  # a NaN counts as the highest
    losses = F.cross_entropy(logits.transpose(1, 2), wanted, reduction="none").double().mean(dim=1)
    losses = losses.nan_to_num(nan=WORST_LOSS, posinf=WORST_LOSS)
    accuracies = ((predicted == wanted) & highest.isfinite()).double().mean(dim=1)
    columns = [losses, accuracies, calibrated_losses(logits, wanted)]
    return [Readout(*row) for row in torch.stack(columns, dim=1).tolist()]


@torch.no_grad()
def calibrated_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the cross-entropy of each network after calibration on the very images, without waiting for the device.

    Outputs are centred, for each image and each class, and divided by their standard deviation, so that the result does
    not depend on their scale and biases at all; then 5 Newton steps in float64, shorter where a whole one would go up,
    fit a factor and a bias for each class. No loss is above that of a guess, log K, which a network has whose outputs
    are not finite, or all equal.

    Args:
        logits: (B, N, K), of B networks.
        labels: (N,), or (B, N) where each network has images of its own.

    Returns:
        In nats, (B,), float64.
    """
    count, num_classes = logits.shape[1:]
    finite = logits.isfinite().all(dim=2).all(dim=1)
    outputs = torch.where(finite[:, None, None], logits.double(), 0.0)
    outputs = outputs - outputs.mean(dim=2, keepdim=True)
    outputs = outputs - outputs.mean(dim=1, keepdim=True)
    outputs = outputs / outputs.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp_min(SMALL)
    wanted = F.one_hot(labels, num_classes).double().expand_as(outputs)
    identity = torch.zeros(len(logits), num_classes + 1, dtype=torch.double, device=logits.device)
    identity[:, 0] = 1.0  # the factor of the logits, then the biases
    prior = PRIOR * torch.eye(num_classes + 1, dtype=torch.double, device=logits.device)

    def losses(fitted: Tensor) -> Tensor:
        return -(_scaled(outputs, fitted).log_softmax(dim=2) * wanted).sum(dim=2).mean(dim=1)

    def penalised(fitted: Tensor) -> Tensor:
        return losses(fitted) + PRIOR / 2 * (fitted - identity).square().sum(dim=1)

    fitted, height = identity, penalised(identity)
    for _ in range(STEPS):
        probabilities = _scaled(outputs, fitted).softmax(dim=2)
        # The outputs' derivatives by the parameters, (B, N, K, K + 1), are the logits and the identity.
        residual = probabilities - wanted
        gradient = torch.cat([(residual * outputs).sum(dim=(1, 2))[:, None], residual.sum(dim=1)], dim=1) / count
        weighted = probabilities * outputs
        mean = weighted.sum(dim=2, keepdim=True)
        by_factor = (weighted * outputs).sum(dim=(1, 2)) - mean.square().sum(dim=(1, 2))
        mixed = (weighted - probabilities * mean).sum(dim=1)
        by_bias = torch.diag_embed(probabilities.sum(dim=1)) - probabilities.mT @ probabilities
        hessian = torch.cat(
            [
                torch.cat([by_factor[:, None], mixed], dim=1)[:, None],
                torch.cat([mixed[:, :, None], by_bias], dim=2),
            ],
            dim=1,
        )
        gradient = gradient + PRIOR * (fitted - identity)
        step = torch.linalg.solve(hessian / count + prior, gradient)
        for share in SHARES:  # the longest step that goes down; none where all go up
            tried = fitted - share * step
            reached = penalised(tried)
            lower = reached < height
            fitted, height = torch.where(lower[:, None], tried, fitted), torch.where(lower, reached, height)
            step = torch.where(lower[:, None], 0.0, step)
    guess = math.log(num_classes)
    return torch.where(finite, losses(fitted), guess).clamp(max=guess)


def _scaled(outputs: Tensor, fitted: Tensor) -> Tensor:
    return fitted[:, :1, None] * outputs + fitted[:, None, 1:]


BN_MODES = ("recalibrate", "batch")

Batch = tuple[Tensor, Tensor]
"""Images (N, C, H, W) and labels (N,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SupernetScorer:
    """Scores genotypes with shared weights, on images that never train them.

    Attributes:
        network: The supernet.
        train: Images for recalibrating batch norm.
        reward: Images for scoring.
        batch_size: Of both, at most.
        bn: For whole-split scores: `recalibrate` sets the running statistics of each path from training images,
            `batch` takes those of each batch. Rewards on single batches always take the batch's, as ENAS does.
        calibration_batches: Batches of training images for `recalibrate`.
        max_images: Reward images that a cell is scored on, rounded up to whole batches; None takes all.
        seed: Draws these where not all are taken; None takes the first.
        calibrate: Whether losses are those after calibration; see `calibrated_losses`.
        common_images: Whether rewards on single batches are all on the same one.
        autocast: Data type of the forward pass; None stays in float32.
        recorder: Records the forward pass of a path that is scored on many batches; a reward is of one batch, and to
            record that would cost as much as it does.
        ranks: Who reward together; each scores some of the cells.
    """

    network: nn.Module
    train: Split
    reward: Split
    batch_size: int
    bn: str = "recalibrate"
    calibration_batches: int = 4
    max_images: int | None = None
    seed: int | None = None
    calibrate: bool = False
    common_images: bool = False
    autocast: torch.dtype | None = None
    recorder: Recorder | None = None
    ranks: Ranks = ALONE

    @property
    def reward_batch_size(self) -> int:
        """Images that a cell is rewarded on."""
        return min(self.batch_size, len(self.reward))

    def batch_scores(self, genotypes: Sequence[Genotype], *, seed: int) -> list[Score]:
        """Scores each genotype on one batch of reward images, a different one each until they are used up.

        With `common_images` all are scored on the first batch.

        Args:
            genotypes: N of them.
            seed: Shuffles the images.

        Returns:
            N scores. A genotype whose outputs are not finite has accuracy 0.
        """

        def scored(numbers: Sequence[int]) -> list[Score]:
            batches = enumerate(_endless(self.reward, batch_size=self.reward_batch_size, seed=seed))
            if self.common_images:
                _, batch = next(batches)
                own = ((genotypes[number], [batch]) for number in numbers)
            else:
                own = ((genotypes[number], [_of_number(number, batches)]) for number in numbers)
            with batch_statistics(self.network):
                return self._evaluate(own)

        return self.ranks.spread(range(len(genotypes)), scored)

    def hardened(self) -> "SupernetScorer | None":
        """Returns the same scorer of a copy whose learned mixers are exact; None if there are none to harden."""
        if not soft_mixers(self.network):
            return None
        network = copy.deepcopy(self.network)
        harden_mixers(network)
        return replace(self, network=network)

    def score(self, genotypes: Sequence[Genotype]) -> list[Score]:
        """Scores genotypes on all reward images, or on `max_images` of them."""
        if self.bn == "batch":
            with batch_statistics(self.network):
                own = ((genotype, self._images()) for genotype in genotypes)
                return self._evaluate(own, recorder=self.recorder)
        training = self.network.training
        scores = []
        for genotype in genotypes:
            calibration = itertools.islice(self.train.batches(self.batch_size, seed=0), self.calibration_batches)
            recalibrate_batch_norm(self.network, calibration, genotype, autocast=self.autocast)
            self.network.eval()
            scores += self._evaluate([(genotype, self._images())], recorder=self.recorder)
            self.network.train(training)
        return scores

    def read_out(self, genotypes: Sequence[Genotype]) -> list[Readout]:
        """Scores genotypes in all ways there are, with the statistics of each batch; see `score` for the images."""
        with batch_statistics(self.network):
            own = ((genotype, self._images()) for genotype in genotypes)
            return read_out(self.network, own, autocast=self.autocast)

    def _images(self) -> Batches:
        count = self.max_images and math.ceil(self.max_images / self.reward_batch_size)
        return itertools.islice(self.reward.batches(self.batch_size, seed=self.seed if count else None), count)

    def _evaluate(self, paths: Iterable[tuple[Genotype, Batches]], *, recorder: Recorder | None = None) -> list[Score]:
        if self.calibrate:
            found = read_out(self.network, paths, autocast=self.autocast)
            return [Score(loss=one.calibrated_loss, accuracy=one.accuracy) for one in found]
        return evaluate_paths(self.network, paths, autocast=self.autocast, recorder=recorder)


def _of_number(number: int, numbered: Iterator[tuple[int, Batch]]) -> Batch:
    """Returns the batch of a number, those before it left out."""
    return next(batch for place, batch in numbered if place == number)


def _endless(split: Split, *, batch_size: int, seed: int) -> "itertools.chain[Batch]":
    """Full batches of a split, shuffled afresh each time it has been gone through."""
    return itertools.chain.from_iterable(
        split.batches(batch_size, seed=seed + turn, drop_last=True) for turn in itertools.count()
    )
