"""What runs on a GPU is run here on devices that need not be there (`tests.faking`): no waits, no mixed devices.

Training, backward pass included, runs on a stand-in for an accelerator, whatever has no backward pass on a fake CUDA
device, and number formats and controllers on the CPU. What torch 2.14 cannot fake, and what it says where it is tried:

- The backward pass on CUDA: its threads look for a context ("hasPrimaryContext expects a valid device index").
- Half precision in training on the stand-in: it has no autocast ("unsupported autocast device_type"). The whole step in
  half precision is on the CPU, the forward pass on CUDA.
- The fused step of SGD: on CUDA it loads the driver ("Found no NVIDIA driver"), on the stand-in it has no kernel
  (NotImplementedError). What it is given is checked in its place.
- Generators on the device ("CUDA driver version is insufficient"): in their place are those of the CPU, under its name.
- Streams, and so the capture of CUDA graphs (the same error); `tests.unit.test_graphs` replays steps on the CPU.
- Pinned memory (`NYI: aten._pin_memory`), hence a loader's copies to the device.
- Messages between ranks: NCCL needs a device ("no GPUs found"); here nothing is sent, what is around the sums is run.
  `DistributedDataParallel` is left out for the same reason.
- Compiled networks: among fake tensors `torch.compile` leaves a network as it stands.
- All that is in the kernels: numbers, repeatability, the memory formats that they return (shown are those of torch's
  reference implementations), launch limits, memory and time. Also what a kernel itself waits for, and 0-dimensional
  tensors of the CPU among others: they are handed over as numbers, which a recorded step would repeat.
- The rounding of a learned mixer, which SciPy does on the host.
"""

import itertools
from functools import partial

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DynamicOutputShapeException
from torch.nn import functional as F

from controllers.independent import IndependentPolicy
from controllers.lstm import LSTMPolicy
from controllers.policy_gradients import ClippedObjective
from nas.compute.device import Runtime
from nas.compute.distributed import gradients
from nas.compute.distributed.ranks import Ranks
from nas.compute.distributed.settings import DistributedSettings
from nas.compute.distributed.shares import Share
from nas.data.augmentation import Augmentation, cut_and_mixed
from nas.data.image_data import ImageData
from nas.data.splits import ResidentSplit
from nas.models.inference.ready import for_inference
from nas.models.shufflenasnet import ShuffleNASNet
from nas.models.shufflenets import ShuffleNetV1, ShuffleNetV2
from nas.models.stacked_cells import StackedCells
from nas.searching.supernet_scorer import SupernetScorer
from nas.training.evaluation import autocasting, evaluate_paths
from nas.training.member import Member, MemberTraining
from nas.training.settings import RetrainSettings
from nas.training.sgd import make_sgd
from nas.training.weight_average import WeightAverage
from nas.training.weight_trainer import WeightTrainer
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Genotype
from search_spaces.mixers import MIXERS
from search_spaces.nasnet import NASNetSpace
from search_spaces.ops import OPS
from search_spaces.shufflenas import ShuffleNASSpace
from search_spaces.shuffles import build_mixer
from tests.conftest import make_cell
from tests.faking import ACCELERATOR, CPU, CUDA, MixedDevicesError, fake_tensors
from tests.learners import learner

READ_AT_THE_END = ["EpochTotals.read"]
AUGMENTATION = Augmentation(crop_padding=2, flip=True, cutout=4)
SPACE = ShuffleNASSpace(blocks=2, ops=("sep_conv_3x3", "max_pool_3x3", "conv_1x1"))
CELLS = [SPACE.decode(actions) for actions in ([0, 0, 1, 2] * 2, [0, 1, 0, 0] * 2)]
PAIRS = NASNetSpace(blocks=1, ops=("sep_conv_3x3", "identity"), output="all").decode([0, 1, 0, 1] * 2)


