"""Images behind an unknown permutation of their pixels, found again by a learned permutation before the network.

The task of Kaleidoscope (arXiv:2012.14966, §3.2) and of AutoShuffleNet's penalty (arXiv:1901.08624, eq. 4) on real
images: one fixed permutation scrambles all pixels, the same in every image and channel, and a convolutional network
loses what neighbours tell it. A layer learns the inverse without labels: it minimises the total variation of what it
returns, is hardened to one index vector, and the network is then trained on the gathered images, as it is on scrambled
ones (`none`) and on unscrambled ones (`true_inverse`, the bound). The learner sees nothing of the true order.

Squared total variation needs only the n x n second moments S of the pixels: for the grid's Laplacian L it is
tr(L M S Mᵀ), for soft matrices M and permutations alike. Every blur of a soft M lowers it, so what descends is
−tr(K M S Mᵀ) with K = c I − L/‖L‖: the same up to constants on permutations, since there tr(M S Mᵀ) = tr(S). It does
not change under the 8 symmetries of the square, and neither does what is found: a network trained afterwards sees the
images turned or mirrored, all alike. Both learners are deterministic by seed.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.data import digits, torchvision_images
from nas.image_data import ImageData
from nas.runtime import derive_seed
from nas.splits import Split
from nas.statistics import spread
from nas.training import WeightTrainer, evaluate, make_sgd
from search_spaces.auto_shuffle import AutoShuffle, start_matrix
from search_spaces.kaleidoscope import LOGIT_LIMIT, SwitchShuffle
from search_spaces.permutations import (
    inverse_permutation,
    nearest_permutation,
    permutation_matrix,
    project_doubly_stochastic,
)
from search_spaces.switches import SwitchTables, switch_matrix, switch_permutation

METHODS = ("none", "auto_shuffle", "kaleidoscope", "faq", "true_inverse")
SNAPSHOTS = 6
FLOOR = 1e-12
"""Smallest entry of a soft matrix while it is learned by factors: from 0 none could grow again."""
SWITCH_START, SWITCH_NOISE, SWITCH_STEP, SWITCH_SHIFT = 3.0, 0.3, 5.0, 0.5
"""Of a switch network: logit and its spread at the start, step along the gradient in p, and shift of the kernel."""
SWITCH_REACHES = (1.0, 1.0, 1.0, 1.0, 0.6, 0.3, 0.0, 0.0)
"""Reach of the kernel, by eighths of the stages; the last is total variation itself."""
PICTURES = 6


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


class Images(NamedTuple):
    """Normalised images (N, C, side, side) and labels (N,)."""

    images: Tensor
    labels: Tensor


class Learned(NamedTuple):
    """A permutation (n,), how far the soft layer was from it, and six matrices on the way (6, n, n)."""

    gathered: Tensor
    distance: float
    film: Tensor


def permute_pixels(images: Tensor, index: Tensor) -> Tensor:
    """Returns images (N, C, H, W) whose pixel i, counted by rows, is pixel `index[i]`, in every channel."""
    gathered: Tensor = images.flatten(2).index_select(2, index)
    return gathered.view(images.shape)


def grid_laplacian(side: int) -> Tensor:
    """Returns L (n, n) of the grid of n = side² pixels: xᵀ L x sums the squared differences of neighbours."""
    path = torch.zeros(side, side)
    path.diagonal(1).fill_(1)
    path += path.T.clone()
    adjacency = torch.kron(path, torch.eye(side)) + torch.kron(torch.eye(side), path)
    return torch.diag(adjacency.sum(1)) - adjacency


def second_moments(images: Tensor) -> Tensor:
    """Returns the pixels' second moments (n, n), means over images and channels of (N, C, H, W).

    Every channel of an image is taken less its own mean, which total variation does not see.
    """
    values = images.flatten(2).flatten(0, 1)  # (N C, n)
    values = values - values.mean(1, keepdim=True)
    moments: Tensor = values.T @ values
    return moments / len(values)


def total_variation(matrix: Tensor, moments: Tensor, laplacian: Tensor) -> Tensor:
    """Returns the mean sum of squared differences of neighbours in M x: tr(L M S Mᵀ), shape (...,).

    Args:
        matrix: M, (..., n, n), rows summing to 1.
        moments: S, (n, n) or (..., n, n).
        laplacian: L likewise; with −K in its place this is the objective that is learned.
    """
    value: Tensor = ((laplacian @ matrix) * (matrix @ moments)).sum((-2, -1))
    return value


def neighbours_restored(source: Tensor, laplacian: Tensor) -> float:
    """Returns the share of neighbouring positions that show neighbouring pixels, the same for all 8 symmetries.

    Args:
        source: (n,), the true pixel that each position shows.
        laplacian: (n, n) of the grid.
    """
    adjacent = laplacian < 0
    return float((adjacent & adjacent[source][:, source]).sum() / adjacent.sum())


def smoothness_kernel(laplacian: Tensor, *, shift: float, reach: float = 0.0) -> Tensor:
    """Returns K (n, n), of which −tr(K M S Mᵀ) is minimised.

    Args:
        laplacian: L, (n, n).
        shift: At `reach` 0, K = shift · I − L/‖L‖. With shift 1 the objective is concave and every permutation a
            minimum; below it soft matrices are drawn to smoothness first.
        reach: Share in [0, 1] of a kernel in which pixels across the whole image count: (L + 0.3 I)⁻¹ without its
            constant, of norm 1, less 0.3 I.
    """
    values, vectors = torch.linalg.eigh(laplacian)
    near = shift - values / values[-1]
    wide = 1 / (values + 0.3)
    wide[0] = 0
    kernel: Tensor = (vectors * ((1 - reach) * near + reach * (wide / wide.max() - 0.3))) @ vectors.T
    return kernel


def objective_slope(matrices: Tensor, moments: Tensor, kernel: Tensor, *, weight: float) -> Tensor:
    """Returns the gradient (..., n, n) of −tr(K M S Mᵀ) + weight · P(M), for M > 0; half the time of autograd.

    P is AutoShuffleNet's penalty, `search_spaces.permutations.permutation_penalty`.
    """
    rows, columns = (torch.linalg.vector_norm(matrices, dim=dim, keepdim=True) for dim in (-1, -2))
    slope: Tensor = weight * (2 - matrices / rows - matrices / columns) - 2 * kernel @ (matrices @ moments)
    return slope


def learn_auto_shuffle(moments: Tensor, *, settings: PermutedImagesSettings, seed: int) -> Learned:
    """Learns AutoShuffle's doubly stochastic M, the penalty's weight growing from below 0, where it favours spread.

    So all decisions start open and the coarsest fall first. Steps are factors, exp(−step · gradient), for which
    entries near 0 are no wall, each followed by AutoShuffle's normalisation.

    Args:
        moments: (n, n) of the scrambled images, of mean diagonal 1.
        settings: Restarts, steps and rounds.
        seed: Of the starts.
    """
    n = len(moments)
    laplacian = grid_laplacian(round(n**0.5))
    kernel = smoothness_kernel(laplacian, shift=0.6)
    with _seeded(seed):
        starts = [start_matrix(n, groups=1, start="perturbed_uniform", noise=0.3) for _ in range(settings.restarts)]
        found: dict[float, Learned] = {}  # by total variation: equal ones are symmetric to one another
        weights, steps, matrices = (-0.6, 0.2), settings.steps, torch.stack(starts)
        for _ in range(1 + settings.rounds):
            matrices, film = _anneal(matrices, moments, kernel, weights=weights, steps=steps)
            for number, matrix in enumerate(matrices):
                layer = AutoShuffle(n, groups=1)
                layer.matrix.data.copy_(matrix)
                index = nearest_permutation(matrix)
                value = float(total_variation(permutation_matrix(index), moments, laplacian))
                found.setdefault(round(value, 3), Learned(index, float(layer.distance()), film[number]))
            best = [found[value].gathered for value in sorted(found)[:4]]
            molten = [0.1 * permutation_matrix(best[i % len(best)]) for i in range(settings.restarts)]
            rest = (1 + 0.9 * (2 * torch.rand(settings.restarts, n, n) - 1)) / n
            matrices = project_doubly_stochastic(torch.stack(molten) + 0.9 * rest, iterations=10)
            weights, steps = (-0.15, 0.2), max(1, settings.steps * 2 // 5)
    return found[min(found)]


def learn_switches(moments: Tensor, *, settings: PermutedImagesSettings, seed: int) -> Learned:
    """Learns a product of switch networks, one after the other, each hardened before the next.

    Deep networks of half-open switches all have the same uniform matrix, with no gradient to break the tie. So each
    network starts near the identity, behind the product so far and on wires in random order, descends by the gradient
    in its settings p, and is kept where the hardened product has the lower objective. That is the paper's hierarchy
    (BB*)ʷ of products of w kaleidoscope matrices. The first stages smooth across the whole image.

    No penalty is added, so a descent may end with switches half open, which hardening decides; what counts is the
    hardened objective. A penalty of a weight growing to 0.3 closed them all and left rougher images.

    Args:
        moments: (n, n) of the scrambled images, of mean diagonal 1.
        settings: Chains, stages and steps of a stage.
        seed: Of the starts and of the wires.
    """
    n, chains = len(moments), settings.chains
    laplacian = grid_laplacian(round(n**0.5))
    layer = SwitchShuffle(n, groups=1, start_logit=SWITCH_START)
    film: list[Tensor] = []
    distance = torch.zeros(chains)
    with _seeded(seed):
        current = torch.stack([torch.randperm(n) for _ in range(chains)])
        for stage in range(settings.stages):
            if stage >= len(film) * settings.stages / (SNAPSHOTS - 1):
                film.append(current)
            reach = SWITCH_REACHES[len(SWITCH_REACHES) * stage // settings.stages]
            kernel = smoothness_kernel(laplacian, shift=SWITCH_SHIFT, reach=reach)
            wires = torch.stack([torch.randperm(n) for _ in range(chains)])  # wire k carries position wires[k]
            carried = current.gather(1, wires)
            seen, weighed = moments[carried[:, :, None], carried[:, None]], kernel[wires[:, :, None], wires[:, None]]
            logits, apart = _descend(layer, seen, weighed, steps=settings.stage_steps, chains=chains)
            hard = torch.stack([switch_permutation(row > 0, n) for row in logits])
            proposed = torch.empty_like(current).scatter_(1, wires, carried.gather(1, hard))
            old, new = (total_variation(permutation_matrix(index), moments, -kernel) for index in (current, proposed))
            taken = new < old
            current = torch.where(taken[:, None], proposed, current)
            distance = torch.where(taken, apart, distance)
    film += [current] * (SNAPSHOTS - len(film))
    best = total_variation(permutation_matrix(current), moments, laplacian).argmin()
    return Learned(current[best], float(distance[best]), permutation_matrix(torch.stack(film)[:, best]))


def learn_faq(moments: Tensor, *, settings: PermutedImagesSettings, seed: int) -> Learned:
    """Returns the best of `restarts` runs of scipy's fast approximate quadratic assignment on the same objective."""
    import numpy as np
    from scipy.optimize import quadratic_assignment

    n = len(moments)
    laplacian = grid_laplacian(round(n**0.5))
    diagonal = moments.diag()
    squared = (diagonal[:, None] + diagonal - 2 * moments).double().numpy()  # mean squared differences of pixels
    adjacency = (laplacian < 0).double().numpy()
    rng = np.random.default_rng(seed)
    options = {"rng": rng, "P0": "randomized"}
    runs = [quadratic_assignment(adjacency, squared, options=options) for _ in range(settings.restarts)]
    index = torch.as_tensor(min(runs, key=lambda run: float(run.fun)).col_ind)
    return Learned(index, 0.0, permutation_matrix(index).expand(SNAPSHOTS, n, n))


