"""The search itself: shared weights and controller trained in turns (ENAS, arXiv:1802.03268, §2.2).

An epoch trains the shared weights on one sampled cell (or one a batch), then rewards sampled cells on held-out images
and lets the controller learn from them. At the end many cells are sampled, and scored on all held-out images.
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from controllers.protocol import Controller
from controllers.uniform import Uniform
from nas.compute.distributed.ranks import Ranks
from nas.costs.counting import Cost
from nas.costs.settings import FIELDS
from nas.data.named import ImageData
from nas.runs.console import progress
from nas.runs.seeds import derive_seed, seed_everything
from nas.searching.choice_shares import choice_shares
from nas.searching.diagnostics.watch import Watch
from nas.searching.evaluators import SupernetEvaluator
from nas.searching.random_cells import distinct, random_cells
from nas.searching.reward_functions import RecordedReward
from nas.searching.settings import SearchSettings  # configs know it as nas.searching.search.SearchSettings
from nas.training.step import WeightTrainer
from nas.training.trained_path import Cells
from search_spaces.genotype import Genotype
from search_spaces.space import SearchSpace


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
        renew: Makes the controller anew where the guard wants it; see `nas.searching.diagnostics.watch.Watch`.
        watch: Records how the policy moved, and looks out for its collapse.
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
    renew: Callable[[int], Controller] | None = None
    watch: Watch = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self.watch = Watch(
            self.space,
            settings=settings.guard,
            num_epochs=settings.epochs,
            first_epoch=settings.warmup_epochs,
            renew=self.renew,
        )

    @property
    def finished(self) -> bool:
        """Whether all epochs are over, or the guard stopped the search."""
        return len(self.rows) >= self.settings.epochs or self.watch.stopped

    def best_cell(self) -> Genotype | None:
        """Returns the cell with the highest reward so far; None before the first."""
        return self.space.decode(self.best[1]) if self.best[1] else None

    def epoch(self) -> dict[str, float]:
        """Trains the shared weights, then the controller; returns what to log."""
        epoch, started = len(self.rows), time.perf_counter()
        seed_everything(derive_seed(self.seed, "epoch", epoch))
        weights = self._train_weights(epoch)
        controller = self._train_controller(epoch)
        row = {"epoch": epoch, **weights, **controller, "seconds": time.perf_counter() - started}
        self.rows.append(row)
        self.controller = self.watch.act(self.controller)
        self.ranks.check_agreement([{**row, "seconds": 0}, self.controller.state_dict()], on=f"epoch {epoch}")
        return row

    @property
    def ranks(self) -> Ranks:
        """Who search together."""
        return self.trainer.ranks

    def _train_weights(self, epoch: int) -> dict[str, float]:
        settings, train = self.settings, self.data.train
        num_batches = train.num_batches(settings.batch_size, drop_last=True)
        batches = train.batches(
            settings.batch_size,
            seed=derive_seed(self.seed, "train", epoch),
            augmentation=replace(self.data.augmentation, cutout=settings.cutout),
            drop_last=True,
            share=self.ranks.share,
        )
        score = self.trainer.train_epoch(batches, self._paths(num_batches), epoch=epoch, num_batches=num_batches)
        learning_rate = self.trainer.learning_rate(epoch)
        return {"learning_rate": learning_rate, "loss": score.loss, "train_accuracy": score.accuracy}

    def _paths(self, num_batches: int) -> Iterator[Cells]:
        """The cells whose weights an epoch trains, one a batch, or one a batch and rank."""
        at_once = self.ranks.size if self.ranks.samples_apart else 1
        if len(self.rows) < self.settings.warmup_epochs:
            return self._grouped(Uniform(self.space.decisions).sample(num_batches * at_once).actions, at_once)
        if self.settings.resample == "epoch":
            return itertools.cycle(self._grouped(self.controller.sample(at_once).actions, at_once))
        return self._grouped(self.controller.sample(num_batches * at_once).actions, at_once)

    def _grouped(self, actions: torch.Tensor, at_once: int) -> Iterator[Cells]:
        """Decodes actions, so many cells at once."""
        cells = self._decode(actions)
        if at_once == 1:
            return iter(cells)
        return (tuple(cells[first : first + at_once]) for first in range(0, len(cells), at_once))

    def _train_controller(self, epoch: int) -> dict[str, float]:
        settings = self.settings
        learns = epoch >= settings.warmup_epochs
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
            learned = self.controller.observe(samples.actions, batch_rewards) if learns else {}
            logged.append({"entropy": samples.entropy.mean().item(), **learned})
            rewards.append(batch_rewards)
            sampled.append(samples)
            winner = int(batch_rewards.argmax())
            if batch_rewards[winner] > self.best[0]:
                self.best = batch_rewards[winner].item(), samples.actions[winner].tolist()
        all_rewards = torch.cat(rewards)
        return {
            "reward": all_rewards.mean().item(),
            "reward_max": all_rewards.max().item(),
            "best": self.best[0],
            **logged[-1],
            **self.watch.note(sampled, all_rewards, best=self.best[0]),
            **self._mean_costs(epoch),
            **choice_shares(self.space.decisions, torch.cat([samples.actions for samples in sampled])),
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
            self.score(distinct(self.space, [*greedy, *sampled])),
            key=lambda entry: (-float(entry["reward"]), -float(entry["shared_accuracy"])),
        )

    def random_cells(self, *, parameters: float) -> list[dict[str, Any]]:
        """Draws the cells of the random baseline and scores them like the candidates.

        Args:
            parameters: Of the found cell; theirs are about as many if `settings.random_parameters` says so.

        Returns:
            `settings.random_cells` entries, fewer if cells of that size are too rare, which is said then.
        """
        settings = self.settings
        if settings.random_cells == 0:
            return []
        seed_everything(derive_seed(self.seed, "random cells"))
        return self.score(
            random_cells(
                self.space,
                settings.random_cells,
                parameters=self.costs["parameters"],
                near=parameters,
                tolerance=settings.random_parameters,
            )
        )

    def score(self, genotypes: list[Genotype]) -> list[dict[str, Any]]:
        """Scores cells on all reward images; with learned mixers also as they would be hardened now."""
        return self.ranks.spread(genotypes, self._score_own)

    def _score_own(self, genotypes: Sequence[Genotype]) -> list[dict[str, Any]]:
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
            "watch": self.watch.state_dict(),
            "controller": self.controller.state_dict(),
            "network": self.trainer.network.state_dict(),
            **self.trainer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.rows = state["rows"]
        self.scored = state["scored"]
        self.best = state["best"][0], state["best"][1]
        self.watch.load_state_dict(state["watch"], scored=self.scored)
        self.controller.load_state_dict(state["controller"])
        self.trainer.network.load_state_dict(state["network"])
        self.trainer.load_state_dict(state)
