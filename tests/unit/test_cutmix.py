import pytest
import torch
from torch.nn import functional as F

from nas.data.augmentation import cut_and_mixed, cutmix


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(count: int, *, size: tuple[int, int] = (6, 5)) -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose pixels all hold the image's own number, and targets that say it."""
    images = torch.arange(float(count))[:, None, None, None].expand(-1, 2, *size)
    return images.contiguous(memory_format=torch.channels_last), torch.eye(count)


def test_the_labels_say_how_many_pixels_are_of_which_image():
    images, targets = numbered(40)
    mixed, probabilities = cutmix(images, targets, share=1.0, generator=generator())
    for number, (image, shares) in enumerate(zip(mixed, probabilities, strict=True)):
        before = (number - 1) % 40
        assert shares[number] == pytest.approx((image == number).float().mean().item())
        assert shares[before] == pytest.approx((image == before).float().mean().item())
        assert shares.sum() == pytest.approx(1.0)
    assert mixed.is_contiguous(memory_format=torch.channels_last)


def test_what_is_pasted_is_a_rectangle_at_its_own_place():
    torch.manual_seed(1)
    images = torch.rand(30, 1, 8, 8)
    mixed, _ = cutmix(images, torch.eye(30), share=1.0, generator=generator(1))
    pasted = mixed != images
    assert torch.equal(mixed[pasted], images.roll(1, 0)[pasted])
    for mask in pasted[:, 0]:
        assert torch.equal(mask, mask.any(1)[:, None] & mask.any(0)[None, :])


def test_the_area_is_uniform_where_no_rectangle_is_cut_by_the_border():
    """With α = 1 the side has density 2s; clipped at the border, on average (mean of s − s²/4)² of the area is left."""
    images, targets = numbered(4000, size=(32, 32))
    _, probabilities = cutmix(images, targets, share=1.0, generator=generator())
    side = torch.rand(200_000, generator=generator(2)).sqrt()
    expected = 1 - ((side - side**2 / 4) ** 2).mean()
    assert probabilities.diagonal().mean() == pytest.approx(expected.item(), abs=0.02)


def test_a_share_of_the_images_is_mixed_and_with_none_nothing_changes():
    images, targets = numbered(2000, size=(16, 16))
    mixed, probabilities = cutmix(images, targets, share=0.25, generator=generator())
    changed = (mixed != images).flatten(1).any(dim=1)
    assert changed.float().mean() == pytest.approx(0.25, abs=0.03)
    assert torch.equal(probabilities[~changed], targets[~changed])
    untouched, same = cutmix(images, targets, share=0.0, generator=generator())
    assert torch.equal(untouched, images)
    assert torch.equal(same, targets)


def test_batches_are_mixed_alike_for_the_same_seed_and_each_anew():
    batches = [(torch.rand(8, 3, 6, 6), torch.arange(8) % 3) for _ in range(2)]
    first, again, other = (list(cut_and_mixed(batches, share=1.0, num_classes=3, seed=seed)) for seed in (4, 4, 5))
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0][1], other[0][1])
    assert not torch.equal(first[0][1], first[1][1])


def test_the_loss_of_mixed_labels_is_the_mixture_of_the_losses():
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    targets = 0.7 * F.one_hot(labels, 3) + 0.3 * F.one_hot(labels.roll(1), 3)
    parts = 0.7 * F.cross_entropy(logits, labels) + 0.3 * F.cross_entropy(logits, labels.roll(1))
    assert F.cross_entropy(logits, targets) == pytest.approx(parts.item())
