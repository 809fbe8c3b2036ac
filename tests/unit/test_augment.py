"""Augmentation: exact against a loop over images, uniform draws, and refusals."""

import pytest
import torch
from torch import Tensor

from nas.data.augmentation import Augmentation, augment, channel_statistics, draw, normalize

MEAN, STD = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])


def random_images(num_images: int = 40, channels: int = 3, height: int = 8, width: int = 6) -> Tensor:
    return torch.randint(0, 256, (num_images, channels, height, width), dtype=torch.uint8)


def seeded_generator(seed: int = 7) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def augmented(images: Tensor, augmentation: Augmentation, seed: int = 7) -> Tensor:
    channels = images.shape[1]
    return augment(
        images,
        mean=MEAN[:channels],
        std=STD[:channels],
        augmentation=augmentation,
        generator=seeded_generator(seed),
    )


def augmented_one_by_one(images: Tensor, augmentation: Augmentation, seed: int = 7) -> Tensor:
    """The same by padding, slicing, flipping and cutting each image on its own."""
    num_images, channels, height, width = images.shape
    draws = draw(num_images, height=height, width=width, augmentation=augmentation, generator=seeded_generator(seed))
    padding, side, results = augmentation.crop_padding, augmentation.cutout, []
    for i in range(num_images):
        image = (images[i] / 255 - MEAN[:channels, None, None]) / STD[:channels, None, None]
        padded = torch.nn.functional.pad(image, (padding,) * 4)
        top, left = padding + int(draws.down[i]), padding + int(draws.right[i])
        image = padded[:, top : top + height, left : left + width].clone()
        if augmentation.flip and draws.flipped[i]:
            image = image.flip(2)
        top, left = int(draws.cut_row[i]) - side // 2, int(draws.cut_column[i]) - side // 2
        image[:, max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = 0
        results.append(image)
    return torch.stack(results)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation(),
        Augmentation(crop_padding=2),
        Augmentation(flip=True),
        Augmentation(cutout=3),
        Augmentation(crop_padding=5, flip=True, cutout=6),
    ],
)
def test_a_batch_is_augmented_as_each_image_alone_would_be(augmentation, memory_format, channels):
    images = random_images(channels=channels).contiguous(memory_format=memory_format)
    result = augmented(images, augmentation)
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(result, augmented_one_by_one(images, augmentation), atol=2e-6, rtol=0)


def test_what_is_cropped_from_outside_is_exactly_zero():
    images = torch.full((200, 1, 4, 4), 255, dtype=torch.uint8)
    result = augmented(images, Augmentation(crop_padding=3))
    inside = (1 - MEAN[0]) / STD[0]
    assert (torch.isclose(result, inside) | (result == 0)).all()
    assert (result == 0).any(dim=0).any(dim=0)[0, 0]  # a corner is padding for some image


def test_cutout_reaches_over_the_border():
    images = torch.full((500, 1, 8, 8), 255, dtype=torch.uint8)
    cut = (augmented(images, Augmentation(cutout=4)) == 0).sum(dim=(1, 2, 3))
    assert cut.max() == 16  # whole
    assert cut.min() == 4  # its centre in the first row and column: only its last two are left


def test_no_augmentation_normalizes():
    images = random_images()
    torch.testing.assert_close(augmented(images, Augmentation()), normalize(images, mean=MEAN, std=STD))


def test_normalize_subtracts_the_mean_and_divides_by_the_deviation():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(3, 1, 1, 1)
    result = normalize(images, mean=torch.tensor([0.2]), std=torch.tensor([0.4]))
    torch.testing.assert_close(result.flatten(), torch.tensor([-0.5, 0.0, 2.0]))


def test_equal_seeds_give_equal_batches_and_others_do_not():
    images, augmentation = random_images(), Augmentation(crop_padding=2, flip=True, cutout=3)
    assert torch.equal(augmented(images, augmentation, 1), augmented(images, augmentation, 1))
    assert not torch.equal(augmented(images, augmentation, 1), augmented(images, augmentation, 2))


def test_augmentation_draws_nothing_from_the_global_generator():
    images = random_images()
    before = torch.get_rng_state()
    augmented(images, Augmentation(crop_padding=2, flip=True, cutout=3))
    assert torch.equal(torch.get_rng_state(), before)


def test_switching_cutout_on_leaves_crops_and_flips_alone():
    images = random_images()
    plain = augmented(images, Augmentation(crop_padding=2, flip=True))
    cut = augmented(images, Augmentation(crop_padding=2, flip=True, cutout=3))
    assert ((cut == plain) | (cut == 0)).all()


def test_offsets_flips_and_centres_are_uniform():
    num_images, augmentation = 90_000, Augmentation(crop_padding=4, flip=True, cutout=8)
    draws = draw(num_images, height=9, width=12, augmentation=augmentation, generator=seeded_generator())
    for values, low, count in (
        (draws.down, -4, 9),
        (draws.right, -4, 9),
        (draws.cut_row, 0, 9),
        (draws.cut_column, 0, 12),
        (draws.flipped.long(), 0, 2),
    ):
        counts = torch.bincount(values - low, minlength=count)
        assert len(counts) == count
        expected = num_images / count
        assert ((counts - expected).abs() < 5 * expected**0.5).all()
    table = torch.stack([draws.down, draws.right, draws.flipped, draws.cut_row, draws.cut_column]).double()
    correlations = torch.corrcoef(table) - torch.eye(5)
    assert correlations.abs().max() < 5 / num_images**0.5


def test_channel_statistics_are_those_of_the_chosen_images():
    images = random_images(2500, 3, 2, 2).numpy()
    chosen = torch.arange(0, 2500, 2).numpy()
    mean, std = channel_statistics(images, indices=chosen)
    expected = torch.from_numpy(images[chosen]).double() / 255
    torch.testing.assert_close(torch.tensor(mean), expected.mean(dim=(0, 2, 3)).float())
    torch.testing.assert_close(torch.tensor(std), expected.std(dim=(0, 2, 3), correction=0).float())


def test_a_constant_channel_is_not_divided_by_zero():
    images = torch.full((5, 1, 3, 3), 51, dtype=torch.uint8).numpy()
    assert channel_statistics(images, indices=torch.arange(5).numpy()) == ((0.2,), (1.0,))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop_padding": -1}, r"(?s)crop_padding.*greater than or equal to 0"),
        ({"crop_padding": 1.5}, r"(?s)crop_padding.*valid integer"),
        ({"cutout": True}, r"(?s)cutout.*valid integer"),
        ({"flip": 1}, r"(?s)flip.*valid boolean"),
    ],
)
def test_an_impossible_augmentation_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**settings)


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        (Augmentation(crop_padding=6), "crop_padding must be below the image side 6, got 6"),
        (Augmentation(cutout=7), "cutout must be at most the image side 6, got 7"),
    ],
)
def test_augmentation_that_could_erase_an_image_is_refused(augmentation, message):
    with pytest.raises(ValueError, match=message):
        augmented(random_images(), augmentation)


def test_images_that_are_not_bytes_are_refused():
    with pytest.raises(ValueError, match=r"images must be uint8 .* got torch.float32"):
        normalize(torch.zeros(2, 3, 4, 4), mean=MEAN, std=STD)
    with pytest.raises(ValueError, match=r"got torch.uint8 \(3, 4, 4\)"):
        augmented(torch.zeros(3, 4, 4, dtype=torch.uint8), Augmentation())
