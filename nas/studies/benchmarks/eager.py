"""The baseline: a training loop as one writes it first, on the same network and cell, in a process of its own.

torch's DataLoader, PIL images transformed one by one by torchvision, contiguous float32 weights, ordinary SGD, and a
loss read back at every step. What it lacks is what the real loop has: images on the device, augmented together, and
whatever `nas.compute.device` switches on. It has no Cutout and no label smoothing. What `nas` sets for its own process,
such as to keep freed memory (`nas.compute.device`), does not hold there.
"""

import pickle
import weakref
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from nas.data.augmentation import Augmentation
from nas.training.settings import TrainingSettings
from search_spaces.genotype import Genotype


@dataclass(frozen=True, slots=True, kw_only=True)
class EagerSettings:
    """What the loop trains on, and how.

    Attributes:
        image_shape: (C, H, W), C being 1 or 3.
        num_classes: Number of classes.
        augmentation: Random crops and flips.
        training: The protocol, which the loop follows as in the middle of its epochs. Gradients are clipped together.
        steps: Steps of an epoch.
        workers: Processes that load images; 0 loads them between the steps.
        device: Where the network trains.

    Raises:
        ValueError: If the images have other numbers of channels than 1 or 3.
    """

    image_shape: tuple[int, int, int]
    num_classes: int
    augmentation: Augmentation
    training: TrainingSettings
    steps: int
    workers: int
    device: torch.device

    def __post_init__(self) -> None:
        if self.image_shape[0] not in (1, 3):
            raise ValueError(f"bench.parts=[eager] needs images of 1 or 3 channels, got {self.image_shape[0]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PilImages(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's data sets hold them: an array each, made a PIL image and transformed when asked for.

    Attributes:
        images: (N, H, W, C) uint8.
        labels: (N,).
        transform: Maps a PIL image to a tensor (C, H, W).
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    transform: Callable[[object], Tensor]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        pixels = self.images[index]
        image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
        return self.transform(image), int(self.labels[index])


class EagerLoop:
    """Trains a network in the straightforward way.

    Args:
        network: On the CPU, contiguous; moved to the device.
        genotype: The path to train; None for a network without choices.
        settings: Images and protocol.
    """

    def __init__(self, network: nn.Module, genotype: Genotype | None, *, settings: EagerSettings) -> None:
        self.network = network.to(settings.device).train()
        self.genotype = genotype
        self.settings = settings
        self.loader = make_loader(settings)
        training = settings.training
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=training.learning_rate(training.epochs // 2),
            momentum=training.momentum,
            nesterov=training.momentum > 0,
            weight_decay=training.weight_decay,
        )

    def epoch(self) -> float:
        """Takes the steps of an epoch; returns the mean loss."""
        device = self.settings.device
        total = sum(self.step(images.to(device), labels.to(device)) for images, labels in self.loader)
        return total / self.settings.steps

    def step(self, images: Tensor, labels: Tensor) -> float:
        """Takes one step on images (N, C, H, W) and labels (N,); returns the loss."""
        training = self.settings.training
        self.optimizer.zero_grad()
        logits = self.network(images, self.genotype, drop_prob=training.drop_prob(training.epochs // 2))
        loss = F.cross_entropy(logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        if training.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), training.max_grad_norm)
        self.optimizer.step()
        return loss.item()


def make_loader(settings: EagerSettings) -> DataLoader[tuple[Tensor, int]]:
    """Makes a loader of random images, an epoch of them: between epochs its workers load nothing in others' turns."""
    from torchvision import transforms

    channels, height, width = settings.image_shape
    batch_size = settings.training.batch_size
    num_images = settings.steps * batch_size
    augmentation = settings.augmentation
    crop = transforms.RandomCrop((height, width), padding=augmentation.crop_padding)
    steps = [
        *([crop] if augmentation.crop_padding else []),
        *([transforms.RandomHorizontalFlip()] if augmentation.flip else []),
        *(transforms.ToTensor(), transforms.Normalize((0.5,) * channels, (0.25,) * channels)),
    ]
    rng = np.random.RandomState(0)
    images = PilImages(
        images=rng.randint(256, size=(num_images, height, width, channels), dtype=np.uint8),
        labels=rng.randint(settings.num_classes, size=num_images),
        transform=transforms.Compose(steps),
    )
    return data_loader(images, batch_size=batch_size, workers=settings.workers, device=settings.device)


def data_loader(images: Dataset[Any], *, batch_size: int, workers: int, device: torch.device) -> DataLoader[Any]:
    """Makes torch's loader of shuffled batches as one writes it first; its workers live as long as it does."""
    return DataLoader(
        images,
        batch_size=batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
    )


class EagerProcess:
    """An `EagerLoop` in another process, which waits between epochs; it ends when this object goes.

    Args:
        network: On the CPU, contiguous; copied to the other process.
        genotype: The path to train; None for a network without choices.
        settings: Images and protocol.
        threads: CPU threads within an op.

    Raises:
        OSError: If the process cannot set up the loop.
    """

    def __init__(self, network: nn.Module, genotype: Genotype | None, *, settings: EagerSettings, threads: int) -> None:
        # A network that is not pickled here would share its memory, with an open file for every tensor.
        arguments = (pickle.dumps(network), genotype, settings, threads)
        context = get_context("forkserver")  # a process forked from this one may hang in torch's thread pool
        self._pool = ProcessPoolExecutor(1, context, initializer=_set_up, initargs=arguments)
        weakref.finalize(self, self._pool.shutdown)
        self._result_of(float)

    def epoch(self) -> float:
        """Takes the steps of an epoch; returns the mean loss.

        Raises:
            OSError: If the process is gone.
        """
        return self._result_of(_epoch)

    def _result_of(self, task: Callable[[], float]) -> float:
        try:
            return self._pool.submit(task).result()
        except BrokenProcessPool:
            self._pool.shutdown()  # not when garbage is collected: perhaps by the pool's own thread
            raise OSError("the process of the eager loop ended; its error stands above") from None


_loop: EagerLoop
"""The loop of such a process."""


def _set_up(network: bytes, genotype: Genotype | None, settings: EagerSettings, threads: int) -> None:
    global _loop
    torch.set_num_threads(threads)
    _loop = EagerLoop(pickle.loads(network), genotype, settings=settings)


def _epoch() -> float:
    return _loop.epoch()
