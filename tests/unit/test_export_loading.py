"""Models are loaded in one line, and from sound files only."""

import copy
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import nas
from nas.models.derived import DerivedModel
from nas.models.exporting.formats import write_python
from nas.models.exporting.plain_network import make_normalize, plain_network
from nas.models.hardening import harden_mixers
from nas.models.loading import build_model
from nas.models.model_card import CARD_NAME, WEIGHTS_FILE, ModelRecord, file_facts, model_text, write_card
from nas.runs.checkpoints import load_weights, save_weights, write_json
from search_spaces.genotype import MAX_JSON_BYTES, Genotype
from tests.conftest import make_cell

SETTINGS = {"_target_": "nas.models.shufflenasnet.ShuffleNASNet", "filters": 8, "cells_per_stage": 1, "stages": 2}


def metadata_of(record: ModelRecord) -> dict[str, str]:
    return {"model": model_text(record.genotype, record.network)}


def a_record(mixer: str = "auto_shuffle") -> ModelRecord:
    cell = make_cell((0, "conv_1x1"), (0, "sep_conv_3x3"), mixer=mixer)
    genotype = Genotype(space="shufflenas", normal=cell, reduction=cell)
    return ModelRecord(name="toy", genotype=genotype, network=dict(SETTINGS), in_channels=1, num_classes=3)


def a_run(folder: Path, record: ModelRecord | None = None) -> tuple[Path, nn.Module]:
    """A run folder as `nas retrain` leaves it, and its network."""
    record = record or a_record()
    network = build_model(record, None)
    folder.mkdir(parents=True)
    save_weights(
        folder / WEIGHTS_FILE, network.state_dict(), metadata={"model": model_text(record.genotype, record.network)}
    )
    write_json(folder / "data.json", {"name": "mine", "image_shape": [1, 8, 8], "mean": [0.25], "std": [0.5]})
    write_json(folder / "metrics.json", {"members": [{"label": "found", "test_accuracy": 0.75}]})
    return folder, network


def an_export(folder: Path) -> tuple[Path, nn.Module]:
    """A folder as `nas export` leaves it, and its network."""
    run, network = a_run(folder)
    record = replace(a_record(), image_shape=(1, 8, 8), mean=(0.25,), std=(0.5,))
    write_card(run, record, files={WEIGHTS_FILE: file_facts(run / WEIGHTS_FILE)})
    (run / "data.json").unlink()
    return run, network


@pytest.mark.parametrize("make", [a_run, an_export])
@pytest.mark.parametrize("for_inference", [True, False])
def test_a_folder_becomes_a_ready_model_in_one_line(make, for_inference, tmp_path):
    folder, network = make(tmp_path / "four")
    model = nas.load_model(folder, for_inference=for_inference)
    images = torch.rand(3, 1, 8, 8)
    assert not model.training
    assert torch.allclose(model(images), network((images - 0.25) / 0.5, model.genotype), atol=1e-5)
    assert (model.record.in_channels, model.record.num_classes, model.record.image_shape) == (1, 3, (1, 8, 8))
    images = torch.randn(3, 1, 8, 8)
    plain = nas.load_model(str(folder), normalize=False, device="cpu")
    assert torch.allclose(plain(images), network(images, model.genotype), atol=1e-5)


BAD_IMAGES = {
    "uint8": (torch.randint(256, (2, 1, 8, 8), dtype=torch.uint8), "uint8; divide bytes by 255"),
    "whole numbers": (torch.ones(2, 1, 8, 8, dtype=torch.int64), "int64"),
    "bytes as floats": (torch.rand(2, 1, 8, 8) * 255, r"values from .* to 2\d\d"),
    "normalised": (torch.linspace(-2, 2, 128).view(2, 1, 8, 8), "values from -2 .* leave mean and std to the model"),
    "not a number": (torch.full((2, 1, 8, 8), torch.nan), "values from nan"),
    "channels": (torch.rand(2, 3, 8, 8), r"images \(N, 1, H, W\), got \(2, 3, 8, 8\)"),
    "channels last": (torch.rand(2, 8, 8, 1), r"got \(2, 8, 8, 1\)"),
    "no batch": (torch.rand(1, 8, 8), r"got \(1, 8, 8\)"),
}


def as_python(folder: Path) -> nn.Module:
    """The model of `a_run` out of an exported Python file."""
    record = replace(a_record(), image_shape=(1, 8, 8), mean=(0.25,), std=(0.5,))
    network = plain_network(a_run(folder / "run")[1], record.genotype)
    model = DerivedModel(network, record.genotype, make_normalize([0.25], [0.5])).eval()
    example = torch.rand(2, 1, 8, 8)
    return write_python(model, folder / "file", example, title="a", images="b", takes="floats").run


