"""A model as trained and as exported, and the images on which the two are compared."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from nas.data.named import ImageData
from nas.models.derived import DerivedModel
from nas.models.exporting.formats import Written, check_difference, difference
from nas.models.exporting.plain_layers import DynamicShuffle
from nas.models.exporting.plain_network import make_normalize, plain_network
from nas.models.exporting.settings import ExportSettings
from nas.models.model_card import ModelRecord

BATCHES = (1, 2, 5, 16)
"""Sizes of the batches of random images that every written model is compared on."""


class Exported:
    """The model in its two forms: as trained, and of plain layers for export; and images to compare them on."""

    def __init__(
        self, record: ModelRecord, network: nn.Module, settings: ExportSettings, data: ImageData | None
    ) -> None:
        assert record.image_shape is not None
        self.record, self.network, self.settings, self.data = record, network, settings, data
        self.shape, self.normalize = record.image_shape, None
        if settings.normalize:
            if record.mean is None or record.std is None:
                raise ValueError("mean and std of the training images are not known; take export.normalize=false")
            self.normalize = make_normalize(record.mean, record.std, uint8=settings.uint8)
        plain = plain_network(network, record.genotype)
        self.plain = DerivedModel(plain, record.genotype, self.normalize).eval().requires_grad_(False)
        self.dynamic_shuffle = any(isinstance(layer, DynamicShuffle) for layer in plain.modules())

    def example(self, num_images: int) -> Tensor:
        """Returns random images (N, C, H, W) as the exported model takes them."""
        if self.settings.uint8:
            return torch.randint(256, (num_images, *self.shape), dtype=torch.uint8)
        return torch.rand(num_images, *self.shape) if self.normalize else torch.randn(num_images, *self.shape)

    def logits(self, normalised: Tensor) -> Tensor:
        """Returns what the trained network says of normalised images."""
        logits: Tensor = self.network(normalised, self.record.genotype)
        return logits

    def as_taken(self, normalised: Tensor) -> Tensor:
        """Returns normalised images as the exported model takes them."""
        if self.normalize is None:
            return normalised.contiguous()
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (self.record.mean, self.record.std))
        images = (normalised * std + mean).clamp(0, 1).contiguous()
        return (255 * images).round().to(torch.uint8) if self.settings.uint8 else images

    def random_pairs(self, run: Callable[[Tensor], Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields logits and those expected of random images, of several batch sizes."""
        fixed = self.settings.batch_size
        for size in BATCHES if fixed is None else (fixed, fixed):
            images = self.example(size)
            yield run(images), self.logits(images if self.normalize is None else self.normalize(images))

    def test_batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields normalised test images and labels."""
        assert self.data is not None
        size, total = self.settings.batch_size or 64, len(self.data.test)
        wanted = min(self.settings.test_images or total, total)
        count = -(-wanted // size) if self.settings.batch_size is None else wanted // size  # only whole ones
        for number, (images, labels) in enumerate(islice(self.data.test.batches(size), count)):
            left = wanted - number * size
            yield images[:left], labels[:left]


def compared(name: str, written: Written, exported: Exported) -> dict[str, Any]:
    """Compares a written model with the trained one, and deletes it if it differs.

    Returns:
        `format`, `files`, `bytes`, `max_difference`, `compared` (on random and on test images), and, where there are
        test images, `test_accuracy` and `trained_test_accuracy`.

    Raises:
        ValueError: If it differs.
    """
    try:
        found, hits = {"random": difference(exported.random_pairs(written.run))}, list[Tensor]()
        if exported.data is not None:
            found["test"] = difference(_test_pairs(written, exported, hits))
        for one in found.values():
            check_difference(one, what=str(written.files[0]), dynamic_shuffle=exported.dynamic_shuffle)
    except ValueError:
        for file in written.files:
            file.unlink(missing_ok=True)
        raise
    shares = torch.cat(hits, dim=1).double().mean(dim=1).tolist() if hits else []
    return {
        "format": name,
        "files": [str(file) for file in written.files],
        "bytes": sum(file.stat().st_size for file in written.files),
        "max_difference": max(one.largest for one in found.values()),
        "compared": {key: asdict(one) for key, one in found.items()},
        **dict(zip(("test_accuracy", "trained_test_accuracy"), shares, strict=False)),
    }


def _test_pairs(written: Written, exported: Exported, hits: list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields logits and those expected of test images; adds to `hits`, (2, N) each, which both models get right."""
    for images, labels in exported.test_batches():
        pair = written.run(exported.as_taken(images)), exported.logits(images)
        hits.append(torch.stack([logits.argmax(dim=1) == labels for logits in pair]))
        yield pair
