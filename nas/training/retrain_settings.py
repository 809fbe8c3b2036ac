"""What a retraining is told: the protocol of a derived model, beside how weights train."""

from collections.abc import Sequence
from dataclasses import dataclass

from nas.training.schedules import Annealing, OneCycle, TrainingSettings

SCHEDULES = ("cosine_restarts", "one_cycle")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainSettings(TrainingSettings):
    """The protocol of retraining (630 epochs in the paper).

    Attributes:
        label_smoothing: In [0, 1).
        auxiliary_weight: Of the auxiliary head's loss, for networks that have one (0.4 in ENAS and DARTS).
        schedule: Of the learning rate: `cosine_restarts` (the paper's) or `one_cycle`, which has no use for
            `first_cycle` and `cycle_factor`.
        peak: When `one_cycle` has the learning rate `lr_max`, as a share of the epochs, in (0, 1).
        ema: Decay of a mean of the weights, in [0, 1), that is tested and kept in the place of the weights; 0: none.
        cutmix: Share of the images of which a part is replaced by another's, in [0, 1].
        harden_epoch: The epoch before which learned mixers become exact permutations, the rest being fine-tuning; null
            takes two thirds of the epochs. The mixers' penalty is at its full height then.
        last_epochs: The accuracy reported is the mean over this many last epochs.
        evaluate_every: Epochs between two looks at the test images before those; 0 looks only at the last epochs.
        seeds: The found cell is trained once for each, added to the run's own seed.
        random_seeds: Each cell of the random baseline is trained once for each, likewise.
        random_turns: Random cells are trained with `seeds` in the place of `random_seeds`, each with one of them in
            turn: as many cells as seeds have as many trainings as the found cell, and on the same seeds.
        filters: F of the derived model; null takes `network.filters`.
        cells_per_stage: Null takes `network.cells_per_stage`.
        warm_start: Run folder of a search whose shared weights the model starts from; in a pipeline `search` means its
            own; null starts from scratch.
    """

    label_smoothing: float = 0.0
    auxiliary_weight: float = 0.0
    schedule: str = "cosine_restarts"
    peak: float = 0.2
    ema: float = 0.0
    cutmix: float = 0.0
    harden_epoch: int | None = None
    last_epochs: int = 5
    evaluate_every: int = 1
    seeds: Sequence[int] = (0,)
    random_seeds: Sequence[int] = (0,)
    random_turns: bool = False
    filters: int | None = None
    cells_per_stage: int | Sequence[int] | None = None
    warm_start: str | None = None

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}")
        if not 0 < self.peak < 1:
            raise ValueError(f"peak must lie in (0, 1), got {self.peak}")
        TrainingSettings.__post_init__(self)
        if self.last_epochs < 1:
            raise ValueError(f"last_epochs must be at least 1, got {self.last_epochs}")
        if self.harden_epoch is not None and not 0 <= self.harden_epoch < self.epochs:
            raise ValueError(f"harden_epoch must lie in 0 … epochs - 1 = {self.epochs - 1}, got {self.harden_epoch}")
        for name in ("label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if not 0 <= self.cutmix <= 1:
            raise ValueError(f"cutmix must lie in [0, 1], got {self.cutmix}")
        for name in ("evaluate_every", "auxiliary_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("seeds", "random_seeds"):
            seeds = getattr(self, name)
            if not seeds or len(set(seeds)) != len(seeds):
                raise ValueError(f"{name} must list at least one seed, each once, got {list(seeds)}")

    def seeds_of_random(self, cell: int) -> Sequence[int]:
        """Seeds with which the random cell of this number, from 0, is trained."""
        if self.random_turns:
            return (self.seeds[cell % len(self.seeds)],)
        return self.random_seeds

    @property
    def annealing(self) -> Annealing:
        """The learning rate over the epochs."""
        if self.schedule == "one_cycle":
            return OneCycle(epochs=self.epochs, lr_max=self.lr_max, lr_min=self.lr_min, peak=self.peak)
        return self.cosine_restarts

    @property
    def hardening(self) -> int:
        """The epoch before which learned mixers are hardened."""
        return 2 * self.epochs // 3 if self.harden_epoch is None else self.harden_epoch

    @property
    def penalty_epochs(self) -> float:
        """Epochs in which the mixers' penalty grows to its full height."""
        return self.hardening
