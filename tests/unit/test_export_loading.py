"""Models are loaded in one line, and from sound files only."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import nas
from nas.checkpoint import load_weights, save_weights, write_json
from nas.hardening import harden_mixers
from nas.loading import build_model
from nas.model_card import CARD_NAME, WEIGHTS_FILE, ModelRecord, file_facts, model_text, write_card
from search_spaces.genotype import MAX_JSON_BYTES, Genotype
from tests.conftest import make_cell

SETTINGS = {"_target_": "nas.networks.ShuffleNASNet", "filters": 8, "cells_per_stage": 1, "stages": 2}


def a_record(mixer: str = "auto_shuffle") -> ModelRecord:
    cell = make_cell((0, "conv_1x1"), (0, "sep_conv_3x3"), mixer=mixer)
    genotype = Genotype(space="shufflenas", normal=cell, reduction=cell)
    return ModelRecord(name="toy", genotype=genotype, network=dict(SETTINGS), in_channels=1, num_classes=3)


def a_run(folder: Path, record: ModelRecord | None = None) -> tuple[Path, nn.Module]:
    """A run folder as `nas retrain` leaves it, and its network."""
    record = record or a_record()
    network = build_model(record, None)
    folder.mkdir(parents=True)
    save_weights(folder / WEIGHTS_FILE, network.state_dict(), metadata={"model": model_text(record)})
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
    images = torch.randn(3, 1, 8, 8)
    assert not model.training
    assert torch.allclose(model(images), network(images, model.genotype), atol=1e-5)
    assert (model.record.in_channels, model.record.num_classes, model.record.image_shape) == (1, 3, (1, 8, 8))
    normalising = nas.load_model(str(folder), normalize=True, device="cpu")
    assert torch.allclose(normalising(images), network((images - 0.25) / 0.5, model.genotype), atol=1e-5)


def test_what_a_run_tells_is_in_the_record(tmp_path):
    record = nas.load_model(a_run(tmp_path / "four")[0]).record
    assert (record.name, record.data, record.test_accuracy, record.mean) == ("four", "mine", 0.75, (0.25,))


@pytest.mark.parametrize(("resize", "margin"), [(10, 0.8), (None, None)])
def test_a_run_on_framed_pictures_tells_their_margin_and_so_does_its_card(resize, margin, tmp_path):
    folder, _ = a_run(tmp_path / "four")
    (folder / "config.yaml").write_text(
        f"data: {{_target_: nas.data.image_folder, image_size: 8, resize: {resize or 'null'}}}\n"
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
    assert model(torch.randn(2, 1, 16, 16)).shape == (2, 7)
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
    model = {**json.loads(model_text(a_record())), **metadata}
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
        save_weights(folder / WEIGHTS_FILE, weights, metadata={"model": model_text(a_record())})
        with pytest.raises(ValueError, match=r"not finite|not a permutation"):
            nas.load_model(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "must hold an object"),
        (" " * (MAX_JSON_BYTES + 1), "larger than"),
        ('{"network": {"_target_": "nas.networks.ShuffleNASNet"}, "mean": "grey"}', "mean must be a list of numbers"),
        ('{"network": {"_target_": "a"}, "image_shape": [1]}', "image_shape must be"),
        ('{"network": {"_target_": "a"}, "image_shape": 3}', "image_shape must be"),
        ('{"network": {"_target_": "a"}, "image_shape": [1, 8, -8]}', "image_shape must be a list of whole numbers"),
        ('{"network": {"_target_": "a"}, "mean": [0.5], "std": [0]}', "std must be a list of numbers above 0"),
        ('{"network": {"_target_": "a"}, "mean": [0.5], "std": [0.5, 1]}', "one number a channel"),
        ('{"network": {"_target_": "a"}, "num_classes": "many"}', "num_classes must be"),
        ('{"network": {"_target_": "a"}, "margin": "wide"}', "margin must lie in"),
        ('{"network": {"_target_": "a"}, "margin": 1.5}', "margin must lie in"),
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
