import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch.nn import functional as F

from nas.searching.supernet_scorer import PRIOR, calibrated_losses


def _outputs(seed: int, *, networks: int = 3, images: int = 60, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (images,), generator=generator)
    noise = torch.randn(networks, images, classes, generator=generator, dtype=torch.double)
    return noise + 1.5 * F.one_hot(labels, classes), labels


def _fitted(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The loss at the minimum that scipy finds of the penalised loss, from standardised outputs."""
    outputs = logits - logits.mean(dim=1, keepdim=True)
    outputs = outputs - outputs.mean(dim=0)
    outputs = outputs / outputs.square().mean().sqrt()

    def loss(at: np.ndarray) -> float:
        return float(F.cross_entropy(at[0] * outputs + torch.from_numpy(at[1:]), labels))

    start = np.array([1.0, *[0.0] * logits.shape[1]])
    found = minimize(lambda at: loss(at) + PRIOR / 2 * ((at - start) ** 2).sum(), start, tol=1e-12)
    return loss(found.x)


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_that_of_the_best_factor_and_biases(seed: int) -> None:
    logits, labels = _outputs(seed)
    wanted = [_fitted(one, labels) for one in logits]
    assert calibrated_losses(logits, labels).tolist() == pytest.approx(wanted, abs=1e-7)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.floats(-50, 50))
def test_scale_and_biases_of_the_outputs_do_not_matter(seed: int, factor: float, bias: float) -> None:
    logits, labels = _outputs(seed)
    biases = bias * torch.randn(4, dtype=torch.double, generator=torch.Generator().manual_seed(seed))
    found = calibrated_losses(factor * logits + biases, labels)
    assert torch.allclose(found, calibrated_losses(logits, labels), atol=1e-9)


def test_networks_may_have_images_of_their_own() -> None:
    (first, labels), (second, others) = _outputs(0, networks=1), _outputs(1, networks=1)
    together = calibrated_losses(torch.cat([first, second]), torch.stack([labels, others]))
    apart = [calibrated_losses(first, labels), calibrated_losses(second, others)]
    assert torch.equal(together, torch.cat(apart))


@pytest.mark.parametrize("value", [math.nan, math.inf, 3.0])
def test_outputs_that_say_nothing_have_the_loss_of_a_guess(value: float) -> None:
    logits, _ = _outputs(0)
    balanced = torch.arange(60) % 4
    logits[1] = value
    losses = calibrated_losses(logits, balanced)
    assert losses[1].item() == pytest.approx(math.log(4))
    assert torch.equal(losses[[0, 2]], calibrated_losses(logits[[0, 2]], balanced))


@pytest.mark.parametrize(("images", "classes", "heavy"), [(32, 100, False), (32, 10, True), (256, 10, True)])
def test_hard_outputs_have_no_loss_above_a_guess_and_almost_the_least_one(images, classes, heavy):
    generator = np.random.default_rng(0)
    shape = (20, images, classes)
    noise = generator.standard_t(2, size=shape) if heavy else generator.normal(size=shape)
    logits, labels = torch.from_numpy(noise), torch.from_numpy(generator.integers(classes, size=images))
    losses = calibrated_losses(logits, labels)
    assert (losses <= math.log(classes)).all()
    wanted = torch.tensor([_fitted(one, labels) for one in logits[:3]])
    assert (losses[:3] - wanted).abs().max() < 0.1
    assert (losses[:3] >= wanted - 1e-3).all()
