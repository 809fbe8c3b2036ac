"""Images behind an unknown permutation of their pixels, found again by a learned permutation before the network.

The task of Kaleidoscope (arXiv:2012.14966, §3.2) and of AutoShuffleNet's penalty (arXiv:1901.08624, eq. 4) on real
images: one fixed permutation scrambles all pixels, the same in every image and channel, and a convolutional network
loses what neighbours tell it. A layer learns the inverse without labels: it minimises the total variation of what it
returns, is hardened to one index vector, and the network is then trained on the gathered images, as it is on scrambled
ones (`none`) and on unscrambled ones (`true_inverse`, the bound). The learner sees nothing of the true order.

Total variation does not change under the 8 symmetries of the square, and neither does what is found: a network trained
afterwards sees the images turned or mirrored, all alike.
"""

import time
from dataclasses import asdict
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.data.image_data import ImageData
from nas.data.named import digits, torchvision_images
from nas.data.splits import Split
from nas.reporting.figures.series import grouped
from nas.runs.intervals import spread
from nas.runs.seeds import derive_seed
from nas.studies.demonstrations.pixel_permutations import (
    LEARNERS,
    Learned,
    grid_laplacian,
    neighbours_restored,
    permute_pixels,
    second_moments,
    seeded,
    total_variation,
)
from nas.studies.demonstrations.rows import Row, Rows, demonstration
from nas.studies.demonstrations.settings import PermutedImagesSettings
from nas.training.evaluation import evaluate
from nas.training.sgd import make_sgd
from nas.training.weight_trainer import WeightTrainer
from search_spaces.permutations import inverse_permutation, permutation_matrix

PICTURES = 6


class Images(NamedTuple):
    """Normalised images (N, C, side, side) and labels (N,)."""

    images: Tensor
    labels: Tensor


@demonstration()
def permuted_images(settings: PermutedImagesSettings, *, seed: int) -> Rows:
    """Images behind an unknown permutation of their pixels, found again by a learned permutation before the network.

    Rows hold `trial`, `method`, `accuracy` (test), `regained` (the share of the accuracy lost from `true_inverse` to
    `none`; None without both), `objective` (mean squared difference of neighbours, the variance within images being 1),
    `neighbours_restored`, `distance` (None where nothing is soft) and `learn_seconds`.

    Returns:
        `data`, `seed`, `summary` by method, and of the first trial `pictures` and `films`, whose size is that of n²
        numbers times 6: columns in the true order, so that the true inverse is the diagonal.

    Raises:
        FileNotFoundError: If CIFAR-10 is asked for and not in `root`.
        ValueError: If the data has fewer images than the settings need.
    """
    data = _load(settings)
    train, test = _images(data.full, settings.side), _images(data.test, settings.side)
    if len(train.labels) < settings.train_images:
        raise ValueError(f"{data.name} has {len(train.labels)} images, fewer than train_images {settings.train_images}")
    test = Images(*(values[: settings.test_images] for values in test))
    laplacian = grid_laplacian(settings.side)
    rows: list[Row] = []
    pictures, films = {"original": _levels(test.images)}, {}
    for trial in range(settings.trials):
        generator = torch.Generator().manual_seed(derive_seed(seed, "permuted images", trial))
        scramble = torch.randperm(settings.side**2, generator=generator)
        scrambled = permute_pixels(train.images, scramble)
        moments = second_moments(scrambled)
        moments = moments / moments.diag().mean()
        chosen = torch.randperm(len(train.labels), generator=generator)[: settings.train_images]
        bounds = {"none": torch.arange(len(scramble)), "true_inverse": inverse_permutation(scramble)}
        for method in sorted(settings.methods, key=[*bounds, *LEARNERS].index):
            started = time.perf_counter()
            if method in bounds:
                learned = Learned(bounds[method])
            else:  # a learner is given the moments of scrambled images alone, not `scramble`
                learned = LEARNERS[method](moments, settings=settings, seed=derive_seed(seed, method, trial))
            seconds = time.perf_counter() - started
            index = learned.gathered
            restored = permute_pixels(permute_pixels(test.images, scramble), index)
            accuracy = train_and_test(
                Images(permute_pixels(scrambled[chosen], index), train.labels[chosen]),
                Images(restored, test.labels),
                settings,
                seed=derive_seed(seed, "network", trial),
                num_classes=data.num_classes,
            )
            variation = float(total_variation(permutation_matrix(index), moments, laplacian))
            row = {
                **{"trial": trial, "method": method, "accuracy": accuracy},
                "regained": _regained(accuracy, [other for other in rows if other["trial"] == trial]),
                "objective": 2 * variation / float((laplacian < 0).sum()),
                "neighbours_restored": neighbours_restored(scramble[index], laplacian),
                "distance": learned.distance,
                "learn_seconds": seconds,
            }
            yield row
            rows.append(row)
            if not trial:
                pictures[method] = _levels(restored)
                if learned.film is not None:
                    films[method] = learned.film[:, :, scramble.argsort()].tolist()
    return {"data": data.name, "seed": seed, "pictures": pictures, "films": films, "summary": summarise(rows)}


