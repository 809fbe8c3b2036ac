"""Naming models to compare: every kind of source, sizes, names, and what is said of unknown ones."""

import json
import sys
from types import ModuleType

import pytest
import torch
from hydra import compose, initialize_config_module
from torch import Tensor, nn

from nas.costs.latency.model_entries import ModelEntry, read_entries, read_entry
from nas.costs.latency.torchvision_models import build_torchvision
from nas.data.image_data import ImageKind
from nas.jobs.building.compared_models import ComparedModel, build_compared, published_model
from nas.jobs.building.parts import build_runtime
from nas.jobs.latency import ready_for_inference
from nas.runs.checkpoints import save_weights
from search_spaces.published import PUBLISHED


def built(given: object, *overrides: str, size: int = 16):
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("latency", overrides=list(overrides))
    return build_compared(read_entry(given), cfg, ImageKind((3, size, size), 5))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("enas", ModelEntry(reference="enas", name="enas")),
        ("enas@24", ModelEntry(reference="enas", name="enas@24", settings={"filters": 24})),
        (
            "enas@filters:24@merge:sum",
            ModelEntry(reference="enas", name="enas@filters:24@merge:sum", settings={"filters": 24, "merge": "sum"}),
        ),
        (
            "enas@filters=24,cells_per_stage=2",
            ModelEntry(
                reference="enas",
                name="enas@filters=24,cells_per_stage=2",
                settings={"filters": 24, "cells_per_stage": 2},
            ),
        ),
        (
            "Genotype(normal=[('sep_conv_3x3', 1)])@24",
            ModelEntry(reference="Genotype(normal=[('sep_conv_3x3', 1)])@24", name="genotype"),
        ),
        (
            {"genotype": "enas", "filters": 24, "cells_per_stage": [1, 2, 1], "name": "small"},
            ModelEntry(reference="enas", name="small", settings={"filters": 24, "cells_per_stage": [1, 2, 1]}),
        ),
        (
            {"model": "enas@24", "network": "darts"},
            ModelEntry(reference="enas", name="enas@24", network="darts", settings={"filters": 24}),
        ),
        (
            {"model": "resnet18", "width": 2},
            ModelEntry(reference="resnet18", name="resnet18@width:2", settings={"width": 2}),
        ),
    ],
)
def test_an_entry_is_a_reference_sizes_and_a_name(given, expected):
    assert read_entry(given) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "an entry is a name, a path or a mapping"),
        ("", "an entry is a name, a path or a mapping"),
        ({"filters": 3}, "needs one text under genotype or model"),
        ({"genotype": "enas", "model": "enas"}, "needs one text under genotype or model"),
        ({"genotype": "enas", "name": 3}, "name and network of"),
        ("enas@wide", "'wide' in 'enas@wide' is neither a number of filters nor KEY:VALUE"),
        (["enas", "enas"], "two are called 'enas'"),
    ],
)
def test_an_entry_that_cannot_be_read_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        read_entries(given)


def test_one_model_needs_no_list_and_a_size_tells_two_apart():
    assert [entry.name for entry in read_entries("enas")] == ["enas"]
    assert [entry.name for entry in read_entries(["enas", "enas@8"])] == ["enas", "enas@8"]


def test_a_run_folder_goes_by_its_own_name_and_a_file_by_its_folder_and_own(tmp_path):
    run = tmp_path / "four"
    run.mkdir()
    (run / "genotype.json").write_text("{}")
    assert read_entry(str(run)).name == "four"
    assert read_entry(str(run / "genotype.json")).name == "four"
    (run / "top.json").write_text("[]")
    assert read_entry(f"{run}/top.json#1").name == "four/top#1"
    assert read_entry(f"{run}/top.json#1@8").name == "four/top#1@8"
    assert read_entry("absent.json").name == "absent.json"
    spaced = run.rename(tmp_path / "number four")
    assert read_entry(str(spaced)).name == "number four"


