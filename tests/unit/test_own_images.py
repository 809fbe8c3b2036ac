"""A user's own arrays and folders: every sound form is read, every other refused with file and rule."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.data.named import arrays
from nas.data.npz import as_images

RNG = np.random.RandomState(0)


def save_arrays(path: Path, **changes: object) -> Path:
    """A sound file of 24 images in three classes, but for the changes; None leaves an array out."""
    contents = {
        "images": RNG.randint(0, 256, (24, 6, 5, 3)).astype(np.uint8),
        "labels": np.arange(24) % 3,
    } | changes
    np.savez(path, **{name: value for name, value in contents.items() if value is not None})
    return path


def collected(batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC", "NHW"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_layout_and_type_of_arrays_are_inferred(tmp_path, layout, dtype):
    pixels = RNG.randint(0, 256, (24, 6, 5, 1 if layout == "NHW" else 3)).astype(np.uint8)
    stored = pixels if dtype == np.uint8 else (pixels / 255).astype(dtype)
    if layout == "NCHW":
        stored = stored.transpose(0, 3, 1, 2)
    elif layout == "NHW":
        stored = stored[..., 0]
    data = arrays(path=save_arrays(tmp_path / "mine.npz", images=stored))
    assert data.name == "mine"
    assert data.image_shape == (pixels.shape[3], 6, 5)
    assert np.array_equal(data.train.images.numpy(), pixels.transpose(0, 3, 1, 2))


def test_arrays_are_averaged_down_whatever_their_layout(tmp_path):
    pixels = RNG.randint(0, 256, (24, 4, 4, 3)).astype(np.uint8)
    data = arrays(path=save_arrays(tmp_path / "mine.npz", images=pixels), image_size=1)
    means = pixels.reshape(24, 16, 3).mean(axis=1)
    assert np.array_equal(data.train.images.numpy()[:, :, 0, 0], np.floor(means + 0.5))
    assert data.record["averaged_from"] == [4, 4]


@pytest.mark.parametrize(
    ("labels", "class_names"),
    [
        (np.array([7, -2, 100] * 8), ("-2", "7", "100")),
        (np.array(["pêche", "apple", "fig"] * 8), ("apple", "fig", "pêche")),
        (np.array([b"b", b"a", b"c"] * 8), ("a", "b", "c")),
        (np.array([[3], [1], [2]] * 8, dtype=np.uint8), ("1", "2", "3")),
    ],
)
def test_any_integers_or_strings_are_classes(tmp_path, labels, class_names):
    data = arrays(path=save_arrays(tmp_path / "mine.npz", labels=labels))
    assert data.class_names == class_names
    named = [class_names[label] for label in data.train.labels]
    assert named == labels.reshape(24).astype(str if labels.dtype.kind != "S" else "U").tolist()


def test_test_arrays_are_the_test_split(tmp_path):
    test_images = np.full((4, 6, 5, 3), 9, dtype=np.uint8)
    path = save_arrays(tmp_path / "mine.npz", test_images=test_images, test_labels=np.array([2, 2, 0, 1]))
    data = arrays(path=path, held_out=6)
    assert [len(data.train), len(data.reward), len(data.test)] == [18, 6, 4]
    images, labels = collected(data.test.batches(2))
    assert labels.tolist() == [2, 2, 0, 1]
    assert len(images.unique()) <= 3


IMAGES = np.zeros((24, 6, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": None}, "lacks the array 'images', holds labels"),
        ({"labels": None}, "lacks the array 'labels', holds images"),
        ({"images": np.zeros((24, 3, 5, 3), np.uint8)}, "no clear layout: both"),
        ({"images": np.zeros((24, 6, 5, 4), np.uint8)}, "no clear layout: neither"),
        ({"images": np.zeros((24, 6), np.uint8)}, r"array 'images' must be \(N, C, H, W\)"),
        ({"images": np.zeros((24, 0, 5, 3), np.uint8)}, "not empty"),
        ({"images": IMAGES.astype(int)}, "must be uint8, or floats in .*, got int64"),
        ({"images": IMAGES + 1.5}, r"must lie in \[0, 1\] as floats, got \[1.5, 1.5\]"),
        ({"images": IMAGES * np.nan}, r"must lie in \[0, 1\] as floats, got \[nan, nan\]"),
        ({"labels": np.arange(23)}, r"array 'labels' must be \(24,\), one for each image, got \(23,\)"),
        ({"labels": np.zeros(24)}, "array 'labels' must be integers or strings, got float64"),
        ({"labels": np.zeros(24, int)}, "array 'labels' must name at least 2 classes, got 1"),
        ({"labels": np.array(["a", None] * 12)}, "cannot be read as an .npz file of plain arrays"),
        ({"test_images": IMAGES}, "must hold both 'test_images' and 'test_labels'"),
        ({"test_images": IMAGES, "test_labels": np.full(24, 5)}, "'test_labels' holds 5, which 'labels' does not"),
        ({"test_images": IMAGES, "test_labels": np.full(24, "a")}, "'test_labels' holds 'a'"),
        ({"test_images": IMAGES[..., 0], "test_labels": np.zeros(24, int)}, "'test_images' must hold images of shape"),
        ({"labels": np.arange(24)}, "class '0' has 1 of the 24 images that test images are chosen from"),
    ],
)
def test_malformed_arrays_are_refused_with_file_and_rule(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        arrays(path=save_arrays(tmp_path / "mine.npz", **changes))
    if "class '0'" not in message:
        assert "mine.npz" in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "changed", "text", "npy", "member", "empty"])
def test_a_broken_file_is_refused(tmp_path, damage):
    path = save_arrays(tmp_path / "mine.npz")
    contents = bytearray(path.read_bytes())
    if damage == "npy":
        with path.open("wb") as file:
            np.save(file, IMAGES)
    elif damage == "member":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images", "not an array")
            archive.writestr("labels", "nor this")
    else:
        changed = contents[:600] + bytes([contents[600] ^ 1]) + contents[601:]
        path.write_bytes({"cut": contents[:700], "changed": changed, "text": b"hello", "empty": b""}[damage])
    with pytest.raises(ValueError, match=r"mine\.npz: "):
        arrays(path=path)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file: .*none\.npz"):
        arrays(path=tmp_path / "none.npz")


def test_bytes_are_not_copied():
    images = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    assert np.shares_memory(as_images(images, name="images"), images)
