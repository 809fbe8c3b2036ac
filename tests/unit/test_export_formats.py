"""Exported models compute what the trained ones do, whatever the mixer, the network and the batch size."""

import ast
import importlib.util
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from nas.models.derived import DerivedModel
from nas.models.exporting import plain_layers
from nas.models.exporting.formats import (
    Difference,
    check_difference,
    check_onnx,
    difference,
    make_program,
    write_onnx,
    write_program,
    write_python,
)
from nas.models.exporting.plain_network import make_normalize, plain_network
from nas.models.exporting.source_text import identifier
from nas.models.hardening import harden_mixers
from nas.models.shufflenasnet import ShuffleNASNet
from nas.models.shufflenets import ShuffleNetV1, ShuffleNetV2
from nas.models.stacked_cells import StackedCells
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Genotype
from search_spaces.mixers import MIXERS
from search_spaces.permutations import greedy_permutation
from search_spaces.published import PUBLISHED
from search_spaces.shuffles import build_mixer
from tests.conftest import make_cell

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def trained(network: nn.Module) -> nn.Module:
    """The network hardened, with statistics and weights as if it had been trained, those of mixers included."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
        if isinstance(getattr(module, "expand", None), nn.Linear):  # of a dynamic shuffle: images get unlike orders
            nn.init.normal_(module.expand.weight, std=3)
    harden_mixers(network)
    return network.eval().requires_grad_(False)


def net_of_mixer(mixer: str) -> tuple[nn.Module, Genotype]:
    genotype = Genotype(
        space="shufflenas",
        normal=make_cell((0, "sep_conv_3x3"), (1, "max_pool_3x3"), (0, "conv_1x1"), (3, "avg_pool_3x3"), mixer=mixer),
        reduction=make_cell((0, "sep_conv_5x5"), (0, "identity"), (1, "min_pool_3x3"), (2, "conv_1x1"), mixer=mixer),
    )
    settings = {"in_channels": 3, "num_classes": 5, "filters": 8, "cells_per_stage": 1, "stages": 2}
    return trained(ShuffleNASNet(genotype_candidates(genotype), **settings)), genotype


def net_of_cells(name: str, **settings) -> tuple[nn.Module, Genotype]:
    genotype = PUBLISHED[name].genotype
    network = StackedCells(
        genotype_candidates(genotype), in_channels=3, num_classes=5, filters=4, cells_per_stage=1, **settings
    )
    return trained(network), genotype


def pairs(run, network: nn.Module, genotype: Genotype | None, sizes=(1, 2, 5), side: int = 8):
    """Logits of what was written and of the network, which takes normalised images, for several batch sizes."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    for size in sizes:
        images = torch.rand(size, 3, side, side)
        yield run(images), network((images - mean) / std, genotype)


def plain(network: nn.Module, genotype: Genotype | None) -> DerivedModel:
    return DerivedModel(plain_network(network, genotype), genotype, make_normalize(MEAN, STD)).eval()


@pytest.mark.parametrize("mixer", sorted(MIXERS))
def test_the_python_file_computes_what_the_derived_model_does_with_every_mixer(mixer, tmp_path):
    network, genotype = net_of_mixer(mixer)
    written = write_python(plain(network, genotype), tmp_path, torch.rand(2, 3, 8, 8), title="a", images="b")
    found = difference(pairs(written.run, network, genotype))
    assert found.images == 8
    assert found.relative < 1e-5


@pytest.mark.parametrize(
    "build",
    [
        lambda: net_of_cells("enas", macro="enas", merge="concat_conv1x1", auxiliary=True),
        lambda: net_of_cells("darts_v2", stem="imagenet", dropout=0.2),
        lambda: net_of_cells("amoebanet_a", merge_batch_norm=True),
        lambda: (trained(ShuffleNetV1(num_classes=5, width=0.25, macro="cifar", mixer="auto_shuffle")), None),
        lambda: (trained(ShuffleNetV2(num_classes=5, width=0.5, macro="cifar")), None),
    ],
    ids=["enas", "darts", "amoebanet", "v1", "v2"],
)
def test_the_python_file_computes_what_other_networks_do(build, tmp_path):
    network, genotype = build()
    side = 32 if getattr(network, "smallest_image", 1) > 8 else 16
    written = write_python(plain(network, genotype), tmp_path, torch.rand(2, 3, side, side), title="a", images="b")
    assert difference(pairs(written.run, network, genotype, sizes=(1, 3), side=side)).relative < 1e-5