def genotype_of(*ops: str, mixer: str = "channel_shuffle") -> Genotype:
    cell = make_cell(*((0, op) for op in ops), mixer=mixer)
    return Genotype(space="shufflenas", normal=cell, reduction=cell)


def network_of(candidates, **options) -> ShuffleNASNet:
    options = {"in_channels": 3, "num_classes": 5, "filters": 8, "cells_per_stage": 1, "stages": 2, **options}
    return ShuffleNASNet(candidates, **options).to(memory_format=torch.channels_last)


def batches(device, count=2, *, probabilities=False):
    for _ in range(count):
        images = torch.randn(4, 3, 16, 16, device=device).to(memory_format=torch.channels_last)
        yield images, torch.rand(4, 5, device=device) if probabilities else torch.randint(5, (4,), device=device)


def split_of(device, num_images=12) -> ResidentSplit:
    images = torch.randint(256, (num_images, 3, 16, 16), dtype=torch.uint8, device=device)
    labels = torch.randint(5, (num_images,), device=device)
    return ResidentSplit(images, labels, mean=torch.full((3,), 0.5), std=torch.full((3,), 0.2))


def trainer_of(network, *, drop=0.0, ema=None, **options) -> WeightTrainer:
    return WeightTrainer(
        network=network,
        optimizer=make_sgd(network, momentum=0.9, weight_decay=1e-3),
        learning_rate=lambda now: 0.05,
        drop_prob=lambda now: drop,
        mixer_penalty=lambda now: 0.1,
        average=None if ema is None else WeightAverage(network, decay=ema),
        **options,
    )


def waits_of_training(device, network, cells, *, probabilities=False, **options) -> list[str]:
    """Trains an epoch with one step for each cell; returns who waited for the device."""
    with fake_tensors(device) as watch:
        trainer = trainer_of(watch.move(network), **options)
        given = batches(device, len(cells), probabilities=probabilities)
        trainer.train_epoch(given, iter(cells), epoch=0, num_batches=len(cells))
    return watch.waits


@pytest.mark.parametrize("device", [CPU, ACCELERATOR])
@pytest.mark.parametrize("options", [{}, {"drop": 0.3, "ema": 0.9, "probabilities": True, "label_smoothing": 0.1}])
def test_steps_of_a_search_wait_for_nothing(device, options):
    assert waits_of_training(device, network_of(SPACE.candidates()), CELLS, **options) == READ_AT_THE_END


@pytest.mark.parametrize("autocast", [torch.bfloat16, torch.float16])
def test_steps_in_half_precision_wait_for_nothing(autocast):
    network = network_of(genotype_candidates(CELLS[0]), stages=1)
    assert waits_of_training(CPU, network, CELLS[:1], autocast=autocast) == READ_AT_THE_END


def test_scaling_the_loss_on_an_accelerator_waits_for_nothing():
    network = network_of(genotype_candidates(CELLS[0]), stages=1)
    assert waits_of_training(ACCELERATOR, network, CELLS[:1], autocast=torch.float16) == READ_AT_THE_END


@pytest.mark.parametrize("mixer", MIXERS)
def test_steps_with_any_mixer_wait_for_nothing(mixer):
    genotype = genotype_of("identity", mixer=mixer)
    network = network_of(genotype_candidates(genotype), stages=1)
    assert waits_of_training(ACCELERATOR, network, [genotype]) == READ_AT_THE_END


def test_steps_with_an_auxiliary_head_wait_for_nothing():
    network = StackedCells(
        genotype_candidates(PAIRS), in_channels=3, num_classes=5, filters=4, cells_per_stage=1, auxiliary=True
    )
    assert waits_of_training(ACCELERATOR, network, [PAIRS], auxiliary_weight=0.4, drop=0.1) == READ_AT_THE_END


