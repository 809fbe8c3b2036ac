"""Latency tables on disk, corrections and errors with planted values; timing itself only for what must hold."""

import json
import math
from dataclasses import asdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nas.compute.device import make_runtime
from nas.compute.timing import STEADY_WARMUP, steady_times
from nas.costs import latency_predictor
from nas.costs.counting import Correction, random_genotypes
from nas.costs.latency_predictor import (
    PASSES,
    PredictorSettings,
    fit_correction,
    latency_cost,
    measure_genotypes,
    prediction_errors,
    predictor_of,
)
from nas.costs.latency_table import (
    Conditions,
    LatencyTable,
    conditions_of,
    measure_parts,
    opened_table,
    read_table,
)
from nas.costs.network_parts import NetworkParts, Part
from nas.models.shufflenasnet import ShuffleNASNet
from nas.runs.checkpoints import write_json
from search_spaces.shufflenas import ShuffleNASSpace

SHAPE = (1, 8, 8)
SPACE = ShuffleNASSpace(blocks=2)
CONDITIONS = Conditions(
    device_name="Some (R) CPU @ 2.4", threads=1, number_format="float32", channels_last=True, batch_size=8, torch="2.1"
)


@pytest.fixture
def runtime():
    return make_runtime(device="cpu")


@pytest.fixture
def parts() -> NetworkParts:
    network = ShuffleNASNet(SPACE.candidates(), in_channels=1, num_classes=3, filters=4, cells_per_stage=1, stages=2)
    return NetworkParts(network, SPACE.candidates(), genotype=SPACE.decode([0] * 8), image_shape=SHAPE)


def planted(parts: NetworkParts, corrections=None) -> LatencyTable:
    """A table in which part number i takes 2 ** -i ms, so that a sum tells which parts are in it."""
    entries = {part.key: {"min_ms": 2.0**-i, "median_ms": 9.0} for i, part in enumerate(parts.prototypes)}
    return LatencyTable(CONDITIONS, entries, corrections or {})


def test_a_prediction_is_the_corrected_sum_over_the_parts(parts):
    table = planted(parts, {"some network": {"slope": 2.0, "intercept": 0.5}})
    predictor = predictor_of(parts, table)
    genotype = random_genotypes(SPACE, 1, stream="test")[0]
    by_hand = sum(2.0 ** -list(parts.prototypes).index(part) * n for part, n in parts.of(genotype).items())
    assert predictor.sum(genotype) == pytest.approx(by_hand)
    assert predictor(genotype) == pytest.approx(2.0 * by_hand + 0.5)
    assert predictor_of(parts, planted(parts))(genotype) == pytest.approx(by_hand)


def test_a_table_without_a_part_says_which(parts):
    table = planted(parts)
    del table.parts[next(iter(parts.prototypes)).key]
    with pytest.raises(ValueError, match="lacks the part stem Conv2d"):
        predictor_of(parts, table)


@given(st.floats(0.2, 5), st.floats(0.001, 3), st.lists(st.integers(1, 50), min_size=3, max_size=9, unique=True))
def test_a_correction_finds_the_line_that_points_lie_on(slope, intercept, sums):
    fitted = fit_correction(sums, [slope * x + intercept for x in sums])
    assert fitted.slope == pytest.approx(slope)
    assert fitted.intercept == pytest.approx(intercept, abs=1e-6)


@given(st.lists(st.tuples(st.floats(0.1, 50), st.floats(0.1, 50)), min_size=1, max_size=9))
def test_a_corrected_sum_is_above_zero_and_grows_with_the_sum(points):
    fitted = fit_correction([x for x, _ in points], [y for _, y in points])
    assert 0 < fitted(0.01) < fitted(1.0) < fitted(100.0)


def test_a_disturbed_measurement_does_not_move_the_correction():
    sums = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    measured = [2 * x + 1 for x in sums]
    measured[5] *= 10
    assert fit_correction(sums, measured) == Correction(2.0, 1.0)


def test_a_line_that_cannot_be_goes_through_the_origin():
    assert fit_correction([1.0, 2.0, 4.0], [6.0, 4.0, 2.0]) == Correction(2.0, 0.0)  # it falls
    assert fit_correction([1.0, 2.0, 4.0], [1.0, 3.0, 7.0]) == Correction(1.5, 0.0)  # 2x - 1
    assert fit_correction([2.0, 2.0], [3.0, 3.5]) == Correction(1.625, 0.0)


def test_errors_of_predictions_by_hand():
    # ranks 1 2 3 4 against 1 3 2 4: Spearman 1 - 6 * 2 / (4 * 15) = 0.8, Kendall (5 - 1) / 6
    errors = prediction_errors([1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 3.0, 4.0 + 1.0])
    assert errors["spearman"] == pytest.approx(0.8)
    assert errors["kendall"] == pytest.approx(2 / 3)
    assert errors["mean_absolute_percentage_error"] == pytest.approx(100 * (0.5 + 0.5 + 0.0 + 0.2) / 4)


def test_a_table_comes_back_from_disk_and_is_extended_not_replaced(tmp_path):
    with opened_table(tmp_path, CONDITIONS) as table:
        table.parts["a"] = {"min_ms": 1.0}
    with opened_table(tmp_path, CONDITIONS) as table:
        assert table.parts == {"a": {"min_ms": 1.0}}
        table.parts["b"] = {"min_ms": 2.0}
    assert read_table(tmp_path / CONDITIONS.file_name).parts == {"a": {"min_ms": 1.0}, "b": {"min_ms": 2.0}}


