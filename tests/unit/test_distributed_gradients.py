"""The estimates of gradients that several ranks make, by enumeration of all that they may draw; training with them."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from controllers.uniform import Uniform
from nas.compute.distributed.gradients import Bucket
from nas.compute.distributed.ranks import ALONE, Ranks
from nas.models.shufflenasnet import ShuffleNASNet
from nas.training.evaluation import DivergedError
from nas.training.sgd import make_sgd
from nas.training.weight_trainer import WeightTrainer
from search_spaces.genotype import Genotype
from search_spaces.shufflenas import ShuffleNASSpace
from tests.conftest import make_cell
from tests.ranks import together
from tests.taping import TapeRecorder

SPACE = ShuffleNASSpace(blocks=2)
STEPS = 6
FLOAT32 = 1e-6  # the loss is in float32, whatever the weights are in

# A space of four cells: how likely each is drawn, and its gradients of the weights that it uses.
CELLS = {
    0.5: {"a": [1.0, -2.0]},
    0.25: {"a": [3.0, 8.0], "b": [4.0]},
    0.2: {"b": [-16.0], "c": [5.0]},
    0.05: {},
}
SHAPES = {"a": (2,), "b": (1,), "c": (1,), "unused": (3,), "stem": (1,)}


def estimates(ranks: Ranks) -> dict[tuple[float, ...], dict[str, list[float]]]:
    """What the ranks take as the gradients, for every tuple of cells that they may draw."""
    found = {}
    for drawn in itertools.product(CELLS, repeat=ranks.size):
        weights = {name: nn.Parameter(torch.zeros(shape)) for name, shape in SHAPES.items()}
        gradients = {**CELLS[drawn[ranks.rank]], "stem": [2.0]}
        for name, gradient in gradients.items():
            weights[name].grad = torch.tensor(gradient)
        bucket = Bucket([list(weights.values())], ranks=ranks, num_scores=1)
        bucket.fill(torch.ones(1), num_images=1)
        ranks.sum_(bucket.flat)
        bucket.average()
        assert bucket.scores.item() == ranks.size
        found[drawn] = {name: weight.grad.tolist() for name, weight in weights.items() if weight.grad is not None}
    return found


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("average", ["touched", "ranks"])
def test_the_expected_estimate_over_all_draws_is_the_expected_gradient(size, average):
    """Over the cells that use a weight, given that one does; or over all cells, ENAS's plain Monte Carlo."""
    assert sum(CELLS) == pytest.approx(1)
    results = together(estimates, size=size, sampling="independent", average=average)
    assert all(result == results[0] for result in results)
    for name in ("a", "b", "c"):
        using = {chance: torch.tensor(cell[name]) for chance, cell in CELLS.items() if name in cell}
        expected = sum(chance * gradient for chance, gradient in using.items())
        met, mean = 0.0, torch.zeros(SHAPES[name])
        for drawn, gradients in results[0].items():
            if name in gradients:
                met += math.prod(drawn)
                mean += math.prod(drawn) * torch.tensor(gradients[name])
        chance_met = 1 - (1 - sum(using)) ** size
        assert met == pytest.approx(chance_met)
        if average == "touched":
            assert (mean / met).tolist() == pytest.approx((expected / sum(using)).tolist(), rel=1e-5)
        else:
            assert mean.tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    assert all(gradients["stem"] == [2.0] and "unused" not in gradients for gradients in results[0].values())


def network(dtype: torch.dtype = torch.float32) -> ShuffleNASNet:
    torch.manual_seed(7)
    made = ShuffleNASNet(
        SPACE.candidates(), in_channels=1, num_classes=3, filters=4, cells_per_stage=1, stages=2, merge_batch_norm=True
    )
    return made.to(dtype=dtype, memory_format=torch.channels_last)


def batches(count: int = STEPS, dtype: torch.dtype = torch.float32) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(12, 1, 8, 8, generator=generator).to(dtype=dtype, memory_format=torch.channels_last),
            torch.randint(3, (12,), generator=generator),
        )
        for _ in range(count)
    ]


def cells(count: int) -> list[Genotype]:
    torch.manual_seed(2)
    return [SPACE.decode(row) for row in Uniform(SPACE.decisions).sample(count).actions.tolist()]


def trainer(made: nn.Module, ranks: Ranks, **settings) -> WeightTrainer:
    return WeightTrainer(
        network=made,
        optimizer=make_sgd(made, momentum=0.9, weight_decay=1e-3),
        learning_rate=lambda epoch: 0.05,
        drop_prob=lambda epoch: 0.0,
        ranks=ranks,
        **settings,
    )


def trained(ranks: Ranks, paths, *, dtype=torch.float64, data=None, **settings):
    """Score, state and recordings after an epoch on this rank's share of the batches."""
    made, data = network(dtype), batches(dtype=dtype) if data is None else data
    own = [(x.tensor_split(ranks.size)[ranks.rank], y.tensor_split(ranks.size)[ranks.rank]) for x, y in data]
    training = trainer(made, ranks, **settings)
    score = training.train_epoch(own, iter(paths), epoch=0, num_batches=len(own))
    momenta = [training.optimizer.state[weight]["momentum_buffer"] for weight in made.parameters()]
    return score, {**made.state_dict(), **{f"momentum {i}": momentum for i, momentum in enumerate(momenta)}}, training


def state(ranks: Ranks, paths, **settings):
    score, values, training = trained(ranks, paths, **settings)
    return score, values, training.skipped_steps