@pytest.mark.parametrize(
    ("settings", "cells", "options"),
    [
        ({}, CELLS[:1], {}),
        ({"sampling": "independent"}, [tuple(CELLS)], {}),
        ({"batch_norm": "sync"}, CELLS[:1], {}),
        ({}, CELLS[:1], {"one_path": True}),
        ({}, CELLS[:1], {"one_path": True, "autocast": torch.float16}),
    ],
)
def test_steps_of_several_ranks_wait_for_nothing(monkeypatch, settings, cells, options):
    sent = []
    monkeypatch.setattr("nas.training.weight_trainer.data_parallel", lambda network: network)
    monkeypatch.setattr("torch.distributed.all_reduce", lambda tensor: sent.append(tensor.device))
    monkeypatch.setattr(gradients, "count_touching", lambda groups, ranks: [[1 for _ in group] for group in groups])
    ranks = Ranks(rank=1, size=2, settings=DistributedSettings(**settings))
    network = network_of(SPACE.candidates(), stages=1)
    assert waits_of_training(ACCELERATOR, network, cells, ranks=ranks, **options) == READ_AT_THE_END
    assert ACCELERATOR in sent


def test_an_epoch_of_retraining_waits_for_its_scores_only(monkeypatch):
    monkeypatch.setattr("nas.training.member.largest_distance", lambda mixers: 0.0)  # rounds on the host, by design
    genotype = genotype_of("conv_1x1", mixer="auto_shuffle")
    network = network_of(genotype_candidates(genotype))
    settings = RetrainSettings(
        epochs=2, batch_size=4, cutout=4, cutmix=0.5, ema=0.9, drop_path=0.2, harden_epoch=None, last_epochs=2
    )
    with fake_tensors(ACCELERATOR) as watch:
        splits = {name: split_of(ACCELERATOR, 8) for name in ("train", "reward", "test", "full")}
        data = ImageData(
            name="fake",
            image_shape=(3, 16, 16),
            num_classes=5,
            class_names=tuple("abcde"),
            mean=(0.5,) * 3,
            std=(0.2,) * 3,
            augmentation=AUGMENTATION,
            record={},
            **splits,
        )
        training = MemberTraining(
            member=Member(label="found", seed=0, genotype=genotype),
            network=watch.move(network),
            data=data,
            settings=settings,
            runtime=Runtime(device=ACCELERATOR, autocast=None, channels_last=True),
        )
        watch.waits.clear()  # mean and deviation of the channels were moved
        training.epoch()
    assert watch.waits == [*READ_AT_THE_END, "evaluate_paths"]


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_rewards_wait_for_the_device_once(device):
    network = network_of(SPACE.candidates())
    with fake_tensors(device) as watch:
        train, reward = split_of(device), split_of(device)
        watch.waits.clear()
        scorer = SupernetScorer(network=watch.move(network), train=train, reward=reward, batch_size=4)
        assert len(scorer.batch_scores([*CELLS, *CELLS], seed=0)) == 2 * len(CELLS)
    assert watch.waits == ["evaluate_paths"]


@pytest.mark.parametrize("bn", ["recalibrate", "batch"])
@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_scoring_a_cell_waits_for_the_device_once(bn, autocast):
    network = network_of(genotype_candidates(CELLS[0]))
    with fake_tensors(CUDA) as watch:
        train, reward = split_of(CUDA), split_of(CUDA)
        watch.waits.clear()
        scorer = SupernetScorer(
            network=watch.move(network), train=train, reward=reward, batch_size=8, bn=bn, autocast=autocast
        )
        scorer.score([CELLS[0]])
    assert watch.waits == ["evaluate_paths"]


def test_a_path_without_images_is_no_matter_of_devices():
    network = network_of(genotype_candidates(CELLS[0]))
    with fake_tensors(CUDA) as watch, pytest.raises(ValueError, match="no batches"):
        evaluate_paths(watch.move(network), [(CELLS[0], batches(CUDA)), (CELLS[0], [])])


