"""Training the weights of a network, one epoch at a time; what a step does is in `nas.training.step`.

A step on the same path as before may be recorded and replayed, or compiled. Where all steps use the same weights,
several ranks average gradients by `DistributedDataParallel`. In a search they do not: there a step has two halves, and
between them the ranks add up a `nas.compute.distributed.gradients.Bucket`.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.amp import GradScaler

from nas.compute.cuda_graphs import Recorder, Repeated
from nas.compute.distributed.batch_norms import average_running_statistics, synchronized
from nas.compute.distributed.gradients import Bucket
from nas.compute.distributed.ranks import ALONE, Ranks, heard
from nas.compute.distributed.steps import JointStep, data_parallel
from nas.data.splits import Batches
from nas.models.hardening import soft_mixers
from nas.runs.console import note
from nas.training.dials import Dials
from nas.training.epoch_totals import EpochTotals
from nas.training.evaluation import NO_BATCHES, Score
from nas.training.step import TrainingStep
from nas.training.trained_path import Cells, TrainedPath
from nas.training.weight_average import WeightAverage


@dataclass(slots=True, kw_only=True)
class WeightTrainer:
    """Trains a network's weights.

    Attributes:
        network: `network(images, genotype, drop_prob=…)` returns logits, with `auxiliary=True` also those of the
            auxiliary head.
        optimizer: Of its weights.
        learning_rate: From the time in epochs.
        drop_prob: From the time in epochs, drop-path probability in [0, 1).
        max_grad_norm: Clips every gradient tensor but those of learned mixers; None leaves them.
        label_smoothing: In [0, 1).
        auxiliary_weight: Of the auxiliary head's loss; 0 leaves the head out.
        mixer_penalty: From the time in epochs, the weight of the learned mixers' penalty.
        mixer_lr_scale: As the optimizer was made with.
        autocast: Data type of the forward pass; None stays in float32. With fp16 the loss is scaled.
        recorder: Records the step of a path that is trained again and again; None takes every step as it stands.
        compile: Whether the forward and backward pass are compiled; where that is not possible a note says why.
        max_bad_steps: Steps of an epoch that may be skipped because their loss or gradients were not finite.
        average: Takes the weights in after every step; None keeps no mean of them.
        ranks: Who train it together; each is given its share of every batch.
        one_path: Whether all steps use the same weights of the network.
        scaler: Of the loss, enabled in fp16.
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
    recorder: Recorder | None = None
    compile: bool = False
    max_bad_steps: int = 10
    average: WeightAverage | None = None
    ranks: Ranks = ALONE
    one_path: bool = False
    compile_seconds: float | None = field(default=None, init=False)
    scaler: GradScaler = field(init=False)
    _own_step: TrainingStep | None = field(default=None, init=False)
    _compiled: bool = field(default=False, init=False)
    _totals: EpochTotals | None = field(default=None, init=False)
    _step: Repeated | JointStep | None = field(default=None, init=False)
    _path: TrainedPath | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        device = next(self.network.parameters()).device
        self.scaler = GradScaler(device.type, enabled=self.autocast == torch.float16)

    def train_epoch(self, batches: Batches, genotypes: Iterator[Cells], *, epoch: int, num_batches: int) -> Score:
        """Takes one step a batch.

        Args:
            batches: Of the training images; in the place of labels (N,) there may be probabilities (N, num_classes).
            genotypes: The path of each step, or one for each rank; None for a network without choices.
            epoch: Number of the epoch, from 0.
            num_batches: How many batches there are, for the schedules.

        Returns:
            The means over the epoch and all ranks, of the weights as they were at each step; skipped steps are left
            out.

        Raises:
            ValueError: If there are no batches.
            DivergedError: If more than `max_bad_steps` steps were skipped.
        """
        self.network.train()
        learns_mixers = bool(soft_mixers(self.network))
        drops = max(self.drop_prob(epoch), self.drop_prob(epoch + 1)) > 0
        num_images = 0
        with (
            self.recorder.stream() if self.recorder is not None else contextlib.nullcontext(),
            synchronized(self.network, self.ranks),
            self.ranks.own_randomness(),
            heard(),
        ):
            if self._totals is not None:
                self._totals.clear()
            for number, (images, labels) in enumerate(batches):
                self._turn_dials(epoch + number / num_batches, device=images.device)
                step = self._step_on(next(genotypes), drops=drops, learns_mixers=learns_mixers)
                step(images, labels)
                num_images += len(labels) * self.ranks.size
            if self._totals is None:
                raise ValueError(NO_BATCHES)
            average_running_statistics(self.network, self.ranks)
            return self._totals.read(num_images=num_images, epoch=epoch, max_bad_steps=self.max_bad_steps)

    def state_dict(self) -> dict[str, Any]:
        """Returns what a resumed training needs beside the network: the optimizer's state, and what else there is."""
        scale = {"loss_scale": self.scaler.state_dict()} if self.scaler.is_enabled() else {}
        average = {} if self.average is None else {"average": self.average.state_dict()}
        return {"optimizer": self.optimizer.state_dict(), **scale, **average}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned, now or before the loss was scaled by torch.

        A run that was not in fp16 before begins with the first scale.
        """
        self.optimizer.load_state_dict(state["optimizer"])
        if "loss_scale" in state:
            scale = state["loss_scale"]
            if "good_steps" in scale:
                old = {"scale": scale["scale"].item(), "_growth_tracker": scale["good_steps"].item()}
                scale = self.scaler.state_dict() | old
            self.scaler.load_state_dict(scale)
        if self.average is not None:
            self.average.take_over(state["average"])

    @property
    def skipped_steps(self) -> int:
        """Steps of the last epoch that were skipped."""
        return 0 if self._totals is None else self._totals.skipped_steps

    def _turn_dials(self, now: float, *, device: torch.device) -> None:
        if self._own_step is None:
            steady = device.type == "cpu" and self.recorder is None and not self.compile
            self._totals = EpochTotals(device)
            self._own_step = TrainingStep(
                compute=self._computed(compiled=self.compile),
                optimizer=self.optimizer,
                dials=Dials(None if steady else device),
                totals=self._totals,
                max_grad_norm=self.max_grad_norm,
                label_smoothing=self.label_smoothing,
                auxiliary_weight=self.auxiliary_weight,
                mixer_lr_scale=self.mixer_lr_scale,
                autocast=self.autocast,
                scaler=self.scaler,
                average=self.average,
                ranks=self.ranks,
            )
        self._own_step.dials.turn(
            learning_rate=self.learning_rate(now), drop_prob=self.drop_prob(now), mixer_penalty=self.mixer_penalty(now)
        )

    def _step_on(self, cells: Cells, *, drops: bool, learns_mixers: bool) -> Repeated | JointStep:
        """Returns the step on a path; the same one as before, perhaps recorded, unless the path of a rank changed."""
        if self._step is None or self._path is None or (self._path.cells, self._path.drops) != (cells, drops):
            if self._path is None:
                self.optimizer.zero_grad(set_to_none=True)
            else:
                self._path.forget_gradients()
            self._step = None  # with the gradients, it frees the memory of what was recorded
            genotype = cells[self.ranks.rank] if isinstance(cells, tuple) else cells
            mixers = soft_mixers(self.network, genotype) if learns_mixers else []
            self._path = TrainedPath(genotype=genotype, cells=cells, drops=drops, mixers=mixers)
            self._step = self._new_step(self._path)
        return self._step

    def _new_step(self, path: TrainedPath) -> Repeated | JointStep:
        assert self._own_step is not None
        if self.ranks.alone or self.one_path:
            take = self._compile_and_take if self.compile and not self._compiled else self._own_step.take
            return Repeated(functools.partial(take, path=path), recorder=self.recorder)
        find, move = functools.partial(self._fill_bucket, path=path), functools.partial(self._move_together, path)
        return JointStep(find, path=path, move=move, ranks=self.ranks, recorder=self.recorder)

    def _fill_bucket(self, images: Tensor, labels: Tensor, *, path: TrainedPath) -> None:
        """Takes the first half of a step with others: all up to the sums over the ranks."""
        assert self._own_step is not None
        totals = self._own_step.find_gradients(images, labels, path=path)
        if path.bucket is None:
            groups = [group["params"] for group in self.optimizer.param_groups]
            path.bucket = Bucket(groups, ranks=self.ranks, num_scores=len(totals))
            path.weights = path.bucket.weights
        path.bucket.fill(totals, num_images=len(labels))

    def _move_together(self, path: TrainedPath) -> None:
        """Takes the second half, from the sums over the ranks on."""
        assert path.bucket is not None
        assert self._own_step is not None
        path.bucket.average()
        self._own_step.move(path, totals=path.bucket.scores, num_images=path.bucket.num_images)

    def _computed(self, *, compiled: bool) -> nn.Module:
        """Returns the network as a step computes it."""
        network: nn.Module = torch.compile(self.network, dynamic=False) if compiled else self.network  # type: ignore[assignment]
        return data_parallel(network) if self.one_path and not self.ranks.alone else network

    def _compile_and_take(self, images: Tensor, labels: Tensor, *, path: TrainedPath) -> None:
        """Takes a step, which the first time compiles the network; goes on without where that cannot be.

        Ranks are taken to be alike: where the compiler fails on one alone, the others wait for it until the timeout.
        """
        assert self._own_step is not None
        if self._compiled:
            self._own_step.take(images, labels, path=path)
            return
        started = time.perf_counter()
        self._compiled = True
        try:
            self._own_step.take(images, labels, path=path)
        except (RuntimeError, OSError) as error:  # no compiler here, or a network that it does not take
            if isinstance(error, dist.DistError):
                raise
            note(f"the network is not compiled, it runs as it stands: {str(error).splitlines()[0]}")
            self._own_step.compute = self._computed(compiled=False)
            self._own_step.take(images, labels, path=path)
        self._own_step.totals.wait()
        self.compile_seconds = time.perf_counter() - started
