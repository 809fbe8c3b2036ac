import itertools
import math

import pytest
import torch

from nas.models.hardening import harden_mixers, largest_distance, outermost_mixers, penalty, soft_mixers
from nas.models.shufflenasnet import ShuffleNASNet
from nas.models.shufflenets import ShuffleNetV2
from nas.searching.settings import SearchSettings
from nas.training.sgd import make_sgd
from nas.training.weight_trainer import WeightTrainer
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Genotype
from search_spaces.mixers import MIXERS, Permutation
from search_spaces.ops import find_op
from search_spaces.shufflenas import ShuffleNASSpace
from search_spaces.shuffles import build_mixer
from tests.conftest import make_cell

LEARNED = ("auto_shuffle", "dynamic_shuffle", "static_dynamic_shuffle", "kaleidoscope")
SPACE = ShuffleNASSpace(blocks=1, ops=("conv_1x1", "auto_shuffle"), mixers=("channel_shuffle", *LEARNED))


def cell_of(mixer: str, op: str = "conv_1x1") -> Genotype:
    return Genotype(
        space="shufflenas", normal=make_cell((0, op), mixer=mixer), reduction=make_cell((0, op), mixer=mixer)
    )


def derived(genotype: Genotype) -> ShuffleNASNet:
    return ShuffleNASNet(
        genotype_candidates(genotype), in_channels=1, num_classes=3, filters=8, cells_per_stage=1, stages=2
    )


def supernet() -> ShuffleNASNet:
    return ShuffleNASNet(SPACE.candidates(), in_channels=1, num_classes=3, filters=8, cells_per_stage=1, stages=2)


def trainer_of(network, *, penalty_weight: float = 0.0, lr: float = 0.1, **sgd) -> WeightTrainer:
    return WeightTrainer(
        network=network,
        optimizer=make_sgd(network, momentum=0.9, weight_decay=1e-4, **sgd),
        learning_rate=lambda epoch: lr,
        drop_prob=lambda epoch: 0.0,
        mixer_penalty=lambda epoch: penalty_weight,
    )


def batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.randn(6, 1, 8, 8), torch.randint(3, (6,))) for _ in range(count)]


def train(trainer, genotype, *, steps: int = 3) -> None:
    trainer.train_epoch(batches(steps), itertools.repeat(genotype), epoch=0, num_batches=steps)


@pytest.mark.parametrize("name", MIXERS)
@pytest.mark.parametrize("channels", [4, 10, 36])
def test_every_mixer_of_the_table_keeps_the_shape_and_has_the_interface(name, channels):
    mixer = build_mixer(name, channels)
    x = torch.randn(2, channels, 5, 5)
    assert mixer(x).shape == x.shape
    assert mixer.regularization().shape == ()
    assert mixer.distance() >= 0
    mixer.project()
    assert mixer.eval().harden().eval()(x).shape == x.shape


@pytest.mark.parametrize("name", MIXERS)
def test_every_mixer_counts_on_the_meta_device(name):
    with torch.device("meta"):
        mixer = build_mixer(name, 12)
    assert all(parameter.is_meta for parameter in mixer.parameters())
    assert mixer(torch.zeros(1, 12, 4, 4, device="meta")).shape == (1, 12, 4, 4)


def test_only_the_mixers_on_the_path_are_found():
    network = supernet()
    assert len(soft_mixers(network)) == 3 * len(LEARNED) + 3  # after each of three layers, and an op in each of three
    on_path = soft_mixers(network, cell_of("kaleidoscope"))
    assert [type(mixer).__name__ for mixer in on_path] == ["SwitchShuffle"] * 3
    both = soft_mixers(network, cell_of("kaleidoscope", op="auto_shuffle"))
    assert sorted({type(mixer).__name__ for mixer in both}) == ["AutoShuffle", "SwitchShuffle"]
    assert soft_mixers(network, cell_of("channel_shuffle")) == []


def test_a_mixer_within_a_mixer_is_not_one_of_its_own():
    assert len(list(outermost_mixers(torch.nn.ModuleList([build_mixer("static_dynamic_shuffle", 8)])))) == 1


