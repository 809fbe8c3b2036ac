"""Batches of a resident split: complete, a function of the seed, refused where impossible."""

from collections.abc import Iterable

import pytest
import torch

import nas.data.npz
import nas.data.splits
from nas.data.augmentation import Augmentation, augment
from nas.data.splits import ResidentSplit


def numbered_split(num_images: int = 20, indices: list[int] | None = None) -> ResidentSplit:
    """Image i is of value i throughout, and so is its label; normalised it is i / 255."""
    images = torch.arange(num_images, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4)
    return ResidentSplit(
        images,
        torch.arange(num_images),
        mean=torch.zeros(3),
        std=torch.ones(3),
        indices=None if indices is None else torch.tensor(indices),
    )


def collected(batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


def test_without_a_seed_batches_come_in_stored_order():
    batches = list(numbered_split(20, [3, 5, 7, 11, 13]).batches(2))
    assert [labels.tolist() for _, labels in batches] == [[3, 5], [7, 11], [13]]
    for images, labels in batches:
        assert images.dtype == torch.float32
        assert images.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(images[:, 0, 0, 0], labels / 255)


@pytest.mark.parametrize("augmentation", [None, Augmentation(crop_padding=1, flip=True)])
def test_an_epoch_is_a_function_of_its_seed(augmentation):
    split = numbered_split()
    first, again, other = (collected(split.batches(6, seed=seed, augmentation=augmentation)) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[1], other[1])
    assert sorted(first[1].tolist()) == list(range(20))


def test_interleaved_epochs_do_not_disturb_each_other():
    split, augmentation = numbered_split(), Augmentation(crop_padding=1)
    alone = collected(split.batches(4, seed=1, augmentation=augmentation))
    running = split.batches(4, seed=1, augmentation=augmentation)
    together = []
    for batch in running:
        together.append(batch)
        next(iter(split.batches(4, seed=5, augmentation=augmentation)))
        torch.rand(3)
    assert all(torch.equal(a, b) for a, b in zip(alone, collected(together), strict=True))


def test_labels_follow_their_images_through_augmentation():
    images, labels = collected(numbered_split().batches(7, seed=3, augmentation=Augmentation(flip=True)))
    torch.testing.assert_close(images[:, 2, 1, 1], labels / 255)


def test_many_batches_may_be_augmented_at_once(monkeypatch):
    """As on an accelerator, which a CPU stands for here by another name of its device."""
    split, augmentation = numbered_split(20), Augmentation(crop_padding=1, flip=True)
    monkeypatch.setattr(nas.data.splits, "IMAGES_AT_ONCE", 12)
    monkeypatch.setattr(nas.data.splits, "augments_batch_by_batch", lambda _: False)
    batches = list(split.batches(5, seed=4, augmentation=augmentation))
    assert [len(labels) for _, labels in batches] == [5, 5, 5, 5]
    generator = torch.Generator().manual_seed(4)
    order = torch.randperm(20, generator=generator)
    expected = [
        augment(split.images[part], mean=split.mean, std=split.std, augmentation=augmentation, generator=generator)
        for part in torch.split(order, 10)
    ]
    assert torch.equal(collected(batches)[0], torch.cat(expected))
    assert torch.equal(collected(batches)[1], order)


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [8, 8, 4]), (True, [8, 8])])
@pytest.mark.parametrize("seed", [None, 0])
def test_the_number_of_batches_is_told_beforehand(drop_last, sizes, seed):
    split = numbered_split()
    batches = list(split.batches(8, seed=seed, drop_last=drop_last))
    assert [len(labels) for _, labels in batches] == sizes
    assert split.num_batches(8, drop_last=drop_last) == len(sizes)


def test_impossible_batches_are_refused_at_the_call():
    split = numbered_split()
    with pytest.raises(ValueError, match="batch_size 21 exceeds the 20 images"):
        split.batches(21, drop_last=True)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        split.batches(0)
    with pytest.raises(ValueError, match="augmentation needs a seed"):
        split.batches(4, augmentation=Augmentation())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": torch.zeros(4, 3, 2, 2)}, "images must be uint8"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, r"labels must be int64 \(4,\)"),
        ({"mean": torch.zeros(1)}, r"mean and std must be \(3,\)"),
        ({"indices": torch.zeros(0, dtype=torch.int64)}, "indices must be"),
    ],
)
def test_a_split_refuses_tensors_that_do_not_fit(changes, message):
    fitting = {
        "images": torch.zeros(4, 3, 2, 2, dtype=torch.uint8),
        "labels": torch.zeros(4, dtype=torch.int64),
        "mean": torch.zeros(3),
        "std": torch.ones(3),
    }
    settings = fitting | changes
    with pytest.raises(ValueError, match=message):
        ResidentSplit(settings.pop("images"), settings.pop("labels"), **settings)
