"""The search itself: shared weights and controller trained in turns (ENAS, arXiv:1802.03268, §2.2).

An epoch trains the shared weights on one sampled cell (or one a batch), then rewards sampled cells on held-out images
and lets the controller learn from them. At the end many cells are sampled, and scored on all held-out images.
"""

import itertools
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from controllers.protocol import Controller
from controllers.uniform import Uniform
from nas.choice_shares import choice_shares
from nas.console import progress
from nas.costing.costs import FIELDS, Cost, check_cost
from nas.costing.latency_predictor import PredictorSettings
from nas.costing.reward_functions import RecordedReward
from nas.data import ImageData
from nas.rewards import SupernetEvaluator
from nas.runtime import derive_seed, seed_everything
from nas.schedules import TrainingSettings
from nas.training import WeightTrainer
from search_spaces.genotype import Genotype
from search_spaces.space import SearchSpace

RESAMPLE = ("epoch", "batch")


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings(TrainingSettings):
    """The protocol of a search; an epoch is a turn of training weights and controller (150 in ENAS, 630 in the paper).

    Attributes:
        resample: `epoch` trains the weights of one sampled cell for a whole epoch (arXiv:1812.02975, §IV-A), `batch`
            samples a cell for every batch (ENAS).
        controller_samples: Cells rewarded an epoch, one batch each.
        samples_per_update: Cells averaged in one update of the controller.
        anneal_controller: Whether the controller's learning rate follows the weights' schedule.
        bn: Batch norm when whole-split scores are taken: `recalibrate` or `batch`.
        calibration_batches: Training batches for `recalibrate`.
        final_samples: Cells sampled at the end, duplicates dropped before scoring.
        top_k: Cells written to `candidates.json`.
        random_cells: Uniformly drawn cells kept in `random.json`, to be retrained beside the found one.
        cost: The cost of the Pareto front, one of `nas.costing.costs.FIELDS`; None takes the reward's, else
            multiply-adds.
        latency: How latency is measured where it is the cost.
    """

    lr_min: float = 0.0005
    weight_decay: float = 2e-4
    resample: str = "epoch"
    controller_samples: int = 10
    samples_per_update: int = 10
    anneal_controller: bool = False
    bn: str = "recalibrate"
    calibration_batches: int = 4
    final_samples: int = 100
    top_k: int = 10
    random_cells: int = 3
    cost: str | None = None
    latency: PredictorSettings = field(default_factory=PredictorSettings)

    def __post_init__(self) -> None:
        TrainingSettings.__post_init__(self)
        for name in ("controller_samples", "samples_per_update", "final_samples", "top_k"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.resample not in RESAMPLE:
            raise ValueError(f"resample must be one of {', '.join(RESAMPLE)}, got {self.resample!r}")
        if self.random_cells < 0:
            raise ValueError(f"random_cells must be at least 0, got {self.random_cells}")
        if self.cost is not None:
            check_cost(self.cost)


@dataclass(slots=True, kw_only=True)
class Search:
    """The state of a search, and its steps.

    Attributes:
        settings: The protocol.
        seed: All random streams derive from it.
        space: What is searched.
        controller: Samples cells and learns from rewards.
        data: Train images train weights, reward images reward cells.
        trainer: Of the shared weights.
        evaluator: Scores cells with the shared weights.
        reward: The evaluator's reward function.
        costs: Recorded of every cell that is scored, by name.
        rows: What was logged, one an epoch.
        scored: Every cell that was rewarded: epoch, reward, accuracy on its batch, costs, actions.
        best: Highest reward so far, and the actions that got it.
    """

    settings: SearchSettings
    seed: int
    space: SearchSpace
    controller: Controller
    data: ImageData
    trainer: WeightTrainer
    evaluator: SupernetEvaluator
    reward: RecordedReward
    costs: Mapping[str, Cost]
    rows: list[dict[str, float]]
    scored: list[dict[str, Any]]
    best: tuple[float, list[int]]

    def epoch(self) -> dict[str, float]:
        """Trains the shared weights, then the controller; returns what to log."""
        epoch, started = len(self.rows), time.perf_counter()
        seed_everything(derive_seed(self.seed, "epoch", epoch))
        weights = self._train_weights(epoch)
        controller = self._train_controller(epoch)
        row = {"epoch": epoch, **weights, **controller, "seconds": time.perf_counter() - started}
        self.rows.append(row)
        return row

    def _train_weights(self, epoch: int) -> dict[str, float]:
        settings, train = self.settings, self.data.train
        num_batches = train.num_batches(settings.batch_size, drop_last=True)
        batches = train.batches(
            settings.batch_size,
            seed=derive_seed(self.seed, "train", epoch),
            augmentation=replace(self.data.augmentation, cutout=settings.cutout),
            drop_last=True,
        )
        score = self.trainer.train_epoch(batches, self._paths(num_batches), epoch=epoch, num_batches=num_batches)
        learning_rate = self.trainer.learning_rate(epoch)
        return {"learning_rate": learning_rate, "loss": score.loss, "train_accuracy": score.accuracy}

    def _paths(self, num_batches: int) -> Iterator[Genotype]:
        """The cells whose weights an epoch trains, one a batch."""
        if self.settings.resample == "epoch":
            return itertools.repeat(self._decode(self.controller.sample(1).actions)[0])
        return iter(self._decode(self.controller.sample(num_batches).actions))

    def _train_controller(self, epoch: int) -> dict[str, float]:
        settings = self.settings
        if settings.anneal_controller:
            self.controller.set_learning_rate_scale(self.trainer.learning_rate(epoch) / settings.lr_max)
        rewards, logged, sampled = [], [], []
        for first in range(0, settings.controller_samples, settings.samples_per_update):
            count = min(settings.samples_per_update, settings.controller_samples - first)
            samples = self.controller.sample(count)
            batch_rewards = self.evaluator.rewards(
                self._decode(samples.actions), seed=derive_seed(self.seed, "reward", epoch, first)
            )
            self._record(epoch, samples.actions, batch_rewards)
            learned = self.controller.observe(samples.actions, batch_rewards)
            logged.append({"entropy": samples.entropy.mean().item(), **learned})
            rewards.append(batch_rewards)
            sampled.append(samples.actions)
            winner = int(batch_rewards.argmax())
            if batch_rewards[winner] > self.best[0]:
                self.best = batch_rewards[winner].item(), samples.actions[winner].tolist()
        all_rewards = torch.cat(rewards)
        return {
            "reward": all_rewards.mean().item(),
            "reward_max": all_rewards.max().item(),
            "best": self.best[0],
            **logged[-1],
            **self._mean_costs(epoch),
            **choice_shares(self.space.decisions, torch.cat(sampled)),
        }

    def _record(self, epoch: int, actions: torch.Tensor, rewards: torch.Tensor) -> None:
        """Notes what was scored, so that a search leaves every cell that it looked at."""
        scores = self.reward.take()
        for row, reward, score in zip(actions.tolist(), rewards.tolist(), scores, strict=True):
            self.scored.append(
                {
                    "epoch": epoch,
                    "reward": reward,
                    "accuracy": score.accuracy,
                    **self.costs_of(self.space.decode(row)),
                    "actions": " ".join(map(str, row)),
                }
            )

    def _mean_costs(self, epoch: int) -> dict[str, float]:
        """Returns the mean costs of the cells rewarded in an epoch, by their names in files."""
        rows = self.scored[-self.settings.controller_samples :]
        assert all(row["epoch"] == epoch for row in rows)
        return {FIELDS[name]: statistics.fmean(row[FIELDS[name]] for row in rows) for name in self.costs}

    def costs_of(self, genotype: Genotype) -> dict[str, float]:
        """Returns all costs of a genotype, by their names in files."""
        costs = {name: cost(genotype) for name, cost in self.costs.items()}
        return {FIELDS[name]: value if name == "latency" else round(value) for name, value in costs.items()}

    def candidates(self) -> list[dict[str, Any]]:
        """Samples many cells, drops duplicates, scores the rest on all reward images; highest reward first."""
        seed_everything(derive_seed(self.seed, "candidates"))
        greedy = self._decode(self.controller.sample(1, greedy=True).actions)
        sampled = self._decode(self.controller.sample(self.settings.final_samples).actions)
        return sorted(
            self.score(self.distinct([*greedy, *sampled])),
            key=lambda entry: (-float(entry["reward"]), -float(entry["shared_accuracy"])),
        )

    def random_cells(self) -> list[dict[str, Any]]:
        """Draws the cells of the random baseline and scores them like the candidates."""
        if self.settings.random_cells == 0:
            return []
        seed_everything(derive_seed(self.seed, "random cells"))
        sampled = Uniform(self.space.decisions).sample(10 * self.settings.random_cells)
        return self.score(self.distinct(self._decode(sampled.actions))[: self.settings.random_cells])

    def distinct(self, genotypes: list[Genotype]) -> list[Genotype]:
        """Keeps the first of every set of genotypes that compute the same."""
        return list({self.space.canonical(genotype): genotype for genotype in reversed(genotypes)}.values())[::-1]

    def score(self, genotypes: list[Genotype]) -> list[dict[str, Any]]:
        """Scores cells on all reward images; with learned mixers also as they would be hardened now."""
        entries = []
        hardened = self.evaluator.hardened()
        with progress("scoring cells", total=len(genotypes)) as bar:
            for genotype in genotypes:
                score = self.evaluator.score(genotype)
                entries.append(
                    {
                        "genotype": genotype.to_dict(),
                        "shared_accuracy": score.accuracy,
                        "shared_loss": score.loss,
                        **({} if hardened is None else {"hardened_accuracy": hardened.score(genotype).accuracy}),
                        "reward": self.reward.reward_function(score, genotype),
                        **self.costs_of(genotype),
                    }
                )
                bar.advance()
        return entries

    def _decode(self, actions: torch.Tensor) -> list[Genotype]:
        return [self.space.decode(row) for row in actions.tolist()]

    def state_dict(self) -> dict[str, Any]:
        """Returns everything a resumed search needs; random streams need nothing, they start anew every epoch."""
        return {
            "rows": self.rows,
            "scored": self.scored,
            "best": list(self.best),
            "controller": self.controller.state_dict(),
            "network": self.trainer.network.state_dict(),
            "optimizer": self.trainer.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.rows = state["rows"]
        self.scored = state["scored"]
        self.best = state["best"][0], state["best"][1]
        self.controller.load_state_dict(state["controller"])
        self.trainer.network.load_state_dict(state["network"])
        self.trainer.optimizer.load_state_dict(state["optimizer"])