@pytest.mark.parametrize("make", [lambda folder: nas.load_model(a_run(folder / "four")[0]), as_python])
def test_images_of_another_kind_are_refused_at_the_first_batch(make, tmp_path):
    model = make(tmp_path)
    for images, message in BAD_IMAGES.values():
        with pytest.raises(ValueError, match=message):
            model(images)
        with pytest.raises(ValueError, match=message):
            model(images=images)
    images = torch.rand(2, 1, 8, 8)
    for fine in (images, images * 1.2 - 0.1, images[:0], images.double(), torch.zeros(1, 1, 8, 8)):
        assert model(fine).shape == (len(fine), 3)


@pytest.mark.parametrize("make", [lambda folder: nas.load_model(a_run(folder / "four")[0]), as_python])
def test_another_size_than_that_of_the_training_images_is_warned_of_once(make, tmp_path):
    model = make(tmp_path)
    with pytest.warns(UserWarning, match="16x12 pixels; the model was trained on 8x8"):
        model(torch.rand(2, 1, 16, 12))
    model(torch.rand(2, 1, 16, 12))


def test_a_model_without_normalisation_takes_normalised_floats_alone(tmp_path):
    model = nas.load_model(a_run(tmp_path / "four")[0], normalize=False)
    assert model(torch.randn(2, 1, 8, 8)).shape == (2, 3)
    with pytest.raises(ValueError, match=r"normalised floats, got torch\.uint8"):
        model(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))


def test_a_loaded_model_may_be_trained_copied_and_halved(tmp_path):
    model = nas.load_model(a_run(tmp_path / "four")[0], for_inference=False)
    images = torch.rand(4, 1, 8, 8)
    expected = model(images)
    torch.testing.assert_close(copy.deepcopy(model)(images), expected)
    half = copy.deepcopy(model).bfloat16()
    assert half(images.bfloat16()).dtype == torch.bfloat16
    model.train()(images - 0.7).sum().backward()  # an augmentation of the user's own


def test_where_mean_and_std_are_not_known_the_user_normalises(tmp_path):
    folder, _ = a_run(tmp_path / "four")
    (folder / "data.json").unlink()
    with pytest.raises(ValueError, match="mean and std of the training images are not known; take normalize=False"):
        nas.load_model(folder)
    assert nas.load_model(folder, normalize=False)(torch.randn(2, 1, 8, 8)).shape == (2, 3)


def test_the_card_says_what_images_the_model_takes(tmp_path):
    folder, _ = an_export(tmp_path / "four")
    told = json.loads((folder / CARD_NAME).read_text())["input"]
    assert told == {"shape": ["N", 1, 8, 8], "dtype": "float32", "range": [0, 1], "normalizes": True}
    assert write_card(folder, a_record())["input"]["range"] is None


def test_what_a_run_tells_is_in_the_record(tmp_path):
    record = nas.load_model(a_run(tmp_path / "four")[0]).record
    assert (record.name, record.data, record.test_accuracy, record.mean) == ("four", "mine", 0.75, (0.25,))


@pytest.mark.parametrize(("resize", "margin"), [(10, 0.8), (None, None)])
def test_a_run_on_framed_pictures_tells_their_margin_and_so_does_its_card(resize, margin, tmp_path):
    folder, _ = a_run(tmp_path / "four")
    (folder / "config.yaml").write_text(
        f"data: {{_target_: nas.data.named.image_folder, image_size: 8, resize: {resize or 'null'}}}\n"
    )
    record = nas.load_model(folder).record
    assert record.margin == margin
    write_card(folder, record, files={WEIGHTS_FILE: file_facts(folder / WEIGHTS_FILE)})
    (folder / "config.yaml").unlink()
    assert nas.load_model(folder).record.margin == margin


def test_without_weights_the_architecture_is_the_same_and_random(tmp_path):
    folder, network = a_run(tmp_path / "four")
    model = nas.load_model(folder, pretrained=False, for_inference=False)
    assert model.network.state_dict().keys() == network.state_dict().keys()
    assert not torch.equal(model.network.classifier.weight, network.classifier.weight)


def test_published_names_have_no_weights_and_any_size():
    with pytest.raises(ValueError, match=r"no trained weights of darts_v2 .* pretrained=False"):
        nas.load_model("darts_v2")
    model = nas.load_model(
        "darts_v2", pretrained=False, num_classes=7, in_channels=1, network={"filters": 4, "cells_per_stage": 1}
    )
    assert model(torch.rand(2, 1, 16, 16)).shape == (2, 7)
    with pytest.raises(ValueError, match=r"the network cannot be built.*filtres"):
        nas.load_model("darts_v2", pretrained=False, network={"filtres": 4})


