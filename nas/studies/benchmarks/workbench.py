"""The object that all parts of a benchmark share: a search as `nas search` builds it, and builders of its variants."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from controllers.uniform import Uniform
from nas.compute.device import Runtime
from nas.compute.timing import Began, time_in_turns
from nas.data.splits import Split
from nas.runs.seeds import derive_seed, seed_everything
from nas.searching.search import Search
from nas.searching.shared_weights import SharedWeights
from nas.studies.benchmarks.settings import BenchSettings
from nas.training.settings import RetrainSettings
from nas.training.weight_trainer import WeightTrainer, make_optimizer, make_retrainer
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Genotype
from search_spaces.space import WeightSharingSpace

Work = Callable[[], object]
"""A piece of work to time."""
Times = dict[str, list[float]]
"""Milliseconds by name of the work, one value a round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """Everything that a part of the benchmark needs.

    Attributes:
        settings: What is timed.
        parts: Names of the parts to measure.
        runtime: Device and number format.
        seed: All random streams derive from it.
        space: The search space.
        search: A search as `nas search` builds it; its weights and controller change as they are timed.
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
        """Training steps in a timed piece of work."""
        evaluator = self.search.evaluator
        passes = 3 * evaluator.data.train.num_batches(evaluator.settings.batch_size, drop_last=True)
        return self.settings.steps or (2 if self.runtime.device.type == "cpu" else passes)

    @property
    def search_batches(self) -> int:
        """Training steps in an epoch of the search that times are extrapolated to."""
        return self.settings.train_images // self.search.evaluator.settings.batch_size

    @property
    def retrain_batches(self) -> int:
        """Training steps in an epoch of the retraining that times are extrapolated to."""
        return (self.settings.train_images + self.settings.reward_images) // self.retraining.batch_size

    def cells(
        self, count: int | None = None, *, space: WeightSharingSpace | None = None, stream: str = "bench cells"
    ) -> list[Genotype]:
        """Draws cells uniformly, the same ones at every call.

        Args:
            count: Number of cells; None takes `settings.genotypes`.
            space: Space of the cells; None takes that of the search.
            stream: Name of the random stream.
        """
        drawn_from = space or self.space
        seed_everything(derive_seed(self.seed, stream))
        actions = Uniform(drawn_from.decisions).sample(count or self.settings.genotypes).actions
        return [drawn_from.decode(row) for row in actions.tolist()]

    def supernet(self, space: WeightSharingSpace, **changed: object) -> nn.Module:
        """Makes a supernet on the device; see `make_network`."""
        return self.runtime.place(self.make_network(space.candidates(), **changed))

    def derived(self, genotype: Genotype, *, runtime: Runtime | None = None) -> nn.Module:
        """Makes a derived model on the device."""
        return (runtime or self.runtime).place(self.make_network(genotype_candidates(genotype)))

    def search_trainer(self, network: nn.Module) -> WeightTrainer:
        """Returns the search's trainer for another network."""
        evaluator, recorder = self.search.evaluator, self.runtime.recorder()
        optimizer = make_optimizer(network, evaluator.settings)
        return replace(evaluator.trainer, network=network, optimizer=optimizer, recorder=recorder)

    def retrainer(self, network: nn.Module, *, runtime: Runtime | None = None) -> WeightTrainer:
        """Returns the trainer of a derived model, as retraining has it."""
        return make_retrainer(network, self.retraining, runtime or self.runtime, batches_per_epoch=self.retrain_batches)

    def search_steps(
        self, genotype: Genotype, trainer: WeightTrainer | None = None, *, steps: int | None = None, batch_size: int = 0
    ) -> Work:
        """Returns training steps of a search in the middle of its epochs, augmentation included.

        Args:
            genotype: The path to train.
            trainer: None trains the search's supernet.
            steps: Number of steps; None takes `steps`.
            batch_size: Images in a step; 0 takes the search's.
        """
        evaluator = self.search.evaluator
        settings = evaluator.settings
        batches = self.batches(evaluator.data.train, batch_size or settings.batch_size, cutout=settings.cutout)
        steps = steps or self.steps
        return training(trainer or evaluator.trainer, batches, genotype, steps=steps, epoch=settings.epochs // 2)

    def retrain_steps(self, genotype: Genotype, trainer: WeightTrainer) -> Work:
        """Returns training steps of a retraining in the middle of its epochs, augmentation included."""
        full, settings = self.search.evaluator.data.full, self.retraining
        batches = self.batches(full, settings.batch_size, cutout=settings.cutout)
        return training(trainer, batches, genotype, steps=self.steps, epoch=settings.epochs // 2)

    def batches(self, split: Split, batch_size: int, *, cutout: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Goes through a split again and again, shuffled and augmented differently each time."""
        augmentation = replace(self.search.evaluator.data.augmentation, cutout=cutout)
        return itertools.chain.from_iterable(
            split.batches(batch_size, seed=turn, augmentation=augmentation, drop_last=True)
            for turn in itertools.count()
        )

    def time(self, work: Mapping[str, Work]) -> Times:
        """Times pieces of work in turns, as often as the settings say."""
        return time_in_turns(work, rounds=self.settings.rounds, warmup=self.settings.warmup, device=self.runtime.device)

    def time_with_setup(self, work: Mapping[str, Work]) -> tuple[Times, dict[str, float]]:
        """Times pieces of work in turns, the first round counting as one of warming up.

        Returns:
            The times, and by how many milliseconds the first time of each piece, which may record or compile, is
            longer than its median.
        """
        rounds = self.settings.rounds
        times = time_in_turns(work, rounds=max(1, self.settings.warmup) + rounds, warmup=0, device=self.runtime.device)
        later = {name: values[-rounds:] for name, values in times.items()}
        return later, {name: max(0.0, times[name][0] - statistics.median(later[name])) for name in times}


def training(
    trainer: WeightTrainer, batches: Iterator[tuple[Tensor, Tensor]], genotype: Genotype, *, steps: int, epoch: int
) -> Work:
    """Returns `steps` training steps on the next batches, timed from the first batch on.

    What an epoch begins with, a walk through all modules of a supernet, would count for far more in a few steps than it
    does in an epoch.
    """

    def work() -> Began:
        began: list[Began] = []

        def noted() -> Iterator[tuple[Tensor, Tensor]]:
            began.append(Began(time.perf_counter_ns()))
            yield from itertools.islice(batches, steps)

        trainer.train_epoch(noted(), itertools.repeat(genotype), epoch=epoch, num_batches=steps)
        return began[0]

    return work
