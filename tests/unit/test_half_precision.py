"""Steps in half precision: torch scales the loss in fp16, and a step that the scale made overflow is no bad one."""

import math

import pytest
import torch
from torch.amp import GradScaler

from nas.training.evaluation import DivergedError
from tests.faults.test_numerical_faults import STEPS, batches, small_network, trainer_of
from tests.taping import TapeRecorder
from tests.unit.test_graphs import some_genotype

FIRST_SCALE = 2.0**16


def train(trainer, data=None, *, epoch: int = 4):
    data = batches() if data is None else data
    return trainer.train_epoch(data, iter([some_genotype()] * STEPS), epoch=epoch, num_batches=STEPS)


def seeded_trainer(*, scaled: float | None = None, **options):
    """A trainer in float32 from a fixed start, perhaps with a scaled loss."""
    torch.manual_seed(0)
    trainer = trainer_of(small_network(), **options)
    if scaled is not None:
        trainer.scaler = GradScaler("cpu", init_scale=scaled)
    return trainer


def weights(trainer) -> torch.Tensor:
    return torch.cat([weight.detach().flatten() for weight in trainer.network.parameters()])


def test_scaled_losses_train_the_same_weights_to_the_bit():
    plain, scaled = seeded_trainer(), seeded_trainer(scaled=FIRST_SCALE)
    assert train(plain) == train(scaled)
    assert torch.equal(weights(plain), weights(scaled))
    assert scaled.scaler.state_dict()["_growth_tracker"] == STEPS


def test_steps_that_overflow_are_left_out_and_not_counted_as_bad():
    trainer = seeded_trainer(scaled=2.0**30, autocast=torch.float16, max_bad_steps=0)
    before = weights(trainer)
    score = train(trainer)
    assert trainer.scaler.get_scale() == 2.0 ** (30 - STEPS)
    assert torch.equal(weights(trainer), before)
    assert trainer.skipped_steps == 0
    assert math.isfinite(score.loss)
    for epoch in range(3):  # halved step by step until the gradients fit
        train(trainer, epoch=epoch)
    assert trainer.scaler.state_dict()["_growth_tracker"] > 0
    assert torch.isfinite(weights(trainer)).all()
    assert not torch.equal(weights(trainer), before)


def test_a_loss_that_is_not_finite_is_bad_at_any_scale():
    trainer = seeded_trainer(scaled=FIRST_SCALE, max_bad_steps=1)
    train(trainer, batches((3,)))
    assert trainer.skipped_steps == 1
    with pytest.raises(DivergedError, match="2 of 8 steps"):
        train(trainer, batches((3, 5)))


class Root(torch.nn.Module):
    """Its gradient at 0 is infinite, its value is not."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(3))

    def forward(self, images, genotype, *, drop_prob=0.0):
        return (self.weight * images.flatten(1)[:, :3]).abs().sqrt()


@pytest.mark.parametrize(("scale", "bad"), [(2.0, 0), (1.0, 0), (0.5, 1)])
def test_an_overflow_is_bad_once_the_scale_is_below_one(scale, bad):
    trainer = trainer_of(Root())
    trainer.scaler = GradScaler("cpu", init_scale=scale)
    zeros, ones = ((torch.full((2, 1, 2, 2), value), torch.zeros(2, dtype=torch.long)) for value in (0.0, 1.0))
    trainer.train_epoch([zeros, ones], iter([None, None]), epoch=0, num_batches=2)
    assert trainer.skipped_steps == bad
    assert trainer.scaler.get_scale() == scale / 2
    assert trainer.network.weight.isfinite().all()


def test_a_recorded_step_scales_as_one_that_is_not():
    plain, recorded = (
        seeded_trainer(scaled=2.0**20, autocast=torch.float16, recorder=recorder) for recorder in (None, TapeRecorder())
    )
    for epoch in range(3):
        assert train(plain, epoch=epoch) == pytest.approx(train(recorded, epoch=epoch), rel=1e-5)
    assert recorded.recorder.replays == 3 * STEPS - 3
    assert plain.scaler.get_scale() == recorded.scaler.get_scale() < 2.0**20
    assert torch.allclose(weights(plain), weights(recorded), atol=1e-6)


def test_fp16_has_a_scale_that_a_resumed_training_goes_on_with():
    plain, trainer = seeded_trainer(), seeded_trainer(scaled=2.0**30, autocast=torch.float16)
    assert set(plain.state_dict()) == {"optimizer"}
    train(trainer)
    train(trainer)
    state = trainer.scaler.state_dict()
    assert state["_growth_tracker"] > 0
    other = seeded_trainer(autocast=torch.float16)
    other.load_state_dict(trainer.state_dict())
    assert other.scaler.state_dict() == state
    train(other)
    other.load_state_dict(trainer.state_dict())  # once more, into the tensors that a recorded step reads
    assert other.scaler.state_dict() == state
    other.load_state_dict(plain.state_dict())  # of a run in another number format
    plain.load_state_dict(trainer.state_dict())
    assert not plain.scaler.is_enabled()


def test_a_checkpoint_of_before_torch_s_own_scaler_is_resumed():
    old = {"scale": torch.tensor(1024.0), "good_steps": torch.tensor(7, dtype=torch.int32)}
    trainer, plain = seeded_trainer(autocast=torch.float16), seeded_trainer()
    for each in (trainer, plain):
        each.load_state_dict({**plain.state_dict(), "loss_scale": old})
    state = trainer.scaler.state_dict()
    assert (state["scale"], state["_growth_tracker"], state["growth_interval"]) == (1024.0, 7, 2000)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_step_in_half_precision_is_nearly_that_in_float32(dtype):
    plain, half = seeded_trainer(), seeded_trainer(autocast=dtype)
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
