"""Image files of every kind become bytes of one size, in memory or streamed alike."""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data.augmentation import Augmentation
from nas.data.image_files import decode_image
from nas.data.named import image_folder
from nas.data.splits import ResidentSplit, StreamingSplit


def save_image(path: Path, mode: str = "RGB", size: tuple[int, int] = (12, 9), value: int = 200) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full((size[1], size[0]), value, dtype=np.uint16 if mode == "I;16" else np.uint8)
    (Image.fromarray(pixels) if mode == "I;16" else Image.fromarray(pixels).convert(mode)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of ten images, every file of one colour of its own."""
    for label, name in enumerate(["Kätzchen", "dog"]):
        for i in range(10):
            save_image(tmp_path / "pets" / name / f"{i}.png", size=(8 + i, 16 - i), value=100 * label + 5 * i)
    return tmp_path / "pets"


def collected(batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


@pytest.mark.parametrize(
    ("mode", "suffix", "stored", "grey"),
    [
        ("RGB", "png", 200, 200),
        ("L", "png", 200, 200),
        ("LA", "png", 200, 200),
        ("RGBA", "png", 200, 200),
        ("I;16", "png", 200 * 256 + 17, 200),
        ("I;16", "tiff", 200 * 256 + 17, 200),
        ("1", "png", 255, 255),
        ("P", "gif", 200, 200),
        ("CMYK", "jpg", 200, 200),
        ("RGB", "webp", 200, 200),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_image_becomes_bytes(tmp_path, mode, suffix, stored, grey, channels):
    path = save_image(tmp_path / f"größe 中.{suffix}", mode, value=stored)
    pixels = decode_image(path, image_size=6, channels=channels)
    assert pixels.shape == (6, 6, channels)
    assert np.abs(pixels.astype(int) - grey).max() <= 2


def test_transparent_palettes_are_resolved(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.save(tmp_path / "image.png", transparency=bytes([0, 128]))
    assert decode_image(tmp_path / "image.png", image_size=2, channels=3)[0, 0].tolist() == [10, 20, 30]


def test_the_central_square_is_scaled(tmp_path):
    pixels = np.zeros((10, 30, 3), dtype=np.uint8)
    pixels[:, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    wide, tall = (decode_image(tmp_path / f"{name}.png", image_size=5, channels=1) for name in ("wide", "tall"))
    assert (wide[:, 1:4] == 255).all()
    assert (wide > 200).all()  # the outermost pixels are smoothed with what lies beyond
    assert np.array_equal(tall, wide.transpose(1, 0, 2))


def test_large_jpegs_are_decoded_small_without_visible_loss(tmp_path):
    ramp = np.linspace(0, 255, 800).astype(np.uint8)
    image = Image.fromarray(np.stack([np.tile(ramp, (800, 1))] * 3, axis=2))
    image.save(tmp_path / "big.jpg", quality=95)
    image.save(tmp_path / "big.png")
    jpg, png = (decode_image(tmp_path / f"big.{kind}", image_size=32, channels=3) for kind in ("jpg", "png"))
    assert np.abs(jpg.astype(int) - png).max() <= 3


@pytest.mark.parametrize("kind", ["text", "cut", "float", "empty"])
def test_a_broken_image_is_named(tmp_path, kind):
    path = save_image(tmp_path / "broken.png", size=(50, 50))
    if kind == "float":
        path = tmp_path / "broken.tiff"
        Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)).save(path)
    else:
        path.write_bytes({"text": b"hello", "cut": path.read_bytes()[:60], "empty": b""}[kind])
    with pytest.raises(ValueError, match=rf"{path.name}: cannot be read as an image: "):
        decode_image(path, image_size=4, channels=3)


def test_a_folder_of_class_folders_is_divided(folder):
    data = image_folder(root=folder, image_size=4, workers=0)
    assert data.name == "pets"
    assert data.class_names == ("Kätzchen", "dog")
    assert [len(data.full), len(data.test)] == [15, 5]
    images, labels = collected(data.full.batches(4))
    levels = (images[:, 0, 0, 0] * data.std[0] + data.mean[0]) * 255
    assert ((levels > 97) == (labels == 1)).all()
    assert isinstance(data.train, ResidentSplit)


@pytest.mark.parametrize("test_name", ["test", "val"])
def test_train_and_test_folders_are_used_as_they_are(tmp_path, test_name):
    for split, count in (("train", 6), (test_name, 2)):
        for name in ("a", "b"):
            for i in range(count):
                save_image(tmp_path / split / name / "deeper" / f"{i}.PNG", "L")
    (tmp_path / "train" / "a" / "notes.txt").write_text("not an image")
    (tmp_path / "train" / ".hidden").mkdir()
    data = image_folder(root=tmp_path, image_size=4, channels=1, workers=0, held_out=2)
    assert [len(data.train), len(data.reward), len(data.test)] == [10, 2, 4]
    assert data.image_shape == (1, 4, 4)


def test_streaming_and_resident_splits_yield_the_same_images(folder):
    resident, streaming = (
        image_folder(root=folder, image_size=6, workers=0, resident=resident) for resident in (True, False)
    )
    assert resident.mean == streaming.mean
    assert not isinstance(streaming.train, ResidentSplit)
    for name in ("train", "reward", "test", "full"):
        expected, found = (collected(getattr(data, name).batches(4)) for data in (resident, streaming))
        assert torch.equal(expected[0], found[0])
        assert torch.equal(expected[1], found[1])
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    assert json.loads(json.dumps(streaming.record))["reward_indices"] == resident.record["reward_indices"]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_streamed_epoch_is_a_function_of_its_seed_not_of_the_workers(folder):
    alone, shared = (
        image_folder(root=folder, image_size=6, workers=workers, resident=False).full for workers in (0, 2)
    )
    before = torch.get_rng_state()
    settings = {"augmentation": Augmentation(crop_padding=2, flip=True, cutout=2), "drop_last": True}
    first, again, other = (
        collected(split.batches(4, seed=seed, **settings)) for split, seed in ((alone, 1), (shared, 1), (alone, 2))
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert len(first[1]) == 12 == 4 * alone.num_batches(4, drop_last=True)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(ValueError, match="batch_size 16 exceeds the 15 images"):
        alone.batches(16, drop_last=True)
    with pytest.raises(ValueError, match="augmentation needs a seed"):
        alone.batches(4, augmentation=Augmentation())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_file_among_others_is_named_without_a_traceback(folder, workers):
    (folder / "dog" / "3.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"3.png: cannot be read as an image") as caught:
        image_folder(root=folder, image_size=6, workers=workers)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("resident", [True, False])
def test_an_unreadable_file_is_told_with_the_setting_that_leaves_it_out(folder, resident):
    data = image_folder(root=folder, image_size=6, workers=0, resident=False)
    (folder / "dog" / "3.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"3.png: .*skip_bad=true"):
        image_folder(root=folder, image_size=6, workers=0, resident=resident)
    with pytest.raises(ValueError, match=r"3.png: .*skip_bad=true"):
        collected([*data.full.batches(4), *data.test.batches(4)])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("settings", [{"resident": True}, {"resident": False}, {"crop_scale": [0.5, 1.0]}])
@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_files_are_left_out_if_asked(folder, settings, workers, capsys):
    whole = save_image(folder / "dog" / "11.jpg", size=(40, 40)).read_bytes()
    (folder / "dog" / "11.jpg").write_bytes(whole[: 2 * len(whole) // 3])  # a header, and then too little
    (folder / "dog" / "3.png").write_bytes(b"broken")
    data = image_folder(root=folder, image_size=6, workers=workers, skip_bad=True, **settings)
    assert len(data.full) + len(data.test) == 19
    images, labels = collected(data.full.batches(4, seed=0, augmentation=Augmentation()))
    assert len(images) == len(labels) == len(data.full)
    assert data.record["num_skipped"] == 2
    assert data.record["skipped"] == ["dog/11.jpg", "dog/3.png"]
    (line,) = capsys.readouterr().err.splitlines()
    assert "2 of 21" in line
    assert "11.jpg" in line


def test_a_folder_without_unreadable_files_is_the_same_with_or_without_skipping(folder, capsys):
    plain, checked = (image_folder(root=folder, image_size=6, workers=0, skip_bad=skip) for skip in (False, True))
    assert checked.record == {**plain.record, "num_skipped": 0, "skipped": []}
    assert capsys.readouterr().err == ""


def test_a_class_of_unreadable_files_alone_is_refused(folder):
    for file in (folder / "dog").iterdir():
        file.write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"class 'dog' has no image that can be read: .*dog.0.png"):
        image_folder(root=folder, image_size=6, workers=0, skip_bad=True)


def test_test_images_stay_test_images_where_others_are_left_out(tmp_path):
    for split, count in (("train", 6), ("test", 2)):
        for name in ("a", "b"):
            for i in range(count):
                save_image(tmp_path / split / name / f"{i}.png")
    for bad in ("train/a/0.png", "test/b/1.png"):
        (tmp_path / bad).write_bytes(b"")
    data = image_folder(root=tmp_path, image_size=4, workers=0, held_out=2, skip_bad=True)
    assert [len(data.train), len(data.reward), len(data.test)] == [9, 2, 3]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_no_more_processes_decode_than_there_are_cores_and_nothing_warns_of_it(folder, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    data = image_folder(root=folder, image_size=6, workers=8, resident=False)
    assert data.full.decoders.workers == 1
    assert len(collected(data.full.batches(4))[1]) == 15
    assert image_folder(root=folder, image_size=6, workers=0, resident=False).full.decoders.workers == 0


def test_what_does_not_fit_is_streamed(folder):
    fits = 20 * 3 * 6 * 6 / 2**20
    for limit, kind in ((fits, ResidentSplit), (fits * 0.99, StreamingSplit)):
        data = image_folder(root=folder, image_size=6, workers=0, resident_mb=limit)
        assert isinstance(data.train, kind)


def test_folders_that_are_no_data_set_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder: .*none"):
        image_folder(root=tmp_path / "none", image_size=4)
    save_image(tmp_path / "a" / "1.png")
    with pytest.raises(ValueError, match="must hold at least 2 class folders, got 1"):
        image_folder(root=tmp_path, image_size=4)
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match=r"class folder .*b holds no image"):
        image_folder(root=tmp_path, image_size=4)
    save_image(tmp_path / "b" / "1.png")
    with pytest.raises(ValueError, match="class 'a' has 1 of the 2 images"):
        image_folder(root=tmp_path, image_size=4, held_out=1, test_fraction=0.5)
    with pytest.raises(ValueError, match="image_size must be at least 1"):
        image_folder(root=tmp_path, image_size=0)
    with pytest.raises(ValueError, match="resident must be true, false or auto, got 'yes'"):
        image_folder(root=tmp_path, image_size=4, resident="yes")


def test_a_class_of_the_test_folder_alone_is_refused(tmp_path):
    for name in ("train/a", "train/b", "test/a", "test/c"):
        save_image(tmp_path / name / "1.png")
    with pytest.raises(ValueError, match=r"class folder .*c has no counterpart"):
        image_folder(root=tmp_path, image_size=4)
