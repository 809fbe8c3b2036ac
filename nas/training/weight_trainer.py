"""Training the weights of a network, shared or derived, one epoch at a time; a step is in `nas.training.step`.

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

from nas.compute.cuda_graphs import Recorder, Repeated
from nas.compute.device import Runtime
from nas.compute.distributed.gradients import Bucket, average_running_statistics, data_parallel, synchronized
from nas.compute.distributed.ranks import heard
from nas.data.splits import Batches
from nas.models.hardening import soft_mixers
from nas.runs.console import note
from nas.training.evaluation import Score
from nas.training.settings import RetrainSettings, TrainingSettings
from nas.training.sgd import make_sgd
from nas.training.step import Cells, Dials, TrainedPath, TrainingStep
from nas.training.weight_average import WeightAverage


@dataclass(slots=True, kw_only=True)
class WeightTrainer(TrainingStep):
    """Trains a network's weights, step by step; the attributes that a step reads are those of `TrainingStep`.

    Attributes:
        learning_rate: The learning rate by the time in epochs.
        drop_prob: Drop-path probability in [0, 1) by the time in epochs.
        mixer_penalty: The weight of the learned mixers' penalty by the time in epochs.
        recorder: Records the step of a path that is trained again and again; None runs every step eagerly.
        compile: Whether the forward and backward pass are compiled; where that is not possible a note says why.
        max_bad_steps: Steps of an epoch that may be skipped because their loss or gradients were not finite.
        one_path: Whether all steps use the same weights of the network.
        compile_seconds: How long the first step took that compiled the network; None before, and without compiling.
    """

    learning_rate: Callable[[float], float]
    drop_prob: Callable[[float], float]
    mixer_penalty: Callable[[float], float] = lambda epoch: 0.0  # noqa: ARG005
    recorder: Recorder | None = None
    compile: bool = False
    max_bad_steps: int = 10
    one_path: bool = False
    compile_seconds: float | None = field(default=None, init=False)
    _step: "Repeated | JointStep | None" = field(default=None, init=False)
    _path: TrainedPath | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        TrainingStep.__post_init__(self)
        device = next(self.network.parameters()).device
        if device.type != "cpu" or self.recorder is not None or self.compile:
            self.dials = Dials(*(torch.zeros((), device=device) for _ in range(3)))

    def train_epoch(self, batches: Batches, genotypes: Iterator[Cells], *, epoch: int, num_batches: int) -> Score:
        """Takes one step a batch.

        Args:
            batches: Batches of the training images; in the place of labels (N,) there may be probabilities
                (N, num_classes).
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
            self.totals.clear()
            for number, (images, labels) in enumerate(batches):
                now = epoch + number / num_batches
                self.dials.turn(
                    learning_rate=self.learning_rate(now),
                    drop_prob=self.drop_prob(now),
                    mixer_penalty=self.mixer_penalty(now),
                )
                step = self._step_on(next(genotypes), drops=drops, learns_mixers=learns_mixers)
                step(images, labels)
                num_images += len(labels) * self.ranks.size
            average_running_statistics(self.network, self.ranks)
            return self.totals.read(num_images=num_images, epoch=epoch, max_bad_steps=self.max_bad_steps)

    def state_dict(self) -> dict[str, Any]:
        """Returns what a resumed training needs next to the network: the optimizer's state, loss scale and means."""
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
        return self.totals.skipped_steps

    def _step_on(self, cells: Cells, *, drops: bool, learns_mixers: bool) -> "Repeated | JointStep":
        """Returns the step on a path; the same one as before, perhaps recorded, unless the path of a rank changed."""
        if self._step is None or self._path is None or (self._path.cells, self._path.drops) != (cells, drops):
            if self._path is None:
                self.compute = self._computed(compiled=self.compile)
                self.optimizer.zero_grad(set_to_none=True)
            else:
                self._path.forget_gradients()
            self._step = None  # with the gradients, it frees the memory of what was recorded
            genotype = cells[self.ranks.rank] if isinstance(cells, tuple) else cells
            mixers = soft_mixers(self.network, genotype) if learns_mixers else []
            self._path = TrainedPath(genotype=genotype, cells=cells, drops=drops, mixers=mixers)
            self._step = self._new_step(self._path)
        return self._step

    def _new_step(self, path: TrainedPath) -> "Repeated | JointStep":
        if not self.ranks.alone and not self.one_path:
            return JointStep(self, path, recorder=self.recorder)
        take = self._compile_and_take if self.compile and self.compile_seconds is None else self.take
        return Repeated(functools.partial(take, path=path), recorder=self.recorder)

    def _computed(self, *, compiled: bool) -> nn.Module:
        """Returns the network as a step computes it."""
        network: nn.Module = torch.compile(self.network, dynamic=False) if compiled else self.network  # type: ignore[assignment]
        return data_parallel(network) if self.one_path and not self.ranks.alone else network

    def _compile_and_take(self, images: Tensor, labels: Tensor, *, path: TrainedPath) -> None:
        """Takes a step, which the first time compiles the network; continues without where that cannot be.

        Ranks are taken to be alike: where the compiler fails on one alone, the others wait for it until the timeout.
        """
        started = time.perf_counter()
        try:
            self.take(images, labels, path=path)
        except (RuntimeError, OSError) as error:  # no compiler here, or a network that it does not take
            if self.compile_seconds is not None or isinstance(error, dist.DistError):
                raise
            note(f"the network is not compiled, it runs as it stands: {str(error).splitlines()[0]}")
            self.compute = self._computed(compiled=False)
            self.take(images, labels, path=path)
        if self.compile_seconds is None:
            self.totals.wait()
            self.compile_seconds = time.perf_counter() - started


