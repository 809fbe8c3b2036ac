"""Losses and gradients that are not finite, outputs that are not, and memory that is too small."""

import itertools
import math

import pytest
import torch
from torch import nn

from nas.compute.device import make_runtime
from nas.data.named import synthetic
from nas.models.shufflenasnet import ShuffleNASNet
from nas.runs.checkpoints import load_checkpoint
from nas.searching.evaluators import finite_reward
from nas.searching.supernet_scorer import SupernetScorer
from nas.training.evaluation import DivergedError, Score, batch_statistics, evaluate
from nas.training.member import Member, train_member
from nas.training.settings import RetrainSettings
from nas.training.sgd import make_sgd
from nas.training.weight_trainer import WeightTrainer
from search_spaces.cells import genotype_candidates
from tests.taping import TapeRecorder
from tests.unit.test_graphs import some_genotype

STEPS = 8


def batches(bad: tuple[int, ...] = (), *, value: float = math.nan) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(5)
    made = [
        (torch.randn(6, 1, 8, 8, generator=generator), torch.randint(3, (6,), generator=generator))
        for _ in range(STEPS)
    ]
    for step in bad:
        made[step][0][0] = value
    return made


def small_network(mixer: str = "channel_shuffle") -> ShuffleNASNet:
    candidates = genotype_candidates(some_genotype(mixer))
    return ShuffleNASNet(candidates, in_channels=1, num_classes=3, filters=8, cells_per_stage=1, stages=2)


def trainer_of(network: nn.Module, **options) -> WeightTrainer:
    return WeightTrainer(
        network=network,
        optimizer=make_sgd(network, momentum=0.9, weight_decay=1e-3),
        learning_rate=lambda now: 0.05,
        drop_prob=lambda now: 0.0,
        mixer_penalty=lambda now: 0.01,
        **options,
    )


def trained(bad: tuple[int, ...], *, mixer: str = "channel_shuffle", data=None, **options):
    """Trains an epoch from a fixed start; returns the trainer and the score."""
    torch.manual_seed(0)
    trainer = trainer_of(small_network(mixer), **options)
    data = batches(bad) if data is None else data
    score = trainer.train_epoch(data, itertools.repeat(some_genotype(mixer)), epoch=4, num_batches=STEPS)
    return trainer, score


@pytest.mark.parametrize("max_grad_norm", [5.0, None])
@pytest.mark.parametrize("recorded", [False, True])
def test_a_bad_step_changes_no_weight_and_no_momentum_and_does_not_count(max_grad_norm, recorded, capsys):
    def recorder():
        return TapeRecorder() if recorded else None

    good = [batch for step, batch in enumerate(batches()) if step not in (1, 6)]
    with_bad, score = trained((1, 6), recorder=recorder(), max_grad_norm=max_grad_norm)
    without, expected = trained((), data=good, recorder=recorder(), max_grad_norm=max_grad_norm)
    assert with_bad.skipped_steps == 2
    assert tuple(score) == pytest.approx(tuple(expected), rel=1e-5)
    for (name, mine), other in zip(with_bad.network.named_parameters(), without.network.parameters(), strict=True):
        assert torch.allclose(mine, other, rtol=1e-5, atol=1e-7), name
        momenta = [t.optimizer.state[w]["momentum_buffer"] for t, w in ((with_bad, mine), (without, other))]
        assert torch.allclose(*momenta, rtol=1e-5, atol=1e-7), name
    assert "epoch 4: loss or gradients not finite in 2 of 8 steps, the last of these step 7" in capsys.readouterr().err


@pytest.mark.parametrize("mixer", ["auto_shuffle", "dynamic_shuffle"])
def test_learned_mixers_outlive_a_bad_step(mixer):
    """They are projected once more then, which keeps them where they may be."""
    trainer, score = trained((1, 6), mixer=mixer)
    assert trainer.skipped_steps == 2
    assert math.isfinite(score.loss)
    assert all(weight.isfinite().all() for weight in trainer.network.parameters())


def test_an_epoch_without_a_good_step_stops_however_short_it_is():
    with pytest.raises(DivergedError, match=r"epoch 4: .* in 8 of 8 steps, .* that is in all"):
        trained((), data=batches(tuple(range(8)), value=math.nan), max_bad_steps=10)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_more_bad_steps_than_allowed_stop_with_the_step_named(value):
    with pytest.raises(DivergedError, match=r"epoch 4: .* in 3 of 8 steps, .* step 6; more than max_bad_steps=2"):
        trained((), data=batches((0, 2, 5), value=value), max_bad_steps=2)
    trainer, _ = trained((0, 2, 5), max_bad_steps=3)
    assert all(weight.isfinite().all() for weight in trainer.network.parameters())