def test_a_step_changes_the_sampled_mixers_only():
    network = supernet()
    before = {name: weight.clone() for name, weight in network.named_parameters()}
    train(trainer_of(network, penalty_weight=1e-3), cell_of("auto_shuffle"))
    changed = {name for name, weight in network.named_parameters() if not torch.equal(weight, before[name])}
    mixers = {name for name in changed if ".mixers." in name}
    assert mixers == {f"layers.{i}.mixers.auto_shuffle.matrix" for i in range(3)}


def test_the_sampled_matrices_stay_doubly_stochastic():
    network = derived(cell_of("auto_shuffle"))
    train(trainer_of(network, penalty_weight=1e-3, lr=0.5), cell_of("auto_shuffle"))
    for mixer in soft_mixers(network):
        assert (mixer.matrix >= 0).all()
        assert torch.allclose(mixer.matrix.sum(dim=1), torch.ones(mixer.channels), atol=1e-5)


def test_the_penalty_is_added_with_its_weight():
    genotype = cell_of("auto_shuffle")
    distances = []
    for weight in (0.0, 0.05):
        torch.manual_seed(3)
        network = derived(genotype)
        train(trainer_of(network, penalty_weight=weight), genotype, steps=100)
        distances.append(largest_distance(soft_mixers(network)))
    assert distances[1] < 0.03 < 0.1 < distances[0]


def test_learned_mixers_have_a_learning_rate_of_their_own_and_no_weight_decay():
    network = derived(cell_of("auto_shuffle"))
    optimizer = make_sgd(network, momentum=0.9, weight_decay=1e-4, mixer_lr_scale=5.0)
    weights, mixers = optimizer.param_groups
    assert (weights["weight_decay"], weights["lr_scale"]) == (1e-4, 1.0)
    assert (mixers["weight_decay"], mixers["lr_scale"]) == (0.0, 0.5)
    assert {id(weight) for weight in mixers["params"]} == {id(mixer.matrix) for mixer in soft_mixers(network)}
    before = [mixer.matrix.clone() for mixer in soft_mixers(network)]
    still = trainer_of(network, mixer_lr_scale=0.0)
    train(still, cell_of("auto_shuffle"), steps=1)
    assert [group["lr"] for group in still.optimizer.param_groups] == [0.1, 0.0]
    assert all(
        torch.allclose(a, mixer.matrix, atol=1e-6) for a, mixer in zip(before, soft_mixers(network), strict=True)
    )


def test_a_dense_mixer_is_an_ordinary_layer():
    optimizer = make_sgd(derived(cell_of("conv1x1")), momentum=0.9, weight_decay=1e-4)
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("name", LEARNED)
def test_hardening_leaves_no_soft_mixer_and_exact_permutations(name):
    genotype = cell_of(name)
    network = derived(genotype)
    train(trainer_of(network), genotype)
    harden_mixers(network)
    assert soft_mixers(network) == []
    assert largest_distance(soft_mixers(network)) == 0.0
    for mixer in outermost_mixers(network):
        if isinstance(mixer, Permutation):
            assert sorted(mixer.index.tolist()) == list(range(mixer.channels))
    assert torch.isfinite(network.eval()(torch.randn(2, 1, 8, 8), genotype)).all()
    train(trainer_of(network), genotype)  # fine-tuning goes on


@pytest.mark.parametrize("name", ["auto_shuffle", "kaleidoscope"])
def test_a_derived_model_stores_a_permutation_as_an_index_vector(name):
    network = derived(cell_of(name))
    harden_mixers(network)
    entries = {key: value for key, value in network.state_dict().items() if ".mixers." in key}
    assert [key.rpartition(".")[2] for key in entries] == ["index"] * 3
    assert all(value.dtype == torch.int64 and value.ndim == 1 for value in entries.values())


def test_hardening_a_model_whose_matrices_are_permutations_changes_nothing():
    genotype = cell_of("auto_shuffle")
    network = derived(genotype).eval()
    for mixer in soft_mixers(network):
        mixer.matrix.data = torch.eye(mixer.channels)[torch.randperm(mixer.channels)]
    images = torch.randn(2, 1, 8, 8)
    soft = network(images, genotype)
    harden_mixers(network)
    assert torch.allclose(network(images, genotype), soft, atol=1e-6)


