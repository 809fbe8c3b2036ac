"""Data sets read from files into plain arrays: any .npz, and torchvision's through a cache of that kind.

The cache is one .npz a data set: it loads in a second, needs no torchvision, and can be made by hand from the
arrays `images` and `labels`. Nothing is unpickled when an .npz is read.
"""

import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.runs.checkpoints import write_bytes

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]

_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""
_FASHION = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"


@dataclass(frozen=True, slots=True)
class KnownSet:
    """A published data set with a test split of its own.

    Attributes:
        loader: Class in `torchvision.datasets`.
        num_train: Training images, stored first.
        num_test: Test images, stored after them.
        image_shape: (C, H, W).
        class_names: Name of each label.
        folder: Where torchvision keeps its files, below its root.
    """

    loader: str
    folder: str
    num_train: int
    num_test: int
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]


_RGB = (3, 32, 32)
KNOWN_SETS = {
    "cifar10": KnownSet("CIFAR10", "cifar-10-batches-py", 50_000, 10_000, _RGB, tuple(_CIFAR10.split())),
    "cifar100": KnownSet("CIFAR100", "cifar-100-python", 50_000, 10_000, _RGB, tuple(_CIFAR100.split())),
    "fashion_mnist": KnownSet(
        "FashionMNIST", "FashionMNIST/raw", 60_000, 10_000, (1, 28, 28), tuple(_FASHION.split(","))
    ),
}


def read_npz(path: Path, *, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, npt.NDArray[Any]]:
    """Reads arrays of an .npz file by name and never unpickles.

    Args:
        path: The file.
        required: Arrays that must be there.
        optional: Arrays read where they are there.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no .npz file, is broken, lacks an array, or holds Python objects.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            names = [name for name in (*required, *optional) if name in file.files]
            held, arrays = ", ".join(file.files) or "none", {name: file[name] for name in names}
    except Exception as error:  # a broken file can make the reader raise almost anything
        raise ValueError(f"{path}: cannot be read as an .npz file of plain arrays: {error}") from error
    if missing := [name for name in required if name not in arrays]:
        raise ValueError(f"{path}: lacks the array {missing[0]!r}, holds {held}")
    if odd := [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]:  # no .npy: its bytes
        raise ValueError(f"{path}: {odd[0]!r} is not an array")
    return arrays


def write_npz(path: Path, **arrays: npt.NDArray[Any]) -> None:
    """Writes arrays so that `path` never holds half a file, however many processes write it at once."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_bytes(path, buffer.getbuffer())


def as_images(array: npt.NDArray[Any], *, name: str) -> Images:
    """Brings images into the form (N, C, H, W) uint8, their layout inferred from where 1 or 3 channels stand.

    Args:
        array: (N, C, H, W), (N, H, W, C) or (N, H, W); uint8, or floats in [0, 1].
        name: What to call it in a message: file and array.

    Raises:
        ValueError: If type, range or layout is another, or the layout is ambiguous.
    """
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise ValueError(f"{name} must be (N, C, H, W), (N, H, W, C) or (N, H, W), not empty, got {array.shape}")
    if array.ndim == 3:
        array = array[:, None]
    else:
        first, last = array.shape[1] in (1, 3), array.shape[3] in (1, 3)
        if first == last:
            why = "both the second and the last dimension" if first else "neither the second nor the last dimension"
            raise ValueError(f"{name} has no clear layout: {why} of {array.shape} can be 1 or 3 channels")
        array = array if first else array.transpose(0, 3, 1, 2)
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f":
        raise ValueError(f"{name} must be uint8, or floats in [0, 1], got {array.dtype}")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 1):  # true of NaN as well
        raise ValueError(f"{name} must lie in [0, 1] as floats, got [{low}, {high}]")
    return np.rint(array.astype(np.float32) * 255).astype(np.uint8)


