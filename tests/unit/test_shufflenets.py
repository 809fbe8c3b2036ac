from collections.abc import Iterator

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from nas.models.derived import count_parameters
from nas.models.shufflenets import MACROS, ShuffleNetV1, ShuffleNetV2, ShuffleUnitV1
from search_spaces.shuffles import ChannelShuffle
from tests.torchvision_weights import load_torchvision_weights

TORCHVISION = {
    0.5: torchvision.models.shufflenet_v2_x0_5,
    1.0: torchvision.models.shufflenet_v2_x1_0,
    1.5: torchvision.models.shufflenet_v2_x1_5,
    2.0: torchvision.models.shufflenet_v2_x2_0,
}
MIXERS = {
    "identity": lambda channels, groups: nn.Identity(),
    "channel_shuffle": lambda channels, groups: ChannelShuffle(channels, groups=groups),
    "conv_1x1": lambda channels, groups: nn.Conv2d(channels, channels, 1, bias=False),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Many small convolutions: where the cores are shared, threads that wait for each other take ten times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def randomise_batch_norms(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


def multiply_adds(network: nn.Module, *, image_size: int) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.eval()(torch.zeros(1, 3, image_size, image_size, device="meta"))
    return counter.get_total_flops() // 2


def shuffle_as_conv(channels: int, groups: int) -> nn.Conv2d:
    """The channel shuffle written out as the 1x1 convolution with its permutation matrix."""
    conv = nn.Conv2d(channels, channels, 1, bias=False)
    order = torch.arange(channels).reshape(groups, channels // groups).T.flatten()
    conv.weight.data = torch.eye(channels)[order][:, :, None, None]
    return conv


@pytest.mark.parametrize("width", TORCHVISION)
def test_v2_computes_what_torchvision_computes(width):
    theirs = randomise_batch_norms(TORCHVISION[width](num_classes=7))
    ours = ShuffleNetV2(num_classes=7, width=width).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert not torch.allclose(ours(images), theirs(images))
        load_torchvision_weights(ours, theirs.state_dict())
        assert count_parameters(ours) == count_parameters(theirs)
        torch.testing.assert_close(ours(images), theirs(images), rtol=0, atol=0)


# Counted by osmr/imgclsmob for its own ShuffleNets, whose stem scales with the width; equal to ours below width 1.5.
@pytest.mark.parametrize(
    ("groups", "width", "published"),
    [
        (1, 1.0, 1_531_936),
        (2, 1.0, 1_733_848),
        (3, 1.0, 1_865_728),
        (4, 1.0, 1_968_344),
        (8, 1.0, 2_434_768),
        (1, 0.5, 534_484),
        (3, 0.5, 718_324),
        (1, 0.25, 209_746),
        (3, 0.25, 305_902),
    ],
)
def test_v1_has_the_published_parameter_counts(groups, width, published):
    with torch.device("meta"):
        assert count_parameters(ShuffleNetV1(num_classes=1000, groups=groups, width=width)) == published


# Width 1: Table 1 of the paper. Other widths: the authors' released networks, megvii-model/ShuffleNet-Series.
@pytest.mark.parametrize(
    ("groups", "width", "published_millions"),
    [
        (1, 1.0, 143),
        (2, 1.0, 140),
        (3, 1.0, 137),
        (4, 1.0, 133),
        (8, 1.0, 137),
        (3, 0.5, 38),
        (8, 0.5, 40),
        (3, 1.5, 292),
        (8, 1.5, 290),
        (3, 2.0, 524),
        (8, 2.0, 522),
    ],
)
def test_v1_has_the_published_multiply_adds(groups, width, published_millions):
    with torch.device("meta"):
        network = ShuffleNetV1(num_classes=1000, groups=groups, width=width)
    assert multiply_adds(network, image_size=224) / 1e6 == pytest.approx(published_millions, abs=1.5)


# Table 5 of the paper.
@pytest.mark.parametrize(("width", "published_millions"), [(0.5, 41), (1.0, 146), (1.5, 299), (2.0, 591)])
def test_v2_has_the_published_multiply_adds(width, published_millions):
    with torch.device("meta"):
        network = ShuffleNetV2(num_classes=1000, width=width)
    assert multiply_adds(network, image_size=224) / 1e6 == pytest.approx(published_millions, rel=0.015)


def test_every_width_that_groups_divide_can_be_built():
    with torch.device("meta"):
        for groups in (1, 3, 8):
            for width in (0.25, 0.5, 1.0, 1.5, 2.0):
                ShuffleNetV1(num_classes=10, groups=groups, width=width)
        for groups in (2, 4):
            for width in (1.0, 2.0):
                ShuffleNetV1(num_classes=10, groups=groups, width=width)


@pytest.mark.parametrize("strided", [False, True])
def test_a_v1_unit_computes_the_formula_of_the_paper(strided):
    groups, out_channels = 3, 48 if strided else 24
    unit = ShuffleUnitV1(
        24, out_channels, strided=strided, groups=groups, first_groups=groups, mixer=MIXERS["channel_shuffle"]
    )
    randomise_batch_norms(unit)

    def normalise(x: Tensor, bn: nn.Module) -> Tensor:
        return F.batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias)

    x, stride = torch.randn(2, 24, 7, 7), 2 if strided else 1
    with torch.no_grad():
        out = F.relu(normalise(F.conv2d(x, unit.squeeze[0].weight, groups=groups), unit.squeeze[1]))
        out = F.channel_shuffle(out, groups)
        depthwise = F.conv2d(out, unit.expand[0].weight, stride=stride, padding=1, groups=out_channels // 4)
        out = normalise(depthwise, unit.expand[1])
        out = normalise(F.conv2d(out, unit.expand[2].weight, groups=groups), unit.expand[3])
        out = torch.cat([F.avg_pool2d(x, 3, 2, 1), out], dim=1) if strided else x + out
        torch.testing.assert_close(unit(x), F.relu(out))


@pytest.mark.parametrize("macro", MACROS)
@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("build", [ShuffleNetV1, ShuffleNetV2])
def test_gradients_reach_every_weight_with_any_mixer(build, mixer, macro):
    network = build(num_classes=5, width=0.5, in_channels=2, macro=macro, mixer=MIXERS[mixer])
    size = 64 if macro == "imagenet" else 32
    logits = network(torch.randn(2, 2, size, size))
    assert logits.shape == (2, 5)
    F.cross_entropy(logits, torch.tensor([0, 4])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize(("macro", "size", "final"), [("cifar", 32, 4), ("imagenet", 224, 7)])
@pytest.mark.parametrize(("build", "channels"), [(ShuffleNetV1, 960), (ShuffleNetV2, 464)])
def test_the_macro_sets_the_final_resolution(build, channels, macro, size, final):
    with torch.device("meta"):
        network = build(num_classes=10, macro=macro)
        x = network.stages(network.stem(torch.zeros(1, 3, size, size)))
    assert x.shape == (1, channels, final, final)


@pytest.mark.parametrize(
    ("build", "settings", "expected"),
    [
        (ShuffleNetV1, {"groups": 4}, [(68, 4)] * 4 + [(136, 4)] * 8 + [(272, 4)] * 4),
        (ShuffleNetV1, {"groups": 8, "width": 0.25}, [(24, 8)] * 4 + [(48, 8)] * 8 + [(96, 8)] * 4),
        (ShuffleNetV2, {}, [(116, 2)] * 4 + [(232, 2)] * 8 + [(464, 2)] * 4),
    ],
)
def test_every_unit_asks_for_its_own_mixer(build, settings, expected):
    asked = []

    def mixer(channels: int, groups: int) -> nn.Module:
        asked.append((channels, groups))
        return nn.Identity()

    network = build(num_classes=10, mixer=mixer, **settings)
    assert asked == expected
    mixers = [module for name, module in network.named_modules() if name.endswith(".mixer")]
    assert len(set(mixers)) == len(expected)


@pytest.mark.parametrize("build", [ShuffleNetV1, ShuffleNetV2])
def test_the_default_mixer_is_the_channel_shuffle(build):
    default = randomise_batch_norms(build(num_classes=5, width=0.5, macro="cifar"))
    written_out = build(num_classes=5, width=0.5, macro="cifar", mixer=shuffle_as_conv).eval()
    keys = written_out.load_state_dict(default.state_dict(), strict=False)
    assert all(".mixer." in name for name in keys.missing_keys)
    assert not keys.unexpected_keys
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(written_out(images), default(images))


def test_mixers_keep_the_weights_they_start_with():
    network = ShuffleNetV1(num_classes=5, mixer=shuffle_as_conv)
    for name, module in network.named_modules():
        if name.endswith(".mixer"):
            assert torch.equal(module.weight, shuffle_as_conv(module.in_channels, 3).weight)


def test_torchvision_weights_leave_the_mixers_alone():
    network = ShuffleNetV2(num_classes=5, width=0.5, mixer=shuffle_as_conv)
    theirs = randomise_batch_norms(TORCHVISION[0.5](num_classes=5))
    load_torchvision_weights(network, theirs.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(images), theirs(images))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("conv5.0.weight"), "conv5.0.weight missing or unknown"),
        (lambda weights: weights.update({"stem.0.weight": torch.zeros(1)}), "stem.0.weight missing or unknown"),
        (lambda weights: weights.update({"fc.bias": torch.zeros(6)}), r"fc.bias has shape \(6,\) .* and \(5,\) here"),
    ],
)
def test_torchvision_weights_that_do_not_fit_change_nothing(change, message):
    network = ShuffleNetV2(num_classes=5, width=0.5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    weights = TORCHVISION[0.5](num_classes=5).state_dict()
    change(weights)
    with pytest.raises(ValueError, match=message):
        load_torchvision_weights(network, weights)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("build", "settings", "message"),
    [
        (ShuffleNetV1, {"width": 0.75}, "width must be one of 0.25, 0.5, 1.0, 1.5, 2.0, got 0.75"),
        (ShuffleNetV1, {"groups": 5}, "groups must be one of 1, 2, 3, 4, 8, got 5"),
        (ShuffleNetV1, {"groups": 4, "width": 0.5}, "width must be 1.0 or 2.0 with 4 groups"),
        (ShuffleNetV1, {"macro": "mnist"}, "macro must be one of imagenet, cifar, got 'mnist'"),
        (ShuffleNetV2, {"width": 0.25}, "width must be one of 0.5, 1.0, 1.5, 2.0, got 0.25"),
        (ShuffleNetV2, {"macro": "mnist"}, "macro must be one of imagenet, cifar, got 'mnist'"),
    ],
)
def test_unknown_settings_are_refused(build, settings, message):
    with pytest.raises(ValueError, match=message):
        build(num_classes=10, **settings)
