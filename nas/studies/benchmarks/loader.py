"""Images a second of streamed pictures, as ImageNet is trained, beside torchvision's loader as one writes it first.

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
from nas.runs.console import progress
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
    settings, device = bench.settings, bench.runtime.device
    count, batch_size = settings.pictures, min(BATCH_SIZE, settings.pictures)
    numbers = list(dict.fromkeys(min(workers, num_cores()) for workers in settings.decoders))
    with tempfile.TemporaryDirectory(prefix="nas-bench-") as folder:
        written = write_pictures(Path(folder), count)
        work: dict[str, Work] = {}
        for workers in numbers:
            work |= _passes(Path(folder), workers=workers, batch_size=batch_size, device=device)
        times = bench.time(work)
        del work  # the workers end before the pictures go
    figures: dict[str, Any] = {"pictures": count, "batch_size": batch_size, "bytes": written / count}
    for workers in numbers:
        own = {loader: times[f"{loader}, {workers}"] for loader in ("ours", "torchvision")}
        rows = {loader: summary(milliseconds, images=count) for loader, milliseconds in own.items()}
        figures[f"{workers} workers"] = {**rows, "speedup": median_ratio(own["torchvision"], own["ours"])}
        bench.results.append(
            f"loader, {workers} workers: {rows['ours']['images_per_second']:.0f} images/s, "
            f"{figures[f'{workers} workers']['speedup']:.2f} times as fast as torchvision's"
        )
    return figures


def write_pictures(root: Path, count: int) -> int:
    """Writes JPEGs in two class folders; returns their bytes in all."""
    rng = np.random.RandomState(0)
    scenes: list[bytes] = []
    with progress("making pictures", total=count) as bar:
        for number in range(count):
            if number < SCENES:
                buffer = io.BytesIO()
                Image.fromarray(natural_picture(rng)).save(buffer, "JPEG", quality=QUALITY)
                scenes.append(buffer.getvalue())
            file = root / f"class{number % 2}" / f"{number:06}.jpg"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(scenes[number % SCENES])
            bar.advance()
    return sum(len(scenes[number % SCENES]) for number in range(count))


def natural_picture(rng: np.random.RandomState) -> npt.NDArray[np.uint8]:
    """Makes a picture whose frequencies fall off as those of photographs (Field, 1987), its channels alike.

    Returns:
        (HEIGHT, WIDTH, 3).
    """
    across, down = np.fft.rfftfreq(WIDTH)[None], np.fft.fftfreq(HEIGHT)[:, None]
    amplitude = np.maximum(np.hypot(across, down), 1 / WIDTH) ** -1.2
    amplitude[0, 0] = 0  # the mean

    def layer() -> npt.NDArray[np.float64]:
        waves = amplitude * np.exp(2j * np.pi * rng.random_sample(amplitude.shape))
        made: npt.NDArray[np.float64] = np.fft.irfft2(waves, s=(HEIGHT, WIDTH))
        made /= made.std()
        return made

    brightness = layer()
    channels = [0.93 * brightness + 0.37 * layer() for _ in range(3)]
    return (128 + 52 * np.stack(channels, axis=2)).clip(0, 255).astype(np.uint8)


def _passes(root: Path, *, workers: int, batch_size: int, device: torch.device) -> dict[str, Work]:
    """Returns a pass through all pictures by our loader and by that of torchvision's ImageNet example; workers stay."""
    from torchvision import datasets, transforms

    files, cuda = scan_folder(root), device.type == "cuda"
    source = ImageSource(files.paths, files.labels, image_size=IMAGE_SIZE, channels=3, framing=Framing())
    split = StreamingSplit(
        Decoders(source, workers=workers, pin_memory=cuda),
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
