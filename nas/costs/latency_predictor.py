"""Predicting the latency of a genotype: the sum over the parts of its path, brought to the scale of whole networks.

What no part shows, such as the interpreter's work between modules, is taken in by a straight line that is fitted to a
few genotypes measured end to end.
"""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.compute.device import Runtime
from nas.compute.timing import steady_times
from nas.costs.counting import Correction, SummedCost, random_genotypes
from nas.costs.latency_table import (
    LatencyTable,
    autocasting,
    conditions_of,
    measure_parts,
    opened_table,
    random_images,
    run_chain,
)
from nas.costs.network_parts import NetworkParts
from nas.costs.settings import PredictorSettings
from nas.runs.console import note, shown
from search_spaces.genotype import Genotype
from search_spaces.space import SearchSpace

PASSES = 3  # of a whole network in a turn

ModelBuilder = Callable[[Genotype], nn.Module]
"""Makes the model of a genotype as inference has it, on the device, mapping images to logits."""


def latency_cost(
    parts: NetworkParts,
    *,
    space: SearchSpace,
    build_model: ModelBuilder,
    image_shape: tuple[int, int, int],
    network: Mapping[str, Any],
    settings: PredictorSettings,
    runtime: Runtime,
) -> tuple[SummedCost, LatencyTable]:
    """Returns the predictor, measuring what the table on disk lacks.

    Args:
        parts: Parts of the network.
        space: Genotypes for the correction are drawn from it.
        build_model: Makes the networks that are measured for the correction.
        image_shape: (C, H, W).
        network: Settings of the network, under which the correction is kept.
        settings: How to measure.
        runtime: Device, number format and memory format.

    Returns:
        The predictor, and those entries of the table that it needs.

    Raises:
        ValueError: If the file of the table is not one.
    """
    conditions = conditions_of(runtime, batch_size=settings.batch_size)
    folder = Path(settings.folder)
    with opened_table(folder, conditions) as table:
        lacking = {part: module for part, module in parts.prototypes.items() if part.key not in table.parts}
        if lacking:
            note(f"timing {len(lacking)} parts for the latency table {shown(folder / conditions.file_name)}")
            table.parts |= measure_parts(
                lacking, batch_size=settings.batch_size, rounds=settings.rounds, runtime=runtime
            )
        name = correction_name(network, space, image_shape, settings.calibration_genotypes)
        if settings.calibration_genotypes and name not in table.corrections:
            genotypes = calibration_genotypes(space, settings.calibration_genotypes)
            note(f"timing {len(genotypes)} whole networks to correct the sums over parts")
            measured = measure_genotypes(
                genotypes, build_model=build_model, image_shape=image_shape, settings=settings, runtime=runtime
            )
            sums = [predictor_of(parts, table).sum(genotype) for genotype in genotypes]
            table.corrections[name] = {**asdict(fit_correction(sums, measured)), "sums": sums, "measured_ms": measured}
        used = LatencyTable(
            conditions,
            {part.key: table.parts[part.key] for part in parts.prototypes},
            {kept: line for kept, line in table.corrections.items() if kept == name},
        )
    return predictor_of(parts, used), used


def predictor_of(parts: NetworkParts, table: LatencyTable) -> SummedCost:
    """Returns the predictor of a table with one correction at most.

    Raises:
        ValueError: If the table lacks a part.
    """
    values = {part: table.latency_ms(part) for part in parts.prototypes}
    corrections = [Correction(line["slope"], line["intercept"]) for line in table.corrections.values()]
    return SummedCost("latency", parts, values, corrections[0] if len(corrections) == 1 else Correction())


def correction_name(
    network: Mapping[str, Any], space: SearchSpace, image_shape: Sequence[int], num_genotypes: int
) -> str:
    """Returns the text under which a correction is kept: all that it depends on besides the table's conditions."""
    choices = {choice for decision in space.decisions for choice in decision.choices if decision.kind != "input"}
    described = {"network": dict(network), "space": [space.name, len(space.decisions), sorted(choices)]}
    return json.dumps({**described, "image_shape": list(image_shape), "genotypes": num_genotypes}, sort_keys=True)


def calibration_genotypes(space: SearchSpace, num_genotypes: int) -> list[Genotype]:
    """Returns the genotypes of the correction, always the same ones of a space."""
    return random_genotypes(space, num_genotypes, stream="calibration")


@torch.inference_mode()
def measure_genotypes(
    genotypes: Sequence[Genotype],
    *,
    build_model: ModelBuilder,
    image_shape: tuple[int, int, int],
    settings: PredictorSettings,
    runtime: Runtime,
) -> list[float]:
    """Times whole networks in turns; returns the shortest time of a pass for each, in ms.

    A turn is a few passes in a row: the first finds the processor's caches full of other networks.
    """
    images = random_images((settings.batch_size, *image_shape), runtime)
    turns = {
        str(number): partial(run_chain, build_model(genotype), images, PASSES)
        for number, genotype in enumerate(genotypes)
    }
    with autocasting(runtime):
        times = steady_times(turns, rounds=settings.rounds, device=runtime.device)
    return [min(values) / PASSES for values in times.values()]


def fit_correction(sums: Sequence[float], measured: Sequence[float]) -> Correction:
    """Fits a straight line that a few disturbed measurements do not move (Theil 1950, Sen 1968).

    Its slope is the median of those between any two points, its height the median of what is left. Work that no part
    shows takes time, so that a line which falls, or meets the axis below 0, gives way to one through the origin, with
    the median ratio as its slope.

    Args:
        sums: At least one, above 0.
        measured: As many, above 0.

    Returns:
        The line, above 0 wherever a sum is.
    """
    if len(set(sums)) > 1:
        from scipy import stats

        slope, intercept, *_ = map(float, stats.theilslopes(measured, sums, method="joint"))
        if slope > 0 and intercept >= 0:
            return Correction(slope, intercept)
    return Correction(statistics.median(y / x for x, y in zip(sums, measured, strict=True)), 0.0)


def prediction_errors(predicted: Sequence[float], measured: Sequence[float]) -> dict[str, float]:
    """Compares at least two predictions with as many measurements.

    Returns:
        `spearman` and `kendall` (tau-b) rank correlation, and `mean_absolute_percentage_error` in percent of the
        measurement.
    """
    from scipy import stats

    pairs = zip(predicted, measured, strict=True)
    return {
        "spearman": float(stats.spearmanr(predicted, measured).statistic),
        "kendall": float(stats.kendalltau(predicted, measured).statistic),
        "mean_absolute_percentage_error": 100 * statistics.fmean(abs(guess - true) / true for guess, true in pairs),
    }
