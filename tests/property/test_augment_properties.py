"""What augmentation keeps, whatever the size of the images and the draws."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from nas.data.augmentation import Augmentation, augment, normalize

SIZES = st.integers(2, 9)


@st.composite
def cases(draw):
    """Images whose pixels all differ, an augmentation that fits them, and a generator."""
    height, width = draw(SIZES), draw(SIZES)
    side = min(height, width)
    augmentation = Augmentation(
        crop_padding=draw(st.integers(0, side - 1)), flip=draw(st.booleans()), cutout=draw(st.integers(0, side))
    )
    num_images, channels = draw(st.integers(1, 5)), draw(st.sampled_from([1, 3]))
    pixels = torch.arange(1, height * width + 1, dtype=torch.uint8).view(1, 1, height, width)
    images = pixels.expand(num_images, channels, height, width)
    return images, augmentation, torch.Generator().manual_seed(draw(st.integers(0, 2**63 - 1)))


def plainly(images, augmentation, generator):
    """Augments such that a pixel's value stays readable: 0 where it is padding or cut."""
    channels = images.shape[1]
    result = augment(
        images,
        mean=torch.zeros(channels),
        std=torch.full((channels,), 1 / 255),
        augmentation=augmentation,
        generator=generator,
    )
    return result.round().long()


@given(cases())
def test_every_pixel_comes_from_its_image_or_is_zero_and_channels_stay_together(case):
    images, _, _ = case
    result = plainly(*case)
    assert result.shape == images.shape
    assert ((result >= 0) & (result <= images.max())).all()
    assert (result == result[:, :1]).all()


@given(cases())
def test_no_pixel_appears_twice(case):
    for image in plainly(*case)[:, 0]:
        kept = image[image > 0]
        assert len(kept.unique()) == len(kept)


@given(cases())
def test_at_most_padding_and_cutout_are_lost(case):
    images, augmentation, _ = case
    height, width = images.shape[2:]
    least = (height - augmentation.crop_padding) * (width - augmentation.crop_padding) - augmentation.cutout**2
    kept = (plainly(*case)[:, 0] > 0).sum(dim=(1, 2))
    assert (kept >= least).all()


@given(cases())
def test_an_image_is_shifted_and_mirrored_as_a_whole(case):
    images, _, _ = case
    width = images.shape[3]
    for image in plainly(*case)[:, 0]:
        rows, columns = torch.nonzero(image, as_tuple=True)
        source = image[rows, columns] - 1
        assert len((source // width - rows).unique()) <= 1
        shifts, mirrored_shifts = source % width - columns, source % width + columns
        assert len(shifts.unique()) <= 1 or len(mirrored_shifts.unique()) <= 1


@given(cases(), st.integers(0, 255), st.integers(0, 255))
def test_normalisation_is_monotone_and_ignores_the_layout(case, low, high):
    images, _, _ = case
    channels = images.shape[1]
    mean, std = torch.full((channels,), 0.3), torch.full((channels,), 0.2)
    pair = torch.tensor([low, high], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, channels, 1, 1)
    first, second = normalize(pair, mean=mean, std=std)
    assert ((first <= second) == (low <= high)).all()
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(normalize(images, mean=mean, std=std), normalize(last, mean=mean, std=std))
