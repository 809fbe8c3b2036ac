"""Data sets kept as .npz files: caches read and written whole, anything else refused by name."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import nas.data.npz
import nas.data.splits
from nas.data.named import torchvision_images
from nas.data.npz import KnownSet, read_npz, write_npz

RNG = np.random.RandomState(0)


@pytest.fixture
def tiny_cifar(monkeypatch) -> None:
    """CIFAR-10 with 40 training and 20 test images of two classes."""
    tiny = KnownSet(
        "CIFAR10", "cifar-10-batches-py", num_train=40, num_test=20, image_shape=(3, 4, 4), class_names=("cat", "dog")
    )
    monkeypatch.setattr(nas.data.npz, "KNOWN_SETS", {"cifar10": tiny})
    monkeypatch.setattr("nas.data.named.KNOWN_SETS", {"cifar10": tiny})


class FakeCIFAR10:
    """Stands in for torchvision's class: 40 or 20 images, there from the start or once downloaded."""

    present = False

    def __init__(self, root: str, train: bool, download: bool) -> None:
        if not (self.present or download):
            raise RuntimeError("Dataset not found or corrupted. You can use download=True to download it")
        self.data = np.full((40 if train else 20, 4, 4, 3), 1 if train else 2, dtype=np.uint8)
        self.targets = [0, 1] * (len(self.data) // 2)


@pytest.mark.usefixtures("tiny_cifar")
@pytest.mark.parametrize("label_shape", [(60,), (60, 1)])
def test_a_cache_is_read_with_its_training_images_first(tmp_path, label_shape):
    images = RNG.randint(0, 256, (60, 3, 4, 4)).astype(np.uint8)
    labels = (np.arange(60) % 2).astype(np.uint8)
    np.savez(tmp_path / "cifar10.npz", images=images, labels=labels.reshape(label_shape))
    data = torchvision_images(name="cifar10", root=tmp_path, held_out=4)
    assert data.class_names == ("cat", "dog")
    assert data.test.indices.tolist() == list(range(40, 60))
    stored = data.train.images
    assert torch.equal(stored, torch.from_numpy(images))
    assert data.train.labels.tolist() == labels.tolist()


@pytest.mark.usefixtures("tiny_cifar")
def test_images_are_averaged_down_and_the_record_says_so(tmp_path):
    images = RNG.randint(0, 256, (60, 3, 4, 4)).astype(np.uint8)
    images[0, 0, :2, :2] = [[1, 2], [2, 1]]  # 1.5 is rounded up
    images[0, 0, :2, 2:] = [[1, 1], [1, 2]]  # and 1.25 down
    np.savez(tmp_path / "cifar10.npz", images=images, labels=np.arange(60) % 2)
    whole, small = (
        torchvision_images(name="cifar10", root=tmp_path, held_out=4, image_size=side) for side in (None, 2)
    )
    assert small.image_shape == (3, 2, 2)
    assert small.train.images[0, 0, 0].tolist() == [2, 1]
    exact = torch.nn.functional.avg_pool2d(torch.from_numpy(images).double(), 2)
    assert (small.train.images - exact).abs().max() <= 0.5
    assert small.record["averaged_from"] == [4, 4]
    assert small.record["image_shape"] == [3, 2, 2]
    assert "averaged_from" not in whole.record
    assert small.record["reward_indices"] == whole.record["reward_indices"]
    with pytest.raises(ValueError, match="image_size must divide the sides of the images, 4x4, got 3"):
        torchvision_images(name="cifar10", root=tmp_path, held_out=4, image_size=3)


@pytest.mark.usefixtures("tiny_cifar")
@pytest.mark.parametrize(("present", "download"), [(True, False), (False, True)])
def test_torchvision_fills_the_cache_once(tmp_path, monkeypatch, present, download):
    monkeypatch.setattr("torchvision.datasets.CIFAR10", FakeCIFAR10)
    monkeypatch.setattr(FakeCIFAR10, "present", present)
    root = tmp_path / "data"
    first = torchvision_images(name="cifar10", root=root, held_out=4, download=download)
    assert [path.name for path in root.iterdir()] == ["cifar10.npz"]
    monkeypatch.setattr(FakeCIFAR10, "present", False)
    assert torchvision_images(name="cifar10", root=root, held_out=4).record == first.record
    assert first.train.images[:, 0, 0, 0].tolist() == [1] * 40 + [2] * 20


@pytest.mark.usefixtures("tiny_cifar")
def test_a_missing_data_set_is_told_with_the_flag_and_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.CIFAR10", FakeCIFAR10)
    with pytest.raises(FileNotFoundError, match=r"cifar10.npz .*\n.*data.download=true") as caught:
        torchvision_images(name="cifar10", root=tmp_path, held_out=4)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.usefixtures("tiny_cifar")
def test_a_failed_download_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    def unreachable(root: str, *, train: bool, download: bool) -> None:
        raise RuntimeError("Error downloading" if download else "not found")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", unreachable)
    with pytest.raises(FileNotFoundError, match="cifar10 could not be fetched: Error downloading"):
        torchvision_images(name="cifar10", root=tmp_path / "data", held_out=4, download=True)
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.usefixtures("tiny_cifar")
@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((59, 3, 4, 4), np.zeros(59, int), r"cifar10.npz: array 'images' must be uint8 \(60, 3, 4, 4\)"),
        ((60, 4, 4, 3), np.zeros(60, int), "array 'images' must be uint8"),
        ((60, 3, 4, 4), np.zeros(59, int), r"array 'labels' must be \(60,\)"),
        ((60, 3, 4, 4), np.full(60, 2), r"array 'labels' must be integers in \[0, 2\)"),
    ],
)
def test_a_cache_of_something_else_is_refused(tmp_path, shape, labels, message):
    np.savez(tmp_path / "cifar10.npz", images=np.zeros(shape, dtype=np.uint8), labels=labels)
    with pytest.raises(ValueError, match=message):
        torchvision_images(name="cifar10", root=tmp_path, held_out=4)


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match="one of cifar10, cifar100, fashion_mnist, got 'mnist'"):
        torchvision_images(name="mnist", root=tmp_path)


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "cache.npz"
    write_npz(path, images=np.zeros(3), labels=np.ones(2))
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_npz(path, images=np.ones(3), labels=np.ones(2))
    assert [file.name for file in path.parent.iterdir()] == ["cache.npz"]
    assert read_npz(path, required=("images",))["images"].tolist() == [0, 0, 0]


def test_writers_of_one_file_all_end_whole(tmp_path):
    path = tmp_path / "cache.npz"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: write_npz(path, images=np.full(50_000, i)), range(12)))
    assert len(np.unique(read_npz(path, required=("images",))["images"])) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["cache.npz"]