def test_a_gradient_that_is_not_finite_is_caught_where_the_loss_is():
    class Root(nn.Module):
        """Its gradient at 0 is infinite, its value is not."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, images, genotype, *, drop_prob=0.0):
            return (self.weight * images.flatten(1)[:, :3]).abs().sqrt()

    network = Root()
    zeros = [(torch.zeros(2, 1, 2, 2), torch.zeros(2, dtype=torch.long))]
    trainer = trainer_of(network)
    with pytest.raises(DivergedError, match="in 1 of 1 steps"):
        trainer.train_epoch(zeros, itertools.repeat(None), epoch=0, num_batches=1)
    assert trainer.skipped_steps == 1
    assert network.weight.tolist() == [1, 1, 1]


def test_steps_are_counted_anew_in_every_epoch():
    trainer, _ = trained((1, 2), max_bad_steps=2)
    for bad, expected in (((3,), 1), ((), 0), ((0, 1), 2)):
        trainer.train_epoch(batches(bad), itertools.repeat(some_genotype()), epoch=5, num_batches=STEPS)
        assert trainer.skipped_steps == expected


@pytest.fixture(scope="module")
def data():
    return synthetic(num_images=90, image_size=8, channels=1, num_classes=3)


def retrained(data, tmp_path, monkeypatch, *, bad: set[tuple[int, int]], **more):
    """Retrains for three epochs; in the steps (epoch, step) of `bad` the images are not finite."""
    given = {"epochs": 3, "batch_size": 12, "lr_max": 0.05, "first_cycle": 10, "last_epochs": 1, "evaluate_every": 1}
    settings = RetrainSettings(**given, checkpoint_seconds=0, **more)
    genotype, epochs = some_genotype(), itertools.count()
    split_class, original = type(data.full), type(data.full).batches

    def damaged(self, batch_size, *, drop_last=False, **given):
        epoch = next(epochs) if drop_last else -1
        for step, (images, labels) in enumerate(original(self, batch_size, drop_last=drop_last, **given)):
            yield (torch.full_like(images, math.nan) if (epoch, step) in bad else images), labels

    monkeypatch.setattr(split_class, "batches", damaged)
    torch.manual_seed(0)
    network = small_network()
    rows = train_member(
        Member(label="found", seed=0, genotype=genotype),
        network,
        data=data,
        settings=settings,
        runtime=make_runtime(device="cpu"),
        checkpoint=tmp_path / "c.pt",
        on_epoch=lambda row: None,
    )
    return network, rows


def test_a_retraining_with_a_bad_step_is_tested_with_statistics_that_are_numbers(data, tmp_path, monkeypatch):
    network, rows = retrained(data, tmp_path, monkeypatch, bad={(2, 1)})
    assert [row.get("skipped_steps") for row in rows] == [None, None, 1]
    assert all(value.isfinite().all() for value in network.state_dict().values())
    assert rows[2]["test_accuracy"] > 0


def test_a_retraining_that_diverges_stops_and_keeps_what_was_saved(data, tmp_path, monkeypatch):
    with pytest.raises(DivergedError, match=r"epoch 1: .* in 2 of 5 steps"):
        retrained(data, tmp_path, monkeypatch, bad={(1, 0), (1, 3)}, max_bad_steps=1)
    assert len(load_checkpoint(tmp_path / "c.pt")["rows"]) == 1
    left = load_checkpoint(tmp_path / "c.diverged.pt")
    assert len(left["rows"]) == 1
    assert all(value.isfinite().all() for name, value in left["network"].items() if name.endswith("weight"))


class Logits(nn.Module):
    """The images are the logits; keeps the sizes of the batches that it was given."""

    def __init__(self, *, fits: int = 1000) -> None:
        super().__init__()
        self.fits = fits
        self.sizes: list[int] = []

    def forward(self, images, genotype, *, drop_prob=0.0):
        if len(images) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        self.sizes.append(len(images))
        return images.flatten(1)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_outputs_that_are_not_finite_are_wrong_whatever_the_label(value):
    logits = torch.tensor([[value, 0.0], [0.0, value], [value, value], [1.0, -math.inf]])
    for label in (0, 1):
        score = evaluate(Logits(), [(logits, torch.full((4,), label))], None)
        assert score.accuracy == (0.25 if label == 0 else 0.0)


def test_a_diverged_child_has_reward_0_and_a_reward_that_is_no_number_is_refused(data):
    network, genotype = small_network(), some_genotype()
    scorer = SupernetScorer(network=network, train=data.train, reward=data.reward, batch_size=16)
    with torch.no_grad():
        next(network.parameters()).fill_(math.nan)
    scores = scorer.batch_scores([genotype, genotype], seed=0)
    assert [score.accuracy for score in scores] == [0.0, 0.0]
    assert scorer.score([genotype])[0].accuracy == 0
    with pytest.raises(ValueError, match="a reward must be finite, the reward function made nan"):
        finite_reward(lambda score, genotype: -score.loss, scores[0], genotype)


def test_a_batch_that_does_not_fit_is_halved_and_scores_the_same(capsys):
    data = [(torch.randn(13, 3), torch.randint(3, (13,))) for _ in range(3)]
    network = Logits(fits=4)
    score = evaluate(network, data, None)
    assert tuple(score) == pytest.approx(tuple(evaluate(Logits(), data, None)))
    assert max(network.sizes) <= 4
    assert len(network.sizes) == 3 * 5  # 13 in pieces of 3, found out once
    assert capsys.readouterr().err.count("do not fit into memory") == 2


def test_what_cannot_be_halved_says_so():
    data = [(torch.randn(4, 3), torch.zeros(4, dtype=torch.long))]
    with pytest.raises(torch.OutOfMemoryError):
        evaluate(Logits(fits=0), data, None)
    network = nn.Sequential(nn.BatchNorm2d(1))
    network.append(Logits(fits=1))
    network.forward = lambda images, genotype: network[1](network[0](images), genotype)
    images = [(torch.randn(4, 1, 2, 2), torch.zeros(4, dtype=torch.long))]
    with batch_statistics(network), pytest.raises(torch.OutOfMemoryError):  # halves have statistics of their own
        evaluate(network, images, None)
    assert tuple(evaluate(network.eval(), images, None)) == pytest.approx(tuple(evaluate_at_once(network, images)))


def evaluate_at_once(network, images) -> Score:
    network[1].fits = 1000
    return evaluate(network, images, None)
