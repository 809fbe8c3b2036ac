"""What the parts of a benchmark work on: a search as `nas search` builds it, and ways to build variants of it."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from torch import Tensor, nn

from controllers.uniform import Uniform
from nas.compute.device import Runtime
from nas.compute.timing import Began, time_in_turns, time_once
from nas.data.splits import Split
from nas.runs.console import progress
from nas.runs.seeds import derive_seed, seed_everything
from nas.searching.search import Search
from nas.searching.shared_weights import SharedWeights
from nas.studies.benchmarks.settings import BenchSettings
from nas.training.settings import RetrainSettings, TrainingSettings
from nas.training.weight_trainer import WeightTrainer, make_optimizer, make_retrainer
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Genotype
from search_spaces.space import WeightSharingSpace

Work = Callable[[], object]
"""A piece of work to time."""


class TimedCell(NamedTuple):
    """Milliseconds of pieces of work on one cell, by name: the first time, which may record or compile, and later."""

    genotype: Genotype
    first: Mapping[str, float]
    times: Mapping[str, list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """Everything a part measures with.

    Attributes:
        settings: What is timed.
        parts: Parts to measure.
        runtime: Device and number format.
        seed: All random streams derive from it.
        space: Of the search.
        search: As `nas search` builds it; its weights and controller change as they are timed.
        retraining: The protocol of retraining.
        make_search: Builds a search for another runtime.
        make_space: Builds the search space with other `blocks` or `ops`.
        make_network: Builds the network of some candidates on the CPU, perhaps with other `filters`.
        make_runtime: Builds the runtime with other values of its switches.
        reference: Builds ShuffleNASNet-A of 236K parameters on the CPU; returns it and its genotype.
        done: Figures of the parts measured so far, by part.
        results: Lines that sum them up.
    """

    settings: BenchSettings
    parts: Sequence[str]
    runtime: Runtime
    seed: int
    space: WeightSharingSpace
    search: Search[SharedWeights]
    retraining: RetrainSettings
    make_search: Callable[[Runtime], Search[SharedWeights]]
    make_space: Callable[..., WeightSharingSpace]
    make_network: Callable[..., nn.Module]
    make_runtime: Callable[..., Runtime]
    reference: Callable[[], tuple[nn.Module, Genotype]]
    done: dict[str, Any] = field(default_factory=dict)
    results: list[str] = field(default_factory=list)

    @property
    def steps(self) -> int:
        """Training steps in a timed piece."""
        if self.settings.steps is not None:
            return self.settings.steps
        evaluator = self.search.evaluator
        passes = 3 * evaluator.data.train.num_batches(evaluator.settings.batch_size, drop_last=True)
        return 2 if self.runtime.device.type == "cpu" else passes

    @property
    def search_batches(self) -> int:
        """Training steps in an epoch of the search that times are extrapolated to."""
        return self.settings.train_images // self.search.evaluator.settings.batch_size

    @property
    def retrain_batches(self) -> int:
        """Training steps in an epoch of the retraining that times are extrapolated to."""
        return (self.settings.train_images + self.settings.reward_images) // self.retraining.batch_size

    def actions(self, space: WeightSharingSpace, count: int, *, stream: str) -> list[list[int]]:
        """Draws the answers to a space's decisions for some cells, the same ones at every call."""
        seed_everything(derive_seed(self.seed, stream))
        drawn: list[list[int]] = Uniform(space.decisions).sample(count).actions.tolist()
        return drawn

    def cells(self, count: int | None = None) -> list[Genotype]:
        """Draws cells uniformly, the same ones at every call."""
        rows = self.actions(self.space, count or self.settings.genotypes, stream="bench cells")
        return [self.space.decode(row) for row in rows]

    def supernet(self, space: WeightSharingSpace, **changed: object) -> nn.Module:
        """Makes a supernet on the device; see `make_network`."""
        return self.runtime.place(self.make_network(space.candidates(), **changed))

    def derived(self, genotype: Genotype, *, runtime: Runtime | None = None) -> nn.Module:
        """Makes a derived model on the device."""
        return (runtime or self.runtime).place(self.make_network(genotype_candidates(genotype)))

    def search_trainer(self, network: nn.Module) -> WeightTrainer:
        """Returns the search's trainer for another network."""
        evaluator = self.search.evaluator
        optimizer = make_optimizer(network, evaluator.settings)
        return replace(evaluator.trainer, network=network, optimizer=optimizer, recorder=self.runtime.recorder())

    def retrainer(self, network: nn.Module, *, runtime: Runtime | None = None) -> WeightTrainer:
        """Returns the trainer of a derived model, as retraining has it."""
        return make_retrainer(network, self.retraining, runtime or self.runtime, batches_per_epoch=self.retrain_batches)

    def search_steps(
        self,
        genotype: Genotype,
        trainer: WeightTrainer | None = None,
        *,
        steps: int | None = None,
        batch_size: int | None = None,
    ) -> Work:
        """Returns work: training steps of a search in the middle of its epochs, augmentation included.

        Args:
            genotype: The path to train.
            trainer: None trains the search's supernet.
            steps: None takes `steps`.
            batch_size: None takes the search's.
        """
        evaluator = self.search.evaluator
        batches = self.batches(evaluator.data.train, evaluator.settings, batch_size=batch_size)
        epoch = evaluator.settings.epochs // 2
        return training(trainer or evaluator.trainer, batches, genotype, steps=steps or self.steps, epoch=epoch)

    def retrain_steps(self, genotype: Genotype, trainer: WeightTrainer) -> Work:
        """Returns work: training steps of a retraining in the middle of its epochs, augmentation included."""
        batches = self.batches(self.search.evaluator.data.full, self.retraining)
        return training(trainer, batches, genotype, steps=self.steps, epoch=self.retraining.epochs // 2)

    def batches(
        self, split: Split, settings: TrainingSettings, *, batch_size: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Goes through a split again and again, shuffled and augmented differently each time."""
        augmentation = replace(self.search.evaluator.data.augmentation, cutout=settings.cutout)
        size = batch_size or settings.batch_size
        return itertools.chain.from_iterable(
            split.batches(size, seed=turn, augmentation=augmentation, drop_last=True) for turn in itertools.count()
        )

    def time(self, work: Mapping[str, Work]) -> dict[str, list[float]]:
        """Times pieces of work in turns, as often as the settings say; milliseconds by name."""
        return time_in_turns(work, rounds=self.settings.rounds, warmup=self.settings.warmup, device=self.runtime.device)

    def time_cells(self, title: str, make_work: Callable[[Genotype], Mapping[str, Work]]) -> list[TimedCell]:
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
                timed.append(TimedCell(genotype, first, times))
                bar.advance()
        return timed


def training(
    trainer: WeightTrainer, batches: Iterator[tuple[Tensor, Tensor]], genotype: Genotype, *, steps: int, epoch: int
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
