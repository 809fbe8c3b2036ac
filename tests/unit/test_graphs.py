import itertools

import pytest
import torch

from nas.compute.cuda_graphs import WARMUP, Repeated
from nas.models.shufflenasnet import ShuffleNASNet
from nas.training.evaluation import evaluate
from nas.training.sgd import make_sgd
from nas.training.weight_average import WeightAverage
from nas.training.weight_trainer import WeightTrainer
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Genotype
from search_spaces.shufflenas import ShuffleNASSpace
from tests.conftest import make_cell
from tests.taping import TapeRecorder


def some_genotype(mixer: str = "channel_shuffle", op: str = "sep_conv_3x3") -> Genotype:
    cell = make_cell((0, op), (1, "max_pool_3x3"), (0, "conv_1x1"), mixer=mixer)
    return Genotype(space="shufflenas", normal=cell, reduction=cell)


def batches(count: int, size: int = 6, last: int | None = None) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(5)
    sizes = [size] * (count - 1) + [last or size]
    return [(torch.randn(n, 1, 8, 8, generator=generator), torch.randint(3, (n,), generator=generator)) for n in sizes]


def trained(recorder, *, genotypes=None, mixer="channel_shuffle", epochs=2, steps=8, drop=0.0, ema=None, **options):
    """Trains a network from a fixed start; returns its weights, with `ema` their means too, and the epochs' scores."""
    torch.manual_seed(0)
    genotypes = genotypes or [some_genotype(mixer)]
    candidates = genotype_candidates(genotypes[0]) if len(genotypes) == 1 else ShuffleNASSpace(blocks=3).candidates()
    network = ShuffleNASNet(candidates, in_channels=1, num_classes=3, filters=8, cells_per_stage=1, stages=2)
    average = None if ema is None else WeightAverage(network, decay=ema)
    trainer = WeightTrainer(
        network=network,
        optimizer=make_sgd(network, momentum=0.9, weight_decay=1e-3),
        average=average,
        learning_rate=lambda now: 0.05 / (1 + now),
        drop_prob=lambda now: drop * (0.1 + now),
        mixer_penalty=lambda now: 0.01 * now,
        recorder=recorder,
        **options,
    )
    scores = [
        trainer.train_epoch(
            batches(steps), itertools.repeat(genotypes[epoch % len(genotypes)]), epoch=epoch, num_batches=steps
        )
        for epoch in range(epochs)
    ]
    means = {} if average is None else {f"mean of {name}": mean for name, mean in average.state_dict().items()}
    return {**network.state_dict(), **means}, scores


def assert_equal(first, second):
    for name, weight in first[0].items():
        assert torch.allclose(weight.float(), second[0][name].float(), rtol=1e-5, atol=1e-6), name
    for ours, theirs in zip(first[1], second[1], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)


def test_work_is_done_as_it_stands_at_first_and_then_replayed():
    recorder, seen, total = TapeRecorder(), [], torch.zeros(())
    work = Repeated(lambda x: seen.append(1) or total.add_(x.sum()), recorder=recorder)
    for number in range(1, WARMUP + 4):
        work(torch.full((2,), float(number)))
    assert (recorder.recordings, recorder.replays, len(seen)) == (1, 3, WARMUP + 1)
    assert total == 2 * sum(range(1, WARMUP + 4))


def test_a_batch_of_another_size_is_worked_on_as_it_stands():
    recorder, total = TapeRecorder(), torch.zeros(())
    work = Repeated(lambda x: total.add_(x.sum()), recorder=recorder)
    for size in [4] * (WARMUP + 2) + [3]:
        work(torch.ones(size))
    assert recorder.replays == 2
    assert total == 4 * (WARMUP + 2) + 3


def test_work_that_cannot_be_recorded_goes_on_as_it_stands(capsys):
    total = torch.zeros(())
    work = Repeated(lambda x: total.add_(x.sum().item()), recorder=TapeRecorder())
    for _ in range(WARMUP + 3):
        work(torch.ones(2))
    assert total == 2 * (WARMUP + 3)
    assert not work.recorded
    assert "cannot be recorded" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"drop": 0.3},
        {"label_smoothing": 0.1, "max_grad_norm": None},
        {"max_grad_norm": 0.01},
        {"mixer": "auto_shuffle"},
        {"mixer": "kaleidoscope", "drop": 0.2},
        {"mixer": "dynamic_shuffle"},
        {"mixer": "static_dynamic_shuffle"},
    ],
)
def test_recorded_steps_train_as_steps_that_are_not(options):
    recorder = TapeRecorder()
    assert_equal(trained(recorder, **options), trained(None, **options))
    assert (recorder.recordings, recorder.replays) == (1, 2 * 8 - WARMUP)


def test_a_new_path_is_recorded_anew_and_trains_what_it_would_have():
    paths = [ShuffleNASSpace(blocks=3).decode(actions) for actions in ([0] * 12, [0, 5, 1, 2, 0, 1] * 2)]
    recorder = TapeRecorder()
    assert_equal(trained(recorder, genotypes=paths, epochs=4), trained(None, genotypes=paths, epochs=4))
    assert recorder.recordings == 4


def test_a_cell_a_batch_is_never_recorded():
    paths = [ShuffleNASSpace(blocks=3).decode(actions) for actions in ([0] * 12, [0, 5, 1, 2, 0, 1] * 2)]
    network = ShuffleNASNet(
        ShuffleNASSpace(blocks=3).candidates(), in_channels=1, num_classes=3, filters=8, cells_per_stage=1, stages=2
    )
    recorder = TapeRecorder()
    trainer = WeightTrainer(
        network=network,
        optimizer=make_sgd(network, momentum=0.9, weight_decay=0.0),
        learning_rate=lambda now: 0.01,
        drop_prob=lambda now: 0.0,
        recorder=recorder,
    )
    trainer.train_epoch(batches(8), itertools.cycle(paths), epoch=0, num_batches=8)
    assert recorder.recordings == 0


def test_a_recorded_evaluation_scores_as_one_that_is_not():
    genotype = some_genotype()
    network = ShuffleNASNet(
        genotype_candidates(genotype), in_channels=1, num_classes=3, filters=8, cells_per_stage=1, stages=2
    ).eval()
    recorder = TapeRecorder()
    recorded = evaluate(network, batches(9, last=2), genotype, recorder=recorder)
    assert recorded == pytest.approx(evaluate(network, batches(9, last=2), genotype))
    assert recorder.replays == 9 - WARMUP - 1


def test_a_compiled_network_trains_as_it_stands_and_says_how_long_compiling_took(monkeypatch):
    compile_network = torch.compile
    monkeypatch.setattr(torch, "compile", lambda work, **_: compile_network(work, backend="eager"))
    assert_equal(trained(None, compile=True, drop=0.2), trained(None, drop=0.2))


def test_where_a_network_cannot_be_compiled_it_trains_as_it_stands(monkeypatch, capsys):
    def no_compiler(work, **_):
        def call(*arguments, **options):
            raise RuntimeError("no C++ compiler found\nand more")

        return call

    monkeypatch.setattr(torch, "compile", no_compiler)
    assert_equal(trained(None, compile=True), trained(None))
    assert "not compiled, it runs as it stands: no C++ compiler found" in capsys.readouterr().err