def largest_difference(one, other) -> float:
    assert one.keys() == other.keys()
    return max((one[name].double() - other[name].double()).abs().max().item() for name in one)


@pytest.mark.parametrize(("size", "max_grad_norm"), [(2, None), (3, 0.1)])
def test_several_ranks_train_as_one_on_the_whole_batch(size, max_grad_norm):
    paths = [cell for cell in cells(3) for _ in range(2)]
    expected, alone, _ = state(ALONE, paths, max_grad_norm=max_grad_norm)
    results = together(
        lambda ranks: state(ranks, paths, max_grad_norm=max_grad_norm), size=size, batch_norm="sync", average="touched"
    )
    for score, values, _ in results:
        assert score == pytest.approx(expected, abs=FLOAT32)
        assert largest_difference(values, alone) < FLOAT32
        assert largest_difference(values, results[0][1]) == 0


def test_recorded_halves_of_a_step_do_what_they_do_as_they_stand():
    def work(ranks):
        found = []
        for recorder in (None, TapeRecorder()):
            score, values, training = trained(ranks, [cells(1)[0]] * STEPS, dtype=torch.float32, recorder=recorder)
            found.append((score, values))
        assert training._step.recorded
        assert (recorder.recordings, recorder.replays) == (2, 2 * (STEPS - 3))
        return found

    for (score, values), (recorded_score, recorded) in together(work):
        assert recorded_score == score
        assert largest_difference(values, recorded) == 0


@pytest.mark.parametrize("sampling", ["shared", "independent"])
def test_a_step_that_is_no_use_on_one_rank_is_skipped_on_all(sampling):
    data = batches(dtype=torch.float64)
    data[2][0][-1] = math.nan  # of the last rank
    paths = cells(STEPS) if sampling == "shared" else list(itertools.pairwise(cells(STEPS + 1)))
    results = together(lambda ranks: state(ranks, paths, data=data), sampling=sampling)
    for score, values, skipped in results:
        assert skipped == 1
        assert math.isfinite(score.loss)
        finite = {name: value for name, value in values.items() if "running" not in name}
        assert all(value.isfinite().all() for value in finite.values())
        assert largest_difference(finite, {name: results[0][1][name] for name in finite}) == 0


def test_all_ranks_give_up_together():
    def work(ranks):
        data = batches(dtype=torch.float64)
        data[0][0][0] = math.inf  # of the first rank
        with pytest.raises(DivergedError, match="step 1"):
            state(ranks, cells(STEPS), data=data, max_bad_steps=0)
        return ranks.largest(ranks.rank)

    assert together(work) == [1, 1]


@pytest.mark.parametrize("average", ["touched", "ranks"])
def test_cells_of_their_own_move_what_any_of_them_uses(average):
    """One step against two backward passes, put together by hand."""
    one = Genotype("shufflenas", *[make_cell((0, "sep_conv_3x3"), (0, "conv_1x1"))] * 2)
    other = Genotype("shufflenas", *[make_cell((0, "sep_conv_3x3"), (0, "identity"))] * 2)
    images, labels = batches(1, torch.float64)[0]
    gradients = []
    for number, cell in enumerate((one, other)):
        made = network(torch.float64)
        share = slice(6 * number, 6 * number + 6)
        nn.functional.cross_entropy(made(images[share], cell).float(), labels[share]).backward()
        gradients.append({name: weight.grad for name, weight in made.named_parameters() if weight.grad is not None})
    assert gradients[0].keys() != gradients[1].keys()
    expected = {}
    for name in gradients[0].keys() | gradients[1].keys():
        parts = [each[name] for each in gradients if name in each]
        expected[name] = sum(parts) / (len(parts) if average == "touched" else 2)

    def work(ranks):
        made = network(torch.float64)
        before = copy.deepcopy(made.state_dict())
        training = trainer(made, ranks, max_grad_norm=None)
        share = slice(6 * ranks.rank, 6 * ranks.rank + 6)
        training.train_epoch([(images[share], labels[share])], iter([(one, other)]), epoch=0, num_batches=1)
        return before, made.state_dict(), {n: w.grad for n, w in made.named_parameters() if w.grad is not None}

    results = together(work, sampling="independent", average=average)
    for before, after, found in results:
        assert found.keys() == expected.keys()
        assert largest_difference(found, expected) < 1e-12
        assert largest_difference(after, results[0][1]) == 0
        moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
        assert set(expected) <= moved


def test_a_path_is_kept_only_while_no_ranks_path_changes():
    first, second, third = cells(3)
    paths = [(first, second), (first, second), (first, third), (first, third), (second, third), (first, second)]
    results = together(lambda ranks: state(ranks, paths), sampling="independent")
    assert largest_difference(results[0][1], results[1][1]) == 0


def test_drop_path_differs_between_ranks_and_leaves_them_in_step():
    def work(ranks):
        made = network()
        training = WeightTrainer(
            network=made,
            optimizer=make_sgd(made, momentum=0.9, weight_decay=0.0),
            learning_rate=lambda epoch: 0.05,
            drop_prob=lambda epoch: 0.5,
            ranks=ranks,
        )
        torch.manual_seed(5)
        training.train_epoch(batches(3), iter(list(zip(cells(3), cells(4)[1:], strict=True))), epoch=0, num_batches=3)
        return torch.rand(()).item(), made.state_dict()

    (one, values), (other, others) = together(work, sampling="independent")
    assert one == other
    assert largest_difference(values, others) == 0
