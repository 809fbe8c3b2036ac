"""A user's own images as a data set: arrays in an .npz file, or files in folders.

The arguments that both share with all data sets are `nas.data.stratified_split.SplitOptions`.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Unpack

import numpy as np
import numpy.typing as npt
import torch

from nas.data.decoding import Decoders, ImageSource
from nas.data.image_data import ImageData, divided, divided_images, resident_data, streaming_data
from nas.data.image_files import SUFFIXES, Framing, images_below
from nas.data.npz import Images, Labels, as_images, as_label_names, read_npz
from nas.data.stratified_split import OwnSplitOptions
from nas.runs.console import note

FRAMED = ("nas.data.named.image_folder", "nas.data.own_images.image_folder")
"""Targets of the configs whose pictures may be framed."""
MAX_NAMED = 1000  # unreadable files in a record
TEST_FOLDERS = ("test", "val")


def arrays(*, path: str | Path, image_size: int | None = None, **options: Unpack[OwnSplitOptions]) -> ImageData:
    """Anyone's images in an .npz file.

    It holds `images`, (N, C, H, W), (N, H, W, C) or (N, H, W) with 1 or 3 channels, uint8 or floats in [0, 1]; and
    `labels`, (N,) integers or strings, each distinct one a class; and, if it likes, `test_images` and `test_labels`.

    Args:
        path: The file.
        image_size: Side in pixels to which images are averaged down; it must divide theirs. None leaves them.
        options: The arguments that all data sets share.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If an array is missing or breaks the rules above, the file has fewer than two classes, or
            `image_size` does not divide.
    """
    file = Path(path).expanduser()
    images, labels, class_names, num_train = _read_arrays(file)
    described = {"name": file.stem, "class_names": class_names, "num_train": num_train}
    return divided_images(images, labels, image_size=image_size, **described, options=options)


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """The files of an image folder, training images first.

    Attributes:
        paths: Every image, classes and files in order of name.
        labels: (N,) class of each.
        class_names: Names of the class folders.
        num_train: Where the test images begin; None where the folder has no test split.
    """

    paths: tuple[Path, ...]
    labels: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    num_train: int | None

    def without(self, bad: Mapping[int, str]) -> "ImageFiles":
        """Leaves files out, given by number with the reason.

        Raises:
            ValueError: If a class keeps no file among the training images.
        """
        kept = np.array([number for number in range(len(self.paths)) if number not in bad], dtype=np.int64)
        num_train = None if self.num_train is None else int((kept < self.num_train).sum())
        labels = self.labels[kept]
        for label in sorted(set(range(len(self.class_names))) - set(labels[:num_train].tolist())):
            number = next(number for number in bad if self.labels[number] == label)
            raise ValueError(f"class {self.class_names[label]!r} has no image that can be read: {bad[number]}")
        return ImageFiles(tuple(self.paths[number] for number in kept), labels, self.class_names, num_train)


def scan_folder(root: Path) -> ImageFiles:
    """Lists a folder of class folders, or of `train` and `test` (else `val`) that hold class folders.

    Files are known by their suffix and not opened; hidden files and folders are passed over.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it holds fewer than two class folders, a class folder holds no image, or a class of the test
            folder has none in the training folder.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no such folder: {root}")
    test_root = next((root / name for name in TEST_FOLDERS if (root / name).is_dir()), None)
    roots = [root] if test_root is None or not (root / "train").is_dir() else [root / "train", test_root]
    class_names = _class_folders(roots[0], at_least=2)
    paths: list[Path] = []
    labels: list[int] = []
    ends = []
    for folder in roots:
        for name in _class_folders(folder, at_least=1):
            if name not in class_names:
                raise ValueError(f"class folder {folder / name} has no counterpart in {roots[0]}")
            found = images_below(folder / name)
            if not found:
                raise ValueError(f"class folder {folder / name} holds no image ({', '.join(sorted(SUFFIXES))})")
            paths += found
            labels += [class_names.index(name)] * len(found)
        ends.append(len(paths))
    return ImageFiles(tuple(paths), np.array(labels), class_names, num_train=ends[0] if len(roots) > 1 else None)


