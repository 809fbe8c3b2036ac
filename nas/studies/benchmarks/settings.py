"""What a benchmark measures, and how often."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

PARTS = {
    "throughput": "images a second of search training, rewards and retraining",
    "eager": "the same beside a straightforward training loop",
    "controller": "sampling architectures and learning from rewards",
    "shares": "what takes the time of a search's epoch",
    "ratio": "a supernet's path beside the same cell as a plain network",
    "memory": "what weights, optimizer and a step occupy",
    "scaling": "cost against blocks, filters, batch size and candidate ops",
    "roofline": "the least time the device allows, beside the measured one",
    "communication": "what data-parallel ranks send each step, here and over other links",
    "switches": "what each of the runtime's switches gains",
    "targets": "a whole search and a whole retraining, extrapolated to minutes",
    "loader": "decoding streamed pictures beside torchvision's loader",
}
ON_REQUEST = ("loader",)
"""Parts that are measured only where they are named."""
NEEDS = {"eager": ("throughput",), "shares": ("throughput", "controller"), "targets": ("throughput", "controller")}
"""Parts whose figures another part is computed from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """What is timed. The work itself is described by the settings of search, retraining, network and data.

    Attributes:
        parts: Names in `PARTS`; null takes all but those `ON_REQUEST`, `switches` only on a GPU.
        genotypes: Cells drawn at random for the parts that time several.
        rounds: Times every piece of work is timed (for each cell).
        warmup: Rounds before that.
        steps: Training steps in a timed piece; null takes 2 on a CPU, and on a GPU three passes through the data, for
            there many batches are augmented at once.
        rewards: Cells in a timed piece of reward evaluation.
        samples: Architectures in a batch of the controller.
        workers: Of the baseline's data loader.
        blocks: Numbers of blocks B timed.
        filters: Numbers of filters F timed.
        batch_sizes: Batch sizes timed.
        num_ops: Numbers of candidate ops timed, in rising order.
        ranks: Numbers of data-parallel ranks for which communication is modelled.
        links: What may join them, by name: gigabytes a second that a rank sends, microseconds of a message.
        pictures: JPEGs that the loaders read.
        decoders: Numbers of workers that they are timed with.
        train_images: Of the search that epochs are extrapolated to.
        reward_images: Held out from it.
        test_images: Of the retraining that minutes are extrapolated to.

    Raises:
        ValueError: If a number is below its least value, or a part is unknown.
    """

    parts: Sequence[str] | None = None
    genotypes: int = 3
    rounds: int = 4
    warmup: int = 1
    steps: int | None = None
    rewards: int = 5
    samples: int = 20
    workers: int = 2
    blocks: Sequence[int] = (2, 5, 8)
    filters: Sequence[int] = (10, 20, 40)
    batch_sizes: Sequence[int] = (36, 144, 288)
    num_ops: Sequence[int] = (6, 12, 18)
    ranks: Sequence[int] = (2, 8, 64)
    links: Mapping[str, Sequence[float]] = field(default_factory=dict)
    pictures: int = 400
    decoders: Sequence[int] = (1, 2)
    train_images: int = 45_000
    reward_images: int = 5_000
    test_images: int = 10_000

    def __post_init__(self) -> None:
        counts = ("genotypes", "rounds", "rewards", "samples", "train_images", "reward_images", "test_images")
        for name in (*counts, *(() if self.steps is None else ("steps",))):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.pictures < 2:
            raise ValueError(f"pictures must be at least 2, got {self.pictures}")
        if not self.decoders or min(self.decoders) < 0 or len(set(self.decoders)) < len(self.decoders):
            raise ValueError(f"decoders must list numbers of at least 0, each once, got {list(self.decoders)}")
        for name in ("warmup", "workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        for name in ("blocks", "filters", "batch_sizes", "num_ops", "ranks"):
            values = list(getattr(self, name))
            if not values or min(values) < 1 or values != sorted(set(values)):
                raise ValueError(f"{name} must list numbers of at least 1 in rising order, got {values}")
        for name, constants in self.links.items():
            if len(constants) != 2 or min(constants) <= 0:
                raise ValueError(f"links.{name} must be [GB/s, µs], both above 0, got {list(constants)}")
        unknown = [part for part in self.parts or () if part not in PARTS]
        if unknown or (self.parts is not None and not self.parts):
            raise ValueError(f"parts must list some of {', '.join(PARTS)}, got {list(self.parts or ())}")

    def chosen_parts(self, *, cuda: bool) -> list[str]:
        """Returns the parts to measure, those that others need among them, in the order of `PARTS`."""
        usual = [part for part in PARTS if part not in ON_REQUEST and (cuda or part != "switches")]
        chosen = usual if self.parts is None else list(self.parts)
        needed = {other for part in chosen for other in NEEDS.get(part, ())}
        return [part for part in PARTS if part in chosen or part in needed]
