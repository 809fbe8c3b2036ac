import itertools

import pytest
import torch
from torch import nn

from nas.compute.device import make_runtime
from nas.data.named import synthetic
from nas.models.shufflenasnet import ShuffleNASNet
from nas.training.autosave import Saves
from nas.training.evaluation import evaluate
from nas.training.member import Member, train_member
from nas.training.settings import RetrainSettings
from nas.training.weight_average import WeightAverage
from search_spaces.cells import genotype_candidates
from tests.taping import TapeRecorder
from tests.unit.test_graphs import assert_equal, some_genotype, trained

PROTOCOL = {
    **{"epochs": 4, "batch_size": 12, "lr_max": 0.05, "first_cycle": 10},
    **{"last_epochs": 2, "evaluate_every": 1, "checkpoint_seconds": 0},
}


def test_means_after_three_steps_by_hand():
    network = nn.Linear(1, 1, bias=False)
    network.weight.data.fill_(1.0)
    average = WeightAverage(network, decay=0.5)
    means = []
    for weight in (2.0, 4.0, 0.0):
        network.weight.data.fill_(weight)
        average.update()
        means.append(average.state_dict()["weight"].item())
    assert means == [1.5, 2.75, 1.375]


def test_while_the_means_are_in_use_the_network_has_them_and_afterwards_what_it_had():
    network = nn.Sequential(nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2))
    average = WeightAverage(network, decay=0.9)
    with torch.no_grad():
        network[0].weight.add_(1.0)
    average.update()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with average.in_use(lambda: network[1].running_mean.fill_(7.0)):
        assert torch.allclose(network[0].weight, before["0.weight"] - 0.9)
        assert torch.equal(network[1].running_mean, torch.full((2,), 7.0))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_means_of_weights_that_are_still_there_are_taken_over():
    network = nn.Linear(2, 2)
    average = WeightAverage(network, decay=0.9)
    average.take_over({"weight": torch.full((2, 2), 3.0), "bias": torch.ones(5), "gone": torch.ones(1)})
    assert torch.equal(average.state_dict()["weight"], torch.full((2, 2), 3.0))
    assert torch.equal(average.state_dict()["bias"], network.bias)


def test_recorded_steps_average_as_steps_that_are_not():
    recorder = TapeRecorder()
    recorded, eager = trained(recorder, ema=0.9), trained(None, ema=0.9)
    assert recorder.replays > 0
    assert_equal(recorded, eager)
    assert any(name.startswith("mean of") for name in eager[0])


@pytest.fixture(scope="module")
def data():
    return synthetic(num_images=90, image_size=8, channels=1, num_classes=3, crop_padding=1)


def retrained(data, folder, *, mixer="channel_shuffle", stop_after=None, **settings):
    torch.manual_seed(0)
    genotype, count = some_genotype(mixer), itertools.count(1)
    network = ShuffleNASNet(
        genotype_candidates(genotype), in_channels=1, num_classes=3, filters=8, cells_per_stage=1, stages=2
    )

    def on_epoch(row):
        pass

    def after_save(self, *, last=False):
        Saves.written(self, last=last)
        if next(count) == stop_after:
            raise InterruptedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Saves, "written", Saves.reached, raising=False)
        patch.setattr(Saves, "reached", after_save)
        rows = train_member(
            Member(label="found", seed=0, genotype=genotype),
            network,
            data=data,
            settings=RetrainSettings(**{**PROTOCOL, **settings}),
            runtime=make_runtime(device="cpu"),
            checkpoint=folder / "c.pt",
            on_epoch=on_epoch,
        )
    return network, [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.mark.parametrize("mixer", ["channel_shuffle", "auto_shuffle"])
def test_an_averaged_training_that_was_interrupted_ends_as_one_that_was_not(data, tmp_path, mixer):
    settings = {"mixer": mixer, "ema": 0.8, "cutmix": 0.5, "schedule": "one_cycle"}
    whole, rows = retrained(data, tmp_path / "whole", **settings)
    for stop_after in (1, 2):
        with pytest.raises(InterruptedError):
            retrained(data, tmp_path / "parts", stop_after=stop_after, **settings)
    parts, resumed = retrained(data, tmp_path / "parts", **settings)
    assert str(rows) == str(resumed)
    assert all(torch.equal(value, parts.state_dict()[name]) for name, value in whole.state_dict().items())
    again, _ = retrained(data, tmp_path / "parts", **settings)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())


def test_what_is_left_at_the_end_are_the_means_that_were_tested(data, tmp_path):
    network, rows = retrained(data, tmp_path, ema=0.8)
    score = evaluate(network.eval(), data.test.batches(12), some_genotype())
    assert score.accuracy == rows[-1]["test_accuracy"]


def test_averaging_leaves_the_training_itself_alone(data, tmp_path):
    _, averaged = retrained(data, tmp_path / "averaged", ema=0.8)
    _, plain = retrained(data, tmp_path / "plain")
    for ours, theirs in zip(averaged, plain, strict=True):
        assert (ours["loss"], ours["train_accuracy"]) == (theirs["loss"], theirs["train_accuracy"])
    assert [row["test_accuracy"] for row in averaged] != [row["test_accuracy"] for row in plain]