def image_folder(
    *,
    root: str | Path,
    image_size: int,
    channels: int = 3,
    workers: int = 2,
    skip_bad: bool = False,
    resident: bool | Literal["auto"] = "auto",
    resident_mb: float = 2048,
    resize: int | None = None,
    crop_scale: Sequence[float] | None = None,
    crop_ratio: Sequence[float] = (3 / 4, 4 / 3),
    **options: Unpack[OwnSplitOptions],
) -> ImageData:
    """A folder with one folder of images a class, or with `train` and `test` (else `val`) that hold such folders.

    Images of any size and kind become squares of one size, see `nas.data.image_files.decode_image`; with `resize` or
    `crop_scale`, as ImageNet is trained, see `nas.data.image_files`.

    Args:
        root: The folder.
        image_size: Side in pixels that images are scaled to, after their central square has been cut out.
        channels: 3 for RGB, 1 for grey.
        workers: Processes that decode, at most, as there are no more than cores; 0 decodes in this one.
        skip_bad: Whether files that cannot be decoded are left out, of streamed images too: all files are decoded at a
            fraction of their size first. The record has `num_skipped` and `skipped`, the first
            1000 of their names.
        resident: Whether to decode everything once onto the device; else batches are decoded as they are
            needed. `auto` does what `resident_mb` allows.
        resident_mb: MiB that the decoded images may take up for `auto`.
        resize: Pixels that the shorter side of a picture is scaled to before its central square of `image_size` is cut
            out, where no random part is taken; None takes all of that side.
        crop_scale: Least and greatest share of a picture that a training image shows, a random part each time; None
            takes the middle. Such pictures are streamed.
        crop_ratio: Least and greatest width / height of the random part.
        options: The arguments that all data sets share; by default images are cropped after a padding of 4 and
            mirrored.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If there are fewer than two classes or an empty one, or, without `skip_bad`, a file cannot be
            decoded (a streamed one when its turn comes).
    """
    if image_size < 1 or channels not in (1, 3) or workers < 0:
        raise ValueError(
            "image_size must be at least 1, channels 1 or 3 and workers at least 0, "
            f"got {image_size}, {channels} and {workers}"
        )
    if resident not in (True, False, "auto"):
        raise ValueError(f"resident must be true, false or auto, got {resident!r}")
    if crop_scale is not None and resident is True:
        raise ValueError(
            "crop_scale takes random parts of pictures, which are streamed: resident must be false or auto"
        )
    framing = _framing(image_size, resize=resize, crop_scale=crop_scale, crop_ratio=crop_ratio)
    folder = Path(root).expanduser()
    files = scan_folder(folder)
    skipped: dict[str, Any] = {}
    if skip_bad:
        files, skipped = _readable(files, folder, channels=channels, workers=workers)
    division = divided(
        files.labels,
        name=folder.resolve().name,
        class_names=files.class_names,
        num_train=files.num_train,
        options={"crop_padding": 4, "flip": True, **options},
    )
    source = ImageSource(files.paths, files.labels, image_size=image_size, channels=channels, framing=framing)
    decoders = Decoders(source, workers=workers, pin_memory=torch.device(options.get("device", "cpu")).type == "cuda")
    if resident == "auto":
        resident = crop_scale is None and len(division.parts.used) * channels * image_size**2 <= resident_mb * 2**20
    data = (
        resident_data(decoders.decode_all(division.parts.used), files.labels, division)
        if resident
        else streaming_data(decoders, folder, division)
    )
    return replace(data, record={**data.record, **skipped})


