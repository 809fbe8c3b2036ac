"""How large the task of the permuted images is, and how long its permutations and networks are learned."""

from dataclasses import dataclass
from pathlib import Path

METHODS = ("none", "auto_shuffle", "kaleidoscope", "faq", "true_inverse")


@dataclass(frozen=True, slots=True, kw_only=True)
class PermutedImagesSettings:
    """The task, and how long everything is learned.

    Attributes:
        data: `cifar10`, `digits` (8x8, with scikit-learn), or `auto`: CIFAR-10 where `root` holds its cache. Digits
            only show that everything runs: their true order is not the smoothest, so nothing is regained on them.
        root: Folder of `cifar10.npz`.
        side: Of the images that are scrambled, in pixels; larger ones are averaged down to it. n is its square.
        methods: Any of `METHODS`; `faq` is scipy's quadratic assignment on the same objective, a reference.
        trials: Permutations, each with networks of its own; the accuracies' means are over them.
        moment_images: Training images, their labels unused, that the total variation is taken from.
        train_images: Of these, so many train the networks.
        test_images: At most so many.
        epochs: Of every network.
        width: Channels of its first convolution.
        batch_size: Images in a step.
        learning_rate: Its peak.
        restarts: Starts learned side by side, for AutoShuffle; the best by the objective is kept.
        steps: Of the first descent of AutoShuffle.
        rounds: Further descents, which start from the 4 best permutations, molten.
        chains: Products of switch networks learned side by side; the best is kept.
        stages: Switch networks in a product, each hardened before the next is learned.
        stage_steps: Of the descent of one switch network.
    """

    data: str = "auto"
    root: str | Path = "data"
    side: int = 8
    methods: tuple[str, ...] = METHODS
    trials: int = 3
    moment_images: int = 20000
    train_images: int = 5000
    test_images: int = 10000
    epochs: int = 6
    width: int = 16
    batch_size: int = 128
    learning_rate: float = 0.1
    restarts: int = 64
    steps: int = 300
    rounds: int = 6
    chains: int = 8
    stages: int = 80
    stage_steps: int = 25

    def __post_init__(self) -> None:
        if self.data not in ("auto", "cifar10", "digits"):
            raise ValueError(f"data must be auto, cifar10 or digits, got {self.data!r}")
        unknown = [name for name in self.methods if name not in METHODS]
        if unknown or len(set(self.methods)) < max(1, len(self.methods)):
            raise ValueError(f"methods must be some of {', '.join(METHODS)}, each once, got {list(self.methods)}")
        if self.side < 2 or 32 % self.side:
            raise ValueError(f"side must be 2, 4, 8, 16 or 32, got {self.side}")
        for name in ("trials", "train_images", "test_images", "epochs", "width", "restarts", "steps", "chains"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("stages", "stage_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.rounds < 0:
            raise ValueError(f"rounds must be at least 0, got {self.rounds}")
        if self.batch_size < 2 or self.train_images < self.batch_size:
            raise ValueError(f"batch_size must lie in [2, train_images], got {self.batch_size}")
        if self.moment_images < self.train_images:
            raise ValueError(f"moment_images must be at least train_images, got {self.moment_images}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}")