class JointStep:
    """A step on a path by several ranks, taken again and again.

    Its two halves are recorded, the sum over the ranks between them never is. What is recorded must launch the same
    kernels on the device, whatever the other ranks do; a message to them need not be a kernel.

    Args:
        step: The step.
        path: What is trained; the first step gives it its bucket.
        recorder: None never records.
    """

    def __init__(self, step: TrainingStep, path: TrainedPath, *, recorder: Recorder | None) -> None:
        self._find = Repeated(functools.partial(_fill_bucket, step, path), recorder=recorder)
        self._move = Repeated(functools.partial(_move_together, step, path), recorder=recorder)
        self._path = path
        self._ranks = step.ranks

    @property
    def recorded(self) -> bool:
        """Whether both halves are replayed by now."""
        return self._find.recorded and self._move.recorded

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        """Takes the step on this rank's share of a batch."""
        self._find(images, labels)
        assert self._path.bucket is not None
        self._ranks.sum_(self._path.bucket.flat)
        self._move()


def _fill_bucket(step: TrainingStep, path: TrainedPath, images: Tensor, labels: Tensor) -> None:
    """Takes the first half of a step with others: all up to the sums over the ranks."""
    totals = step.find_gradients(images, labels, path=path)
    if path.bucket is None:
        groups = [group["params"] for group in step.optimizer.param_groups]
        path.bucket = Bucket(groups, ranks=step.ranks, num_scores=len(totals))
        path.weights = path.bucket.weights
    path.bucket.fill(totals, num_images=len(labels))


def _move_together(step: TrainingStep, path: TrainedPath) -> None:
    """Takes the second half, from the sums over the ranks on."""
    assert path.bucket is not None
    path.bucket.average()
    step.move(path, totals=path.bucket.scores, num_images=path.bucket.num_images)


def make_optimizer(network: nn.Module, settings: TrainingSettings) -> torch.optim.SGD:
    """Makes the optimizer of a network as the settings say."""
    return make_sgd(
        network,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        mixer_lr_scale=settings.mixer_lr_scale,
    )


def make_trainer(
    network: nn.Module, settings: TrainingSettings, runtime: Runtime, *, recorder: Recorder | None, **further: Any
) -> WeightTrainer:
    """Makes a trainer of what searches and retrainings have in common.

    Args:
        network: Trained in place.
        settings: Settings of the search or the retraining.
        runtime: Number format and ranks.
        recorder: Records the steps; None where they are not recorded.
        further: Other arguments of the trainer.
    """
    return WeightTrainer(
        network=network,
        optimizer=make_optimizer(network, settings),
        learning_rate=settings.learning_rate,
        drop_prob=settings.drop_prob,
        max_grad_norm=settings.max_grad_norm,
        mixer_penalty=settings.penalty_weight,
        mixer_lr_scale=settings.mixer_lr_scale,
        max_bad_steps=settings.max_bad_steps,
        autocast=runtime.autocast,
        recorder=recorder,
        ranks=runtime.ranks,
        **further,
    )


def make_retrainer(
    network: nn.Module,
    settings: RetrainSettings,
    runtime: Runtime,
    *,
    batches_per_epoch: int,
    average: WeightAverage | None = None,
) -> WeightTrainer:
    """Makes the trainer of a derived model, compiled where that many steps are worth it.

    With several ranks no step is recorded: a CUDA graph with messages in it needs NCCL's error handling switched off
    (torch's notes on CUDA graphs), after which a rank that is lost, or that alone fails to record, hangs the others.
    """
    return make_trainer(
        network,
        settings,
        runtime,
        recorder=runtime.recorder() if runtime.ranks.alone else None,
        one_path=True,
        label_smoothing=settings.label_smoothing,
        auxiliary_weight=settings.auxiliary_weight,
        compile=runtime.compiles(steps=settings.epochs * batches_per_epoch),
        average=average,
    )
