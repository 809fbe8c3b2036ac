"""One training of one cell to its end: its state, its epochs and its checkpoints (arXiv:1812.02975, §IV-A).

Images, augmentation and random streams of an epoch follow from the member's seed and the number of the epoch alone, so
that a training resumes from its state as if it had never stopped.
"""

import contextlib
import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from nas.compute.cuda_graphs import Recorder
from nas.compute.device import Runtime
from nas.compute.distributed.gradients import check_norms
from nas.data.augmentation import cut_and_mixed
from nas.data.named import ImageData, check_batches
from nas.data.splits import Batches
from nas.models.hardening import harden_mixers, largest_distance, soft_mixers
from nas.runs.checkpoints import load_checkpoint
from nas.runs.console import note
from nas.runs.seeds import derive_seed, seed_everything
from nas.training.autosave import Saves
from nas.training.evaluation import evaluate, recalibrate_batch_norm
from nas.training.settings import RetrainSettings
from nas.training.weight_average import WeightAverage
from nas.training.weight_trainer import WeightTrainer, make_retrainer
from search_spaces.genotype import Genotype

CALIBRATION_BATCHES = 8
AVERAGED = "averaged weights"  # the stream of images that batch norm is calibrated on for them


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What is trained.

    Attributes:
        label: What the cell is, such as `found` or `random-0`.
        seed: The seed of the weights and of the order and augmentation of the images.
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


