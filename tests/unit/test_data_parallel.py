"""Retraining on several ranks: every rank takes the step that one process takes on the whole batch."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from nas.compute.device import make_runtime
from nas.compute.distributed.ranks import ALONE, LostRankError, Ranks
from nas.compute.distributed.settings import DistributedSettings
from nas.data.named import synthetic
from nas.models.shufflenasnet import ShuffleNASNet
from nas.models.stacked_cells import StackedCells
from nas.runs.checkpoints import load_checkpoint
from nas.training.evaluation import DivergedError
from nas.training.member import Member, train_member
from nas.training.settings import RetrainSettings
from nas.training.sgd import make_sgd
from nas.training.weight_average import WeightAverage
from nas.training.weight_trainer import WeightTrainer, make_retrainer
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Genotype
from search_spaces.nasnet import NASNetSpace
from tests.faults.test_numerical_faults import small_network
from tests.ranks import together
from tests.unit.test_distributed_gradients import FLOAT32, batches, largest_difference
from tests.unit.test_graphs import some_genotype

STEPS = 6
PAIRS = NASNetSpace(blocks=1, ops=("sep_conv_3x3", "identity"), output="all").decode([0, 1, 0, 1] * 2)
UNREAD = NASNetSpace(blocks=1, ops=("sep_conv_3x3", "identity"), output="all").decode([1, 1, 0, 0] * 2)


def shuffle_network(mixer: str = "channel_shuffle") -> tuple[nn.Module, Genotype]:
    genotype = some_genotype(mixer)
    candidates = genotype_candidates(genotype)
    return ShuffleNASNet(candidates, in_channels=1, num_classes=3, filters=8, cells_per_stage=1, stages=2), genotype


def stacked_network(genotype: Genotype = PAIRS, **options) -> tuple[nn.Module, Genotype]:
    candidates = genotype_candidates(genotype)
    made = StackedCells(candidates, in_channels=1, num_classes=3, filters=4, cells_per_stage=1, **options)
    return made, genotype


def trained(ranks: Ranks, make=shuffle_network, *, data=None, dtype=torch.float64, epochs=1, lr=0.05, ema=None, **more):
    """Trains from a fixed start on this rank's share of the batches; returns the trainer, the scores and the state."""
    torch.manual_seed(7)
    made, genotype = make()
    made = made.to(dtype=dtype, memory_format=torch.channels_last)
    data = batches(STEPS, dtype) if data is None else data
    own = [(x.tensor_split(ranks.size)[ranks.rank], y.tensor_split(ranks.size)[ranks.rank]) for x, y in data]
    trainer = WeightTrainer(
        network=made,
        optimizer=make_sgd(made, momentum=0.9, weight_decay=1e-3),
        learning_rate=lambda epoch: lr,
        drop_prob=lambda epoch: 0.0,
        mixer_penalty=lambda epoch: 0.01,
        average=None if ema is None else WeightAverage(made, decay=ema),
        ranks=ranks,
        one_path=True,
        **more,
    )
    scores = [
        trainer.train_epoch(own, iter([genotype] * len(own)), epoch=epoch, num_batches=len(own))
        for epoch in range(epochs)
    ]
    momenta = [trainer.optimizer.state[weight]["momentum_buffer"] for weight in made.parameters()]
    means = {} if trainer.average is None else trainer.average.state_dict()
    state = {
        **made.state_dict(),
        **{f"momentum {number}": momentum for number, momentum in enumerate(momenta)},
        **{f"mean {name}": mean for name, mean in means.items()},
    }
    return trainer, scores, copy.deepcopy(state)


def start_network() -> tuple[nn.Module, Genotype]:
    """The network that `trained` begins with."""
    torch.manual_seed(7)
    made, genotype = shuffle_network()
    return made.to(dtype=torch.float64, memory_format=torch.channels_last), genotype


def results(ranks: Ranks, *args, **settings):
    trainer, scores, state = trained(ranks, *args, **settings)
    unused = [name for name, weight in trainer.network.named_parameters() if weight.grad is None]
    return scores, state, (trainer.skipped_steps, unused)