def averaged(images: Images, *, side: int) -> Images:
    """Makes images smaller by averaging blocks of pixels.

    Args:
        images: (N, C, H, W).
        side: Side of the result; H and W are multiples of it.

    Returns:
        (N, C, side, side), means rounded to the nearest whole number, halves up.

    Raises:
        ValueError: If `side` is below 1 or H or W is no multiple of it.
    """
    n, channels, height, width = images.shape
    if side < 1 or height % side or width % side:
        raise ValueError(f"image_size must divide the sides of the images, {height}x{width}, got {side}")
    blocks = images.reshape(n, channels, side, height // side, side, width // side)
    pixels = height * width // side**2
    sums = blocks.sum(axis=(3, 5), dtype=np.uint32)
    return np.asarray((sums + pixels // 2) // pixels, dtype=np.uint8)


def as_label_names(array: npt.NDArray[Any], *, num_images: int, name: str) -> npt.NDArray[Any]:
    """Checks labels and flattens them to (N,) integers or strings.

    Args:
        array: (N,) or (N, 1) integers or strings.
        num_images: The images N they belong to.
        name: What to call it in a message: file and array.

    Raises:
        ValueError: If the shape or the type is another.
    """
    if array.shape not in ((num_images,), (num_images, 1)):
        raise ValueError(f"{name} must be ({num_images},), one for each image, got {array.shape}")
    if array.dtype.kind not in "iuUS":
        raise ValueError(f"{name} must be integers or strings, got {array.dtype}")
    labels = array.reshape(num_images)
    return np.char.decode(labels, "utf-8", "replace") if labels.dtype.kind == "S" else labels


def read_known_set(name: str, *, root: Path, download: bool) -> tuple[Images, Labels]:
    """Reads a data set of `KNOWN_SETS` from its cache `root/<name>.npz`, making that first if absent.

    Args:
        name: Name of the data set.
        root: Folder of the cache and of the files torchvision keeps.
        download: Whether torchvision may fetch what is not there.

    Returns:
        Images (N, C, H, W), training images first, and labels (N,).

    Raises:
        FileNotFoundError: If neither a cache nor torchvision's files are there, or they cannot be fetched.
        ValueError: If the cache does not hold that data set.
    """
    known, cache = KNOWN_SETS[name], root / f"{name}.npz"
    if not cache.is_file():
        images, labels = _through_torchvision(name, root=root, download=download)
        write_npz(cache, images=images, labels=labels)
    arrays = read_npz(cache, required=("images", "labels"))
    images, wanted = arrays["images"], (known.num_train + known.num_test, *known.image_shape)
    if images.dtype != np.uint8 or images.shape != wanted:
        raise ValueError(f"{cache}: array 'images' must be uint8 {wanted}, got {images.dtype} {images.shape}")
    labels = as_label_names(arrays["labels"], num_images=wanted[0], name=f"{cache}: array 'labels'")
    if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= len(known.class_names):
        raise ValueError(f"{cache}: array 'labels' must be integers in [0, {len(known.class_names)})")
    return images, labels.astype(np.int64)


def check_present(name: str, *, root: Path) -> None:
    """Checks, without reading it, that a data set of `KNOWN_SETS` is there.

    Raises:
        FileNotFoundError: If neither a cache nor torchvision's folder is.
    """
    if not (root / f"{name}.npz").is_file() and not (root / KNOWN_SETS[name].folder).is_dir():
        raise _absent(name, root)


def _absent(name: str, root: Path) -> FileNotFoundError:
    return FileNotFoundError(
        f"no cache {root / f'{name}.npz'} and no whole copy of torchvision's files in {root}\n"
        f"fetch {name} with data.download=true, or name its folder with data.root=FOLDER"
    )


def _through_torchvision(name: str, *, root: Path, download: bool) -> tuple[Images, Labels]:
    """Reads torchvision's own files, whose checksums it verifies, out of `root` or freshly fetched.

    They are fetched into a folder of this process alone: two that do so at once cannot see each other's
    halves.
    """
    try:
        return _read_torchvision(name, root=root, download=False)
    except (RuntimeError, ValueError, AssertionError, OSError, EOFError) as error:  # absent, or broken
        if not download:
            raise _absent(name, root) from error
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=f".{name}.") as folder:
        try:
            return _read_torchvision(name, root=Path(folder), download=True)
        except (RuntimeError, OSError) as error:
            raise FileNotFoundError(
                f"{name} could not be fetched: {error}\nput a copy of it at {root / f'{name}.npz'}"
            ) from error


def _read_torchvision(name: str, *, root: Path, download: bool) -> tuple[Images, Labels]:
    """Reads both splits through torchvision and joins them."""
    import torchvision.datasets  # heavy, and needed only until there is a cache

    loader = getattr(torchvision.datasets, KNOWN_SETS[name].loader)
    splits = [loader(str(root), train=train, download=download) for train in (True, False)]
    images = np.concatenate([np.asarray(split.data) for split in splits])  # (N, H, W, C) or (N, H, W)
    labels = np.concatenate([np.asarray(split.targets, dtype=np.int64) for split in splits])
    return np.ascontiguousarray(as_images(images, name=name)), labels
