"""Settings of training: of weights in a search and afterwards, and of the retraining of derived models."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from nas.settings import STRICT, BelowOne, Distinct, Fraction, Inside
from nas.training.schedules import cosine_restarts, one_cycle


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingSettings:
    """How weights train.

    Attributes:
        epochs: Passes through the training images.
        batch_size: Images in a step [144].
        lr_max: Learning rate at the start of a cycle [0.05].
        lr_min: Learning rate at the end of a cycle.
        first_cycle: Epochs of the first cycle of the cosine restarts, T0.
        cycle_factor: Growth of these cycles, Tmul.
        momentum: Of SGD, Nesterov's.
        weight_decay: Of the convolutions' and linear weights; twice ENAS's l2.
        max_grad_norm: Of every gradient tensor; null: none.
        drop_path: 1 - keep at the last layer [0.0 to 0.1; about 0.5 with batch norm after the sum] (arXiv:1812.02975,
            §IV-D).
        drop_path_schedule: linear (grows from 0 over the epochs, as in ENAS) or constant.
        cutout: Side of the square cut out of training images, pixels; 0: none [16].
        mixer_penalty: Of learned mixers: the weight of their penalty at its full height; large matrices get less where
            it would be too much.
        mixer_penalty_schedule: How it grows from 0: quadratic or linear; constant: from the start.
        mixer_lr_scale: The mixers' learning rate, in those of the weights; they have no weight decay.
        max_bad_steps: Steps of an epoch that may be skipped because loss or gradients are not finite; with more the run
            stops.
        checkpoint_seconds: Between checkpoints, at least.
    """

    epochs: PositiveInt
    batch_size: PositiveInt
    lr_max: PositiveFloat
    lr_min: NonNegativeFloat
    first_cycle: PositiveFloat
    cycle_factor: Annotated[float, Field(ge=1)] = 2
    momentum: BelowOne = 0.9
    weight_decay: NonNegativeFloat = 4e-4
    max_grad_norm: PositiveFloat | None = 5.0
    drop_path: BelowOne = 0.0
    drop_path_schedule: Literal["linear", "constant"] = "linear"
    cutout: NonNegativeInt = 0
    mixer_penalty: NonNegativeFloat = 0.05
    mixer_penalty_schedule: Literal["quadratic", "linear", "constant"] = "quadratic"
    mixer_lr_scale: NonNegativeFloat = 1.0
    max_bad_steps: NonNegativeInt = 10
    checkpoint_seconds: NonNegativeFloat = 10
    _POWERS: ClassVar = {"constant": 0, "linear": 1, "quadratic": 2}

    def __post_init__(self) -> None:
        if self.lr_min > self.lr_max:
            raise ValueError(f"lr_min must be at most lr_max {self.lr_max}, got {self.lr_min}")

    def learning_rate(self, epoch: float) -> float:
        """Returns the learning rate at a point in time, in epochs from 0."""
        return cosine_restarts(
            epoch,
            lr_max=self.lr_max,
            lr_min=self.lr_min,
            first_cycle=self.first_cycle,
            cycle_factor=self.cycle_factor,
        )

    @property
    def penalty_epochs(self) -> float:
        """Epochs in which the mixers' penalty grows to its full height."""
        return self.epochs

    def penalty_weight(self, epoch: float) -> float:
        """Returns λ of the learned mixers at a point in time, in epochs from 0."""
        grown = min(epoch / self.penalty_epochs, 1.0) if self.penalty_epochs else 1.0
        return self.mixer_penalty * grown ** self._POWERS[self.mixer_penalty_schedule]

    def drop_prob(self, epoch: float) -> float:
        """Returns the drop-path probability of the last layer at a point in time, in epochs from 0."""
        return self.drop_path * (epoch / self.epochs if self.drop_path_schedule == "linear" else 1.0)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RetrainSettings(TrainingSettings):
    """How a derived model trains, at the size the digits need; the paper's figures in brackets.

    Attributes:
        epochs: Passes through the training images [630].
        schedule: Of the learning rate: cosine_restarts [paper], or one_cycle, up to lr_max and down to lr_min once.
        peak: Of one_cycle: when lr_max is reached, as a share of the epochs.
        label_smoothing: Share of the target that is spread over all classes.
        auxiliary_weight: Of an auxiliary head's loss (network=enas or darts, network.auxiliary=true) [ENAS, DARTS 0.4].
        ema: Decay of a mean of the weights, which is tested and kept; 0.999 remembers 1,000 steps; 0: none.
        cutmix: Share of the images into which a part of another is pasted, labels mixed accordingly.
        harden_epoch: Before it learned mixers become exact permutations, the rest is fine-tuning; null: two thirds of
            the epochs. The mixers' penalty is at its full height then.
        last_epochs: The accuracy is the mean over these.
        evaluate_every: Epochs between looks at the test images before the last ones; 0: only the last are tested.
        seeds: Trainings of the found cell, added to the run's seed; with 4 and 4 random cells an exact test can show a
            difference.
        random_seeds: Trainings of each random cell.
        random_turns: Instead each random cell takes one of the found cell's seeds, in turn: as many cells as seeds have
            as many trainings as the found cell, on the same seeds.
        filters: F of the derived model; null: network.filters.
        cells_per_stage: Null: network.cells_per_stage.
        warm_start: Run folder of a search whose shared weights the model starts from; "search" in a pipeline means its
            own; null: from scratch.
    """

    epochs: PositiveInt = 15
    batch_size: PositiveInt = 64
    lr_max: PositiveFloat = 0.1
    lr_min: NonNegativeFloat = 0.0001
    first_cycle: PositiveFloat = 15
    schedule: Literal["cosine_restarts", "one_cycle"] = "cosine_restarts"
    peak: Inside = 0.2
    label_smoothing: BelowOne = 0.0
    auxiliary_weight: NonNegativeFloat = 0.0
    ema: BelowOne = 0.0
    cutmix: Fraction = 0.0
    harden_epoch: NonNegativeInt | None = None
    last_epochs: PositiveInt = 5
    evaluate_every: NonNegativeInt = 5
    seeds: Distinct[int] = (0, 1, 2)
    random_seeds: Distinct[int] = (0,)
    random_turns: bool = False
    filters: int | None = None
    cells_per_stage: int | Sequence[int] | None = None
    warm_start: str | None = None

    def __post_init__(self) -> None:
        TrainingSettings.__post_init__(self)
        check_harden_epoch(self.harden_epoch, epochs=self.epochs)

    def seeds_of_random(self, cell: int) -> Sequence[int]:
        """Seeds with which the random cell of this number, from 0, is trained."""
        if self.random_turns:
            return (self.seeds[cell % len(self.seeds)],)
        return self.random_seeds

    def learning_rate(self, epoch: float) -> float:
        """Returns the learning rate at a point in time, in epochs from 0, as the schedule says."""
        if self.schedule == "one_cycle":
            return one_cycle(epoch, epochs=self.epochs, lr_max=self.lr_max, lr_min=self.lr_min, peak=self.peak)
        return TrainingSettings.learning_rate(self, epoch)

    @property
    def hardening(self) -> int:
        """The epoch before which learned mixers are hardened."""
        return 2 * self.epochs // 3 if self.harden_epoch is None else self.harden_epoch

    @property
    def penalty_epochs(self) -> float:
        """Epochs in which the mixers' penalty grows to its full height."""
        return self.hardening


def check_harden_epoch(harden_epoch: int | None, *, epochs: int) -> None:
    """Raises ValueError unless learned mixers are hardened within the epochs."""
    if harden_epoch is not None and harden_epoch >= epochs:
        raise ValueError(f"harden_epoch must lie in 0 … epochs - 1 = {epochs - 1}, got {harden_epoch}")