@pytest.mark.parametrize(
    ("policy", "options", "also"),
    [
        (LSTMPolicy, {}, []),
        (
            LSTMPolicy,
            {"objective": ClippedObjective(clip=0.2, epochs=2), "entropy": {"part_of": "loss"}},
            ["ClippedObjective.figures"],
        ),
        (IndependentPolicy, {"max_grad_norm": 1.0}, []),
    ],
)
def test_a_controller_reads_rewards_and_what_it_logs(policy, options, also):
    with fake_tensors(CPU) as watch:
        controller = learner(SPACE.decisions, policy, **options)
        samples = controller.sample(3)
        controller.sample(3, greedy=True)
        assert watch.waits == []
        watch.number = 1  # that of Adam's step, among others
        controller.observe(samples.actions, torch.rand(3))
    assert watch.waits == ["MovingAverageBaseline.advantage", "Reinforce._step", "Reinforce.observe", *also]


TRAINS, SCORES = (True, torch.bfloat16, torch.channels_last), (False, None, torch.contiguous_format)
WAYS = [TRAINS, SCORES, (True, None, torch.contiguous_format), (False, torch.bfloat16, torch.channels_last)]


def compute(module: nn.Module, *arguments, shape, ways=(TRAINS, SCORES)) -> None:
    """Computes a module on a CUDA device in several modes, number formats and memory formats."""
    with fake_tensors(CUDA) as watch:
        watch.move(module)
        for training, autocast, layout in ways:
            module.train(training)
            x = torch.randn(shape, device=CUDA).to(memory_format=layout)
            with torch.set_grad_enabled(training), autocasting(x, autocast):
                assert module(x, *arguments).device == CUDA
    assert watch.waits == []


def darts_network(**options) -> StackedCells:
    return StackedCells(
        genotype_candidates(PAIRS), in_channels=3, num_classes=5, filters=4, cells_per_stage=1, **options
    )


@pytest.mark.parametrize(
    ("make", "genotype"),
    [
        (lambda: network_of(SPACE.candidates()), CELLS[0]),
        (lambda: network_of(SPACE.candidates(), sharing="edge", merge="concat_conv1x1"), CELLS[1]),
        (lambda: network_of(genotype_candidates(CELLS[0]), shortcut="sep_conv", merge_batch_norm=True), CELLS[0]),
        (lambda: network_of(genotype_candidates(CELLS[0]), shortcut="reduction_cell", macro="imagenet"), CELLS[0]),
        (darts_network, PAIRS),
        (partial(darts_network, macro="enas", stem="imagenet", merge="sum"), PAIRS),
    ],
)
def test_networks_of_cells_compute_on_one_device(make, genotype):
    compute(make(), genotype, shape=(2, 3, 32, 32))


@pytest.mark.parametrize("make", [partial(ShuffleNetV1, groups=2), partial(ShuffleNetV2, width=0.5)])
def test_shufflenets_compute_on_one_device(monkeypatch, make):
    monkeypatch.setattr("nas.models.shufflenets.STAGE_UNITS", (1, 2))
    compute(make(num_classes=5, macro="cifar", mixer="auto_shuffle"), shape=(2, 3, 16, 16))


@pytest.mark.parametrize("op", OPS)
def test_every_op_computes_on_one_device(op):
    both = nn.Sequential(OPS[op].build(8, 1), OPS[op].build(8, 2))
    compute(both, shape=(2, 8, 6, 6))


@pytest.mark.parametrize("mixer", MIXERS)
def test_every_mixer_computes_on_one_device_soft_and_hardened(mixer):
    soft = build_mixer(mixer, 12)
    compute(soft.harden(), shape=(2, 12, 4, 4), ways=[SCORES, WAYS[3]])
    compute(soft, shape=(2, 12, 4, 4), ways=WAYS)


@pytest.mark.parametrize("mixer", ["channel_shuffle", "auto_shuffle", "dynamic_shuffle"])
def test_a_network_folded_for_inference_computes_on_one_device(mixer):
    genotype = genotype_of("conv_1x1", mixer=mixer)
    network = for_inference(network_of(genotype_candidates(genotype)), genotype)
    compute(network, genotype, shape=(2, 3, 8, 8), ways=[SCORES, WAYS[3]])