@pytest.mark.parametrize("name", ["shufflenasnet_a", "shufflenasnet_b", "enas", "darts_v2"])
def test_a_published_name_has_its_published_size(name):
    with initialize_config_module("conf", version_base="1.3"):
        cfg = compose("latency")
    made = build_compared(read_entry(name), cfg, ImageKind((3, 4, 4), 10))
    assert made.facts["parameters"] == PUBLISHED[name].models[0].parameters


def test_filters_choose_among_the_published_sizes():
    assert published_model("shufflenasnet_a", {"filters": 48}).settings["cells_per_stage"] == 5
    assert published_model("shufflenasnet_a", {"filters": 36}).settings["cells_per_stage"] == 4
    assert published_model("shufflenasnet_a", {"filters": 99}) is PUBLISHED["shufflenasnet_a"].models[0]
    made = built("shufflenasnet_a@8@cells_per_stage:1")
    assert (made.facts["network"]["filters"], made.facts["network"]["cells_per_stage"]) == (8, 1)


def test_a_file_takes_the_network_of_the_command_if_it_is_of_its_kind(tmp_path, genotype):
    (tmp_path / "list.json").write_text(json.dumps([genotype.to_dict(), genotype.to_dict()]))
    entry = f"{tmp_path}/list.json#1"
    assert built(entry, "network.filters=8").facts["network"]["filters"] == 8
    assert built(f"{entry}@6", "network.filters=8").facts["network"]["filters"] == 6
    assert built(entry, "network=darts", "network.filters=8").facts["network"]["filters"] == 20


def test_a_run_folder_has_the_network_and_the_weights_it_was_trained_with(tmp_path, genotype):
    (tmp_path / "genotype.json").write_text(genotype.to_json())
    network = dict(built(str(tmp_path), "network.filters=6").facts["network"])
    trained = built(str(tmp_path), "network.filters=6").network
    record = json.dumps({"genotype": genotype.to_dict(), "network": network})
    save_weights(tmp_path / "weights.safetensors", trained.state_dict(), metadata={"model": record})
    again = built(str(tmp_path))
    assert again.facts["network"]["filters"] == 6
    assert again.facts["weights"].startswith("trained")
    assert all(torch.equal(value, again.network.state_dict()[key]) for key, value in trained.state_dict().items())
    assert built(f"{tmp_path}@8").facts["weights"] == "random"


def test_weights_that_cannot_be_read_are_named_not_replaced_by_random_ones(tmp_path, genotype):
    (tmp_path / "genotype.json").write_text(genotype.to_json())
    network = dict(built(str(tmp_path), "network.filters=6").facts["network"])
    trained = built(str(tmp_path), "network.filters=6").network
    record = json.dumps({"genotype": genotype.to_dict(), "network": network})
    save_weights(tmp_path / "weights.safetensors", trained.state_dict(), metadata={"model": record})
    whole = (tmp_path / "weights.safetensors").read_bytes()
    (tmp_path / "weights.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"weights.safetensors is not a readable safetensors file"):
        built(str(tmp_path))


@pytest.mark.parametrize("in_weights", [True, False])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"filters": {"_target_": "pathlib.Path.touch", "self": "MARK"}}, "network.filters of the run"),
        ({"cells_per_stage": [1, {"_target_": "pathlib.Path.touch", "self": "MARK"}]}, "network.cells_per_stage"),
        ({"_target_": "pathlib.Path.mkdir", "self": "MARK"}, "unknown network 'pathlib.Path.mkdir'"),
    ],
)
def test_a_run_from_elsewhere_calls_nothing_but_a_network(tmp_path, genotype, in_weights, settings, message):
    mark = tmp_path / "mark"
    (tmp_path / "genotype.json").write_text(genotype.to_json())
    network = {"_target_": "nas.models.shufflenasnet.ShuffleNASNet", "filters": 10, **settings}
    network = json.loads(json.dumps(network).replace("MARK", str(mark)))
    record = json.dumps({"genotype": genotype.to_dict(), "network": network})
    if in_weights:
        save_weights(tmp_path / "weights.safetensors", {"a": torch.zeros(1)}, metadata={"model": record})
    else:
        (tmp_path / "config.yaml").write_text(json.dumps({"network": network}))
    with pytest.raises(ValueError, match=message):
        built(str(tmp_path))
    assert not mark.exists()


