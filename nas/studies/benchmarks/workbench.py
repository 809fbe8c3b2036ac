"""What the parts of a benchmark work on: a search as `nas search` builds it, and ways to build variants of it."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from torch import Tensor, nn

from controllers.uniform import Uniform
from nas.compute.device import Runtime
from nas.compute.timing import Began, time_in_turns, time_once
from nas.data.augmentation import Augmentation
from nas.data.splits import Split
from nas.runs.console import progress
from nas.runs.seeds import derive_seed, seed_everything
from nas.searching.search import Search
from nas.searching.shared_weights import SharedWeights
from nas.studies.benchmarks.settings import BenchSettings
from nas.training.settings import RetrainSettings, TrainingSettings
from nas.training.trainers import make_optimizer, make_retrainer
from nas.training.weight_trainer import WeightTrainer
from search_spaces.cells import CellCandidates, genotype_candidates
from search_spaces.genotype import Genotype
from search_spaces.space import WeightSharingSpace

Work = Callable[[], object]
"""A piece of work to time."""


class Builders(Protocol):
    """Makes what a benchmark compares, from the settings of the command and a few others in their place."""

    def search(self, runtime: Runtime) -> Search[SharedWeights]:
        """Returns a search as `nas search` builds it."""

    def space(self, **changed: object) -> WeightSharingSpace:
        """Returns the search space with other `blocks` or `ops`."""

    def network(self, candidates: Mapping[str, CellCandidates], **changed: object) -> nn.Module:
        """Returns the network, on the CPU, perhaps with other `filters`."""

    def runtime(self, **changed: object) -> Runtime:
        """Returns the runtime with other values of its switches."""

    def reference(self) -> tuple[nn.Module, Genotype]:
        """Returns ShuffleNASNet-A of 236K parameters, on the CPU, and its genotype."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """Everything a part measures with.

    Attributes:
        settings: What is timed.
        runtime: Device and number format.
        seed: All random streams derive from it.
        space: Of the search.
        search: As `nas search` builds it; its weights and controller change as they are timed.
        retraining: The protocol of retraining.
        build: Makes variants.
    """

    settings: BenchSettings
    runtime: Runtime
    seed: int
    space: WeightSharingSpace
    search: Search[SharedWeights]
    retraining: RetrainSettings
    build: Builders

    @property
    def steps(self) -> int:
        """Training steps in a timed piece."""
        if self.settings.steps is not None:
            return self.settings.steps
        passes = 3 * self.search.evaluator.data.train.num_batches(
            self.search.evaluator.settings.batch_size, drop_last=True
        )
        return 2 if self.runtime.device.type == "cpu" else passes

    @property
    def search_batches(self) -> int:
        """Training steps in an epoch of the search that times are extrapolated to."""
        return self.settings.train_images // self.search.evaluator.settings.batch_size

    @property
    def retrain_batches(self) -> int:
        """Training steps in an epoch of the retraining that times are extrapolated to."""
        return (self.settings.train_images + self.settings.reward_images) // self.retraining.batch_size

    def cells(self, count: int | None = None) -> list[Genotype]:
        """Draws cells uniformly, the same ones at every call."""
        seed_everything(derive_seed(self.seed, "bench cells"))
        actions = Uniform(self.space.decisions).sample(count or self.settings.genotypes).actions
        return [self.space.decode(row) for row in actions.tolist()]

    def supernet(self, space: WeightSharingSpace, **changed: object) -> nn.Module:
        """Makes a supernet on the device; see `Builders.network`."""
        return self.runtime.place(self.build.network(space.candidates(), **changed))

    def derived(self, genotype: Genotype, **changed: object) -> nn.Module:
        """Makes a derived model on the device; see `Builders.network`."""
        return self.runtime.place(self.build.network(genotype_candidates(genotype), **changed))

    def search_trainer(self, network: nn.Module) -> WeightTrainer:
        """Returns the search's trainer for another network."""
        optimizer = make_optimizer(network, self.search.evaluator.settings)
        return replace(
            self.search.evaluator.trainer, network=network, optimizer=optimizer, recorder=self.runtime.recorder()
        )

    def retrainer(self, network: nn.Module, *, runtime: Runtime | None = None) -> WeightTrainer:
        """Returns the trainer of a derived model, as retraining has it."""
        return make_retrainer(network, self.retraining, runtime or self.runtime, batches_per_epoch=self.retrain_batches)

    def search_steps(
        self, trainer: WeightTrainer, genotype: Genotype, *, steps: int | None = None, batch_size: int | None = None
    ) -> Work:
        """Returns work: training steps of a search in the middle of its epochs, augmentation included."""
        evaluator = self.search.evaluator
        return self._training(trainer, genotype, evaluator.settings, evaluator.data.train, steps, batch_size)

    def retrain_steps(self, trainer: WeightTrainer, genotype: Genotype) -> Work:
        """Returns work: training steps of a retraining in the middle of its epochs, augmentation included."""
        return self._training(trainer, genotype, self.retraining, self.search.evaluator.data.full)

    def _training(
        self,
        trainer: WeightTrainer,
        genotype: Genotype,
        settings: TrainingSettings,
        split: Split,
        steps: int | None = None,
        batch_size: int | None = None,
    ) -> Work:
        augmentation = replace(self.search.evaluator.data.augmentation, cutout=settings.cutout)
        batches = endless_batches(split, batch_size=batch_size or settings.batch_size, augmentation=augmentation)
        return training(trainer, batches, genotype, steps=steps or self.steps, epoch=settings.epochs // 2)

    def time(self, work: Mapping[str, Work]) -> dict[str, list[float]]:
        """Times pieces of work in turns, as often as the settings say; milliseconds by name."""
        return time_in_turns(work, rounds=self.settings.rounds, warmup=self.settings.warmup, device=self.runtime.device)

    def time_cells(self, title: str, make_work: Callable[[Genotype], Mapping[str, Work]]) -> list["TimedCell"]:
        """Times pieces of work in turns for each of several random cells.

        Args:
            title: For the progress bar.
            make_work: Makes the pieces of a cell.

        Returns:
            The times of each cell; the first of them is a round of warming up.
        """
        cells, device, settings = self.cells(), self.runtime.device, self.settings
        timed = []
        with progress(title, total=len(cells)) as bar:
            for genotype in cells:
                work = make_work(genotype)
                first = time_once(work, device=device)
                times = time_in_turns(work, rounds=settings.rounds, warmup=max(0, settings.warmup - 1), device=device)
                timed.append(TimedCell(genotype=genotype, first=first, times=times))
                bar.advance()
        return timed


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedCell:
    """Times of pieces of work on one cell, in milliseconds, by name.

    Attributes:
        genotype: The cell.
        first: The first time, which may record or compile.
        times: Later on, one a round.
    """

    genotype: Genotype
    first: Mapping[str, float]
    times: Mapping[str, list[float]]


def endless_batches(split: Split, *, batch_size: int, augmentation: Augmentation) -> Iterator[tuple[Tensor, Tensor]]:
    """Goes through a split again and again, shuffled and augmented anew each time."""
    return itertools.chain.from_iterable(
        split.batches(batch_size, seed=turn, augmentation=augmentation, drop_last=True) for turn in itertools.count()
    )


def training(
    trainer: WeightTrainer,
    batches: Iterator[tuple[Tensor, Tensor]],
    genotype: Genotype,
    *,
    steps: int,
    epoch: int,
) -> Work:
    """Returns work: `steps` training steps on the next batches.

    They are timed from the first batch on. What an epoch begins with, a walk through all modules of a supernet, would
    count for far more in a few steps than it does in an epoch.
    """

    def work() -> Began:
        began: list[Began] = []

        def noted() -> Iterator[tuple[Tensor, Tensor]]:
            began.append(Began(time.perf_counter_ns()))
            yield from itertools.islice(batches, steps)

        trainer.train_epoch(noted(), itertools.repeat(genotype), epoch=epoch, num_batches=steps)
        return began[0]

    return work
