"""Image files of any kind reach the model in its size, and its most likely classes come back."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from nas.data.image_files import decode_image
from nas.models.prediction import find_images, predict, read_image
from nas.models.prediction_settings import PredictSettings


class MeanColour(nn.Module):
    """Logits are 10 times the mean of each channel."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 10 * images.mean(dim=(2, 3))


def save(path: Path, colour: object, mode: str = "RGB", size: tuple[int, int] = (12, 8)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)  # type: ignore[arg-type]
    return path


def test_the_largest_mean_is_the_first_class_and_probabilities_are_a_softmax(tmp_path):
    files = [save(tmp_path / "red.png", (255, 0, 51)), save(tmp_path / "blue.jpg", (0, 0, 255), size=(40, 40))]
    found, unreadable = predict(MeanColour(), files, PredictSettings(top=2, batch_size=1), image_shape=(3, 8, 8))
    assert not unreadable
    assert [one.file for one in found] == files
    assert [one.labels[0] for one in found] == [0, 2]
    expected = torch.tensor([10.0, 0.0, 2.0]).softmax(dim=0)
    assert found[0].labels == (0, 2)
    assert found[0].probabilities == pytest.approx((expected[0].item(), expected[2].item()))


def test_a_model_of_few_classes_shows_all_of_them(tmp_path):
    found, _ = predict(MeanColour(), [save(tmp_path / "a.png", 0)], PredictSettings(top=9), image_shape=(3, 8, 8))
    assert len(found[0].labels) == 3


@pytest.mark.parametrize(
    ("mode", "colour"), [("L", 100), ("RGB", (100, 100, 100)), ("RGBA", (100, 100, 100, 7)), ("I;16", 100 << 8)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_any_kind_of_image_gets_the_channels_of_the_model(mode, colour, channels, tmp_path):
    file = save(tmp_path / "a.png", colour, mode)
    for resize in ("crop", "stretch"):
        image = read_image(file, image_shape=(channels, 8, 8), resize=resize)
        assert image.shape == (channels, 8, 8)
        assert image.dtype == np.uint8
        assert (image == 100).all()


def test_the_ways_to_resize_differ_as_they_say(tmp_path):
    pixels = np.zeros((8, 16, 3), dtype=np.uint8)
    pixels[:, :4], pixels[:, 12:] = 255, 255  # white at both sides of a wide image
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    crop, stretch, pad = (
        read_image(tmp_path / "wide.png", image_shape=(1, 8, 8), resize=way)[0] for way in ("crop", "stretch", "pad")
    )
    assert crop.max() == 0
    assert (stretch[:, 0] == 255).all()
    assert (pad[0] == 0).all()
    assert (pad[3, 0] == 255).all()
    with pytest.raises(ValueError, match="has 16x8 pixels, the model needs 8x8"):
        read_image(tmp_path / "wide.png", image_shape=(1, 8, 8), resize="none")
    whole = read_image(tmp_path / "wide.png", image_shape=(3, 8, 16), resize="none")
    assert np.array_equal(whole, pixels.transpose(2, 0, 1))


def test_cropping_is_what_training_does(tmp_path):
    pixels = np.random.RandomState(0).randint(0, 256, (20, 31, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = decode_image(tmp_path / "a.png", image_size=8, channels=3)
    assert np.array_equal(
        read_image(tmp_path / "a.png", image_shape=(3, 8, 8), resize="crop"), expected.transpose(2, 0, 1)
    )


def test_a_margin_is_cut_off_whatever_the_shape_and_only_by_cropping(tmp_path):
    pixels = np.full((40, 60, 3), 255, dtype=np.uint8)
    pixels[10:-10, 15:-15] = 0  # the middle half of either side
    Image.fromarray(pixels).save(tmp_path / "a.png")
    for shape in ((3, 8, 8), (3, 8, 12), (3, 12, 8)):
        assert read_image(tmp_path / "a.png", image_shape=shape, resize="crop", margin=0.4).max() == 0
        assert read_image(tmp_path / "a.png", image_shape=shape, resize="crop").max() == 255
        whole = read_image(tmp_path / "a.png", image_shape=shape, resize="stretch")
        assert np.array_equal(read_image(tmp_path / "a.png", image_shape=shape, resize="stretch", margin=0.4), whole)


def test_files_folders_patterns_and_lists_name_images(tmp_path):
    a, b = save(tmp_path / "x" / "a.png", 0), save(tmp_path / "x" / "deep" / "b.JPG", 0)
    hidden = save(tmp_path / "x" / ".hidden" / "c.png", 0)
    (tmp_path / "x" / "notes.txt").write_text("no image")
    assert find_images(str(tmp_path / "x")) == [a, b]
    assert find_images(str(a)) == [a]
    assert find_images(str(tmp_path / "x" / "*.png")) == [a]
    assert find_images(str(tmp_path / "x" / "**" / "*.*g*")) != []
    assert find_images([str(b), str(tmp_path / "x")]) == [b, a]
    assert hidden not in find_images(str(tmp_path / "x"))
    for absent in ("nowhere", "x/*.bmp", "x/.hidden/deeper"):
        with pytest.raises(FileNotFoundError, match="no such image, folder or pattern"):
            find_images(str(tmp_path / absent))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty holds no image"):
        find_images(str(tmp_path / "empty"))


def test_broken_files_are_reported_and_the_others_classified(tmp_path):
    good, broken, cut = save(tmp_path / "good.png", 0), tmp_path / "broken.png", tmp_path / "cut.png"
    broken.write_bytes(b"not an image")
    cut.write_bytes(save(tmp_path / "whole.png", 0, size=(64, 64)).read_bytes()[:60])
    for batch_size in (1, 64):
        settings = PredictSettings(batch_size=batch_size)
        found, unreadable = predict(MeanColour(), [broken, good, cut], settings, image_shape=(3, 8, 8))
        assert [one.file for one in found] == [good]
        assert set(unreadable) == {broken, cut}
        assert "cannot be read as an image" in unreadable[broken]


def test_a_model_of_two_channels_is_refused(tmp_path):
    with pytest.raises(ValueError, match="1 or 3 channels, the model takes 2"):
        predict(MeanColour(), [tmp_path / "a.png"], PredictSettings(), image_shape=(2, 8, 8))