def test_a_run_that_trained_nothing_gives_the_network_of_its_config(tmp_path, genotype):
    (tmp_path / "genotype.json").write_text(genotype.to_json())
    (tmp_path / "config.yaml").write_text("network: {_target_: nas.models.shufflenasnet.ShuffleNASNet, filters: 10}\n")
    assert built(str(tmp_path)).facts["network"]["filters"] == 10
    with (tmp_path / "config.yaml").open("a") as config:
        config.write("retrain: {filters: 14, cells_per_stage: null}\n")
    assert built(str(tmp_path)).facts["network"] == {
        "_target_": "nas.models.shufflenasnet.ShuffleNASNet",
        "filters": 14,
    }


def test_a_network_without_cells_and_one_of_torchvision_are_built_by_name():
    ours = built("shufflenet_v2@width:1.0@macro:imagenet", size=32)
    theirs = built("shufflenet_v2_x1_0", size=32)
    assert ours.genotype is None
    assert ours.facts["parameters"] == theirs.facts["parameters"]
    assert ours.facts["multiply_adds"] == theirs.facts["multiply_adds"] > 0


def test_random_weights_leave_activations_of_a_usual_size():
    made = built("enas@8@cells_per_stage:2")
    logits = made.network.half()(torch.randn((2, 3, 16, 16)).half(), made.genotype)
    assert logits.abs().max() < 100


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("enass", "enas"),
        ("shufflenas_a", "shufflenasnet_a"),
        ("resnet19", "resnet18"),
        ("shufflenet_v3", "shufflenet_v2"),
    ],
)
def test_an_unknown_name_is_told_the_near_ones(given, near):
    with pytest.raises(FileNotFoundError, match="no run folder, file or model") as error:
        built(given)
    assert near in str(error.value).split("near it: ")[1].split(", ")
    assert "\n" not in str(error.value)


def test_a_name_near_to_none_is_told_some():
    with pytest.raises(FileNotFoundError, match="known: shufflenasnet_a, "):
        built("qqqqqqqqqq")


def test_a_name_of_a_run_is_told_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results" / "runs" / "mine").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="near it: results/runs/mine"):
        built("mine")


def test_a_missing_path_is_told_as_such():
    with pytest.raises(FileNotFoundError, match=r"no genotype at absent\.json"):
        built("absent.json")


def test_a_model_that_cannot_be_made_is_named():
    with pytest.raises(ValueError, match=r"^models: enas@filterz:3: network\.filterz is unknown"):
        built("enas@filterz:3")
    with pytest.raises(ValueError, match=r"^models: small: the network halves the image 3 times"):
        built({"model": "shufflenet_v2", "name": "small"}, size=4)
    with pytest.raises(ValueError, match=r"^models: enas@network:nets: "):
        built({"genotype": "enas", "network": "nets", "name": "enas@network:nets"})


@pytest.mark.parametrize(
    ("name", "shape", "settings", "message"),
    [
        ("resnet18", (1, 32, 32), {}, "3 channels, these are 1x32x32"),
        ("alexnet", (3, 8, 8), {}, "alexnet cannot be made for images of 3x8x8"),
        ("resnet18", (3, 32, 32), {"depth": 3}, "resnet18 cannot be made .* 'depth'"),
    ],
)
def test_torchvision_refuses_in_one_line(name, shape, settings, message):
    with pytest.raises(ValueError, match=message):
        build_torchvision(name, image_shape=shape, num_classes=5, settings=settings)


class NormAct(nn.BatchNorm2d):
    """Batch norm with an activation in it, as timm's."""

    def __init__(self, channels: int, act: nn.Module) -> None:
        super().__init__(channels)
        self.drop, self.act = nn.Identity(), act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(x)))