def test_linear_maps_are_written_out_only_when_asked():
    network = derived(cell_of("kaleidoscope_odo")).eval()
    images = torch.randn(2, 1, 8, 8)
    before = network(images, cell_of("kaleidoscope_odo"))
    harden_mixers(network)
    assert any(weight.requires_grad for name, weight in network.named_parameters() if ".mixers." in name)
    harden_mixers(network, linear_maps=True)
    written_out = {name: weight for name, weight in network.named_parameters() if ".mixers." in name}
    assert [weight.shape for weight in written_out.values()] == [(8, 8), (16, 16), (16, 16)]
    assert not any(weight.requires_grad for weight in written_out.values())
    assert torch.allclose(network(images, cell_of("kaleidoscope_odo")), before, atol=1e-5)


def test_the_mixers_of_a_shufflenet_are_found_without_a_genotype():
    network = ShuffleNetV2(num_classes=3, width=0.5, in_channels=1, macro="cifar", mixer="auto_shuffle")
    assert len(soft_mixers(network)) == 16
    assert penalty(soft_mixers(network), weight=1.0, step=0.0) > 0
    train(trainer_of(network, penalty_weight=1e-3), None, steps=1)
    harden_mixers(network)
    assert soft_mixers(network) == []


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", [2, 2, 2, 2]), ("linear", [0, 0.5, 1, 2]), ("quadratic", [0, 0.125, 0.5, 2])],
)
def test_the_penalty_grows_as_scheduled(schedule, expected):
    settings = SearchSettings(epochs=8, mixer_penalty=2.0, mixer_penalty_schedule=schedule)
    assert [settings.penalty_weight(epoch) for epoch in (0, 2, 4, 8)] == pytest.approx(expected)
    assert settings.penalty_weight(math.inf) == 2.0


def test_a_penalty_too_strong_for_a_matrix_is_held_back():
    mixer = build_mixer("auto_shuffle", 10)
    value = mixer.regularization().item()
    held_back = 0.3 / 10 / (0.5 * mixer.lr_scale)
    assert 0.02 < held_back < 5.0
    assert penalty([mixer], weight=0.02, step=0.5).item() == pytest.approx(0.02 * value)
    assert penalty([mixer], weight=5.0, step=0.5).item() == pytest.approx(held_back * value)


def test_switches_learn_faster_than_matrices():
    network = derived(cell_of("kaleidoscope", op="auto_shuffle"))
    groups = make_sgd(network, momentum=0.9, weight_decay=1e-4, mixer_lr_scale=0.5).param_groups
    assert [group["lr_scale"] for group in groups] == [1.0, 0.05, 8.0]


def test_the_static_weights_of_a_hardened_mixer_are_the_same_ones():
    mixer = build_mixer("static_dynamic_shuffle", 8)
    hard = mixer.harden()
    assert hard.static_a is mixer.static_a
    assert hard.static_b is mixer.static_b
    assert mixer.rounds
    assert not hard.rounds


@pytest.mark.parametrize("name", ["auto_shuffle", "kaleidoscope"])
def test_a_mixer_that_diverged_is_not_hardened_silently(name):
    mixer = build_mixer(name, 6)
    next(mixer.parameters()).data.view(-1)[0] = math.nan
    mixer.project()
    with pytest.raises(ValueError, match=r"finite|not numbers"):
        mixer.harden()


def test_clipping_leaves_learned_mixers_alone():
    network = derived(cell_of("auto_shuffle"))
    trainer = trainer_of(network, penalty_weight=1e-3, lr=1e-6)
    trainer.max_grad_norm = 1e-9
    train(trainer, cell_of("auto_shuffle"), steps=1)
    norms = {name: weight.grad.norm().item() for name, weight in network.named_parameters()}
    assert all((norm > 1e-8) == (".mixers." in name) for name, norm in norms.items())


@pytest.mark.parametrize("channels", [2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("op", LEARNED)
def test_shuffle_ops_take_the_fewest_channels(op, channels, stride):
    out = find_op(op).build(channels, stride)(torch.randn(2, channels, 4, 4))
    assert out.shape == (2, channels, 4 // stride, 4 // stride)
