"""Rewards by shared weights: a supernet that is trained a path at a time and scores every architecture (ENAS, §2.2)."""

import itertools
import statistics
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
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
from nas.training.evaluation import Score
from nas.training.step import Cells
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
        copies: State dicts, on the CPU, of the shared weights at the ends of some epochs; the mean of a cell's scores
            with each of them is its score at the end of the search.
    """

    settings: SearchSettings
    seed: int
    data: ImageData
    trainer: WeightTrainer
    scorer: SupernetScorer
    reward: RewardFunction
    costs: Mapping[str, Cost]
    copies: list[dict[str, torch.Tensor]] = field(default_factory=list)
    is_instant: ClassVar[bool] = False
    is_exact: ClassVar[bool] = False

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

    def train(self, epoch: int, propose: Propose, *, steps: int | None = None) -> dict[str, float]:
        """Trains the shared weights for an epoch: of one proposed cell, or of another one for every batch.

        Args:
            epoch: Its number, from 0.
            propose: Proposes cells.
            steps: Ends the epoch after so many, where they are only timed.

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
        paths = self._paths(epoch, num_batches if steps is None else steps, propose)
        score = self.trainer.train_epoch(itertools.islice(batches, steps), paths, epoch=epoch, num_batches=num_batches)
        if settings.keep_every and (epoch + 1) % settings.keep_every == 0:
            weights = self.trainer.network.state_dict()
            self.copies.append({name: value.to("cpu", copy=True) for name, value in weights.items()})
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
        """Rewards each genotype on one batch of reward images, of its own unless `settings.common_images`.

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
        """Scores cells on all reward images, or with each copy of the weights on other `settings.scoring_images` ones.

        With learned mixers also as they would be hardened now.
        """
        return self.ranks.spread(genotypes, self._score_own)

    def _score_own(self, genotypes: Sequence[Genotype]) -> list[dict[str, Any]]:
        scores: list[list[Score]] = [[] for _ in genotypes]
        hardened: list[list[Score]] = [[] for _ in genotypes]
        with progress("scoring cells", total=len(genotypes) * max(1, len(self.copies))) as bar:
            for copy in self.each_copy():
                scorer = replace(self.scorer, seed=copy)
                exact = scorer.hardened()
                for place, genotype in enumerate(genotypes):
                    scores[place] += scorer.score([genotype])
                    hardened[place] += [] if exact is None else exact.score([genotype])
                    bar.advance()
        return [
            {
                "genotype": genotype.to_dict(),
                "shared_accuracy": score.accuracy,
                "shared_loss": score.loss,
                **({"hardened_accuracy": _mean(own).accuracy} if own else {}),
                "reward": self.reward(score, genotype),
                **cost_fields(self.costs, genotype),
            }
            for genotype, score, own in zip(genotypes, map(_mean, scores), hardened, strict=True)
        ]

    def each_copy(self) -> Iterator[int]:
        """Puts each kept copy of the shared weights into the network in turn, and at last the present weights.

        Yields:
            The numbers of the copies; 0 for the present weights where none is kept.
        """
        network = self.trainer.network
        present = deepcopy(network.state_dict())
        try:
            for number, weights in enumerate(self.copies or [present]):
                network.load_state_dict(weights)
                yield number
        finally:
            network.load_state_dict(present)

    def learning_rate_scale(self, epoch: int) -> float:
        """Returns the weights' learning rate in an epoch as a share of the largest."""
        return self.trainer.learning_rate(epoch) / self.settings.lr_max

    def state_dict(self) -> dict[str, Any]:
        """Returns the shared weights, their copies and the state of their training."""
        kept = {"copies": self.copies} if self.copies else {}
        return {"network": self.trainer.network.state_dict(), **kept, **self.trainer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.load_weights(state)
        self.trainer.load_state_dict(dict(state))

    def load_weights(self, state: Mapping[str, Any]) -> None:
        """Restores the shared weights and their copies alone, to score with."""
        self.trainer.network.load_state_dict(state["network"])
        self.copies = list(state.get("copies", []))


def _mean(scores: Sequence[Score]) -> Score:
    return Score(*map(statistics.fmean, zip(*scores, strict=True)))
