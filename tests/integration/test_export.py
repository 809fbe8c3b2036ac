"""The commands export and predict on a model that was trained, at toy size."""

import csv
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import nas
from nas.jobs import export, predict, retrain
from search_spaces.genotype import Genotype
from tests.conftest import make_cell
from tests.integration.test_jobs import TINY, config

RETRAIN = tuple(override for override in TINY if override.startswith(("data", "network", "retrain")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The run folder of a toy model."""
    folder = tmp_path_factory.mktemp("trained")
    cell = make_cell((0, "conv_1x1"), (0, "max_pool_3x3"), mixer="kaleidoscope")
    (folder / "cell.json").write_text(Genotype(space="shufflenas", normal=cell, reduction=cell).to_json())
    run = folder / "toy"
    cfg = config("retrain", f"genotype={folder / 'cell.json'}", *RETRAIN, "network.stages=2")
    retrain.run(cfg, run)
    (run / "config.yaml").write_text(to_yaml(cfg))
    return run


def to_yaml(cfg) -> str:
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(cfg, resolve=True).replace("${now:%Y%m%d-%H%M%S-%f}", "toy")


def test_an_export_is_compared_on_the_test_set_and_has_a_model_card(trained, tmp_path):
    folder = tmp_path / "export"
    figures = export.run(config("export", f"run={trained}", "format=python", f"out={folder}", "name=x"), tmp_path)
    (row,) = figures["formats"]
    assert row["compared"]["test"]["images"] == 30
    assert row["test_accuracy"] == row["trained_test_accuracy"]
    assert row["max_difference"] < 1e-4
    card = json.loads((folder / "model_card.json").read_text())
    assert card["image_shape"] == [3, 8, 8]
    assert card["class_names"] == [str(label) for label in range(10)]
    assert card["data"] == "synthetic"
    assert card["formats"]["python"]["input"] == "images in [0, 1]"
    metrics = json.loads((trained / "metrics.json").read_text())
    for key in ("parameters", "multiply_adds"):
        assert card[key] == metrics["found"][key]
    assert card["test_accuracy"] == metrics["members"][0]["test_accuracy"]
    assert json.loads((tmp_path / "export.json").read_text())["settings"]["normalize"] is True
    images = torch.rand(3, 3, 8, 8)
    of_run = nas.load_model(trained)(images)
    torch.testing.assert_close(nas.load_model(folder)(images), of_run)
    assert card["input"] == {"shape": ["N", 3, 8, 8], "dtype": "float32", "range": [0, 1], "normalizes": True}


def test_the_same_images_give_the_same_logits_by_every_way(trained, tmp_path):
    """A loaded model and every exported file take floats in [0, 1] by default."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = tmp_path / "export"
    formats = "format=[onnx,torch_export,python]"
    export.run(config("export", f"run={trained}", formats, f"out={folder}", "name=x"), tmp_path)
    images = torch.rand(3, 3, 8, 8)
    expected = nas.load_model(trained)(images)
    sys.path.insert(0, str(folder))
    try:
        written = importlib.import_module("model").load()
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop("model", None)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    ways = {
        "an exported folder": nas.load_model(folder)(images),
        "torch.export": torch.export.load(folder / "model.pt2").module()(images),
        "Python": written(images),
        "ONNX": torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0]),
    }
    for way, logits in ways.items():
        torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4, msg=lambda text, way=way: f"{way}: {text}")
    with pytest.raises(ValueError, match="divide bytes by 255"):
        written(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))


def test_a_second_format_joins_the_first_one_in_the_card(trained, tmp_path):
    folder = tmp_path / "export"
    common = (f"run={trained}", f"out={folder}", "name=x")
    export.run(config("export", *common, "format=python"), tmp_path / "a")
    export.run(config("export", *common, "format=torch_export", "export.uint8=true"), tmp_path / "b")
    card = json.loads((folder / "model_card.json").read_text())
    assert set(card["formats"]) == {"python", "torch_export"}
    assert card["formats"]["torch_export"]["input"] == "images as bytes, uint8"
    assert set(card["files"]) == {"model.py", "model_weights.pt", "model.pt2", "weights.safetensors"}
    program = torch.export.load(folder / "model.pt2").module()
    assert program(torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)).shape == (4, 10)


def test_an_architecture_is_exported_without_training_only_if_asked(tmp_path):
    settings = ("genotype=shufflenasnet_a", "format=python", "network.filters=4", "network.cells_per_stage=1", "name=x")
    with pytest.raises(ValueError, match="run is not set; add run=RUN, or weights=random"):
        export.run(config("export", *settings), tmp_path)
    figures = export.run(config("export", *settings, "weights=random", "export.image_shape=[1,16,16]"), tmp_path)
    assert figures["model"]["weights"] == "random"
    assert (tmp_path / "export" / "model.py").is_file()


