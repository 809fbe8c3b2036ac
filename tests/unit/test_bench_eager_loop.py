import copy
import multiprocessing
from dataclasses import replace

import numpy as np
import pytest
import torch

from nas.data.augmentation import Augmentation
from nas.models.shufflenasnet import ShuffleNASNet
from nas.studies.benchmarks.eager import EagerLoop, EagerProcess, EagerSettings, make_loader
from nas.training.settings import TrainingSettings
from nas.training.sgd import make_sgd
from nas.training.weight_trainer import WeightTrainer
from search_spaces.cells import genotype_candidates

TRAINING = TrainingSettings(
    epochs=2, batch_size=6, lr_max=0.05, lr_min=0.05, first_cycle=1, weight_decay=1e-4, max_grad_norm=None
)
SETTINGS = EagerSettings(
    image_shape=(3, 8, 8),
    num_classes=5,
    augmentation=Augmentation(),
    training=TRAINING,
    steps=2,
    workers=0,
    device=torch.device("cpu"),
)


def network_of(genotype) -> ShuffleNASNet:
    return ShuffleNASNet(
        genotype_candidates(genotype), in_channels=3, num_classes=5, filters=4, cells_per_stage=1, stages=2
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_images_come_as_torchvision_makes_them(channels):
    loader = make_loader(replace(SETTINGS, image_shape=(channels, 8, 8)))
    data = loader.dataset
    image, label = data[3]
    expected = (data.images[3].transpose(2, 0, 1).astype(np.float32) / 255 - 0.5) / 0.25
    assert torch.allclose(image, torch.from_numpy(expected), atol=1e-6)
    assert label == data.labels[3]


def test_an_epoch_has_its_steps_and_shows_every_image_once():
    loader = make_loader(SETTINGS)
    batches = list(loader)
    assert [len(images) for images, _ in batches] == [6, 6]
    seen = sorted(torch.cat([images.sum(dim=(1, 2, 3)) for images, _ in batches]).tolist())
    assert seen == pytest.approx(sorted(loader.dataset[i][0].sum().item() for i in range(12)), abs=1e-3)


def test_crop_and_flip_change_an_image_from_one_look_to_the_next():
    data = make_loader(replace(SETTINGS, augmentation=Augmentation(crop_padding=2, flip=True))).dataset
    looks = {tuple(data[0][0].flatten().tolist()) for _ in range(20)}
    assert len(looks) > 5


def test_a_step_is_the_one_that_the_real_loop_takes(genotype):
    network = network_of(genotype)
    other = copy.deepcopy(network)
    loop = EagerLoop(network, genotype, settings=SETTINGS)
    trainer = WeightTrainer(
        network=other,
        optimizer=make_sgd(other, momentum=0.9, weight_decay=1e-4),
        learning_rate=lambda epoch: 0.05,
        drop_prob=lambda epoch: 0.0,
        max_grad_norm=None,
    )
    for _ in range(2):
        images, labels = torch.randn(6, 3, 8, 8), torch.randint(5, (6,))
        loss = loop.step(images, labels)
        assert loss == pytest.approx(
            trainer.train_epoch([(images, labels)], iter([genotype]), epoch=0, num_batches=1).loss, rel=1e-4
        )
    for ours, theirs in zip(network.parameters(), other.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def test_the_gradient_of_all_weights_together_is_clipped(genotype):
    network = network_of(genotype)
    before = [weight.detach().clone() for weight in network.parameters()]
    settings = replace(SETTINGS, training=replace(TRAINING, max_grad_norm=1e-3, momentum=0.0, weight_decay=0.0))
    EagerLoop(network, genotype, settings=settings).step(torch.randn(6, 3, 8, 8), torch.randint(5, (6,)))
    moved = sum(((a - b) ** 2).sum().item() for a, b in zip(before, network.parameters(), strict=True)) ** 0.5
    assert moved == pytest.approx(0.05 * 1e-3, rel=0.02)


def test_workers_load_what_the_loop_trains_on(genotype):
    loop = EagerLoop(network_of(genotype), genotype, settings=replace(SETTINGS, workers=1))
    assert loop.epoch() > 0
    assert loop.epoch() > 0


def test_images_that_pil_does_not_know_are_refused():
    with pytest.raises(ValueError, match=r"bench.parts=\[eager\] needs images of 1 or 3 channels, got 2"):
        replace(SETTINGS, image_shape=(2, 8, 8))


def test_a_process_of_its_own_goes_on_from_epoch_to_epoch_and_ends_with_its_owner(genotype):
    torch.manual_seed(0)
    settings = replace(SETTINGS, training=replace(TRAINING, lr_max=0.1, lr_min=0.1))
    loop = EagerProcess(network_of(genotype), genotype, settings=settings, threads=1)
    (process,) = multiprocessing.active_children()
    losses = [loop.epoch() for _ in range(12)]
    assert max(losses[-3:]) < losses[0]  # the same twelve images again
    del loop
    assert not process.is_alive()


def test_a_process_that_cannot_train_is_reported(genotype):
    settings = replace(SETTINGS, workers=-1)
    with pytest.raises(OSError, match="the process of the eager loop ended"):
        EagerProcess(network_of(genotype), genotype, settings=settings, threads=1)