def train_and_test(
    train: Images, test: Images, settings: PermutedImagesSettings, *, seed: int, num_classes: int
) -> float:
    """Trains a network from scratch and returns its test accuracy; the same for every method."""
    with seeded(seed):
        network = SmallNetwork(train.images.shape[1], settings.width, num_classes)
        network.to(memory_format=torch.channels_last)
        num_batches = len(train.labels) // settings.batch_size
        trainer = WeightTrainer(
            network=network,
            optimizer=make_sgd(network, momentum=0.9, weight_decay=5e-4),
            learning_rate=lambda now: settings.learning_rate * min(1.0, 1.25 * (1 - now / settings.epochs)),
            drop_prob=lambda now: 0.0,  # noqa: ARG005
        )
        for epoch in range(settings.epochs):
            order = torch.randperm(len(train.labels))[: num_batches * settings.batch_size]
            batches = ((train.images[part], train.labels[part]) for part in torch.split(order, settings.batch_size))
            trainer.train_epoch(batches, repeat(None), epoch=epoch, num_batches=num_batches)
        tested = zip(torch.split(test.images, 1000), torch.split(test.labels, 1000), strict=True)
        return evaluate(network.eval(), tested, None).accuracy


class SmallNetwork(nn.Sequential):
    """Three 3x3 convolutions, a pooling after the second, and the mean over the image: it lives on neighbourhoods."""

    def __init__(self, channels: int, width: int, num_classes: int) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in ((channels, width), (width, width), (width, 2 * width)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        layers.insert(6, nn.MaxPool2d(2, ceil_mode=True))
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, num_classes))

    def forward(self, x: Tensor, genotype: None = None, drop_prob: float = 0.0) -> Tensor:  # noqa: ARG002
        """Maps (N, C, H, W) to logits (N, classes); there is no path to choose."""
        logits: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return logits


def _regained(accuracy: float, rows: list[Row]) -> float | None:
    """Returns (accuracy − none) / (true inverse − none), None unless both rows are there and differ."""
    known = {row["method"]: row["accuracy"] for row in rows}
    if not {"none", "true_inverse"} <= set(known) or known["true_inverse"] == known["none"]:
        return None
    return float((accuracy - known["none"]) / (known["true_inverse"] - known["none"]))


def summarise(rows: list[Row]) -> dict[str, Any]:
    """Returns by method the mean and deviation of the accuracy, and the share that the means have regained."""
    means: list[Row] = []
    summary: dict[str, Any] = {}
    for method, chosen in grouped(rows, "method").items():
        accuracy = spread([row["accuracy"] for row in chosen])
        means.append({"method": method, "accuracy": accuracy.mean})
        others = ("objective", "neighbours_restored", "learn_seconds")
        summary[method] = {
            "accuracy": asdict(accuracy),
            "regained": _regained(accuracy.mean, means),
            **{key: sum(row[key] for row in chosen) / len(chosen) for key in others},
        }
    return summary


def _load(settings: PermutedImagesSettings) -> ImageData:
    cached = (Path(settings.root).expanduser() / "cifar10.npz").is_file()
    if settings.data == "digits" or (settings.data == "auto" and not cached):
        return digits()
    return torchvision_images(
        name="cifar10",
        root=settings.root,
        held_out=0.1,
        max_train=settings.moment_images,
        max_test=settings.test_images,
    )


def _images(split: Split, side: int) -> Images:
    """Reads a split, averaged down to the side.

    Raises:
        ValueError: If its images are smaller, or no whole number of times larger.
    """
    images, labels = (torch.cat(parts) for parts in zip(*split.batches(1000), strict=True))
    height, width = images.shape[2:]
    if height != width or height % side:
        raise ValueError(f"side must divide that of the images, {height}x{width}, got {side}")
    return Images(F.avg_pool2d(images, height // side), labels)


def _levels(images: Tensor) -> list[Any]:
    """Returns the first images in [0, 1] as (N, H, W, C) lists."""
    shown = images[:PICTURES].permute(0, 2, 3, 1)
    low, high = shown.amin((1, 2, 3), keepdim=True), shown.amax((1, 2, 3), keepdim=True)
    levels: list[Any] = ((shown - low) / (high - low).clamp(min=1e-6)).tolist()
    return levels
