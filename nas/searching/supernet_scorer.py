"""Scores of architectures under the weights that they share in a supernet, on images that never train these."""

import copy
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from nas.compute.cuda_graphs import Recorder
from nas.compute.distributed.ranks import ALONE, Ranks
from nas.data.splits import Batches, Split
from nas.models.hardening import harden_mixers, soft_mixers
from nas.searching.readouts import Readout, read_out
from nas.training.evaluation import Score, batch_statistics, evaluate_paths, recalibrate_batch_norm
from search_spaces.genotype import Genotype

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
        calibrate: Whether losses are those after calibration; see `nas.searching.readouts`.
        autocast: Data type of the forward pass; None stays in float32.
        recorder: Records the forward pass of a path that is scored on many batches; a reward is of one batch, and to
            record that would cost as much as it does.
        ranks: Who reward together; each scores some of the cells.

    Raises:
        ValueError: If an argument is out of range.
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
    autocast: torch.dtype | None = None
    recorder: Recorder | None = None
    ranks: Ranks = ALONE

    def __post_init__(self) -> None:
        if self.bn not in BN_MODES:
            raise ValueError(f"bn must be one of {', '.join(BN_MODES)}, got {self.bn!r}")
        if self.calibration_batches < 1:
            raise ValueError(f"calibration_batches must be at least 1, got {self.calibration_batches}")

    @property
    def reward_batch_size(self) -> int:
        """Images that a cell is rewarded on."""
        return min(self.batch_size, len(self.reward))

    def batch_scores(self, genotypes: Sequence[Genotype], *, seed: int) -> list[Score]:
        """Scores each genotype on one batch of reward images, a different one each until they are used up.

        Args:
            genotypes: N of them.
            seed: Shuffles the images.

        Returns:
            N scores. A genotype whose outputs are not finite has accuracy 0.
        """

        def scored(numbers: Sequence[int]) -> list[Score]:
            batches = enumerate(_endless(self.reward, batch_size=self.reward_batch_size, seed=seed))
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
    """Full batches of a split, shuffled anew each time it has been gone through."""
    return itertools.chain.from_iterable(
        split.batches(batch_size, seed=seed + turn, drop_last=True) for turn in itertools.count()
    )