def _class_folders(root: Path, *, at_least: int) -> tuple[str, ...]:
    """Names of the class folders in order."""
    names = tuple(sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if len(names) < at_least:
        raise ValueError(f"{root} must hold at least {at_least} class folders, got {len(names)}")
    return names


def _readable(files: ImageFiles, folder: Path, *, channels: int, workers: int) -> tuple[ImageFiles, dict[str, Any]]:
    """Returns the files that can be decoded, and what the record says of the others."""
    source = ImageSource(files.paths, files.labels, image_size=1, channels=channels)
    bad = Decoders(source, workers=workers).unreadable()
    if bad:
        first = next(iter(bad.values()))
        note(f"warning: {len(bad)} of {len(files.paths)} images cannot be read and are left out, the first {first}")
    names = [files.paths[number].relative_to(folder).as_posix() for number in list(bad)[:MAX_NAMED]]
    return files.without(bad), {"num_skipped": len(bad), "skipped": names}


def margin_of(config: Mapping[str, Any]) -> float | None:
    """Returns the margin of `nas.data.image_files.Framing` that test pictures have by the config of the group `data`.

    Returns:
        None where pictures are not framed: another data set, or the largest square in the middle, always.
    """
    if config.get("_target_") not in FRAMED:
        return None
    resize, crop_scale = config.get("resize"), config.get("crop_scale")
    with suppress(ValueError, TypeError, LookupError, ZeroDivisionError):  # of no data set that there has been
        framing = _framing(config["image_size"], resize=resize, crop_scale=crop_scale, crop_ratio=(1, 1))
        return None if framing is None else framing.margin
    return None


def _framing(
    image_size: int, *, resize: int | None, crop_scale: Sequence[float] | None, crop_ratio: Sequence[float]
) -> Framing | None:
    """Returns which parts of pictures are taken; None where it is the largest square in the middle, always."""
    if resize is not None and resize < image_size:
        raise ValueError(f"resize must be at least image_size, got {resize} and {image_size}")
    for name, pair in (("crop_scale", crop_scale), ("crop_ratio", crop_ratio)):
        if pair is not None and len(pair) != 2:
            raise ValueError(f"{name} must be two numbers, got {list(pair)}")
    if resize is None and crop_scale is None:
        return None
    return Framing(
        scale=None if crop_scale is None else (crop_scale[0], crop_scale[1]),
        ratio=(crop_ratio[0], crop_ratio[1]),
        margin=image_size / (resize or image_size),
    )


def _read_arrays(file: Path) -> tuple[Images, Labels, tuple[str, ...], int | None]:
    """Images (N, C, H, W), labels (N,), class names, and where the test images begin if there are any."""
    found = read_npz(file, required=("images", "labels"), optional=("test_images", "test_labels"))
    if len(found) == 3:
        raise ValueError(f"{file}: must hold both 'test_images' and 'test_labels' or neither, holds one")
    prefixes = ("", "test_")[: len(found) // 2]
    images, names = zip(*(_images_and_labels(found, prefix=prefix, file=file) for prefix in prefixes), strict=True)
    number = {name: label for label, name in enumerate(np.unique(names[0]).tolist())}
    if len(number) < 2:
        raise ValueError(f"{file}: array 'labels' must name at least 2 classes, got {len(number)}")
    if images[-1].shape[1:] != images[0].shape[1:]:
        raise ValueError(
            f"{file}: array 'test_images' must hold images of shape {images[0].shape[1:]} as 'images' does, "
            f"got {images[-1].shape[1:]}"
        )
    if unknown := sorted(set(names[-1].tolist()) - number.keys()):
        raise ValueError(f"{file}: array 'test_labels' holds {unknown[0]!r}, which 'labels' does not")
    labels = np.array([number[name] for part in names for name in part.tolist()], dtype=np.int64)
    whole = images[0] if len(images) == 1 else np.concatenate(images)
    return whole, labels, tuple(map(str, number)), len(images[0]) if len(images) > 1 else None


def _images_and_labels(
    found: dict[str, npt.NDArray[Any]], *, prefix: str, file: Path
) -> tuple[Images, npt.NDArray[Any]]:
    """Images (N, C, H, W) and labels (N,) of a file, checked."""
    images = as_images(found[f"{prefix}images"], name=f"{file}: array '{prefix}images'")
    name = f"{file}: array '{prefix}labels'"
    return images, as_label_names(found[f"{prefix}labels"], num_images=len(images), name=name)
