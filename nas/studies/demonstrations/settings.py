"""Settings of the demonstrations of learned permutations."""

from collections.abc import Sequence
from dataclasses import field
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from pydantic.dataclasses import dataclass

from nas.settings import STRICT, BelowOne, Distinct
from nas.training.settings import check_harden_epoch

AtLeastTwo = Annotated[int, Field(ge=2)]
MemoryFormat = Literal["contiguous", "channels_last"]
Transform = Literal["permutation", "hadamard", "fourier", "convolution", "fourier, bits reversed"]
Body = Literal["shufflenet_v1_g3", "shufflenet_v1_g8", "shufflenet_v2", "shufflenasnet"]
Method = Literal["none", "auto_shuffle", "kaleidoscope", "faq", "true_inverse"]
Model = Literal["shufflenasnet_a", "shufflenasnet_b", "shufflenet_v2"]


def _power_of_two(n: int) -> int:
    if n & (n - 1):
        raise ValueError(f"must be powers of 2, got {n}")
    return n


PowerOfTwo = Annotated[AtLeastTwo, AfterValidator(_power_of_two)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Descent:
    """How an objective is descended over doubly stochastic matrices.

    Attributes:
        steps: Steps of the descent.
        step_size: η, for objectives of order n.
        momentum: Momentum of the multiplicative steps.
        penalty: λ at the end; it grows with the square of the step number; 0: the plain relaxation.
        warmup: Share of the steps before λ leaves 0.
        normalizations: Normalisations of columns and rows after each step.
    """

    steps: PositiveInt = 300
    step_size: PositiveFloat = 0.03
    momentum: BelowOne = 0.9
    penalty: NonNegativeFloat = 8.0
    warmup: BelowOne = 0.0
    normalizations: PositiveInt = 3

    def penalty_at(self, step: int) -> float:
        """Returns λ at a step from 0 to `steps`."""
        return self.penalty * float(max(0.0, (step / self.steps - self.warmup) / (1 - self.warmup)) ** 2)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GraphMatchingSettings:
    """AutoShuffleNet: the penalty against the convex relaxation, and other solvers.

    Attributes:
        sizes: Vertices of the graphs, each with every noise of size_noises.
        size_noises: Standard deviations of the noise on the second graph's weights, whose own is 1, at every size.
        noises: The same at noise_size vertices.
        noise_size: Vertices where the noise varies.
        instances: Problems of each size and noise.
        large_instances: The same from 32 vertices on.
        starts: Starts of the penalised descent and of FAQ, next to one start each.
        sinkhorn_starts: Random starts of Sinkhorn's relaxation, the same number of steps each.
        descent: The penalised one. 300 steps of it and of Sinkhorn are 300 gradients of f; FAQ stops by itself, after
            at most 30 gradients and 30 linear assignments.
        snapshots: Pictures of the matrix over time.
    """

    sizes: Sequence[AtLeastTwo] = (4, 8, 16, 32)
    size_noises: Sequence[NonNegativeFloat] = (0.0, 0.5)
    noises: Sequence[NonNegativeFloat] = (0.0, 0.1, 0.2, 0.5, 1.0)
    noise_size: AtLeastTwo = 8
    instances: PositiveInt = 100
    large_instances: PositiveInt = 20
    starts: PositiveInt = 16
    sinkhorn_starts: PositiveInt = 1
    descent: Descent = field(default_factory=Descent)
    snapshots: AtLeastTwo = 6

    @property
    def conditions(self) -> list[tuple[int, float]]:
        """Every (size, noise) once, in order."""
        crossed = {(n, float(noise)) for n in self.sizes for noise in self.size_noises}
        return sorted(crossed | {(self.noise_size, float(noise)) for noise in self.noises})


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TwoLayerSettings:
    """AutoShuffleNet: the permutation between the layers of a network.

    Attributes:
        sizes: Hidden units n, as many as inputs and outputs, at base_noise and base_samples.
        noises: Standard deviations of the noise on the outputs, whose own is about 1, at base_size units.
        samples_per_unit: Training samples for each hidden unit, at base_size and base_noise. Below about 1 they are
            fewer equations than the matrix has free entries.
        base_size: Hidden units where the others vary.
        base_noise: Noise of the targets where the others vary.
        base_samples: Samples for each unit where the others vary.
        instances: Problems of each kind.
        starts: Random starts of both descents; the one whose rounded matrix has the least loss counts.
        descent: The penalised one; the relaxation takes the same steps with λ = 0.
        snapshots: Pictures of the matrix over time.
    """

    sizes: Sequence[AtLeastTwo] = (4, 8, 16, 32)
    noises: Sequence[NonNegativeFloat] = (0.0, 0.1, 0.3, 1.0)
    samples_per_unit: Sequence[PositiveFloat] = (0.5, 1.0, 2.0, 4.0)
    base_size: AtLeastTwo = 16
    base_noise: NonNegativeFloat = 0.1
    base_samples: PositiveFloat = 4.0
    instances: PositiveInt = 50
    starts: PositiveInt = 8
    descent: Descent = field(default_factory=lambda: Descent(steps=400, step_size=0.1, penalty=4.0, warmup=0.25))
    snapshots: AtLeastTwo = 6

    @property
    def conditions(self) -> list[tuple[int, float, float]]:
        """Every (size, noise, samples a unit) once, in order."""
        chosen = {(n, self.base_noise, self.base_samples) for n in self.sizes}
        chosen |= {(self.base_size, noise, self.base_samples) for noise in self.noises}
        return sorted(chosen | {(self.base_size, self.base_noise, samples) for samples in self.samples_per_unit})


@dataclass(frozen=True, kw_only=True, config=STRICT)
class StructuredSettings:
    """Kaleidoscope: transforms written and learned.

    Attributes:
        constructed_sizes: Sizes at which transforms are written down exactly, powers of 2.
        learned_sizes: Sizes at which transforms are learned, powers of 2.
        restarts: Descents from each kind of start; the best is kept.
        steps: Steps of Adam in each descent.
        learning_rate: Learning rate at the first step; it falls to 0 along a cosine.
        start_noise: Factor of the random entries that are added to the identity for the start near it.
        success_rmse: A descent has found its transform if its RMSE is below.
        shown_transform: The transform whose descent is kept as pictures, at the largest learned size.
        switch_sizes: Positions of the switch networks, at which planted permutations are learned; any number.
        planted: Random permutations at each size.
        switch_restarts: Random starts for each of them.
        switch_steps: Steps of Adam in each descent.
        switch_learning_rate: Constant.
        penalty: λ of Σ 4p(1 − p) over the switches at the last step; it grows linearly from 0.
        samples: Pairs of input and output that the descent is given.
    """

    constructed_sizes: Sequence[PowerOfTwo] = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
    learned_sizes: Sequence[PowerOfTwo] = (4, 8, 16)
    restarts: PositiveInt = 8
    steps: PositiveInt = 500
    learning_rate: PositiveFloat = 0.05
    start_noise: NonNegativeFloat = 0.3
    success_rmse: PositiveFloat = 1e-4
    shown_transform: Transform = "fourier, bits reversed"
    switch_sizes: Sequence[AtLeastTwo] = (4, 8, 16)
    planted: PositiveInt = 10
    switch_restarts: PositiveInt = 8
    switch_steps: PositiveInt = 300
    switch_learning_rate: PositiveFloat = 0.1
    penalty: NonNegativeFloat = 0.01
    samples: PositiveInt = 64


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PermutedImagesSettings:
    """Images behind an unknown permutation of their pixels.

    Attributes:
        data: cifar10; digits needs no file, but its true order is not the smoothest, so that total variation misleads;
            auto: cifar10 where root holds its cache.
        root: Folder of cifar10.npz.
        side: Pixels of the images that are scrambled; larger ones are averaged down to it.
        methods: How the permutation is found; faq is scipy's quadratic assignment on the same objective, a reference.
        trials: Permutations, with networks of their own; the accuracies' means are over them.
        moment_images: Training images, their labels unused, that the total variation is taken from; digits has 1348.
        train_images: Number of these that train the networks.
        test_images: At most so many, to measure accuracy on.
        epochs: Epochs of each training.
        width: Channels of the network's first convolution.
        batch_size: Images in a step.
        learning_rate: Its peak.
        restarts: Starts of AutoShuffle, side by side; the best by the objective is kept.
        steps: Steps of the first descent of AutoShuffle.
        rounds: Further descents, which start from the best four permutations, made soft again.
        chains: Products of switch networks learned side by side; the best is kept.
        stages: Switch networks in a product, each hardened before the next is learned.
        stage_steps: Steps of gradient descent in a stage.
    """

    data: Literal["auto", "cifar10", "digits"] = "cifar10"
    root: str = "data"
    side: Literal[2, 4, 8, 16, 32] = 8
    methods: Distinct[Method] = get_args(Method)
    trials: PositiveInt = 3
    moment_images: PositiveInt = 20000
    train_images: PositiveInt = 5000
    test_images: PositiveInt = 10000
    epochs: PositiveInt = 6
    width: PositiveInt = 16
    batch_size: AtLeastTwo = 128
    learning_rate: PositiveFloat = 0.1
    restarts: PositiveInt = 64
    steps: PositiveInt = 300
    rounds: NonNegativeInt = 6
    chains: PositiveInt = 8
    stages: PositiveInt = 80
    stage_steps: PositiveInt = 25

    def __post_init__(self) -> None:
        if self.train_images < self.batch_size:
            raise ValueError(f"batch_size must be at most train_images {self.train_images}, got {self.batch_size}")
        if self.moment_images < self.train_images:
            raise ValueError(f"moment_images must be at least train_images, got {self.moment_images}")


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TimingSettings:
    """How modules are timed.

    Attributes:
        batch_sizes: Images, or feature maps, in a pass.
        image_size: Pixels a side.
        memory_formats: contiguous or channels_last, or both.
        rounds: Passes timed for each, in turns.
        warmup: Rounds before the first timed one.
        device: Device on which it is timed, in float32.
    """

    batch_sizes: Distinct[PositiveInt] = (1, 64)
    image_size: PositiveInt = 8
    memory_formats: Distinct[MemoryFormat] = ("contiguous", "channels_last")
    rounds: PositiveInt = 5
    warmup: NonNegativeInt = 1
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MixerCostSettings(TimingSettings):
    """Parameters, multiply-adds and time of every mixer.

    Attributes:
        mixers: Names in the mixer table; [] stands for all. The channel shuffle is measured in any case.
        channels: Channels of the feature maps.
        groups: Groups of the channel shuffle, which the mixers replace; 1 where they do not divide the channels.
        rounds: Passes timed for each mixer, in turns, each right after one that is not timed.
    """

    mixers: Sequence[str] = ()
    channels: Distinct[PositiveInt] = (16, 64, 256, 512)
    groups: PositiveInt = 2


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ModelCostSettings(TimingSettings):
    """Whole networks: hardened permutations next to the fixed shuffle.

    Attributes:
        models: Networks to compare, each at its smallest published size.
    """

    models: Sequence[Model] = ("shufflenasnet_a", "shufflenet_v2")
    batch_sizes: Distinct[PositiveInt] = (1, 32)
    image_size: PositiveInt = 32
    rounds: PositiveInt = 15
    warmup: NonNegativeInt = 2


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BodiesSettings:
    """ShuffleNet v1 and v2 (and shufflenasnet) with each mixer, on the images of `data`.

    Attributes:
        bodies: Networks to train: shufflenet_v1_g3, shufflenet_v1_g8, shufflenet_v2, shufflenasnet (the published cell
            A, one normal cell a stage).
        mixers: Names in the mixer table. The fixed shuffle is trained first, since the others are compared with it.
        v1_width: Width multiplier of ShuffleNet v1.
        v2_width: Width multiplier of ShuffleNet v2.
        filters: Filters of shufflenasnet.
        nasnet_macro: Its stem: cifar, or imagenet (stride 4) for short trainings.
        epochs: Epochs of each training.
        batch_size: Images in a step.
        lr_max: Learning rate at the start; it falls along one cosine.
        weight_decay: Decay of all weights but the learned mixers'.
        mixer_penalty: Weight of the penalty at its full height, grown quadratically until the mixers are hardened.
        harden_epoch: Null: two thirds of the epochs.
        trials: Seeds of each training.
    """

    bodies: Sequence[Body] = ("shufflenet_v1_g3", "shufflenet_v1_g8", "shufflenet_v2")
    mixers: Sequence[str] = (
        *("identity", "channel_shuffle", "auto_shuffle"),
        *("dynamic_shuffle", "kaleidoscope", "conv1x1"),
    )
    v1_width: float = 0.25
    v2_width: float = 0.5
    filters: int = 16
    nasnet_macro: Literal["cifar", "imagenet"] = "cifar"
    epochs: PositiveInt = 6
    batch_size: PositiveInt = 64
    lr_max: PositiveFloat = 0.05
    weight_decay: NonNegativeFloat = 4e-4
    mixer_penalty: NonNegativeFloat = 0.05
    harden_epoch: NonNegativeInt | None = None
    trials: PositiveInt = 1

    def __post_init__(self) -> None:
        check_harden_epoch(self.harden_epoch, epochs=self.epochs)
