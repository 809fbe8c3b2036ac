"""Images a second of streamed pictures, as ImageNet is trained, compared with torchvision's loader as one writes it.

Both read the same JPEGs, made here, and yield batches of random parts, mirrored at random and normalised, on the
device. Their passes take turns.
"""

import io
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from nas.compute.device import num_cores
from nas.compute.timing import median_ratio
from nas.data.augmentation import Augmentation
from nas.data.decoding import Decoders, ImageSource
from nas.data.image_files import Framing
from nas.data.own_images import scan_folder
from nas.data.splits import StreamingSplit
from nas.studies.benchmarks.eager import data_loader
from nas.studies.benchmarks.steps import summary
from nas.studies.benchmarks.workbench import Work, Workbench

WIDTH, HEIGHT, QUALITY = 500, 375, 90  # of a picture, as most of ImageNet's are
IMAGE_SIZE = 224
BATCH_SIZE = 64
FLIP = Augmentation(flip=True)
SCENES = 50  # pictures that differ; each is written several times


def measure_loader(bench: Workbench) -> dict[str, Any]:
    """Times passes through pictures, for several numbers of workers.

    Returns:
        `bytes` of a picture on average; by number of workers `ours` and `torchvision`, each with `ms` of a pass, least
        and greatest, and `images_per_second`, and `speedup`, the median over the rounds of the ratio.
    """
    count, device = bench.settings.pictures, bench.runtime.device
    batch_size = min(BATCH_SIZE, count)
    work: dict[str, Work] = {}
    numbers = list(dict.fromkeys(min(workers, num_cores()) for workers in bench.settings.decoders))
    with tempfile.TemporaryDirectory(prefix="nas-bench-") as folder:
        written = write_pictures(Path(folder), count)
        for workers in numbers:
            work |= _passes(Path(folder), workers=workers, batch_size=batch_size, device=device)
        times = bench.time(work)
        del work  # the workers end before the pictures go
    figures: dict[str, Any] = {"pictures": count, "batch_size": batch_size, "bytes": written / count}
    for workers in numbers:
        own = {loader: times[f"{loader}, {workers}"] for loader in ("ours", "torchvision")}
        rows = {loader: summary(milliseconds, images=count) for loader, milliseconds in own.items()}
        faster = median_ratio(own["torchvision"], own["ours"])
        figures[f"{workers} workers"] = {**rows, "speedup": faster}
        bench.results.append(
            f"loader, {workers} workers: {rows['ours']['images_per_second']:.0f} images/s, {faster:.2f} times as fast "
            "as torchvision's"
        )
    return figures


def write_pictures(root: Path, count: int) -> int:
    """Writes JPEGs in two class folders; returns their bytes in all."""
    rng = np.random.RandomState(0)
    scenes = [_jpeg(natural_picture(rng)) for _ in range(min(count, SCENES))]
    written = 0
    for number in range(count):
        file = root / f"class{number % 2}" / f"{number:06}.jpg"
        file.parent.mkdir(exist_ok=True)
        written += file.write_bytes(scenes[number % SCENES])
    return written


def _jpeg(pixels: npt.NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def natural_picture(rng: np.random.RandomState) -> npt.NDArray[np.uint8]:
    """Makes a picture whose frequencies fall off as those of photographs (Field, 1987), its channels alike.

    Returns:
        (HEIGHT, WIDTH, 3).
    """
    across, down = np.fft.rfftfreq(WIDTH)[None], np.fft.fftfreq(HEIGHT)[:, None]
    amplitude = np.maximum(np.hypot(across, down), 1 / WIDTH) ** -1.2
    amplitude[0, 0] = 0  # the mean
    phases = rng.random_sample((4, *amplitude.shape))  # of the brightness, and of each channel
    layers = np.fft.irfft2(amplitude * np.exp(2j * np.pi * phases), s=(HEIGHT, WIDTH))
    brightness, *channels = layers / layers.std(axis=(1, 2), keepdims=True)
    picture: npt.NDArray[np.float64] = np.stack([0.93 * brightness + 0.37 * own for own in channels], axis=2)
    return (128 + 52 * picture).clip(0, 255).astype(np.uint8)


def _passes(root: Path, *, workers: int, batch_size: int, device: torch.device) -> dict[str, Work]:
    """Returns a pass through all pictures by our loader and by that of torchvision's ImageNet example; workers stay."""
    from torchvision import datasets, transforms

    files = scan_folder(root)
    source = ImageSource(files.paths, files.labels, image_size=IMAGE_SIZE, channels=3, framing=Framing())
    split = StreamingSplit(
        Decoders(source, workers=workers, pin_memory=device.type == "cuda"),
        mean=torch.full((3,), 0.5),
        std=torch.full((3,), 0.25),
        indices=torch.arange(len(files.paths)),
        device=device,
    )
    steps = [
        transforms.RandomResizedCrop(IMAGE_SIZE),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
    images = datasets.ImageFolder(str(root), transforms.Compose(steps))
    loader = data_loader(images, batch_size=batch_size, workers=workers, device=device)
    return {
        f"ours, {workers}": lambda: _use(split.batches(batch_size, seed=0, augmentation=FLIP), device),
        f"torchvision, {workers}": partial(_use, loader, device),
    }


def _use(batches: Iterable[tuple[Tensor, Tensor]], device: torch.device) -> None:
    """Goes through batches as a training does that takes no time."""
    for images, labels in batches:
        images.to(device, non_blocking=True)
        labels.to(device, non_blocking=True)