def test_other_conditions_have_another_file():
    names = {CONDITIONS.file_name}
    for key, value in {"threads": 2, "batch_size": 1, "number_format": "bfloat16", "channels_last": False}.items():
        fields = {name: getattr(CONDITIONS, name) for name in Conditions.__slots__}
        names.add(Conditions(**{**fields, key: value}).file_name)
    assert len(names) == 5
    assert CONDITIONS.file_name == "some_r_cpu_2.4_torch_2.1_float32_channels-last_1_threads_batch_8.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: "nonsense", "is not a latency table"),
        (lambda data: json.dumps([1]), "is not a latency table"),
        (lambda data: json.dumps({**data, "parts": {"a": {}}}), "is not a latency table"),
        (lambda data: json.dumps({**data, "conditions": {"threads": 1}}), "is not a latency table"),
        (lambda data: json.dumps({**data, "parts": {"a": {"min_ms": "1"}}}), "a time that is not a number"),
        (lambda data: json.dumps({**data, "parts": {"a": {"min_ms": math.nan}}}), "a time that is not a number"),
        (lambda data: json.dumps({**data, "parts": {"a": {"min_ms": -1.0}}}), "a time of 0 or less"),
    ],
)
def test_a_damaged_table_is_named(tmp_path, change, message):
    path = tmp_path / CONDITIONS.file_name
    path.write_text(change(asdict(LatencyTable(CONDITIONS))))
    with pytest.raises(ValueError, match=message) as caught, opened_table(tmp_path, CONDITIONS):
        pass
    assert str(path) in str(caught.value)


def test_what_is_in_the_table_is_not_measured_again(tmp_path, parts, runtime, monkeypatch):
    settings = PredictorSettings(folder=str(tmp_path), rounds=1, calibration_genotypes=0)
    given = {"space": SPACE, "image_shape": SHAPE, "network": {"filters": 4}, "settings": settings, "runtime": runtime}
    first, table = latency_cost(parts, build_model=None, **given)
    monkeypatch.setattr(latency_predictor, "measure_parts", None)
    again, table_again = latency_cost(parts, build_model=None, **given)
    assert table == table_again
    genotype = random_genotypes(SPACE, 1, stream="test")[0]
    assert first(genotype) == again(genotype) > 0
    write_json(tmp_path / "own.json", asdict(table))
    assert read_table(tmp_path / "own.json") == table


def test_a_correction_is_kept_for_its_network(tmp_path, parts, runtime, monkeypatch):
    settings = PredictorSettings(folder=str(tmp_path), rounds=1, calibration_genotypes=3)
    given = {"space": SPACE, "build_model": None, "image_shape": SHAPE, "settings": settings, "runtime": runtime}
    monkeypatch.setattr(latency_predictor, "measure_genotypes", lambda genotypes, **_: [7.0, 8.0, 9.0])
    first, table = latency_cost(parts, network={"filters": 4}, **given)
    assert next(iter(table.corrections.values()))["measured_ms"] == [7.0, 8.0, 9.0]
    monkeypatch.setattr(latency_predictor, "measure_genotypes", lambda genotypes, **_: [1.0, 2.0, 30.0])
    assert latency_cost(parts, network={"filters": 4}, **given)[0].correction == first.correction
    other, table = latency_cost(parts, network={"filters": 6}, **given)
    assert other.correction != first.correction
    assert len(table.corrections) == 1


def test_a_part_of_more_work_takes_longer(runtime):
    small, large = (Part("op", f"conv to {c}", (16, 32, 32), c) for c in (16, 512))
    modules = {part: nn.Conv2d(16, part.channels, 3, padding=1).eval() for part in (small, large)}
    measured = measure_parts(modules, batch_size=2, rounds=3, runtime=runtime)
    assert measured[large.key]["min_ms"] > 2 * measured[small.key]["min_ms"] > 0
    assert measured[small.key]["rounds"] == 3


def test_whole_networks_are_run_a_few_passes_a_turn_and_the_shortest_counts(runtime, monkeypatch):
    passes: list[tuple[str, torch.Size]] = []

    def build_model(genotype):
        return lambda images: passes.append((genotype, images.shape))

    monkeypatch.setattr(
        latency_predictor,
        "steady_times",
        lambda work, **_: {name: [piece() or 30.0, piece() or 3.0, 6.0] for name, piece in work.items()},
    )
    settings = PredictorSettings(batch_size=5, rounds=3)
    genotypes = ["a", "b"]
    assert measure_genotypes(
        genotypes, build_model=build_model, image_shape=SHAPE, settings=settings, runtime=runtime
    ) == [1.0, 1.0]
    assert passes == [("a", (5, 1, 8, 8))] * 2 * PASSES + [("b", (5, 1, 8, 8))] * 2 * PASSES


def test_steady_times_alternate_and_leave_out_the_rounds_for_warming_up():
    order: list[str] = []
    times = steady_times(
        {"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2, device=torch.device("cpu")
    )
    assert order == ["a", "b"] * (STEADY_WARMUP + 2)
    assert [len(values) for values in times.values()] == [2, 2]
    assert min(time for values in times.values() for time in values) >= 0


def test_conditions_are_those_of_the_runtime(runtime):
    conditions = conditions_of(runtime, batch_size=3)
    assert (conditions.threads, conditions.batch_size, conditions.number_format) == (1, 3, "float32")


def test_one_genotype_is_too_few_for_a_correction():
    with pytest.raises(ValueError, match="calibration_genotypes"):
        PredictorSettings(calibration_genotypes=1)
