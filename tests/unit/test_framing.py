"""Parts of pictures: chosen as ImageNet's, the same whoever decodes them, scaled as torchvision scales."""

import math
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data.augmentation import Augmentation
from nas.data.decoding import PIECE, Decoders, ImageSource, Piece, split_in_pieces
from nas.data.image_files import ATTEMPTS, Box, Framing, decode_part
from nas.data.named import ImageData, image_folder
from nas.data.own_images import margin_of
from nas.data.splits import ResidentSplit, Split, StreamingSplit
from nas.models.prediction import read_image

WORKERS = min(2, len(os.sched_getaffinity(0)))
FLIP = Augmentation(flip=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """ImageNet in small: train and val, two classes, pictures that differ everywhere, more than a piece of them."""
    root, rng = tmp_path_factory.mktemp("imagenet"), np.random.RandomState(0)
    for split, count in (("train", PIECE - 8), ("val", 3)):
        for name in ("bird", "fish"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                coarse = Image.fromarray(rng.randint(0, 256, (6, 8, 3), dtype=np.uint8))
                coarse.resize((40, 30)).save(root / split / name / f"{i}.jpg", quality=95)
    return root


def streamed(root: Path, **settings: object):
    defaults = {
        "image_size": 16,
        "workers": 0,
        "resize": 20,
        "crop_scale": [0.1, 1.0],
        "crop_padding": 0,
        "held_out": 4,
    }
    return image_folder(root=root, **{**defaults, **settings})


def epoch(split, *, seed: int = 1, batch_size: int = 7) -> torch.Tensor:
    return torch.cat([images for images, _ in split.batches(batch_size, seed=seed, augmentation=FLIP, drop_last=True)])


def pixels_of(data: ImageData, split: Split) -> torch.Tensor:
    """The bytes (N, C, H, W) that a split's images were before they were normalised."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (data.mean, data.std))
    return torch.cat([(255 * (images * std + mean)).round() for images, _ in split.batches(4)])


@pytest.mark.parametrize(
    ("settings", "margin"),
    [
        ({"resize": 20, "crop_scale": None}, 0.8),
        ({"resize": 20, "crop_scale": [0.1, 1.0]}, 0.8),
        ({"resize": None, "crop_scale": [0.1, 1.0]}, 1.0),
        ({"resize": None, "crop_scale": None}, None),
    ],
)
def test_pictures_to_be_classified_are_framed_as_test_images_are(folder, settings, margin):
    assert margin_of({"_target_": "nas.data.named.image_folder", "image_size": 16, **settings}) == margin
    data = streamed(folder, **settings)
    files = sorted((folder / "val").rglob("*.jpg"))
    read = [read_image(file, image_shape=(3, 16, 16), resize="crop", margin=margin) for file in files]
    assert np.array_equal(np.stack(read), pixels_of(data, data.test).numpy())


@pytest.mark.parametrize(
    "config",
    [
        {"_target_": "mine.pictures", "image_size": 16, "resize": 20},
        {"_target_": "nas.data.named.image_folder", "image_size": 64},
        {"_target_": "nas.data.named.image_folder", "resize": 20},
        {"_target_": "nas.data.named.image_folder", "image_size": 0, "resize": 0},
        {"_target_": "nas.data.named.image_folder", "image_size": 16, "resize": "twenty"},
        {},
    ],
)
def test_a_config_that_frames_nothing_has_no_margin(config):
    assert margin_of(config) is None


def test_a_part_is_computed_from_its_draws_by_hand():
    framing = Framing(scale=(0.25, 1.0), ratio=(1.0, 4.0))
    draws = [[0.0, 0.5, 0.5, 0.0]] * ATTEMPTS  # area 0.25 · 64 · 100 = 1600, shape 2: 57 × 28
    assert framing.random_part(draws, width=64, height=100) == Box(4, 0, 57, 28)
    assert framing.random_part([[0.0, 0.5, 0.999, 0.999]], width=64, height=100) == Box(7, 72, 57, 28)


def test_a_part_that_would_not_fit_is_drawn_again():
    framing = Framing(scale=(0.25, 1.0), ratio=(1.0, 4.0))
    too_wide, fits = [1.0, 1.0, 0.0, 0.0], [0.0, 0.5, 0.5, 0.0]
    assert framing.random_part([too_wide, fits], width=64, height=100) == Box(4, 0, 57, 28)


@pytest.mark.parametrize(("size", "expected"), [((90, 10), Box(38, 0, 13, 10)), ((10, 90), Box(0, 38, 10, 13))])
def test_where_nothing_fits_the_largest_of_the_nearest_shape_is_taken(size, expected):
    nothing_fits = [[1.0, 0.5, 0.0, 0.0]] * ATTEMPTS
    assert Framing(scale=(0.9, 1.0)).random_part(nothing_fits, width=size[0], height=size[1]) == expected


def test_random_parts_are_within_the_picture_and_as_large_as_wanted():
    framing = Framing()
    draws = framing.draws(2000, generator=torch.Generator().manual_seed(0)).tolist()
    boxes = [framing.random_part(each, width=500, height=375) for each in draws]
    assert all(0 <= b.left <= 500 - b.width and 0 <= b.top <= 375 - b.height for b in boxes)
    shares = [b.width * b.height / (500 * 375) for b in boxes]
    shapes = [b.width / b.height for b in boxes]
    assert 0.075 < min(shares) < 0.1
    assert 0.9 < max(shares) <= 1
    assert 0.74 < min(shapes) < 0.78
    assert 1.28 < max(shapes) < 1.35
    lefts = [b.left / (500 - b.width) for b in boxes if b.width < 500]
    assert abs(np.mean(lefts) - 0.5) < 0.03


def test_parts_that_always_fit_are_as_often_wide_as_tall():
    framing = Framing(scale=(0.08, 0.5))
    draws = framing.draws(2000, generator=torch.Generator().manual_seed(0)).tolist()
    boxes = [framing.random_part(each, width=500, height=375) for each in draws]
    assert abs(np.mean([math.log(box.width / box.height) for box in boxes])) < 0.02


def test_the_middle_part_is_what_resize_and_centre_crop_leave():
    assert Framing(margin=224 / 256).middle_part(width=500, height=375) == Box(86, 23, 328, 328)
    assert Framing(margin=1.0).middle_part(width=9, height=1) == Box(4, 0, 1, 1)


@pytest.mark.parametrize("size", [(64, 48), (500, 375), (20, 90)])
def test_the_middle_is_nearly_that_of_torchvision(tmp_path, size):
    from torchvision.transforms import v2

    coarse = np.random.RandomState(0).randint(0, 256, (5, 5, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    picture.save(tmp_path / "a.png")
    steps = v2.Compose([v2.PILToTensor(), v2.Resize(32, antialias=True), v2.CenterCrop(28)])
    found = decode_part(tmp_path / "a.png", image_size=28, channels=3, framing=Framing(margin=28 / 32))
    difference = (found.int() - steps(picture).int()).abs().float()
    assert difference.mean() < 2.5  # a fraction of a pixel's shift: torchvision rounds sides, then places


def test_large_jpegs_are_decoded_small_and_parts_stay_where_they_are(tmp_path):
    ramp = np.linspace(0, 255, 1600).astype(np.uint8)
    picture = Image.fromarray(np.stack([np.tile(ramp, (1200, 1))] * 3, axis=2))
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "a.jpg", quality=98)
    framing = Framing()
    draws = framing.draws(8, generator=torch.Generator().manual_seed(3)).tolist()
    for each in [None, *draws]:
        png, jpg = (
            decode_part(tmp_path / f"a.{kind}", image_size=64, channels=3, framing=framing, draws=each).int()
            for kind in ("png", "jpg")
        )
        assert (png - jpg).abs().max() <= 4


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("mode", "suffix"), [("L", "png"), ("RGBA", "png"), ("P", "gif"), ("CMYK", "jpg")])
def test_parts_of_every_kind_of_image_become_bytes(tmp_path, mode, suffix, channels):
    path = tmp_path / f"a.{suffix}"
    Image.new("L", (30, 20), 200).convert(mode).save(path)
    image = decode_part(path, image_size=8, channels=channels, framing=Framing())
    assert image.shape == (channels, 8, 8)
    assert (image.int() - 200).abs().max() <= 2


def test_a_broken_picture_is_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"a.jpg: cannot be read as an image"):
        decode_part(tmp_path / "a.jpg", image_size=8, channels=3, framing=Framing())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop_scale": [0.0, 1.0]}, r"crop_scale must be two rising shares in \(0, 1\], got \[0.0, 1.0\]"),
        ({"crop_scale": [0.5, 0.4]}, "crop_scale must be two rising shares"),
        ({"crop_scale": [0.5]}, r"crop_scale must be two numbers, got \[0.5\]"),
        ({"crop_ratio": [2.0, 1.0]}, "crop_ratio must be two rising numbers above 0"),
        ({"resize": 15}, "resize must be at least image_size, got 15 and 16"),
        ({"resident": True}, "crop_scale takes random parts of pictures, which are streamed"),
    ],
)
def test_settings_out_of_range_are_refused_before_a_file_is_read(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        streamed(tmp_path / "none", **settings)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_crops_are_a_function_of_the_seed_not_of_the_workers(folder):
    alone, shared = (streamed(folder, workers=workers).full for workers in (0, WORKERS))
    first = epoch(alone)
    assert torch.equal(first, epoch(shared))
    assert torch.equal(first, epoch(shared))  # by the same workers once more
    assert not torch.equal(first, epoch(alone, seed=2))


def test_training_images_are_random_parts_and_others_the_middle(folder):
    data = streamed(folder)
    assert isinstance(data.full, StreamingSplit)
    assert [len(data.train), len(data.reward), len(data.test)] == [2 * (PIECE - 8) - 4, 4, 6]
    plain = [torch.cat([images for images, _ in data.full.batches(9, seed=1)]) for _ in range(2)]
    assert torch.equal(*plain)
    assert len(epoch(data.full)) == 7 * (2 * (PIECE - 8) // 7)
    fixed = streamed(folder, crop_scale=None)
    assert isinstance(fixed.full, ResidentSplit)
    assert torch.equal(pixels_of(data, data.test), pixels_of(fixed, fixed.test))


def test_a_batch_of_several_pieces_is_whole(folder):
    data = streamed(folder, crop_scale=None, resident=False)
    size = PIECE + 5
    (images, labels), *_ = data.full.batches(size)
    assert images.shape == (size, 3, 16, 16)
    assert images.is_contiguous(memory_format=torch.channels_last)
    small = torch.cat([batch for batch, _ in data.full.batches(5)])
    assert torch.equal(images, small[:size])
    assert labels.tolist() == sorted(labels.tolist())


def source_of(folder: Path) -> ImageSource:
    paths = tuple(sorted((folder / "train").rglob("*.jpg")))
    return ImageSource(paths, np.arange(len(paths)), image_size=8, channels=3)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_stay_from_pass_to_pass_and_heed_no_ctrl_c(folder):
    decoders = Decoders(source_of(folder), workers=1)
    pieces = [Piece([i]) for i in range(20)]
    first = [labels.item() for _, labels in decoders.decoded(pieces)]
    workers = {child.pid for child in multiprocessing.active_children()}
    for pid in workers:
        os.kill(pid, signal.SIGINT)
    ended_early = decoders.decoded(pieces)
    assert next(ended_early)[1].item() == 0
    ended_early.close()
    again = [labels.item() for _, labels in decoders.decoded(pieces[::-1])]
    assert first == again[::-1] == list(range(20))
    assert workers == {child.pid for child in multiprocessing.active_children()}
    assert len(workers) >= 1


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_two_passes_at_once_do_not_mix(folder):
    decoders = Decoders(source_of(folder), workers=1)
    pieces = [Piece([i]) for i in range(12)]
    pairs = zip(decoders.decoded(pieces), decoders.decoded(pieces[::-1]), strict=True)
    assert [(a.item(), b.item()) for (_, a), (_, b) in pairs] == [(i, 11 - i) for i in range(12)]


def test_files_are_divided_into_pieces():
    pieces = split_in_pieces(range(2 * PIECE + 1))
    assert [len(piece.files) for piece in pieces] == [PIECE, PIECE, 1]
    assert [file for piece in pieces for file in piece.files] == list(range(2 * PIECE + 1))


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_streamed_batches_on_a_device_are_those_of_the_cpu(folder):
    here, there = (streamed(folder, device=device, workers=WORKERS) for device in ("cpu", "cuda"))
    for (expected, labels), (found, classes) in zip(here.full.batches(40), there.full.batches(40), strict=True):
        assert found.is_cuda
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert torch.allclose(found.cpu(), expected, atol=1e-5)
        assert torch.equal(classes.cpu(), labels)
    assert torch.equal(epoch(there.full), epoch(there.full))