def test_a_model_that_computes_something_else_is_not_left_behind(trained, tmp_path, monkeypatch):
    real = export.write_python

    def wrong(*arguments, **settings):
        written = real(*arguments, **settings)
        return type(written)(files=written.files, run=lambda images: written.run(images) + 1e-2)

    monkeypatch.setattr(export, "write_python", wrong)
    with pytest.raises(ValueError, match=r"model.py differs from the trained model: by 0.01"):
        export.run(config("export", f"run={trained}", "format=python", f"out={tmp_path / 'e'}", "name=x"), tmp_path)
    assert not (tmp_path / "e" / "model.py").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("format=tflite",), "format must be one of onnx, torch_export, python"),
        (("format=[]",), "format must be one of onnx, torch_export, python, or a list of these, got none"),
        (("weights=some",), "weights must be trained or random"),
        (("genotype=darts_v2",), "run and genotype are both given"),
        (("export.opset=5",), "export.opset must lie in"),
        (("export.batch_size=0",), "export.batch_size must .*, got 0"),
        (("export.uint8=true", "export.normalize=false"), "uint8=true needs normalize=true"),
        (("export.image_shape=[1,8,8]", "format=python"), "the model takes 3 channels, got 1"),
    ],
)
def test_mistakes_are_told_by_key_and_rule(overrides, message, trained, tmp_path):
    with pytest.raises(ValueError, match=message):
        export.run(config("export", f"run={trained}", *overrides, "name=x"), tmp_path)


def save_images(folder: Path) -> None:
    folder.mkdir()
    rng = np.random.RandomState(0)
    for name, shape in (("grey.png", (9, 9)), ("rgb.png", (20, 10, 3)), ("rgba.png", (8, 8, 4))):
        Image.fromarray(rng.randint(0, 256, shape).astype(np.uint8)).save(folder / name)


def test_predictions_are_those_of_the_model(trained, tmp_path):
    save_images(tmp_path / "photos")
    cfg = config("predict", f"run={trained}", f"images={tmp_path / 'photos'}", "predict.top=2", "name=x")
    figures = predict.run(cfg, tmp_path)
    assert [Path(one["file"]).name for one in figures["predictions"]] == ["grey.png", "rgb.png", "rgba.png"]
    pixels = np.array(Image.open(tmp_path / "photos" / "rgba.png"))[:, :, :3].transpose(2, 0, 1)
    logits = nas.load_model(trained)(torch.from_numpy(pixels.copy())[None] / 255)
    (first, second) = figures["predictions"][2]["classes"]
    assert first["label"] == logits.argmax().item()
    assert first["probability"] == pytest.approx(logits.softmax(dim=1).max().item(), abs=1e-6)
    assert first["probability"] >= second["probability"]
    with (tmp_path / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[2]["class_1"] == first["class"]
    assert float(rows[2]["probability_1"]) == pytest.approx(first["probability"])


def test_predict_as_a_command_skips_broken_files_says_so_and_ends_well(trained, tmp_path):
    save_images(tmp_path / "photos")
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no image")
    done = subprocess.run(
        [sys.executable, "-m", "nas", "predict", f"run={trained}", "images=photos", "name=p"],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert any("1 of 4 images" in line and "broken.jpg" in line for line in done.stderr.splitlines())
    assert "Traceback" not in done.stderr
    assert "rgba.png" in done.stderr
    written = json.loads((tmp_path / "results/runs/p/predictions.json").read_text())
    assert len(written["predictions"]) == 3
    assert list(written["unreadable"]) == ["photos/broken.jpg"]
    assert (tmp_path / "results/runs/p/digests.json").is_file()  # the run is finished
    with (tmp_path / "results/runs/p/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["file"]).name for row in rows] == ["broken.jpg", "grey.png", "rgb.png", "rgba.png"]
    assert [bool(row["unreadable"]) for row in rows] == [True, False, False, False]
    assert [bool(row["class_1"]) for row in rows] == [False, True, True, True]


def test_images_of_which_none_can_be_read_are_an_error_that_is_on_file(trained, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    cfg = config("predict", f"run={trained}", f"images={tmp_path / 'a.png'}", "name=x")
    with pytest.raises(ValueError, match=r"none of 1 images .*a\.png"):
        predict.run(cfg, tmp_path / "out")
    assert list(json.loads((tmp_path / "out" / "predictions.json").read_text())["unreadable"]) == [f"{tmp_path}/a.png"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("images=a.png",), "run is not set"),
        (("run=RUN",), "images is not set; add images=FILE"),
        (("run=RUN", "images=nowhere.png"), "no such image, folder or pattern: nowhere.png"),
        (("run=nowhere", "images=RUN/cells.svg"), "no run folder, exported model or published cell 'nowhere'"),
        (
            ("run=RUN", "images=RUN/cells.svg", "predict.resize=squash"),
            "predict.resize must be 'crop', .*, got 'squash'",
        ),
        (("run=RUN", "images=RUN/cells.svg", "predict.image_shape=[1,8,8]"), "the model takes 3 channels, got 1"),
    ],
)
def test_what_predict_lacks_is_told(overrides, message, trained, tmp_path):
    given = [override.replace("RUN", str(trained)) for override in overrides]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        predict.run(config("predict", *given, "name=x"), tmp_path)