LEARNERS: dict[str, Callable[..., Learned]] = {
    "auto_shuffle": learn_auto_shuffle,
    "kaleidoscope": learn_switches,
    "faq": learn_faq,
}


def run(settings: PermutedImagesSettings, *, seed: int, on_row: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Learns every permutation and trains a network behind each.

    Args:
        settings: The task.
        seed: Drives permutations, choice of images, starts and networks.
        on_row: Called with each row: `trial`, `method`, `accuracy` (test), `regained` (the share of the accuracy lost
            from `true_inverse` to `none`; None without both), `objective` (mean squared difference of neighbours, the
            variance within images being 1), `neighbours_restored`, `distance` (None where nothing is soft) and
            `learn_seconds`.

    Returns:
        `settings`, `data`, `rows`, `summary` by method, and of the first trial `pictures` and `films`, whose size is
        that of n² numbers times 6: columns in the true order, so that the true inverse is the diagonal.

    Raises:
        FileNotFoundError: If CIFAR-10 is asked for and not in `root`.
        ValueError: If the data has fewer images than the settings need.
    """
    data = _load(settings)
    train, test = _images(data.full, settings.side), _images(data.test, settings.side)
    if len(train.labels) < settings.train_images:
        raise ValueError(f"{data.name} has {len(train.labels)} images, fewer than train_images {settings.train_images}")
    test = Images(test.images[: settings.test_images], test.labels[: settings.test_images])
    laplacian = grid_laplacian(settings.side)
    figures: dict[str, Any] = {"settings": asdict(settings) | {"root": str(settings.root)}, "data": data.name}
    figures |= {"seed": seed, "rows": [], "pictures": {}, "films": {}}
    for trial in range(settings.trials):
        generator = torch.Generator().manual_seed(derive_seed(seed, "permuted images", trial))
        scramble = torch.randperm(settings.side**2, generator=generator)
        scrambled = permute_pixels(train.images, scramble)
        moments = second_moments(scrambled)
        moments = moments / moments.diag().mean()
        chosen = torch.randperm(len(train.labels), generator=generator)[: settings.train_images]
        if not trial:
            figures["pictures"] |= {"original": _levels(test.images), "none": None}
        trial_rows: list[dict[str, Any]] = []
        for method in sorted(settings.methods, key=("none", "true_inverse", *LEARNERS).index):
            started = time.perf_counter()
            index, distance, film = _find(method, moments, scramble, settings, derive_seed(seed, method, trial))
            seconds = time.perf_counter() - started
            restored = permute_pixels(permute_pixels(test.images, scramble), index)
            accuracy = train_and_test(
                Images(permute_pixels(scrambled[chosen], index), train.labels[chosen]),
                Images(restored, test.labels),
                settings=settings,
                seed=derive_seed(seed, "network", trial),
                num_classes=data.num_classes,
            )
            row = {
                "trial": trial,
                "method": method,
                "accuracy": accuracy,
                "regained": _regained(accuracy, trial_rows),
                "objective": 2
                * float(total_variation(permutation_matrix(index), moments, laplacian))
                / float((laplacian < 0).sum()),
                "neighbours_restored": neighbours_restored(scramble[index], laplacian),
                "distance": distance,
                "learn_seconds": seconds,
            }
            trial_rows.append(row)
            on_row(row)
            if not trial:
                figures["pictures"][method] = _levels(restored)
                if film is not None:
                    figures["films"][method] = film[:, :, scramble.argsort()].tolist()
        figures["rows"] += trial_rows
    return figures | {"summary": summarise(figures["rows"])}


def train_and_test(
    train: Images, test: Images, *, settings: PermutedImagesSettings, seed: int, num_classes: int
) -> float:
    """Trains a network from scratch and returns its test accuracy; the same for every method."""
    with _seeded(seed):
        network = SmallNetwork(train.images.shape[1], settings.width, num_classes)
        network = network.to(memory_format=torch.channels_last)
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
        network.eval()
        return evaluate(
            network, zip(torch.split(test.images, 1000), torch.split(test.labels, 1000), strict=True), None
        ).accuracy


class SmallNetwork(nn.Module):
    """Three 3x3 convolutions, a pooling after the second, and the mean over the image: it lives on neighbourhoods."""

    def __init__(self, channels: int, width: int, num_classes: int) -> None:
        super().__init__()
        widths = (channels, width, width, 2 * width)
        layers: list[nn.Module] = []
        for number in range(3):
            layers.append(nn.Conv2d(widths[number], widths[number + 1], 3, padding=1, bias=False))
            layers += [nn.BatchNorm2d(widths[number + 1]), nn.ReLU()]
        layers.insert(6, nn.MaxPool2d(2, ceil_mode=True))
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, num_classes))

    def forward(self, x: Tensor, genotype: None = None, drop_prob: float = 0.0) -> Tensor:  # noqa: ARG002
        """Maps (N, C, H, W) to logits (N, classes); there is no path to choose."""
        logits: Tensor = self.layers(x)
        return logits


def _anneal(
    matrices: Tensor, moments: Tensor, kernel: Tensor, *, weights: tuple[float, float], steps: int
) -> tuple[Tensor, Tensor]:
    """Descends with a weight of the penalty that grows from the first to the second; all matrices (R, n, n) at once.

    Returns:
        The matrices, and snapshots (R, 6, n, n) on the way.
    """
    film = [matrices]
    for step in range(steps):
        weight = weights[0] + (weights[1] - weights[0]) * step / steps
        slope = objective_slope(matrices, moments, kernel, weight=weight)
        slope = slope - slope.amin(-1, keepdim=True)  # a shift of a row is normalised away, an overflow is not
        matrices = project_doubly_stochastic((matrices * torch.exp(-2 * slope)).clamp(min=FLOOR), iterations=2)
        if step + 1 >= len(film) * steps / (SNAPSHOTS - 1):
            film.append(matrices)
    film += [matrices] * (SNAPSHOTS - len(film))
    return matrices, torch.stack(film[:SNAPSHOTS], 1)


def _descend(
    layer: SwitchShuffle, moments: Tensor, kernels: Tensor, *, steps: int, chains: int
) -> tuple[Tensor, Tensor]:
    """Learns one switch network a chain; returns logits (chains, S) and how far each is from its permutation."""
    tables = SwitchTables(layer.partner, layer.switch, len(layer.logits))
    matrices_of = torch.vmap(lambda settings: switch_matrix(settings, tables))
    logits = layer.logits.detach() + SWITCH_NOISE * torch.randn(chains, len(layer.logits))
    for _ in range(steps):
        passes = logits.sigmoid().requires_grad_()
        objective = total_variation(matrices_of(passes), moments, -kernels)
        (slope,) = torch.autograd.grad(objective.sum(), passes)
        logits = (logits - SWITCH_STEP * slope).clamp(-LOGIT_LIMIT, LOGIT_LIMIT)
    apart = (matrices_of(logits.sigmoid()) - matrices_of((logits > 0).float())).abs().amax((1, 2))
    return logits, apart


def _find(
    method: str, moments: Tensor, scramble: Tensor, settings: PermutedImagesSettings, seed: int
) -> tuple[Tensor, float | None, Tensor | None]:
    """Returns what is gathered, how far it was from that while soft, and its film; the last two where it was learned.

    A learner is given the moments of scrambled images alone, not `scramble`.
    """
    if method == "none":
        return torch.arange(len(scramble)), None, None
    if method == "true_inverse":
        return inverse_permutation(scramble), None, None
    learned = LEARNERS[method](moments, settings=settings, seed=seed)
    return learned.gathered, *((None, None) if method == "faq" else learned[1:])


def _regained(accuracy: float, rows: list[dict[str, Any]]) -> float | None:
    """Returns (accuracy − none) / (true inverse − none), None unless both rows are there and differ."""
    known = {row["method"]: row["accuracy"] for row in rows}
    if not {"none", "true_inverse"} <= set(known) or known["true_inverse"] == known["none"]:
        return None
    return float((accuracy - known["none"]) / (known["true_inverse"] - known["none"]))


def summarise(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns by method the mean and deviation of the accuracy, and the share that the means have regained."""
    means: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    for method in dict.fromkeys(row["method"] for row in rows):
        chosen = [row for row in rows if row["method"] == method]
        accuracy = spread([row["accuracy"] for row in chosen])
        means.append({"method": method, "accuracy": accuracy.mean})
        summary[method] = {"accuracy": accuracy.to_dict(), "regained": _regained(accuracy.mean, means)}
        for key in ("objective", "neighbours_restored", "learn_seconds"):
            summary[method][key] = sum(row[key] for row in chosen) / len(chosen)
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
    batches = list(split.batches(1000))
    height, width = batches[0][0].shape[2:]
    if height != width or height % side:
        raise ValueError(f"side must divide that of the images, {height}x{width}, got {side}")
    pooled = torch.cat([F.avg_pool2d(images, height // side) for images, _ in batches])
    return Images(pooled, torch.cat([labels for _, labels in batches]))


def _levels(images: Tensor) -> list[Any]:
    """Returns the first images in [0, 1] as (N, H, W, C) lists."""
    shown = images[:PICTURES].permute(0, 2, 3, 1)
    low, high = shown.amin((1, 2, 3), keepdim=True), shown.amax((1, 2, 3), keepdim=True)
    levels: list[Any] = ((shown - low) / (high - low).clamp(min=1e-6)).tolist()
    return levels


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds torch's CPU generator within the context and gives it back as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
