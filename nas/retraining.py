"""Training one derived model to its end, and the protocol for it (arXiv:1812.02975, §IV-A)."""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.checkpoint import load_checkpoint
from nas.console import note
from nas.data import ImageData, check_batches
from nas.evaluation import evaluate, recalibrate_batch_norm
from nas.hardening import harden_mixers, largest_distance, soft_mixers
from nas.runtime import Runtime, derive_seed, seed_everything
from nas.saving import Saves
from nas.schedules import TrainingSettings
from nas.sgd import make_sgd
from nas.training import WeightTrainer
from search_spaces.genotype import Genotype

CALIBRATION_BATCHES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainSettings(TrainingSettings):
    """The protocol of retraining (630 epochs in the paper).

    Attributes:
        label_smoothing: In [0, 1).
        auxiliary_weight: Of the auxiliary head's loss, for networks that have one (0.4 in ENAS and DARTS).
        harden_epoch: The epoch before which learned mixers become exact permutations, the rest being fine-tuning; null
            takes two thirds of the epochs. The mixers' penalty is at its full height then.
        last_epochs: The accuracy reported is the mean over this many last epochs.
        evaluate_every: Epochs between two looks at the test images before those; 0 looks only at the last epochs.
        seeds: The found cell is trained once for each, added to the run's own seed.
        random_seeds: Each cell of the random baseline is trained once for each, likewise.
        filters: F of the derived model; null takes `network.filters`.
        cells_per_stage: Null takes `network.cells_per_stage`.
        warm_start: Run folder of a search whose shared weights the model starts from; in a pipeline `search` means its
            own; null starts from scratch.
    """

    label_smoothing: float = 0.0
    auxiliary_weight: float = 0.0
    harden_epoch: int | None = None
    last_epochs: int = 5
    evaluate_every: int = 1
    seeds: Sequence[int] = (0,)
    random_seeds: Sequence[int] = (0,)
    filters: int | None = None
    cells_per_stage: int | Sequence[int] | None = None
    warm_start: str | None = None

    def __post_init__(self) -> None:
        TrainingSettings.__post_init__(self)
        if self.last_epochs < 1:
            raise ValueError(f"last_epochs must be at least 1, got {self.last_epochs}")
        if self.harden_epoch is not None and not 0 <= self.harden_epoch < self.epochs:
            raise ValueError(f"harden_epoch must lie in 0 … epochs - 1 = {self.epochs - 1}, got {self.harden_epoch}")
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must lie in [0, 1), got {self.label_smoothing}")
        for name in ("evaluate_every", "auxiliary_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("seeds", "random_seeds"):
            seeds = getattr(self, name)
            if not seeds or len(set(seeds)) != len(seeds):
                raise ValueError(f"{name} must list at least one seed, each once, got {list(seeds)}")

    @property
    def hardening(self) -> int:
        """The epoch before which learned mixers are hardened."""
        return 2 * self.epochs // 3 if self.harden_epoch is None else self.harden_epoch

    @property
    def penalty_epochs(self) -> float:
        """Epochs in which the mixers' penalty grows to its full height."""
        return self.hardening


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One training of one cell.

    Attributes:
        label: What the cell is, such as `found` or `random-0`.
        seed: Of the weights and of the order and augmentation of the images.
        genotype: The cell; None for a network without choices.
    """

    label: str
    seed: int
    genotype: Genotype | None

    @property
    def name(self) -> str:
        """Name of the member's files."""
        return f"{self.label}-seed{self.seed}"

    @property
    def record(self) -> str:
        """The cell as text, by which a checkpoint knows its member."""
        return "" if self.genotype is None else self.genotype.to_json()


def train_member(
    member: Member,
    network: nn.Module,
    *,
    data: ImageData,
    settings: RetrainSettings,
    runtime: Runtime,
    checkpoint: Path,
    on_epoch: Callable[[dict[str, Any]], None],
) -> list[dict[str, Any]]:
    """Trains a derived model on all training images, or goes on where its checkpoint stands.

    Args:
        member: What is trained.
        network: Its model with initial weights, trained in place.
        data: Trained on `full`; `test` is only looked at.
        settings: The protocol.
        runtime: Number format.
        checkpoint: File of the state in between.
        on_epoch: Called with each epoch's row.

    Raises:
        ValueError: If a setting does not fit the images, the checkpoint is of another cell, or the training diverged.
        Stopped: If the process was asked to stop; the state is saved.

    Returns:
        One row an epoch: label, seed, epoch, learning rate, loss, train and test accuracy in [0, 1], seconds. With
        learned mixers also their distance from permutations and, in the epoch that begins with hardening them, the test
        accuracy just before and after it; in an epoch that compiled the network, how many seconds that took; in one
        that skipped steps, how many.
    """
    check_batches(data, split="full", where="retrain", batch_size=settings.batch_size, cutout=settings.cutout)
    steps = settings.epochs * data.full.num_batches(settings.batch_size, drop_last=True)
    build_trainer = partial(
        _build_trainer, network, settings=settings, runtime=runtime, compile=runtime.compiles(steps=steps)
    )
    trainer = build_trainer()
    rows: list[dict[str, Any]] = []
    state = load_checkpoint(checkpoint)
    if state is not None:
        if state["genotype"] != member.record:
            raise ValueError(f"{checkpoint} is of another cell than {member.label} now; choose another run name")
        rows = state["rows"]
        if state["hardened"]:
            harden_mixers(network)
            trainer = build_trainer()
        network.load_state_dict(state["network"])
        trainer.load_state_dict(state)

    def state_dict() -> dict[str, Any]:
        return {
            "genotype": member.record,
            "rows": rows,
            "hardened": not soft_mixers(network),
            "network": network.state_dict(),
            **trainer.state_dict(),
        }

    with Saves(checkpoint, state_dict, seconds=settings.checkpoint_seconds) as saves:
        while len(rows) < settings.epochs:
            gap: dict[str, Any] = {}
            if len(rows) == settings.hardening and soft_mixers(network):
                gap = _harden(member, trainer, data=data, settings=settings)
                trainer = build_trainer(before=trainer.optimizer)
            compiled = trainer.compile_seconds
            rows.append(_train_epoch(member, trainer, data=data, settings=settings, epoch=len(rows)) | gap)
            if trainer.compile_seconds != compiled:
                rows[-1]["compile_seconds"] = trainer.compile_seconds
                note(f"compiling took {trainer.compile_seconds:.1f} s of epoch {rows[-1]['epoch']}")
            on_epoch(rows[-1])
            saves.reached(last=len(rows) == settings.epochs)
    return rows


def _build_trainer(
    network: nn.Module,
    *,
    settings: RetrainSettings,
    runtime: Runtime,
    compile: bool,
    before: torch.optim.Optimizer | None = None,
) -> WeightTrainer:
    """Makes the trainer of a network; the momentum of weights that an earlier optimizer had is kept."""
    optimizer = make_sgd(
        network,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        mixer_lr_scale=settings.mixer_lr_scale,
    )
    for weight in network.parameters() if before is not None else ():
        if weight in before.state:  # type: ignore[union-attr]
            optimizer.state[weight] = before.state[weight]  # type: ignore[union-attr]
    return WeightTrainer(
        network=network,
        optimizer=optimizer,
        learning_rate=settings.schedule.learning_rate,
        drop_prob=settings.drop_prob,
        max_grad_norm=settings.max_grad_norm,
        label_smoothing=settings.label_smoothing,
        auxiliary_weight=settings.auxiliary_weight,
        mixer_penalty=settings.penalty_weight,
        mixer_lr_scale=settings.mixer_lr_scale,
        autocast=runtime.autocast,
        recorder=runtime.recorder(),
        compile=compile,
        max_bad_steps=settings.max_bad_steps,
    )


def _harden(member: Member, trainer: WeightTrainer, *, data: ImageData, settings: RetrainSettings) -> dict[str, Any]:
    """Puts exact permutations in the place of learned mixers and recalibrates batch norm; returns the gap."""

    def test_accuracy() -> float:
        network = trainer.network.eval()
        return evaluate(
            network, data.test.batches(settings.batch_size), member.genotype, autocast=trainer.autocast
        ).accuracy

    soft = test_accuracy()
    distance = largest_distance(soft_mixers(trainer.network))
    harden_mixers(trainer.network)
    # The soft mixers averaged channels, so batch norm expects smaller variances than those it will meet.
    _recalibrate(member, trainer, data=data, settings=settings, stream="hardening")
    return {"hardening_distance": distance, "soft_test_accuracy": soft, "hard_test_accuracy": test_accuracy()}


def _recalibrate(
    member: Member, trainer: WeightTrainer, *, data: ImageData, settings: RetrainSettings, stream: str
) -> None:
    """Takes batch norm's running statistics anew, from training images chosen by a random stream of that name."""
    calibration = data.full.batches(settings.batch_size, seed=derive_seed(member.seed, stream))
    batches = itertools.islice(calibration, CALIBRATION_BATCHES)
    recalibrate_batch_norm(trainer.network, batches, member.genotype, autocast=trainer.autocast)


def _train_epoch(
    member: Member, trainer: WeightTrainer, *, data: ImageData, settings: RetrainSettings, epoch: int
) -> dict[str, Any]:
    started = time.perf_counter()
    seed_everything(derive_seed(member.seed, "retrain epoch", epoch))
    score = trainer.train_epoch(
        data.full.batches(
            settings.batch_size,
            seed=derive_seed(member.seed, "retrain", epoch),
            augmentation=replace(data.augmentation, cutout=settings.cutout),
            drop_last=True,
        ),
        itertools.repeat(member.genotype),
        epoch=epoch,
        num_batches=data.full.num_batches(settings.batch_size, drop_last=True),
    )
    if trainer.skipped_steps:  # their images may have gone into the running statistics, which then are no numbers
        _recalibrate(member, trainer, data=data, settings=settings, stream="skipped steps")
    last = epoch >= settings.epochs - settings.last_epochs
    due = settings.evaluate_every > 0 and (epoch + 1) % settings.evaluate_every == 0
    test_accuracy = math.nan
    if last or due:
        batches = data.test.batches(settings.batch_size)
        test_accuracy = evaluate(
            trainer.network.eval(),
            batches,
            member.genotype,
            autocast=trainer.autocast,
            recorder=trainer.recorder,
        ).accuracy
    row = {
        "label": member.label,
        "seed": member.seed,
        "epoch": epoch,
        "learning_rate": trainer.learning_rate(epoch),
        "loss": score.loss,
        "train_accuracy": score.accuracy,
        "test_accuracy": test_accuracy,
        "seconds": time.perf_counter() - started,
    }
    if trainer.skipped_steps:
        row["skipped_steps"] = trainer.skipped_steps
    mixers = soft_mixers(trainer.network)
    return {**row, "mixer_distance": largest_distance(mixers)} if mixers else row


def final_accuracy(rows: Sequence[dict[str, Any]], *, last_epochs: int) -> float:
    """Returns the test accuracy in the paper's way: the mean over the last epochs (§IV-B)."""
    return statistics.fmean(row["test_accuracy"] for row in rows[-last_epochs:])