@pytest.mark.parametrize(
    ("size", "make", "settings", "num_unused"),
    [
        (2, shuffle_network, {"ema": 0.9}, 0),
        (3, shuffle_network, {"max_grad_norm": 0.1, "label_smoothing": 0.1}, 0),
        (2, lambda: shuffle_network("auto_shuffle"), {"max_grad_norm": None}, 0),
        (2, lambda: stacked_network(auxiliary=True), {"auxiliary_weight": 0.4}, 0),
        (2, lambda: stacked_network(auxiliary=True), {}, 8),
        (2, lambda: stacked_network(UNREAD), {}, 17),
    ],
)
def test_ranks_train_as_one_process_on_the_whole_batch(size, make, settings, num_unused):
    """Two epochs: drop-path, which is off, and the path that goes with it are looked at anew in each."""
    scores, alone, (skipped, unused) = results(ALONE, make, epochs=2, **settings)
    assert (skipped, len(unused)) == (0, num_unused)
    found = together(lambda ranks: results(ranks, make, epochs=2, **settings), size=size, batch_norm="sync")
    for own, state, facts in found:
        assert own == [pytest.approx(score, abs=FLOAT32) for score in scores]
        assert largest_difference(state, alone) < FLOAT32
        assert largest_difference(state, found[0][1]) == 0
        assert (facts, own) == ((skipped, unused), found[0][0])


def test_two_passes_put_together_by_hand_are_a_step_of_two_ranks():
    """With local statistics, which one process on the whole batch does not have."""
    images, labels = batches(1, torch.float64)[0]
    made, genotype = start_network()
    start, halves = copy.deepcopy(made.state_dict()), []
    for half in (slice(0, 6), slice(6, 12)):
        one = copy.deepcopy(made)
        nn.functional.cross_entropy(one(images[half], genotype).float(), labels[half]).backward()
        halves.append([weight.grad for weight in one.parameters()])

    def work(ranks):
        trainer, _, state = trained(ranks, data=[(images, labels)], max_grad_norm=None)
        return [weight.grad for weight in trainer.network.parameters()], state

    for gradients, state in together(work):
        for one, other, mean in zip(*halves, gradients, strict=True):
            assert torch.allclose(mean, (one + other) / 2, rtol=1e-12, atol=1e-12)
        weight, (one, other) = "classifier.weight", (half[-1] for half in halves)
        moved = 0.05 * 1.9 * ((one + other) / 2 + 1e-3 * start[weight])  # the first step of Nesterov's momentum
        assert torch.allclose(state[weight], start[weight] - moved, rtol=1e-12)


def test_running_statistics_are_those_of_a_rank_s_own_images_until_the_epoch_ends():
    data, ran = batches(STEPS, torch.float64), []
    for half in (slice(0, 6), slice(6, 12)):
        made, genotype = start_network()
        for images, _ in data:
            made(images[half], genotype)
        ran.append(made.stem[1].running_var)
    for _, state in together(lambda ranks: trained(ranks, data=data, lr=0.0)[1:]):
        assert torch.allclose(state["stem.1.running_var"], sum(ran) / 2, rtol=1e-12)
        assert state["stem.1.num_batches_tracked"] == STEPS


def bad_batches(value: float) -> list[tuple[torch.Tensor, torch.Tensor]]:
    data = batches(STEPS, torch.float64)
    data[2][0][-1] = value  # of the last rank
    return data


@pytest.mark.parametrize("settings", [{}, {"dtype": torch.float32, "autocast": torch.float16}])
def test_a_step_that_is_no_use_on_one_rank_is_skipped_and_counted_on_all(settings):
    data = [(x.to(settings.get("dtype", torch.float64)), y) for x, y in bad_batches(math.nan)]
    found = together(lambda ranks: results(ranks, data=data, **settings))
    for scores, state, (skipped, _) in found:
        assert skipped == 1
        assert scores == found[0][0]
        assert math.isfinite(scores[0].loss)
        finite = {name: value for name, value in state.items() if "running" not in name}
        assert all(value.isfinite().all() for value in finite.values())
        assert largest_difference(finite, {name: found[0][1][name] for name in finite}) == 0