@dataclass(slots=True, kw_only=True)
class MemberTraining:
    """The state of a member's training, and its steps.

    Attributes:
        member: What is trained.
        network: Its model, trained in place.
        data: Trained on `full`; `test` is only looked at.
        settings: The protocol.
        runtime: Number format.
        rows: What was logged, one an epoch.
        trainer: Trains the weights; another one from the epoch on that hardens learned mixers.
    """

    member: Member
    network: nn.Module
    data: ImageData
    settings: RetrainSettings
    runtime: Runtime
    rows: list[dict[str, Any]] = field(default_factory=list)
    trainer: WeightTrainer = field(init=False)

    def __post_init__(self) -> None:
        self.trainer = self._new_trainer()

    @property
    def finished(self) -> bool:
        """Whether all epochs are over."""
        return len(self.rows) >= self.settings.epochs

    def epoch(self) -> dict[str, Any]:
        """Trains an epoch, and hardens learned mixers before it if it is the one for that; returns what to log."""
        gap: dict[str, Any] = {}
        if len(self.rows) == self.settings.hardening and soft_mixers(self.network):
            gap = self._harden()
            self.trainer = self._new_trainer(before=self.trainer)
        compiled = self.trainer.compile_seconds
        row = self._train_epoch(len(self.rows)) | gap
        if self.trainer.compile_seconds != compiled:
            row["compile_seconds"] = self.trainer.compile_seconds
            note(f"compiling took {self.trainer.compile_seconds:.1f} s of epoch {row['epoch']}")
        self.rows.append(row)
        return row

    def epoch_seconds(self, steps: int = 3) -> float:
        """Returns how long an epoch takes, from the time of a few steps, which train the network."""
        steps = min(steps, self._batches_per_epoch)
        for _ in range(2):  # the first warms up
            started = time.perf_counter()
            self.trainer.train_epoch(
                itertools.islice(self._training_batches(0), steps),
                itertools.repeat(self.member.genotype),
                epoch=0,
                num_batches=self._batches_per_epoch,
            )
        return (time.perf_counter() - started) * self._batches_per_epoch / steps

    def finish(self) -> None:
        """Leaves the network with the means of its weights, if such are kept."""
        if self.trainer.average is not None:
            self.trainer.average.exchange()
            self._recalibrate(AVERAGED)

    def state_dict(self) -> dict[str, Any]:
        """Returns everything a resumed training needs."""
        return {
            "genotype": self.member.record,
            "rows": self.rows,
            "hardened": not soft_mixers(self.network),
            "network": self.network.state_dict(),
            **self.trainer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self.rows = state["rows"]
        if state["hardened"]:
            harden_mixers(self.network)
            self.trainer = self._new_trainer()
        self.network.load_state_dict(state["network"])
        self.trainer.load_state_dict(state)

    def _new_trainer(self, *, before: WeightTrainer | None = None) -> WeightTrainer:
        """Makes a trainer of the network; momentum and means of weights that an earlier one had are kept."""
        average = WeightAverage(self.network, decay=self.settings.ema) if self.settings.ema > 0 else None
        made = make_retrainer(
            self.network,
            self.settings,
            self.runtime,
            batches_per_epoch=self._batches_per_epoch,
            average=average,
        )
        if before is not None:
            for weight in self.network.parameters():
                if weight in before.optimizer.state:
                    made.optimizer.state[weight] = before.optimizer.state[weight]
            if average is not None and before.average is not None:
                average.take_over(before.average.state_dict())
        return made

    @property
    def _batches_per_epoch(self) -> int:
        return self.data.full.num_batches(self.settings.batch_size, drop_last=True)

    def _harden(self) -> dict[str, Any]:
        """Puts exact permutations in the place of learned mixers and recalibrates batch norm; returns the gap."""
        soft = self._test_accuracy()
        distance = largest_distance(soft_mixers(self.network))
        harden_mixers(self.network)
        # The soft mixers averaged channels, so batch norm expects smaller variances than those it will meet.
        self._recalibrate("hardening")
        hard = self._test_accuracy()
        return {"hardening_distance": distance, "soft_test_accuracy": soft, "hard_test_accuracy": hard}

    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        started = time.perf_counter()
        trainer = self.trainer
        seed_everything(derive_seed(self.member.seed, "retrain epoch", epoch))
        score = trainer.train_epoch(
            self._training_batches(epoch),
            itertools.repeat(self.member.genotype),
            epoch=epoch,
            num_batches=self._batches_per_epoch,
        )
        if trainer.skipped_steps:  # their images may have gone into the running statistics, which then are no numbers
            self._recalibrate("skipped steps")
        test_accuracy = self._trained_accuracy() if self._looks_at_test(epoch) else math.nan
        row = {
            "label": self.member.label,
            "seed": self.member.seed,
            "epoch": epoch,
            "learning_rate": trainer.learning_rate(epoch),
            "loss": score.loss,
            "train_accuracy": score.accuracy,
            "test_accuracy": test_accuracy,
            "seconds": time.perf_counter() - started,
        }
        if trainer.skipped_steps:
            row["skipped_steps"] = trainer.skipped_steps
        mixers = soft_mixers(self.network)
        return {**row, "mixer_distance": largest_distance(mixers)} if mixers else row

    def _training_batches(self, epoch: int) -> Batches:
        """Returns the batches of an epoch; with CutMix, probabilities are in the place of the labels."""
        settings, ranks, seed = self.settings, self.runtime.ranks, self.member.seed
        batches = self.data.full.batches(
            settings.batch_size,
            seed=derive_seed(seed, "retrain", epoch),
            augmentation=replace(self.data.augmentation, cutout=settings.cutout),
            drop_last=True,
            share=ranks.share,
        )
        if settings.cutmix == 0:
            return batches
        place = [] if ranks.alone else [ranks.rank]  # ranks mix within their shares, each with draws of its own
        mixing = derive_seed(seed, "cutmix", epoch, *place)
        return cut_and_mixed(batches, share=settings.cutmix, num_classes=self.data.num_classes, seed=mixing)

    def _looks_at_test(self, epoch: int) -> bool:
        """Whether the test images are looked at after an epoch."""
        settings = self.settings
        last = epoch >= settings.epochs - settings.last_epochs
        return last or (settings.evaluate_every > 0 and (epoch + 1) % settings.evaluate_every == 0)

    def _trained_accuracy(self) -> float:
        """Returns the test accuracy of the weights, or of their means if such are kept."""
        average = self.trainer.average
        with contextlib.nullcontext() if average is None else average.in_use(lambda: self._recalibrate(AVERAGED)):
            return self._test_accuracy(recorder=self.trainer.recorder)

    def _test_accuracy(self, *, recorder: Recorder | None = None) -> float:
        """Returns the accuracy on all test images, each rank looking at its share of them."""
        ranks = self.runtime.ranks
        score = evaluate(
            self.network.eval(),
            self.data.test.batches(self.settings.batch_size, share=ranks.share),
            self.member.genotype,
            autocast=self.runtime.autocast,
            recorder=recorder,
            ranks=ranks,
        )
        return score.accuracy

    def _recalibrate(self, stream: str) -> None:
        """Takes fresh running statistics of batch norm, from training images chosen by a random stream of that name."""
        calibration = self.data.full.batches(self.settings.batch_size, seed=derive_seed(self.member.seed, stream))
        batches = itertools.islice(calibration, CALIBRATION_BATCHES)
        recalibrate_batch_norm(self.network, batches, self.member.genotype, autocast=self.runtime.autocast)


TIMES = ("seconds", "compile_seconds")  # of a row, each rank having its own


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
    """Trains a derived model on `data.full`, or resumes from its checkpoint.

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
    ranks = runtime.ranks
    check_norms(network, ranks)
    ranks.copy_first(network)
    training = MemberTraining(member=member, network=network, data=data, settings=settings, runtime=runtime)
    state = ranks.from_first(lambda: load_checkpoint(checkpoint))
    if state is not None:
        if state["genotype"] != member.record:
            raise ValueError(f"{checkpoint} is of another cell than {member.label} now; choose another run name")
        training.load_state_dict(state)
    with Saves(checkpoint, training.state_dict, seconds=settings.checkpoint_seconds, ranks=ranks) as saves:
        while not training.finished:
            row = training.epoch()
            ranks.check_agreement({**row, **dict.fromkeys(TIMES)}, on=f"epoch {row['epoch']}")
            on_epoch(row)
            saves.reached(last=training.finished)
    training.finish()
    return training.rows


def final_accuracy(rows: Sequence[dict[str, Any]], *, last_epochs: int) -> float:
    """Returns the test accuracy in the paper's way: the mean over the last epochs (§IV-B)."""
    return statistics.fmean(row["test_accuracy"] for row in rows[-last_epochs:])
