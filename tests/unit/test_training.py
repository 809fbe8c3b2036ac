import itertools
import math

import pytest
import torch
from torch import nn

from nas.models.shufflenasnet import ShuffleNASNet
from nas.training.evaluation import batch_statistics, evaluate, recalibrate_batch_norm
from nas.training.schedules import cosine_restarts, one_cycle
from nas.training.settings import RetrainSettings
from nas.training.sgd import clip_gradients, make_sgd
from nas.training.weight_trainer import WeightTrainer
from search_spaces.cells import genotype_candidates
from search_spaces.shufflenas import ShuffleNASSpace


def small_network(genotype=None) -> ShuffleNASNet:
    candidates = ShuffleNASSpace(blocks=4).candidates() if genotype is None else genotype_candidates(genotype)
    return ShuffleNASNet(candidates, in_channels=1, num_classes=3, filters=4, cells_per_stage=1, stages=2)


def batches(count: int, size: int = 6) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.randn(size, 1, 8, 8), torch.randint(3, (size,))) for _ in range(count)]


class Logits(nn.Module):
    """Ignores the genotype; the images are the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images, genotype, *, drop_prob=0.0):
        return self.scale * images


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(0, 1.1), (5, 0.6), (10 - 1e-9, 0.1), (10, 1.1), (20, 0.6), (30, 1.1), (70, 1.1), (110, 0.6), (310, 1.1)],
)
def test_cosine_restarts_after_10_30_70_epochs(epoch, expected):
    found = cosine_restarts(epoch, lr_max=1.1, lr_min=0.1, first_cycle=10, cycle_factor=2)
    assert found == pytest.approx(expected)


def test_six_cycles_are_the_papers_630_epochs():
    settings = {"lr_max": 0.05, "lr_min": 0.0001, "first_cycle": 10, "cycle_factor": 2}
    restarts = [epoch for epoch in range(1, 631) if cosine_restarts(epoch, **settings) == 0.05]
    assert restarts == [10, 30, 70, 150, 310, 630]


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, 0.02), (2, 0.26), (4, 0.5), (12, 0.3), (20 - 1e-9, 0.1), (20, 0.1), (21, 0.1)]
)
def test_one_cycle_rises_in_a_line_and_falls_along_a_cosine(epoch, expected):
    assert one_cycle(epoch, epochs=20, lr_max=0.5, lr_min=0.1, peak=0.2) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("turns", "expected"),
    [(False, [(7, 8)] * 4), (True, [(0,), (1,), (2,), (0,)])],
)
def test_random_cells_take_their_own_seeds_or_turns_with_those_of_the_found_cell(turns, expected):
    settings = RetrainSettings(seeds=(0, 1, 2), random_seeds=(7, 8), random_turns=turns)
    assert [tuple(settings.seeds_of_random(cell)) for cell in range(4)] == expected


def test_a_retraining_has_the_schedule_it_asks_for():
    given = {"lr_max": 0.5, "lr_min": 0.1}
    cosine = RetrainSettings(epochs=20, first_cycle=5, peak=0.2, **given)
    assert cosine.learning_rate(6) == cosine_restarts(6, first_cycle=5, cycle_factor=2, **given)
    rising = RetrainSettings(epochs=20, first_cycle=5, peak=0.2, schedule="one_cycle", **given)
    assert rising.learning_rate(6) == one_cycle(6, epochs=20, peak=0.2, **given)


def test_sgd_is_torchs_with_nesterov_momentum():
    ours, reference = (nn.Linear(3, 2) for _ in range(2))
    reference.load_state_dict(ours.state_dict())
    sgd = make_sgd(ours, momentum=0.9, weight_decay=0.1)
    torch_sgd = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1)
    sgd.param_groups[0]["lr"] = 0.1
    for _ in range(4):
        x = torch.randn(5, 3)
        for network, optimizer in ((ours, sgd), (reference, torch_sgd)):
            optimizer.zero_grad()
            network(x).square().sum().backward()
            optimizer.step()
    for one, other in zip(ours.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_untouched_weights_and_their_momentum_stay(genotype):
    network = small_network()
    optimizer = make_sgd(network, momentum=0.9, weight_decay=0.1)
    trainer = WeightTrainer(
        network=network, optimizer=optimizer, learning_rate=lambda epoch: 0.1, drop_prob=lambda epoch: 0.0
    )
    before = {name: value.clone() for name, value in network.named_parameters()}
    trainer.train_epoch(batches(3), itertools.repeat(genotype), epoch=0, num_batches=3)
    own = {name for name, _ in small_network(genotype).named_parameters()}
    for name, value in network.named_parameters():
        assert torch.equal(value, before[name]) == (name not in own)
        assert bool(optimizer.state[value]["momentum_buffer"].any()) == (name in own)


@pytest.mark.parametrize("together", [True, False, None])
def test_gradients_are_clipped_tensor_by_tensor(together):
    long, short, none = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    long.grad, short.grad = torch.tensor([3.0, 4.0]), torch.tensor([0.3, 0.4])
    clip_gradients([long, short, none], max_norm=1.0, together=together)
    assert long.grad.tolist() == pytest.approx([0.6, 0.8])
    assert short.grad.tolist() == pytest.approx([0.3, 0.4])


def test_gradients_clipped_together_keep_their_layout():
    weights = [nn.Parameter(torch.zeros(shape).to(memory_format=torch.channels_last)) for shape in [(4, 3, 2, 2)] * 2]
    expected = []
    for weight, scale in zip(weights, (10.0, 1e-3), strict=True):
        weight.grad = scale * torch.randn_like(weight)
        expected.append(weight.grad * min(1.0, 1 / weight.grad.norm().item()))
    clip_gradients(weights, max_norm=1.0, together=True)
    for weight, gradient in zip(weights, expected, strict=True):
        assert torch.allclose(weight.grad, gradient)
        assert weight.grad.stride() == weight.stride()


def test_scores_are_means_over_images(genotype):
    logits = [torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 3.0]])]
    labels = [torch.tensor([0, 1, 0]), torch.tensor([1])]
    score = evaluate(Logits(), zip(logits, labels, strict=True), genotype)
    losses = [math.log(1 + math.exp(-2)), math.log(2), math.log(1 + math.exp(1)), math.log(1 + math.exp(-3))]
    assert score.loss == pytest.approx(sum(losses) / 4)
    assert score.accuracy == pytest.approx(2 / 4)  # ties go to the first class


def test_training_reports_means_over_the_epoch_and_follows_the_schedules(genotype):
    network, seen = Logits(), []
    optimizer = make_sgd(network, momentum=0.0, weight_decay=0.0)

    def learning_rate(epoch: float) -> float:
        seen.append(epoch)
        return 0.0

    trainer = WeightTrainer(
        network=network, optimizer=optimizer, learning_rate=learning_rate, drop_prob=lambda epoch: 0.0
    )
    data = [(torch.zeros(4, 3), torch.zeros(4, dtype=torch.long)), (torch.zeros(2, 3), torch.ones(2, dtype=torch.long))]
    score = trainer.train_epoch(data, itertools.repeat(genotype), epoch=3, num_batches=2)
    assert score.loss == pytest.approx(math.log(3))
    assert score.accuracy == pytest.approx(4 / 6)
    assert seen == [3.0, 3.5]


def test_no_batches_is_an_error(genotype):
    with pytest.raises(ValueError, match="no batches"):
        evaluate(Logits(), [], genotype)


def test_batch_statistics_leave_no_trace(genotype):
    network = small_network().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    data = batches(2)
    with batch_statistics(network):
        first = evaluate(network, data, genotype)
    reference = evaluate(network.train(), data, genotype)
    assert first == reference
    network.load_state_dict(before)
    with batch_statistics(network):
        evaluate(network, data, genotype)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(module.training for module in network.modules())


def test_recalibration_sets_the_mean_of_the_batches_statistics(genotype):
    network = small_network(genotype).eval()
    stem = network.stem[1]
    stem.running_mean.fill_(100.0)
    data = batches(3)
    recalibrate_batch_norm(network, data, genotype)
    outputs = [network.stem[0](images) for images, _ in data]
    means = torch.stack([out.mean(dim=(0, 2, 3)) for out in outputs])
    variances = torch.stack([out.var(dim=(0, 2, 3)) for out in outputs])
    assert torch.allclose(stem.running_mean, means.mean(dim=0), atol=1e-6)
    assert torch.allclose(stem.running_var, variances.mean(dim=0), atol=1e-5)
    assert stem.momentum == 0.1
    assert not any(module.training for module in network.modules())
