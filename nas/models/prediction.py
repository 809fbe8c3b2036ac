"""Predictions of a trained model on image files: files are found, brought to its size, and classified."""

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from nas.data.image_files import SUFFIXES, Framing, decode_image, decode_part, eight_bits, images_below, opened_image
from nas.models.prediction_settings import PredictSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The most likely classes of one image.

    Attributes:
        file: The image.
        labels: Numbers of the classes, the most likely first.
        probabilities: Probabilities of these, by softmax.
    """

    file: Path
    labels: tuple[int, ...]
    probabilities: tuple[float, ...]


def find_images(given: str | Sequence[str]) -> list[Path]:
    """Lists image files in order of name.

    Args:
        given: A file, a folder (with all below it, hidden ones passed over) or a pattern, or several of these. In
            folders, files are known by their suffix.

    Raises:
        FileNotFoundError: If one of them names no file.
    """
    found: list[Path] = []
    for text in [given] if isinstance(given, str) else given:
        path = Path(text).expanduser()
        matches = map(Path, glob.glob(str(path), recursive=True))  # noqa: PTH207 (absolute patterns)
        whole = [path] if path.exists() else [file for file in matches if file.is_file()]
        files = images_below(path) if path.is_dir() else whole
        if not files:
            empty = f"{path} holds no image ({', '.join(sorted(SUFFIXES))})"
            raise FileNotFoundError(empty if path.is_dir() else f"no such image, folder or pattern: {text}")
        found += sorted(files)
    return list(dict.fromkeys(found))


def read_image(
    path: Path, *, image_shape: tuple[int, int, int], resize: str, margin: float | None = None
) -> npt.NDArray[np.uint8]:
    """Decodes one file to the size and channels of a model, with `crop` as the test images of its training were.

    Args:
        path: The file.
        image_shape: (C, H, W), C 1 for grey or 3 for RGB.
        resize: `crop` cuts out the largest part of the right proportions from the middle, `stretch` changes the
            proportions, `pad` adds black, `none` takes the image as it is.
        margin: Side of the part that `crop` cuts out, as a share of the largest; None where the model was trained
            without, see `nas.data.image_files`.

    Returns:
        (C, H, W) uint8.

    Raises:
        ValueError: If the file cannot be decoded, or with `none` has another size.
    """
    channels, height, width = image_shape
    if resize == "crop" and height == width and margin is not None:
        framing = Framing(scale=None, margin=margin)
        return decode_part(path, image_size=width, channels=channels, framing=framing).numpy()
    if resize == "crop" and height == width:
        return decode_image(path, image_size=width, channels=channels).transpose(2, 0, 1)
    with opened_image(path) as image:
        plain = eight_bits(image).convert("RGB" if channels == 3 else "L")
    size, method = (width, height), Image.Resampling.BILINEAR
    if resize == "none" and plain.size != size:
        raise ValueError(f"{path}: has {plain.width}x{plain.height} pixels, the model needs {width}x{height}")
    if resize == "crop":
        plain = ImageOps.fit(plain, size, method=method, bleed=(1 - (margin or 1)) / 2)
    elif resize == "pad":
        plain = ImageOps.pad(plain, size, method=method)
    elif resize == "stretch":
        plain = plain.resize(size, method)
    return np.array(plain).reshape(height, width, channels).transpose(2, 0, 1)


@torch.no_grad()
def predict(
    model: nn.Module,
    files: Sequence[Path],
    settings: PredictSettings,
    *,
    image_shape: tuple[int, int, int],
    margin: float | None = None,
    device: torch.device | str = "cpu",
) -> tuple[list[Prediction], dict[Path, str]]:
    """Classifies image files.

    Args:
        model: Maps images (N, C, H, W), floats in [0, 1], to logits; in evaluation mode, on the device.
        files: The images.
        settings: How images get the model's size, how many at once, and classes of each; all where there are fewer.
        image_shape: (C, H, W) of the model.
        margin: Margin of what is cropped, see `read_image`.
        device: Where the model is.

    Returns:
        The predictions, and by file why others could not be read.

    Raises:
        ValueError: If the model has other than 1 or 3 channels.
    """
    if image_shape[0] not in (1, 3):
        raise ValueError(f"image files have 1 or 3 channels, the model takes {image_shape[0]}")
    predictions: list[Prediction] = []
    unreadable: dict[Path, str] = {}
    for start in range(0, len(files), settings.batch_size):
        read: dict[Path, npt.NDArray[np.uint8]] = {}
        for file in files[start : start + settings.batch_size]:
            try:
                read[file] = read_image(file, image_shape=image_shape, resize=settings.resize, margin=margin)
            except ValueError as error:
                unreadable[file] = str(error)
        if read:
            images = torch.from_numpy(np.stack(list(read.values()))).to(device).float() / 255
            predictions += _top(model(images), list(read), settings.top)
    return predictions, unreadable


def _top(logits: Tensor, files: Sequence[Path], top: int) -> list[Prediction]:
    found = logits.float().softmax(dim=1).topk(min(top, logits.shape[1]), dim=1)
    return [
        Prediction(file=file, labels=tuple(labels), probabilities=tuple(values))
        for file, labels, values in zip(files, found.indices.tolist(), found.values.tolist(), strict=True)
    ]