class Offsets(nn.Module):
    """Its logits are the images plus weights: where one is -inf the loss may be infinite, the gradients never are."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, images, genotype, *, drop_prob=0.0):
        return images[:, 0, 0, :3] + self.weight


def test_a_loss_that_is_infinite_on_one_rank_is_skipped_on_all_though_all_gradients_are_finite():
    images, labels = torch.zeros(4, 1, 1, 3), torch.tensor([0, 1, 2, 1])
    images[3, 0, 0, 1] = -math.inf
    good = (torch.zeros(4, 1, 1, 3), labels)

    def work(ranks):
        make = lambda: (Offsets(), None)  # noqa: E731
        return results(ranks, make, data=[good, (images, labels), good], dtype=torch.float32)

    found = together(work)
    expected = results(ALONE, lambda: (Offsets(), None), data=[good, good], dtype=torch.float32)
    for scores, state, (skipped, _) in found:
        assert skipped == 1
        assert largest_difference(state, expected[1]) < FLOAT32
        assert scores == [pytest.approx(expected[0][0], abs=FLOAT32)]


def test_all_ranks_give_up_together():
    def work(ranks):
        with pytest.raises(DivergedError, match="in 1 of 6 steps, the last of these step 3"):
            trained(ranks, data=bad_batches(math.inf), max_bad_steps=0)
        return ranks.largest(ranks.rank)

    assert together(work) == [1, 1]


def test_a_scale_that_overflows_on_one_rank_is_halved_on_all_and_counts_for_nothing():
    """In fp16 the images of the last rank are so large that only its scaled gradients overflow."""
    data = batches(STEPS, torch.float32)
    for images, _ in data:
        images[6:] *= 200

    def work(ranks):
        trainer, scores, state = trained(ranks, data=data, dtype=torch.float32, autocast=torch.float16, max_bad_steps=0)
        return trainer.scaler.get_scale(), trainer.skipped_steps, scores, state

    (scale, skipped, scores, state), other = together(work)
    assert 0 < scale < 2.0**16
    assert skipped == 0
    assert (scale, skipped, scores) == other[:3]
    names = [name for name in state if "running" not in name]
    assert all(torch.equal(state[name], other[3][name]) for name in names)


@pytest.mark.parametrize("compiles", [True, False])
def test_a_compiled_network_trains_as_one_that_is_not(monkeypatch, compiles):
    compile_network = torch.compile

    class NoCompiler(nn.Module):
        def __init__(self, network) -> None:
            super().__init__()
            self.network = network

        def forward(self, *arguments, **options):
            raise RuntimeError("no C++ compiler found\nand more")

    def fake(network, **_):
        return compile_network(network, backend="eager") if compiles else NoCompiler(network)

    def work(ranks):
        monkeypatch.setattr(torch, "compile", fake)
        trainer, scores, state = trained(ranks, compile=True)
        return scores, state, trainer.compile_seconds

    scores, expected, _ = results(ALONE)
    for own, state, seconds in together(work, batch_norm="sync"):
        assert seconds > 0
        assert own == [pytest.approx(score, abs=FLOAT32) for score in scores]
        assert largest_difference(state, expected) < FLOAT32


def test_a_rank_that_is_gone_is_missed_in_the_middle_of_a_step():
    def work(ranks):
        class Ends(Offsets):
            def forward(self, images, genotype, *, drop_prob=0.0):
                steps.append(images)
                if len(steps) == 3 and ranks.rank == 1:
                    raise SystemExit
                return super().forward(images, genotype)

        steps, data = [], [(torch.zeros(4, 1, 1, 3), torch.tensor([0, 1, 2, 1]))] * STEPS
        with pytest.raises(LostRankError, match="another process of this job"):
            trained(ranks, lambda: (Ends(), None), data=data, dtype=torch.float32)
        raise RuntimeError("noticed")

    with pytest.raises(RuntimeError, match="noticed"):
        together(work)


def test_a_mistake_in_a_step_is_not_taken_for_a_lost_rank():
    def work(ranks):
        images, labels = batches(1, torch.float64)[0]
        with pytest.raises(RuntimeError, match="channels"):
            trained(ranks, data=[(images.expand(-1, 2, -1, -1), labels)])
        return True

    assert together(work) == [True, True]


def test_several_ranks_do_not_record_their_steps():
    runtime, settings = replace(make_runtime(device="cpu"), graphs=True), RetrainSettings(epochs=1)
    recorders = []
    for ranks in (ALONE, Ranks(rank=0, size=2, settings=DistributedSettings())):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("nas.compute.device.CudaGraphs", lambda device: "recorder")
            trainer = make_retrainer(small_network(), settings, replace(runtime, ranks=ranks), batches_per_epoch=1)
        recorders.append(trainer.recorder)
    assert recorders == ["recorder", None]


DATA = synthetic(num_images=96, image_size=8, channels=1, num_classes=3)
HARDENED = {"mixer": "auto_shuffle", "epochs": 3, "harden_epoch": 1, "ema": 0.9}


def retrained(ranks: Ranks, folder, *, mixer="channel_shuffle", stop_after=99, **settings):
    """Retrains in a folder, or goes on there; returns the rows without their times, and the state."""

    def on_epoch(row):
        if row["epoch"] == stop_after:
            raise KeyboardInterrupt

    protocol = RetrainSettings(
        **{"epochs": 4, "batch_size": 24, "lr_max": 0.05, "last_epochs": 1, "checkpoint_seconds": 0, **settings}
    )
    torch.manual_seed(3 + ranks.rank)  # all begin with the first rank's weights
    network = small_network(mixer)
    try:
        rows = train_member(
            Member(label="found", seed=0, genotype=some_genotype(mixer)),
            network,
            data=DATA,
            settings=protocol,
            runtime=replace(make_runtime(device="cpu"), ranks=ranks),
            checkpoint=folder / "c.pt",
            on_epoch=on_epoch,
        )
    except KeyboardInterrupt:
        return None
    return [{**row, "seconds": 0} for row in rows], copy.deepcopy(network.state_dict())


@pytest.mark.parametrize("settings", [{"ema": 0.9, "drop_path": 0.0}, HARDENED])
def test_a_retraining_is_that_of_one_process_and_its_checkpoint_any_number_of_ranks(tmp_path, settings):
    """Hardening puts other weights in the place of the mixers' in the middle of it."""
    for name in ("one", "one then two", "two then one"):
        (tmp_path / name).mkdir()
    rows, alone = retrained(ALONE, tmp_path / "one", **settings)
    retrained(ALONE, tmp_path / "one then two", stop_after=2, **settings)
    found = together(lambda ranks: retrained(ranks, tmp_path / "one then two", **settings), batch_norm="sync")
    together(lambda ranks: retrained(ranks, tmp_path / "two then one", stop_after=2, **settings), batch_norm="sync")
    found.append(retrained(ALONE, tmp_path / "two then one", **settings))
    for own, state in found:
        assert largest_difference(state, alone) < 1e-5
        for row, expected in zip(own, rows, strict=True):
            assert row == pytest.approx(expected, abs=1e-5, nan_ok=True)
    states = [load_checkpoint(tmp_path / name / "c.pt") for name in ("one", "one then two")]
    assert states[0].keys() == states[1].keys()
    assert states[0]["network"].keys() == states[1]["network"].keys() == alone.keys()


def test_a_retraining_that_was_stopped_ends_bit_for_bit_where_it_would_have(tmp_path):
    settings = {**HARDENED, "drop_path": 0.2, "cutmix": 0.5}

    def work(ranks):
        whole, parts = tmp_path / "whole", tmp_path / "parts"
        for folder in (whole, parts):
            folder.mkdir(exist_ok=True)
        expected = retrained(ranks, whole, **settings)
        assert retrained(ranks, parts, stop_after=1, **settings) is None
        found = retrained(ranks, parts, **settings)
        return str(found[0]) == str(expected[0]), largest_difference(found[1], expected[1]), found[1]

    (equal, difference, state), other = together(work)
    assert (equal, difference) == other[:2] == (True, 0)
    assert largest_difference(state, other[2]) == 0
