"""Rewards by shared weights: a supernet that is trained a path at a time and scores every architecture (ENAS, §2.2)."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch

from nas.compute.distributed.ranks import Ranks
from nas.costs.counting import Cost, cost_fields
from nas.data.named import ImageData
from nas.runs.console import progress
from nas.runs.seeds import derive_seed
from nas.searching.evaluators import Evaluation, Propose, RewardFunction, finite_reward
from nas.searching.settings import SearchSettings
from nas.searching.supernet_scorer import SupernetScorer
from nas.training.trained_path import Cells
from nas.training.weight_trainer import WeightTrainer
from search_spaces.genotype import Genotype


@dataclass(slots=True, kw_only=True)
class SharedWeights:
    """An evaluator that trains shared weights before every epoch's rewards.

    Attributes:
        settings: The protocol of the search.
        seed: The seed of the run.
        data: Train images train weights, reward images reward cells.
        trainer: Trains the shared weights.
        scorer: Scores cells with them.
        reward: Makes a reward of a score.
        costs: Recorded of every cell that is scored, by name.
    """

    settings: SearchSettings
    seed: int
    data: ImageData
    trainer: WeightTrainer
    scorer: SupernetScorer
    reward: RewardFunction
    costs: Mapping[str, Cost]
    is_instant: ClassVar[bool] = False

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.trainer.network.parameters()).device

    @property
    def ranks(self) -> Ranks:
        """The processes that search together."""
        return self.trainer.ranks

    @property
    def record(self) -> Mapping[str, Any]:
        """What is known of the images."""
        return self.data.record

    def train(self, epoch: int, propose: Propose) -> dict[str, float]:
        """Trains the shared weights for an epoch: of one proposed cell, or of another one for every batch.

        Returns:
            `learning_rate`, `loss`, and `train_accuracy` in [0, 1].
        """
        settings, train = self.settings, self.data.train
        num_batches = train.num_batches(settings.batch_size, drop_last=True)
        batches = train.batches(
            settings.batch_size,
            seed=derive_seed(self.seed, "train", epoch),
            augmentation=replace(self.data.augmentation, cutout=settings.cutout),
            drop_last=True,
            share=self.ranks.share,
        )
        paths = self._paths(epoch, num_batches, propose)
        score = self.trainer.train_epoch(batches, paths, epoch=epoch, num_batches=num_batches)
        learning_rate = self.trainer.learning_rate(epoch)
        return {"learning_rate": learning_rate, "loss": score.loss, "train_accuracy": score.accuracy}

    def _paths(self, epoch: int, num_batches: int, propose: Propose) -> Iterator[Cells]:
        """The cells whose weights an epoch trains, one per batch, or one per batch and rank."""
        at_once = self.ranks.size if self.ranks.samples_apart else 1
        whole_epoch = self.settings.resample == "epoch" and epoch >= self.settings.warmup_epochs
        cells = propose(at_once if whole_epoch else num_batches * at_once)
        grouped: list[Cells] = [
            cells[first] if at_once == 1 else tuple(cells[first : first + at_once])
            for first in range(0, len(cells), at_once)
        ]
        return itertools.cycle(grouped) if whole_epoch else iter(grouped)

    def evaluate(self, genotypes: Sequence[Genotype], *, seed: int) -> list[Evaluation]:
        """Rewards each genotype on one batch of reward images, a different one each until they are used up.

        Raises:
            ValueError: If a reward is not finite.
        """
        scores = self.scorer.batch_scores(genotypes, seed=seed)
        return [
            Evaluation(
                finite_reward(self.reward, score, genotype),
                {"accuracy": score.accuracy, **cost_fields(self.costs, genotype)},
            )
            for score, genotype in zip(scores, genotypes, strict=True)
        ]

    def score(self, genotypes: Sequence[Genotype]) -> list[dict[str, Any]]:
        """Scores cells on all reward images; with learned mixers also as they would be hardened now."""
        return self.ranks.spread(genotypes, self._score_own)

    def _score_own(self, genotypes: Sequence[Genotype]) -> list[dict[str, Any]]:
        entries = []
        hardened = self.scorer.hardened()
        with progress("scoring cells", total=len(genotypes)) as bar:
            for genotype in genotypes:
                score = self.scorer.score(genotype)
                entries.append(
                    {
                        "genotype": genotype.to_dict(),
                        "shared_accuracy": score.accuracy,
                        "shared_loss": score.loss,
                        **({} if hardened is None else {"hardened_accuracy": hardened.score(genotype).accuracy}),
                        "reward": self.reward(score, genotype),
                        **cost_fields(self.costs, genotype),
                    }
                )
                bar.advance()
        return entries

    def learning_rate_scale(self, epoch: int) -> float:
        """Returns the weights' learning rate in an epoch as a share of the largest."""
        return self.trainer.learning_rate(epoch) / self.settings.lr_max

    def state_dict(self) -> dict[str, Any]:
        """Returns the shared weights and the state of their training."""
        return {"network": self.trainer.network.state_dict(), **self.trainer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.trainer.network.load_state_dict(state["network"])
        self.trainer.load_state_dict(dict(state))