@pytest.mark.parametrize("share", [Share(), Share(1, 2)])
def test_batches_are_made_on_the_device_and_wait_for_nothing(share):
    with fake_tensors(CUDA) as watch:
        split = split_of(CUDA)
        watch.waits.clear()
        for seed, augmentation in ((None, None), (0, None), (0, AUGMENTATION)):
            given = split.batches(4, seed=seed, augmentation=augmentation, share=share)
            for images, targets in cut_and_mixed(given, share=0.5, num_classes=5, seed=0):
                assert (images.device, targets.device) == (CUDA, CUDA)
                assert images.is_contiguous(memory_format=torch.channels_last)
    assert watch.waits == []


class Defective(nn.Module):
    """A classifier with a defect."""

    def __init__(self, defect) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 5)
        self.forgotten = torch.ones(3)  # no buffer, so that it stays where it is
        self.defect = defect

    def forward(self, images, genotype, *, drop_prob=0.0):
        return self.linear(self.defect(self, images.mean(dim=(2, 3))))


def trains_defective(defect, device=ACCELERATOR) -> list[str]:
    return waits_of_training(device, Defective(defect), [None, None])


@pytest.mark.parametrize("device", [CPU, ACCELERATOR])
@pytest.mark.parametrize(
    "defect",
    [
        lambda module, x: x * x.sum().item(),
        lambda module, x: x if x.sum() > 0 else -x,
        lambda module, x: x * torch.tensor(x.mean(dim=0).tolist(), device=x.device),
        lambda module, x: x if torch.equal(x, x) else -x,
    ],
)
def test_a_forward_pass_that_reads_is_found(defect, device):
    assert trains_defective(defect, device) == ["TrainingStep.find_gradients", *READ_AT_THE_END]


@pytest.mark.parametrize(
    "defect",
    [
        lambda module, x: x.cpu().to(x.device),
        lambda module, x: x * torch.tensor([1.0, 2.0, 3.0], device=x.device),
        lambda module, x: x[[0, 2, 1, 3]],
    ],
)
def test_a_forward_pass_that_copies_to_or_from_the_host_is_found(defect):
    assert trains_defective(defect) == ["TrainingStep.find_gradients", *READ_AT_THE_END]


@pytest.mark.parametrize(
    "defect",
    [
        lambda module, x: x * torch.ones(3),
        lambda module, x: x[torch.arange(len(x))],  # torch's fake tensors allow it
        lambda module, x: F.linear(x, torch.ones(3, 3)),
    ],
)
@pytest.mark.parametrize("device", [ACCELERATOR, CUDA])
def test_tensors_of_two_devices_are_found(defect, device):
    with pytest.raises(MixedDevicesError):
        trains_defective(defect, device)


def test_a_tensor_that_did_not_move_with_its_module_is_found():
    with pytest.raises(MixedDevicesError):
        trains_defective(lambda module, x: x * module.forgotten)


@pytest.mark.parametrize(
    "defect",
    [
        lambda module, x: x[x > 0].sum() + x,
        lambda module, x: x + len(x.nonzero()),
        lambda module, x: x + torch.unique(x).sum(),
    ],
)
def test_shapes_that_depend_on_numbers_are_found(defect):
    with pytest.raises(DynamicOutputShapeException):
        trains_defective(defect)


def test_a_fused_step_with_tensors_of_two_devices_is_found():
    with fake_tensors(ACCELERATOR) as watch:
        trainer = trainer_of(watch.move(Defective(lambda module, x: x)))
        first, *_ = trainer.network.parameters()
        trainer.optimizer.state[first]["momentum_buffer"] = torch.zeros(first.shape)
        with pytest.raises(MixedDevicesError):
            trainer.train_epoch(batches(ACCELERATOR), itertools.repeat(None), epoch=0, num_batches=2)
