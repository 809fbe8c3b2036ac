"""Training one derived model to its end, and the protocol for it (arXiv:1812.02975, §IV-A)."""

import contextlib
import itertools
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from nas.averaging import WeightAverage
from nas.checkpoint import load_checkpoint
from nas.console import note
from nas.cutmix import cut_and_mixed
from nas.data import ImageData, check_batches
from nas.distributed.batch_norms import check_norms
from nas.distributed.ranks import Ranks
from nas.evaluation import Batches, evaluate, recalibrate_batch_norm
from nas.graphs import Recorder
from nas.hardening import harden_mixers, largest_distance, soft_mixers
from nas.retrain_settings import RetrainSettings as RetrainSettings
from nas.runtime import Runtime, derive_seed, seed_everything
from nas.saving import Saves
from nas.sgd import make_sgd
from nas.training import WeightTrainer
from search_spaces.genotype import Genotype

CALIBRATION_BATCHES = 8
AVERAGED = "averaged weights"  # the stream of images that batch norm is calibrated on for them
TIMES = ("seconds", "compile_seconds")  # of a row, each rank having its own


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
        network: Its model with initial weights, trained in place; with `settings.ema` it ends with the means of them,
            which are also what is tested.
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
    ranks = runtime.ranks
    check_norms(network, ranks)
    ranks.copy_first(network)
    state = ranks.from_first(lambda: load_checkpoint(checkpoint))
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

    with Saves(checkpoint, state_dict, seconds=settings.checkpoint_seconds, ranks=ranks) as saves:
        while len(rows) < settings.epochs:
            gap: dict[str, Any] = {}
            if len(rows) == settings.hardening and soft_mixers(network):
                gap = _harden(member, trainer, data=data, settings=settings)
                trainer = build_trainer(before=trainer)
            compiled = trainer.compile_seconds
            rows.append(_train_epoch(member, trainer, data=data, settings=settings, epoch=len(rows)) | gap)
            if trainer.compile_seconds != compiled:
                rows[-1]["compile_seconds"] = trainer.compile_seconds
                note(f"compiling took {trainer.compile_seconds:.1f} s of epoch {rows[-1]['epoch']}")
            ranks.check_agreement({**rows[-1], **dict.fromkeys(TIMES)}, on=f"epoch {rows[-1]['epoch']}")
            on_epoch(rows[-1])
            saves.reached(last=len(rows) == settings.epochs)
    if trainer.average is not None:
        trainer.average.exchange()
        _recalibrate(member, trainer, data=data, settings=settings, stream=AVERAGED)
    return rows


def _build_trainer(
    network: nn.Module,
    *,
    settings: RetrainSettings,
    runtime: Runtime,
    compile: bool,
    before: WeightTrainer | None = None,
) -> WeightTrainer:
    """Makes the trainer of a network; momentum and means of weights that an earlier trainer had are kept."""
    optimizer = make_sgd(
        network,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        mixer_lr_scale=settings.mixer_lr_scale,
    )
    average = WeightAverage(network, decay=settings.ema) if settings.ema > 0 else None
    if before is not None:
        for weight in network.parameters():
            if weight in before.optimizer.state:
                optimizer.state[weight] = before.optimizer.state[weight]
        if average is not None and before.average is not None:
            average.take_over(before.average.state_dict())
    return WeightTrainer(
        network=network,
        optimizer=optimizer,
        learning_rate=settings.annealing.learning_rate,
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
        average=average,
        ranks=runtime.ranks,
    )


def _harden(member: Member, trainer: WeightTrainer, *, data: ImageData, settings: RetrainSettings) -> dict[str, Any]:
    """Puts exact permutations in the place of learned mixers and recalibrates batch norm; returns the gap."""

    def test_accuracy() -> float:
        return _test_accuracy(member, trainer, data=data, settings=settings)

    soft = test_accuracy()
    distance = largest_distance(soft_mixers(trainer.network))
    harden_mixers(trainer.network)
    # The soft mixers averaged channels, so batch norm expects smaller variances than those it will meet.
    _recalibrate(member, trainer, data=data, settings=settings, stream="hardening")
    return {"hardening_distance": distance, "soft_test_accuracy": soft, "hard_test_accuracy": test_accuracy()}


def _test_accuracy(
    member: Member,
    trainer: WeightTrainer,
    *,
    data: ImageData,
    settings: RetrainSettings,
    recorder: Recorder | None = None,
) -> float:
    """Returns the accuracy on all test images, each rank looking at its share of them."""
    score = evaluate(
        trainer.network.eval(),
        data.test.batches(settings.batch_size, share=trainer.ranks.share),
        member.genotype,
        autocast=trainer.autocast,
        recorder=recorder,
        ranks=trainer.ranks,
    )
    return score.accuracy


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
        _training_batches(member, data=data, settings=settings, epoch=epoch, ranks=trainer.ranks),
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
        recalibrate = partial(_recalibrate, member, trainer, data=data, settings=settings, stream=AVERAGED)
        with trainer.average.in_use(recalibrate) if trainer.average is not None else contextlib.nullcontext():
            test_accuracy = _test_accuracy(member, trainer, data=data, settings=settings, recorder=trainer.recorder)
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


def _training_batches(
    member: Member, *, data: ImageData, settings: RetrainSettings, epoch: int, ranks: Ranks
) -> Batches:
    """Returns the batches of an epoch; with CutMix, probabilities are in the place of the labels."""
    batches = data.full.batches(
        settings.batch_size,
        seed=derive_seed(member.seed, "retrain", epoch),
        augmentation=replace(data.augmentation, cutout=settings.cutout),
        drop_last=True,
        share=ranks.share,
    )
    if settings.cutmix == 0:
        return batches
    place = [] if ranks.alone else [ranks.rank]  # ranks mix within their shares, each with draws of its own
    seed = derive_seed(member.seed, "cutmix", epoch, *place)
    return cut_and_mixed(batches, share=settings.cutmix, num_classes=data.num_classes, seed=seed)


def final_accuracy(rows: Sequence[dict[str, Any]], *, last_epochs: int) -> float:
    """Returns the test accuracy in the paper's way: the mean over the last epochs (§IV-B)."""
    return statistics.fmean(row["test_accuracy"] for row in rows[-last_epochs:])
