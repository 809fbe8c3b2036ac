"""fp16's loss scale: torch's own updates, exact gradients, and steps that overflow are no fault of the training."""

import math

import pytest
import torch

from nas.training.epoch_totals import DivergedError
from nas.training.loss_scale import FIRST_SCALE, GROWTH_INTERVAL, LossScale
from tests.faults.test_numerical_faults import STEPS, batches, small_network, trainer_of
from tests.taping import TapeRecorder
from tests.unit.test_graphs import some_genotype

CPU = torch.device("cpu")


def train(trainer, data=None, *, epoch: int = 4):
    data = batches() if data is None else data
    return trainer.train_epoch(data, iter([some_genotype()] * STEPS), epoch=epoch, num_batches=STEPS)


def seeded_trainer(*, scaled: float | None, **options):
    """A trainer in float32 from a fixed start, perhaps with a scaled loss."""
    torch.manual_seed(0)
    trainer = trainer_of(small_network(), **options)
    if scaled is not None:
        trainer.loss_scale = LossScale(CPU)
        trainer.loss_scale.scale.fill_(scaled)
    return trainer


def weights(trainer) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in trainer.network.parameters()])


def test_the_scale_moves_as_that_of_torch(monkeypatch):
    monkeypatch.setattr("nas.training.loss_scale.GROWTH_INTERVAL", 3)
    ours, theirs = LossScale(CPU), torch.amp.GradScaler("cpu", growth_interval=3)
    weight = torch.ones(3, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.0)
    scales = []
    for overflow in (1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1):
        theirs.scale(torch.zeros(()))
        weight.grad = torch.full((3,), math.inf if overflow else 1.0)
        theirs.step(optimizer)
        theirs.update()
        ours.update(torch.tensor(float(overflow)), loss=torch.tensor(1.0))
        scales.append(ours.scale.item() / FIRST_SCALE)
        assert ours.scale.item() == theirs.get_scale()
    assert scales == [0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.5, 0.5, 0.5, 1.0, 0.5, 0.25]
    assert torch.amp.GradScaler("cpu").get_growth_interval() == GROWTH_INTERVAL
    assert torch.amp.GradScaler("cpu").get_scale() == FIRST_SCALE


def test_a_step_is_bad_only_where_no_smaller_scale_would_help():
    scale, overflow, none = LossScale(CPU), torch.tensor(1.0), torch.tensor(0.0)
    finite, infinite = torch.tensor(2.0), torch.tensor(math.inf)
    assert scale.update(overflow, loss=finite).item() == 0
    assert scale.update(none, loss=finite).item() == 0
    assert scale.update(overflow, loss=infinite).item() == 1
    scale.scale.fill_(0.5)
    assert scale.update(overflow, loss=finite).item() == 1


def test_scaled_losses_train_the_same_weights_to_the_bit():
    plain, scaled = seeded_trainer(scaled=None), seeded_trainer(scaled=FIRST_SCALE)
    assert train(plain) == train(scaled)
    assert torch.equal(weights(plain), weights(scaled))
    assert scaled.loss_scale.good_steps.item() == STEPS


def test_steps_that_overflow_are_left_out_and_not_counted_as_bad():
    trainer = seeded_trainer(scaled=2.0**30, autocast=torch.float16, max_bad_steps=0)
    before = weights(trainer)
    score = train(trainer)
    assert trainer.loss_scale.scale.item() == 2.0 ** (30 - STEPS)
    assert torch.equal(weights(trainer), before)
    assert trainer.skipped_steps == 0
    assert math.isfinite(score.loss)
    for epoch in range(3):  # halved step by step until the gradients fit
        train(trainer, epoch=epoch)
    assert trainer.loss_scale.good_steps.item() > 0
    assert torch.isfinite(weights(trainer)).all()
    assert not torch.equal(weights(trainer), before)


def test_a_loss_that_is_not_finite_is_bad_at_any_scale():
    trainer = seeded_trainer(scaled=FIRST_SCALE, max_bad_steps=1)
    train(trainer, batches((3,)))
    assert trainer.skipped_steps == 1
    with pytest.raises(DivergedError, match="2 of 8 steps"):
        train(trainer, batches((3, 5)))


def test_a_recorded_step_scales_as_one_that_is_not():
    plain, recorded = (
        seeded_trainer(scaled=2.0**20, autocast=torch.float16, recorder=recorder) for recorder in (None, TapeRecorder())
    )
    for epoch in range(3):
        assert train(plain, epoch=epoch) == pytest.approx(train(recorded, epoch=epoch), rel=1e-5)
    assert plain.loss_scale.scale.item() == recorded.loss_scale.scale.item() < 2.0**20
    assert torch.allclose(weights(plain), weights(recorded), atol=1e-6)


def test_fp16_has_a_scale_that_a_resumed_training_goes_on_with():
    trainer, plain = seeded_trainer(scaled=None, autocast=torch.float16), seeded_trainer(scaled=None)
    assert plain.loss_scale is None
    assert set(plain.state_dict()) == {"optimizer"}
    trainer.loss_scale.update(torch.tensor(1.0), loss=torch.tensor(1.0))
    trainer.loss_scale.update(torch.tensor(0.0), loss=torch.tensor(1.0))
    other = seeded_trainer(scaled=None, autocast=torch.float16)
    other.load_state_dict(trainer.state_dict())
    assert (other.loss_scale.scale.item(), other.loss_scale.good_steps.item()) == (FIRST_SCALE / 2, 1)
    other.load_state_dict(plain.state_dict())  # of a run in another number format


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_step_in_half_precision_is_nearly_that_in_float32(dtype):
    plain, half = seeded_trainer(scaled=None), seeded_trainer(scaled=None, autocast=dtype)
    start = weights(plain)
    first, second = (train(trainer, batches()[:1]) for trainer in (plain, half))
    assert second.loss == pytest.approx(first.loss, rel=0.02)
    steps = [weights(trainer) - start for trainer in (plain, half)]
    assert steps[0].abs().max() > 0
    assert (steps[0] - steps[1]).norm() < 0.25 * steps[0].norm()  # a gradient scaled wrongly is off by a factor of two


@pytest.mark.gpu
def test_fp16_trains_on_a_device_with_and_without_a_recorded_step():
    from nas.compute.cuda_graphs import CudaGraphs

    device, scores = torch.device("cuda"), []
    data = [(images.to(device), labels.to(device)) for images, labels in batches()]
    for recorder in (None, CudaGraphs(device)):
        torch.manual_seed(0)
        trainer = trainer_of(small_network().to(device), autocast=torch.float16, recorder=recorder)
        scores.append([train(trainer, data, epoch=epoch).loss for epoch in range(3)])
        assert trainer.skipped_steps == 0
    assert scores[0] == pytest.approx(scores[1], rel=0.02)
    assert scores[0][-1] < scores[0][0]
