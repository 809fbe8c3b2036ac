"""Interleaved timing, what follows from planted times, the settings, the figure and the peak memory."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch import nn

from nas.compute.device import Runtime, threads_set
from nas.costs.latency.backends import BACKENDS, PRECISIONS, precision_name
from nas.costs.latency.comparison import Comparison, ReadyModel
from nas.costs.latency.measurement import LEAST_ROUNDS, speedup, summarise, time_interleaved
from nas.costs.latency.peak_memory import held_bytes, live_bytes, with_peak
from nas.costs.latency.settings import LatencySettings
from nas.reporting.figures.costs import line_labels
from nas.reporting.latency_report import comparison_plot, flat_row

CPU = Runtime(device=torch.device("cpu"), autocast=None, channels_last=True)
MS = 1_000_000


class Machine:
    """A clock that only passes move, and a diary of them."""

    def __init__(self, *durations_ms: float) -> None:
        self.now, self.diary = 0, []
        self.passes = [lambda i=i, ms=ms: self.run(i, ms) for i, ms in enumerate(durations_ms)]

    def run(self, number: int, milliseconds: float) -> None:
        self.now += int(milliseconds * MS)
        self.diary.append(number)

    def time(self, **settings) -> list[list[float]]:
        settings = {"rounds": 20, "warmup": 0, "seconds": 1e6, "seed": 0, **settings}
        return time_interleaved(self.passes, device=CPU.device, clock=lambda: self.now, **settings)


def test_every_round_has_each_pass_once_in_changing_order():
    machine = Machine(1, 2, 3, 4)
    times = machine.time()
    assert times == [[ms] * 20 for ms in (1.0, 2.0, 3.0, 4.0)]
    rounds = [machine.diary[start : start + 4] for start in range(0, 80, 4)]
    assert all(sorted(one) == [0, 1, 2, 3] for one in rounds)
    assert len({tuple(one) for one in rounds}) > 5


def test_orders_are_the_same_for_the_same_seed():
    diaries = []
    for seed in (0, 0, 1):
        machine = Machine(1, 2, 3)
        machine.time(seed=seed)
        diaries.append(machine.diary)
    assert diaries[0] == diaries[1] != diaries[2]


def test_a_slow_pass_leaves_the_rounds_when_its_time_is_up_and_the_others_go_on():
    times = Machine(100, 10).time(rounds=50, seconds=1.0)
    assert [len(one) for one in times] == [10, 50]


def test_the_least_rounds_are_timed_however_long_they_take():
    assert len(Machine(10_000).time(seconds=0.001)[0]) == LEAST_ROUNDS


def test_quick_passes_are_settled_right_before_they_are_timed_and_slow_ones_are_not():
    machine = Machine(1, 80)
    times = machine.time(rounds=4, warmup=1)
    assert [len(one) for one in times] == [4, 4]
    after_warmup = machine.diary[2:]
    assert (after_warmup.count(0), after_warmup.count(1)) == (8, 4)
    runs = "".join(map(str, after_warmup)).replace("00", "a")
    assert "0" not in runs


def test_warm_up_ends_with_a_tenth_of_the_time():
    machine = Machine(60)
    machine.time(rounds=1, warmup=10, seconds=1.0)
    assert len(machine.diary) == 2 + 1


def test_the_device_is_waited_for_before_and_after_every_pass(monkeypatch):
    events = []
    monkeypatch.setattr("nas.compute.timing.synchronize", lambda device: events.append("wait"))
    time_interleaved([lambda: events.append("pass")], rounds=2, warmup=0, seconds=1, seed=0, device=CPU.device)
    assert events == ["wait", "pass", "wait"] * 2


def test_a_summary_is_what_the_times_say():
    latency = summarise([float(ms) for ms in range(101)][::-1], batch_size=8)
    assert latency == {"batch_size": 8, "median_ms": 50, "p95_ms": 95, "images_per_second": 160, "repeats": 101}


def test_the_speedup_of_planted_times_is_found_and_its_interval_holds_it():
    generator = torch.Generator().manual_seed(0)
    model = (1 + 0.1 * torch.rand(400, generator=generator)).tolist()
    reference = (3 * (1 + 0.1 * torch.rand(400, generator=generator))).tolist()
    found = speedup(model, reference, seed=0)
    assert found["low"] < 3 < found["high"]
    assert found["ratio"] == pytest.approx(3, rel=0.01)
    assert found["high"] - found["low"] < 0.05
    assert (
        speedup(model[:20], reference[:20], seed=0)["high"] - speedup(model[:20], reference[:20], seed=0)["low"] > 0.05
    )


def test_the_interval_covers_the_true_ratio_about_as_often_as_it_says():
    generator = torch.Generator().manual_seed(1)
    covered = 0
    for trial in range(200):
        noise = torch.randn((2, 40), generator=generator, dtype=torch.float64).mul(0.1).exp()
        found = speedup(noise[0].tolist(), (2 * noise[1]).tolist(), seed=trial, resamples=400)
        covered += found["low"] <= 2 <= found["high"]
    assert 0.88 <= covered / 200 <= 0.99


@given(
    drift=st.lists(st.floats(0.1, 10), min_size=1, max_size=30),
    times=st.lists(st.tuples(st.floats(1, 5), st.floats(1, 5)), min_size=30, max_size=30),
)
def test_a_drift_that_hits_whole_rounds_changes_no_speedup(drift, times):
    rounds = times[: len(drift)]
    steady = speedup([a for a, _ in rounds], [b for _, b in rounds], seed=0, resamples=50)
    model = [factor * a for factor, (a, _) in zip(drift, rounds, strict=True)]
    reference = [factor * b for factor, (_, b) in zip(drift, rounds, strict=True)]
    drifting = speedup(model, reference, seed=0, resamples=50)
    for end in ("ratio", "low", "high"):
        assert drifting[end] == pytest.approx(steady[end])


def test_rounds_that_only_one_ran_are_left_out_of_a_speedup():
    assert speedup([1.0, 1.0, 100.0, 100.0], [2.0, 2.0], seed=0) == {
        "ratio": 2.0,
        "low": 2.0,
        "high": 2.0,
        "rounds": 2,
    }


def test_the_reference_is_the_first_model_unless_named():
    assert LatencySettings().references_among(["a", "b"]) == ["a"]
    assert LatencySettings().references_among(["a"]) == []
    assert LatencySettings(reference=["b", "a"]).references_among(["a", "b"]) == ["b", "a"]
    with pytest.raises(ValueError, match="'c' is not one of the models a, b"):
        LatencySettings(reference="c").references_among(["a", "b"])


def test_a_precision_has_the_name_of_the_data_type_it_computes_in():
    assert {name: precision_name(dtype) for name, dtype in PRECISIONS.items()} == {name: name for name in PRECISIONS}
    assert precision_name(None) == "fp32"
    schema = TypeAdapter(LatencySettings).json_schema()["properties"]
    assert schema["backends"]["items"]["enum"] == [*BACKENDS]
    assert schema["precisions"]["anyOf"][0]["items"]["enum"] == [*PRECISIONS]


def row(model: str, batch_size: int, **more) -> dict:
    return {
        **{"model": model, "backend": "eager", "precision": "fp32", "threads": 1, "batch_size": batch_size},
        **{"median_ms": 2.0 * batch_size, "p95_ms": 3.0 * batch_size, "speedup": {}},
        **more,
    }


def test_lines_are_labelled_by_what_differs():
    assert list(line_labels([row("a", 1), row("a", 2), row("b", 1)])) == ["a", "b"]
    varied = line_labels([row("a", 1), row("a", 1, precision="bf16"), row("a", 1, threads=2)])
    assert list(varied) == ["a, fp32, 1 threads", "a, bf16, 1 threads", "a, fp32, 2 threads"]


def test_the_figure_has_a_line_a_model_in_two_panels_and_is_the_same_again(tmp_path):
    rows = [row(f"model {i}", size) for i in range(9) for size in (1, 8, 32)]
    for name in ("one.svg", "two.svg"):
        comparison_plot(rows, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    with pytest.raises(ValueError, match="nothing to draw"):
        comparison_plot([], tmp_path / "none.svg")


def test_a_flat_row_names_the_reference_of_a_speedup():
    found = {"enas": {"ratio": 2.0, "low": 1.0, "high": 3.0, "rounds": 4}}
    flat = flat_row(row("a", 1, speedup=found))
    assert flat["speedup_ratio enas"] == 2.0
    assert "speedup" not in flat
    json.dumps(flat)


class Widening(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = torch.cat([x, x, x, x], dim=1)
        del x
        return wide.sum(dim=1)


def test_live_bytes_is_the_largest_sum_of_tensors_alive_at_once():
    images = torch.zeros((1, 1, 10, 10))  # 400 bytes; 1600 wide; 400 of sums
    assert live_bytes(Widening(), images) == 400 + 1600 + 400
    chain = nn.Sequential(*[nn.Softplus() for _ in range(10)])
    assert live_bytes(chain, images) == 3 * 400  # the images, what is read, what is written


def test_weights_and_views_are_no_live_bytes():
    linear = nn.Linear(100, 1, bias=False)
    assert held_bytes(linear.parameters()) == 400
    assert live_bytes(nn.Sequential(nn.Flatten(), linear), torch.zeros((1, 1, 10, 10))) == 400 + 4


def test_a_cpu_has_no_allocators_peak():
    assert with_peak(lambda: 3, torch.device("cpu")) == (3, None)


def compared(
    model: nn.Module, expected: torch.Tensor, images: torch.Tensor, notes: list[str], **settings
) -> Comparison:
    settings = {"batch_sizes": [1, 4], "backends": ["eager"], "precisions": ["fp32"], **settings}
    models = {"model": ReadyModel(model=model.eval(), expected=expected)}
    return Comparison(models, images, runtime=CPU, note=notes.append, **settings)


def test_every_precision_is_checked_and_an_honest_model_passes():
    images = torch.randn((4, 3, 8, 8))
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)).eval()
    expected = model(images).detach()
    with torch.inference_mode():
        prepared = compared(model, expected, images, [], precisions=["fp32", "fp16", "bf16"]).prepare(threads=1)
    assert len(prepared) == 6
    differences = {row["precision"]: row["largest_difference"] for _, row in prepared}
    assert differences["fp32"] < 1e-5 < differences["fp16"] < differences["bf16"] < 0.05
    assert next(model.parameters()).dtype == torch.float32


def test_a_line_is_said_before_anything_that_takes_long(monkeypatch):
    images, model = torch.randn((4, 3, 8, 8)), nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).eval()
    notes: list[str] = []

    def prepare(model: nn.Module, example: torch.Tensor):
        notes.append("prepared")
        return BACKENDS["eager"].prepare(model, example)

    for name in ("compile", "cuda_graph", "onnxruntime"):
        slow = replace(BACKENDS[name], prepare=prepare, lack=lambda device, precision: None)
        monkeypatch.setitem(BACKENDS, name, slow)
        expected = model(images).detach()
        with torch.inference_mode():
            compared(model, expected, images, notes, backends=["eager", name]).prepare(threads=1)
        first, *rest = notes
        assert all(word in first for word in ("model", name, "fp32", "1, 4"))
        assert rest == ["prepared", "prepared"]
        notes.clear()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_wrong_logits_are_an_error_in_every_precision(precision):
    images, model = torch.randn((4, 3, 8, 8)), nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    with pytest.raises(RuntimeError, match="differs by"), torch.inference_mode():
        compared(model, -model(images), images, [], precisions=[precision]).prepare(threads=1)


def test_logits_that_are_no_numbers_are_an_error():
    images, model = torch.randn((4, 3, 8, 8)), nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    expected = model(images).detach()
    nn.init.constant_(model[1].weight, float("nan"))
    with pytest.raises(RuntimeError, match="differs by"), torch.inference_mode():
        compared(model, expected, images, []).prepare(threads=1)


class OnlyFloat32(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype != torch.float32:
            raise NotImplementedError(f"not for {x.dtype}\nand a second line")
        return x.mean(dim=(2, 3))


def test_what_a_precision_cannot_do_is_said_and_left_out():
    notes, images = [], torch.randn((4, 3, 8, 8))
    comparison = compared(OnlyFloat32(), images.mean(dim=(2, 3)), images, notes, precisions=["fp32", "fp16"])
    assert {row["precision"] for _, row in comparison.prepare(threads=1)} == {"fp32"}
    assert notes == ["left out model, eager in fp16: not for torch.float16"]
    assert comparison.left_out == [{"what": "model, eager in fp16", "reason": "not for torch.float16"}]


def test_a_failure_of_plain_eager_float32_is_not_hidden():
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        compared(Broken(), torch.zeros((4, 5)), torch.zeros((4, 3, 8, 8)), []).prepare(threads=1)


def test_threads_are_set_back():
    before = torch.get_num_threads()
    with threads_set(before + 1) as threads:
        assert threads == torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with threads_set(None) as threads:
        assert threads == before


def test_random_orders_are_no_rotation_of_each_other_only():
    machine = Machine(1, 2, 3, 4, 5)
    machine.time(rounds=30)
    rounds = [machine.diary[start : start + 5] for start in range(0, 150, 5)]
    steps = {(later[0] - earlier[0]) % 5 for earlier, later in pairwise(rounds)}
    assert len(steps) > 2