def test_a_source_that_is_nothing_is_told_from_one_without_a_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="did you mean darts_v2"):
        nas.load_model("dart_v2", pretrained=False)
    with pytest.raises(FileNotFoundError, match=f"no trained model in {tmp_path}: `nas retrain`"):
        nas.load_model(tmp_path)
    folder, _ = a_run(tmp_path / "four")
    with pytest.raises(ValueError, match="for published names"):
        nas.load_model(folder, num_classes=4)


@pytest.mark.parametrize("kept", [0, 5, 8, 200, -1])
def test_truncated_weights_are_refused_by_name(kept, tmp_path):
    folder, _ = a_run(tmp_path / "four")
    file = folder / WEIGHTS_FILE
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match=str(file)):
        nas.load_model(folder)


def test_appended_and_flipped_bytes_are_refused(tmp_path):
    folder, _ = an_export(tmp_path / "four")
    file = folder / WEIGHTS_FILE
    whole = file.read_bytes()
    file.write_bytes(whole + b"more")
    with pytest.raises(ValueError, match="it is not the whole file"):
        nas.load_model(folder)
    file.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    with pytest.raises(ValueError, match="its sha256 is another"):
        nas.load_model(folder)


def changed(folder: Path, **metadata) -> str:
    """The file, with another model in its header."""
    file = folder / WEIGHTS_FILE
    model = {**json.loads(metadata_of(a_record())["model"]), **metadata}
    save_weights(file, load_weights(file), metadata={"model": json.dumps(model)})
    return str(file)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({**SETTINGS, "filters": 10**9}, "filters=1000000000 is more than the"),
        ({**SETTINGS, "filters": 12}, "has shape"),
        ({**SETTINGS, "stages": 3}, "missing or unknown"),
        ({**SETTINGS, "filters": "8"}, "the network cannot be built"),
        ({**SETTINGS, "_target_": "os.system"}, "unknown network 'os.system'"),
        ({**SETTINGS, "_target_": "nas.cli.main"}, "unknown network 'nas.cli.main'"),
        ({**SETTINGS, "_target_": "nas.nowhere.Net"}, "unknown network"),
        ({"filters": 8}, "must name its class as _target_"),
        ([1], "must name its class as _target_"),
    ],
)
def test_a_header_that_tells_of_another_model_is_refused(network, message, tmp_path):
    folder, _ = a_run(tmp_path / "four")
    changed(folder, network=network)
    with pytest.raises(ValueError, match=message):
        nas.load_model(folder)


def test_weights_that_are_no_numbers_or_no_permutations_are_refused(tmp_path):
    folder, network = a_run(tmp_path / "four")
    for key, value in (("classifier.weight", torch.nan), (".index", 0)):
        weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        weights[next(name for name in weights if name.endswith(key))].fill_(value)
        save_weights(folder / WEIGHTS_FILE, weights, metadata=metadata_of(a_record()))
        with pytest.raises(ValueError, match=r"not finite|not a permutation"):
            nas.load_model(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "must hold an object"),
        (" " * (MAX_JSON_BYTES + 1), "larger than"),
        (
            '{"network": {"_target_": "nas.models.shufflenasnet.ShuffleNASNet"}, "mean": "grey"}',
            "mean must be a list, got 'grey'",
        ),
        ('{"network": {"_target_": "a"}, "image_shape": [1]}', "image_shape must be"),
        ('{"network": {"_target_": "a"}, "image_shape": 3}', "image_shape must be"),
        ('{"network": {"_target_": "a"}, "image_shape": [1, 8, -8]}', "image_shape must be greater than 0, got -8"),
        ('{"network": {"_target_": "a"}, "mean": [0.5], "std": [0]}', "std must be greater than 0, got 0"),
        ('{"network": {"_target_": "a"}, "mean": [0.5], "std": [0.5, 1]}', "one number a channel"),
        ('{"network": {"_target_": "a"}, "num_classes": "many"}', "num_classes must be"),
        ('{"network": {"_target_": "a"}, "margin": "wide"}', "margin must be a valid number"),
        ('{"network": {"_target_": "a"}, "margin": 1.5}', "margin must be less than or equal to 1"),
        ('{"network": {"_target_": "a"}, "genotype": {"space": 3}}', "genotype: "),
    ],
)
def test_a_broken_model_card_is_refused_by_name(text, message, tmp_path):
    folder, _ = an_export(tmp_path / "four")
    (folder / CARD_NAME).write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        nas.load_model(folder)
    assert str(folder / CARD_NAME) in str(caught.value)


def test_soft_mixers_are_loaded_hard():
    network = build_model(a_record("kaleidoscope"), None)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    harden_mixers(network)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_package_is_imported_without_torch():
    code = "import sys, nas; assert 'torch' not in sys.modules; assert not hasattr(nas, 'load_nothing')"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd=Path(__file__).parents[2])