class Chain(nn.Module):
    """All mixers one after the other; nothing else that takes time to export."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.mixers = nn.ModuleList(build_mixer(name, 8) for name in sorted(MIXERS))
        self.pool = nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)
        self.classifier = nn.Linear(8, 5)

    def forward(self, images: Tensor, genotype: Genotype | None = None) -> Tensor:
        x = self.stem(images)
        for mixer in self.mixers:
            x = mixer(x) + 0.1 * x
        out: Tensor = self.classifier(torch.relu(self.pool(x)).mean(dim=(2, 3)))
        return out


def test_onnx_and_torch_export_hold_every_mixer_and_take_any_batch(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network = trained(Chain())
    program = make_program(plain(network, None), torch.rand(2, 3, 8, 8), dynamic=True)
    for written in (write_program(program, tmp_path), write_onnx(program, tmp_path, opset=18, dynamic=True)):
        assert written.files[0].is_file()
        assert difference(pairs(written.run, network, None, sizes=(1, 2, 7))).relative < 1e-4
    model = onnx.load(tmp_path / "model.onnx")
    assert {opset.domain: opset.version for opset in model.opset_import}[""] == 18
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in shape] == ["batch", 3, 8, 8]


def test_the_stand_alone_file_needs_torch_alone(tmp_path):
    network, genotype = net_of_mixer("static_dynamic_shuffle")
    folder, elsewhere = tmp_path / "model", tmp_path / "elsewhere"
    elsewhere.mkdir()
    written = write_python(plain(network, genotype), folder, torch.rand(2, 3, 8, 8), title="a", images="b")
    tree = ast.parse(written.files[0].read_text())
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert modules == {"pathlib", "torch", "torch.nn", "warnings"}
    images = torch.rand(3, 3, 8, 8)
    torch.save(images, tmp_path / "images.pt")
    code = (
        "import runpy, sys, torch; sys.modules.update(dict.fromkeys(('nas', 'search_spaces', 'controllers')))\n"
        f"runpy.run_path({str(folder / 'model.py')!r}, run_name='__main__')\n"
        f"sys.path.insert(0, {str(folder)!r}); from model import load\n"
        f"images = torch.load({str(tmp_path / 'images.pt')!r})\n"
        f"torch.save(load()(images), {str(tmp_path / 'logits.pt')!r})\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=elsewhere, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "(2, 5)" in done.stdout
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), written.run(images))


def test_equal_layers_are_written_as_one_class_and_no_variable_outlives_its_last_use(tmp_path):
    settings = {"in_channels": 3, "num_classes": 5, "filters": 8, "cells_per_stage": 4, "stages": 1}
    genotype = Genotype(space="shufflenas", normal=make_cell((0, "conv_1x1"), mixer="conv1x1"), reduction=None)
    genotype = Genotype(space="shufflenas", normal=genotype.normal, reduction=genotype.normal)
    network = trained(ShuffleNASNet(genotype_candidates(genotype), **settings))
    text = (
        write_python(plain(network, genotype), tmp_path, torch.rand(2, 3, 8, 8), title="a", images="b")
        .files[0]
        .read_text()
    )
    assert text.count("class Layer") < 8  # four cells and four mixers
    assert "x4 = " not in text[text.index("class Model") :]


class Branching(nn.Module):
    """Goes by the condition that it is given."""

    def __init__(self, condition) -> None:
        super().__init__()
        self.condition = condition

    def forward(self, images: Tensor, genotype: None = None) -> Tensor:
        return images.mean(dim=(2, 3)) if self.condition(images) else images.amax(dim=(2, 3))


def test_branches_by_shapes_are_followed_and_branches_by_pixels_refused(tmp_path):
    example, images = torch.rand(2, 3, 8, 8), torch.rand(5, 3, 8, 8)
    by_shape = DerivedModel(Branching(lambda images: images.shape[1] == 3), None)
    written = write_python(by_shape, tmp_path, example, title="a", images="b")
    assert torch.equal(written.run(images), images.mean(dim=(2, 3)))
    for condition in (lambda images: images.sum() > 0, lambda images: images.sum().item() > 0):
        with pytest.raises(ValueError, match="cannot be written as source code: it"):
            write_python(DerivedModel(Branching(condition), None), tmp_path, example, title="a", images="b")


def test_bytes_are_normalised_within_the_model():
    images = torch.randint(256, (2, 3, 4, 4), dtype=torch.uint8)
    expected = (images / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(make_normalize(MEAN, STD, uint8=True)(images), expected)


@pytest.mark.parametrize("sizes", [(1, 3), (2, 3), (3, 3), (2, 5)])
def test_the_exported_shuffle_rounds_as_the_trained_one(sizes):
    layer = plain_layers.DynamicShuffle(groups=2, sizes=sizes, hidden=4)
    for size in sizes:
        logits = torch.randn(50, 2 * size * size).round(decimals=1)  # with ties
        matrices = logits.view(100, size, size).softmax(dim=2)
        expected = greedy_permutation(matrices).view(50, 2, size)
        assert torch.equal(layer.rounded(logits, size), expected)


def test_differences_are_measured_in_units_of_the_largest_logit():
    expected = torch.tensor([[10.0, 0.0], [0.0, -5.0]])
    got = expected + torch.tensor([[0.0, 0.0005], [0.01, 0.0]])
    found = difference([(got, expected), (expected, expected)])
    assert found.images == 4
    assert found.largest == pytest.approx(0.01)
    assert found.relative == pytest.approx(0.001)
    assert found.beyond == 1
    assert difference([(expected * torch.nan, expected)]).beyond == 2
    with pytest.raises(ValueError, match="not finite"):
        difference([(expected, expected / 0)])


def test_a_difference_is_refused_and_a_tie_of_a_dynamic_shuffle_is_not():
    found = Difference(images=200, largest=0.5, relative=0.1, beyond=2)
    with pytest.raises(ValueError, match=r"m.onnx differs .* by 0.5, .* on 2 of 200 images"):
        check_difference(found, what="m.onnx", dynamic_shuffle=False)
    check_difference(found, what="m.onnx", dynamic_shuffle=True)
    with pytest.raises(ValueError, match="on 3 of 200"):
        check_difference(Difference(images=200, largest=1, relative=1, beyond=3), what="m", dynamic_shuffle=True)


def test_missing_packages_and_opsets_end_in_a_line(monkeypatch):
    with pytest.raises(ValueError, match="opset must lie in 18 … 23, got 9"):
        check_onnx(9)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs onnx, onnxscript, onnxruntime: pip install 'shufflenas\[export\]'"):
        check_onnx(18)


def test_names_are_readable_python():
    assert identifier(".0.module.ops.2_0_keeping_conv_1x1") == "block2_0_conv_1x1"
    assert identifier(".cell.ops.1_0_3_sep_conv_3x3") == "block1_0_sep_conv_3x3"
    assert identifier("network.stem") == "stem"
    assert identifier(".1").isidentifier()