class TimmModel(nn.Module):
    """A network as timm makes them; images must be of 8 pixels at least."""

    def __init__(self, in_chans: int, num_classes: int, width: int = 4) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(in_chans, width, 8), NormAct(width, nn.ReLU())
        self.conv, self.last = nn.Conv2d(width, width, 1), NormAct(width, nn.Identity())
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.last(self.conv(self.norm(self.stem(x)))).mean((2, 3)))


@pytest.fixture
def timm(monkeypatch) -> ModuleType:
    """Stands for the package timm; `asked` is what was made."""
    module = ModuleType("timm")
    module.asked = []

    def create_model(name: str, *, pretrained: bool, **settings: object) -> nn.Module:
        module.asked.append((name, pretrained, settings))
        return TimmModel(**settings)

    module.create_model = create_model
    module.list_models = lambda: ["tinynet_a", "tinynet_b", "vit_tiny"]
    module.is_model = lambda name: name in module.list_models()
    monkeypatch.setitem(sys.modules, "timm", module)
    return module


def test_a_model_of_timm_is_made_with_random_weights_for_the_images(timm):
    made = built("timm:tinynet_a@width:6")
    assert timm.asked == [("tinynet_a", False, {"in_chans": 3, "num_classes": 5, "width": 6})]
    assert (made.name, made.facts["reference"]) == ("timm:tinynet_a@width:6", "timm tinynet_a")
    assert (made.facts["weights"], made.facts["network"], made.genotype) == ("random", {"width": 6}, None)
    assert made.facts["parameters"] == 6 * (3 * 64 + 1) + 6 * 7 + 4 * 6 + 5 * 7
    assert made.network(torch.zeros(2, 3, 16, 16)).shape == (2, 5)


def test_batch_norm_with_an_activation_in_it_is_folded_as_any_and_computes_the_same(timm):
    made = built("timm:tinynet_a")
    theirs = TimmModel(3, 5)
    ours = {key.replace("norm.0.", "norm.").replace("last.0.", "last."): value for key, value in statistics(made)}
    theirs.load_state_dict(ours)
    images = torch.randn(2, 3, 16, 16)
    expected = theirs.eval()(images)
    torch.testing.assert_close(made.network(images), expected)
    with initialize_config_module("conf", version_base="1.3"):
        runtime = build_runtime(compose("latency"))
    ready = ready_for_inference(made, images, runtime=runtime)
    assert made.facts["batch_norms_folded"] == 2
    torch.testing.assert_close(ready.model(images), expected)


def statistics(made: ComparedModel) -> list[tuple[str, Tensor]]:
    """The weights of a model, which are none that batch norm begins with."""
    for norm in (one for one in made.network.modules() if isinstance(one, nn.BatchNorm2d)):
        nn.init.normal_(norm.weight, 1, 0.5)
        nn.init.normal_(norm.bias)
    return [(key.removeprefix("network."), value) for key, value in made.network.state_dict().items()]


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ("timm:tinynet_c", FileNotFoundError, "timm has no model 'tinynet_c'; near it: tinynet_[ab], tinynet_[ab]"),
        ("timm:qqq", FileNotFoundError, r"timm has no model 'qqq'; timm\.list_models\(\) lists them"),
        ("timm:vit_tiny@depth:3", ValueError, "timm:vit_tiny cannot be made for images of 3x16x16: .*'depth'"),
    ],
)
def test_a_model_that_timm_does_not_make_is_refused_in_a_line(given, kind, message, timm):
    with pytest.raises(kind, match=f"^models: {message}") as refused:
        built(given)
    assert len(str(refused.value).splitlines()) == 1


def test_images_too_small_for_a_model_of_timm_are_refused_in_a_line(timm):
    with pytest.raises(ValueError, match="timm:tinynet_a cannot be made for images of 3x4x4: "):
        built("timm:tinynet_a", size=4)


def test_without_timm_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"^models: timm:resnet18 needs the package: pip install timm$"):
        built("timm:resnet18")
