"""Recorded and compiled steps on a CUDA device; skipped where there is none."""

import copy
import itertools

import pytest
import torch

from nas.compute.cuda_graphs import WARMUP, CudaGraphs
from nas.data.augmentation import cut_and_mixed
from nas.models.shufflenasnet import ShuffleNASNet
from nas.training.evaluation import batch_statistics, evaluate, evaluate_paths
from nas.training.sgd import make_sgd
from nas.training.weight_average import WeightAverage
from nas.training.weight_trainer import WeightTrainer
from search_spaces.cells import genotype_candidates
from search_spaces.shufflenas import ShuffleNASSpace
from tests.unit.test_graphs import some_genotype

pytestmark = pytest.mark.gpu

STEPS = 8


@pytest.fixture(autouse=True)
def repeatable():
    """Without TF32 and with kernels that always add in the same order, so that two runs may be compared."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield


def batches(count=STEPS, size=16):
    generator = torch.Generator("cuda").manual_seed(3)
    return [
        (
            torch.randn(size, 3, 16, 16, generator=generator, device="cuda").to(memory_format=torch.channels_last),
            torch.randint(5, (size,), generator=generator, device="cuda"),
        )
        for _ in range(count)
    ]


def trained(genotypes, *, graphs, mixers=("channel_shuffle",), drop=0.0, ema=None, **options):
    torch.manual_seed(0)
    candidates = (
        genotype_candidates(genotypes[0])
        if len(genotypes) == 1
        else ShuffleNASSpace(blocks=3, mixers=mixers).candidates()
    )
    network = ShuffleNASNet(candidates, in_channels=3, num_classes=5, filters=8, cells_per_stage=1)
    network = network.to(device="cuda", memory_format=torch.channels_last)
    trainer = WeightTrainer(
        network=network,
        optimizer=make_sgd(network, momentum=0.9, weight_decay=1e-3),
        learning_rate=lambda now: 0.05 / (1 + now),
        drop_prob=lambda now: drop * now,
        mixer_penalty=lambda now: 0.01 * now,
        recorder=CudaGraphs(torch.device("cuda")) if graphs else None,
        average=None if ema is None else WeightAverage(network, decay=ema),
        **options,
    )
    scores = []
    for epoch, genotype in enumerate(genotypes * 2):
        torch.manual_seed(epoch)
        scores.append(trainer.train_epoch(batches(), itertools.repeat(genotype), epoch=epoch, num_batches=STEPS))
    return trainer, scores


@pytest.mark.parametrize(
    ("genotype", "options"),
    [
        (some_genotype(), {}),
        (some_genotype(), {"drop": 0.3, "label_smoothing": 0.1}),
        (some_genotype(), {"max_grad_norm": 0.01}),
        (some_genotype(), {"autocast": torch.bfloat16}),
        (some_genotype("auto_shuffle"), {}),
        (some_genotype("kaleidoscope"), {"drop": 0.1}),
        (some_genotype("dynamic_shuffle"), {}),
    ],
)
def test_replayed_steps_train_as_eager_ones(genotype, options):
    eager, expected = trained([genotype], graphs=False, **options)
    replayed, scores = trained([genotype], graphs=True, **options)
    assert replayed._step.recorded
    tolerance = 2e-2 if "autocast" in options else 1e-3
    for ours, theirs in zip(scores, expected, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=tolerance)
    for (name, weight), other in zip(
        replayed.network.state_dict().items(), eager.network.state_dict().values(), strict=True
    ):
        assert torch.allclose(weight.float(), other.float(), rtol=tolerance, atol=tolerance), name


def test_replayed_steps_average_the_weights_as_eager_ones():
    (eager, _), (replayed, _) = (trained([some_genotype()], graphs=graphs, ema=0.9) for graphs in (False, True))
    assert replayed._step.recorded
    for name, mean in eager.average.state_dict().items():
        assert torch.allclose(replayed.average.state_dict()[name], mean, rtol=1e-3, atol=1e-3), name
        assert not torch.equal(mean, eager.network.get_parameter(name)), name


def test_batches_are_mixed_without_waiting_for_the_device():
    prepared = batches()
    torch.cuda.set_sync_debug_mode("error")
    try:
        mixed = list(cut_and_mixed(prepared, share=0.5, num_classes=5, seed=0))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(targets.sum(dim=1).allclose(torch.ones(16, device="cuda")) for _, targets in mixed)


def test_a_new_path_is_recorded_anew_and_the_memory_of_the_old_one_is_freed():
    paths = [ShuffleNASSpace(blocks=3).decode(actions) for actions in ([0] * 12, [0, 5, 1, 2, 0, 1] * 2)]
    _, expected = trained(paths, graphs=False)
    _, scores = trained(paths, graphs=True)
    for ours, theirs in zip(scores, expected, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-3)
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    after_few = torch.cuda.memory_reserved()
    for _ in range(3):
        trained(paths, graphs=True)
        torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() <= 1.2 * after_few + 2**21


@pytest.mark.parametrize("graphs", [True, False])
def test_an_epoch_waits_for_the_device_only_at_its_end(graphs):
    trainer, _ = trained([some_genotype()], graphs=graphs)
    prepared = batches()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with pytest.raises(RuntimeError, match="synchroniz"):  # the totals are read, after every step was taken
            trainer.train_epoch(prepared, itertools.repeat(some_genotype()), epoch=2, num_batches=STEPS)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert trainer.totals._scores[0] > 0


def test_a_replayed_evaluation_scores_as_an_eager_one():
    trainer, _ = trained([some_genotype()], graphs=False)
    network = trainer.network.eval()
    recorder = CudaGraphs(torch.device("cuda"))
    many = batches(WARMUP + 6)
    expected = evaluate(network, many, some_genotype())
    assert evaluate(network, many, some_genotype(), recorder=recorder) == pytest.approx(expected, rel=1e-4)
    with batch_statistics(network):
        first, second = evaluate_paths(network, [(some_genotype(), many), (some_genotype(), many[:1])])
        replayed = evaluate(network, many, some_genotype(), recorder=recorder)
    assert first == pytest.approx(replayed, rel=1e-4)
    assert second.loss > 0


def test_a_compiled_network_trains_as_an_eager_one():
    _, expected = trained([some_genotype()], graphs=False)
    trainer, scores = trained([some_genotype()], graphs=True, compile=True)
    assert trainer.compile_seconds > 0
    for ours, theirs in zip(scores, expected, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-2)


def test_recorded_weights_are_the_network_s_own():
    trainer, _ = trained([some_genotype()], graphs=True)
    copied = copy.deepcopy(trainer.network)
    trainer.train_epoch(batches(), itertools.repeat(some_genotype()), epoch=2, num_batches=STEPS)
    assert any(
        not torch.equal(mine, before)
        for mine, before in zip(trainer.network.parameters(), copied.parameters(), strict=True)
    )


@pytest.mark.parametrize("graphs", [True, False])
def test_a_bad_step_is_skipped_without_waiting_for_the_device(graphs):
    trainer, _ = trained([some_genotype()], graphs=graphs)
    before = [weight.clone() for weight in trainer.network.parameters()]
    bad = [(torch.full_like(images, torch.nan), labels) for images, labels in batches()]
    trainer.max_bad_steps = STEPS
    trainer.train_epoch(bad, itertools.repeat(some_genotype()), epoch=2, num_batches=STEPS)
    assert trainer.skipped_steps == STEPS
    assert all(torch.equal(*pair) for pair in zip(trainer.network.parameters(), before, strict=True))
    trainer.train_epoch(batches(), itertools.repeat(some_genotype()), epoch=3, num_batches=STEPS)
    assert trainer.skipped_steps == 0
    assert not torch.equal(next(trainer.network.parameters()), before[0])
