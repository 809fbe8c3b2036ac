"""Settings of `nas bench`."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from nas.settings import STRICT, Distinct, Rising

PARTS = {
    "throughput": "images a second of search training, rewards and retraining",
    "eager": "the same compared with a straightforward training loop",
    "controller": "sampling architectures and learning from rewards",
    "shares": "what takes the time of a search's epoch",
    "ratio": "a supernet's path compared with the same cell as a plain network",
    "memory": "what weights, optimizer and a step occupy",
    "scaling": "cost against blocks, filters, batch size and candidate ops",
    "roofline": "the least time the device allows, and the measured one",
    "communication": "what data-parallel ranks send each step, here and over other links",
    "switches": "what each of the runtime's switches gains",
    "targets": "a whole search and a whole retraining, extrapolated to minutes",
    "loader": "decoding streamed pictures, compared with torchvision's loader",
}
ON_REQUEST = ("loader",)
"""Parts that are measured only where they are named."""
NEEDS = {"eager": ("throughput",), "shares": ("throughput", "controller"), "targets": ("throughput", "controller")}
"""Parts whose figures another part is computed from."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BenchSettings:
    """What is timed. The work itself is set under search, retrain, network, search_space and data.

    Attributes:
        parts: Null: all (switches only on a GPU, loader never); [throughput, eager, controller, shares, ratio, memory,
            scaling, roofline, communication, switches, targets, loader] or some.
        genotypes: Cells drawn at random for the parts that time several.
        rounds: Times every piece of work is timed (for each cell).
        warmup: Rounds before that.
        steps: Training steps in a timed piece; null: 2 on a CPU, three passes through the data on a GPU.
        rewards: Cells in a timed piece of reward evaluation.
        samples: Architectures in a batch of the controller.
        workers: Processes of the eager loop's data loader.
        blocks: Numbers of blocks B, in rising order.
        filters: Numbers of filters F.
        batch_sizes: Images in a step.
        num_ops: Numbers of candidate ops.
        ranks: Data-parallel ranks for which communication is modelled.
        links: Between them, assumed: GB/s that a rank sends, µs of a message.
        pictures: JPEGs of 500x375 that the loader part makes and reads.
        decoders: The loader part's numbers of workers.
        train_images: Images of the search and the retraining that times are extrapolated to.
        reward_images: Held out of them.
        test_images: Looked at after retraining.
    """

    parts: Sequence[str] | None = None
    genotypes: PositiveInt = 3
    rounds: PositiveInt = 4
    warmup: NonNegativeInt = 1
    steps: PositiveInt | None = None
    rewards: PositiveInt = 5
    samples: PositiveInt = 20
    workers: NonNegativeInt = 2
    blocks: Rising = (2, 5, 8)
    filters: Rising = (10, 20, 40)
    batch_sizes: Rising = (36, 144, 288)
    num_ops: Rising = (6, 12, 18)
    ranks: Rising = (2, 8, 64)
    links: Mapping[str, Annotated[Sequence[PositiveFloat], Field(min_length=2, max_length=2)]] = field(
        default_factory=lambda: {
            "nvlink_4": [450, 2],
            "infiniband_400": [50, 5],
            "ethernet_100": [12.5, 15],
            "ethernet_10": [1.25, 30],
        }
    )
    pictures: Annotated[int, Field(ge=2)] = 400
    decoders: Distinct[NonNegativeInt] = (1, 2)
    train_images: PositiveInt = 45_000
    reward_images: PositiveInt = 5_000
    test_images: PositiveInt = 10_000

    def __post_init__(self) -> None:
        unknown = [part for part in self.parts or () if part not in PARTS]
        if unknown or (self.parts is not None and not self.parts):
            raise ValueError(f"parts must list some of {', '.join(PARTS)}, got {list(self.parts or ())}")

    def chosen_parts(self, *, cuda: bool) -> list[str]:
        """Returns the parts to measure, those that others need among them, in the order of `PARTS`."""
        usual = [part for part in PARTS if part not in ON_REQUEST and (cuda or part != "switches")]
        chosen = usual if self.parts is None else list(self.parts)
        needed = {other for part in chosen for other in NEEDS.get(part, ())}
        return [part for part in PARTS if part in chosen or part in needed]
