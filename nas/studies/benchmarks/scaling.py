"""How the cost of a search step grows with blocks, filters, batch size and the number of candidate ops.

More candidates must cost memory and no time: a step computes only the chosen path.
"""

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from nas.compute.timing import median_ratio
from nas.costs.latency.peak_memory import held_bytes
from nas.models.derived import count_parameters
from nas.studies.benchmarks.workbench import Work, Workbench
from search_spaces.genotype import Decision, Genotype
from search_spaces.ops import OPS, register_separable_conv
from search_spaces.shufflenas import PAPER_OPS
from search_spaces.space import WeightSharingSpace

REGISTERED = (
    *("avg_pool_3x3", "sep_conv_7x7", "dil_conv_3x3", "dil_conv_5x5", "conv_7x1_1x7", "kaleidoscope"),
    *("auto_shuffle", "dynamic_shuffle", "static_dynamic_shuffle"),
)
"""Candidates beyond the paper's six."""
EXTRA = {
    "bench_sep_conv_9x9": {"kernel_size": 9},
    "bench_dil_conv_7x7": {"kernel_size": 7, "dilation": 2, "repeats": 1},
    "bench_sep_conv_3x3_once": {"kernel_size": 3, "repeats": 1},
}
"""Candidates that only the benchmark has: separable convolutions of other sizes."""


@contextmanager
def enough_ops() -> Iterator[tuple[str, ...]]:
    """Enters the benchmark's own ops into the op table while the context lasts; yields all candidates, in order."""
    for name, sizes in EXTRA.items():
        register_separable_conv(name, **sizes)
    try:
        yield (*PAPER_OPS, *REGISTERED, *EXTRA)
    finally:
        for name in EXTRA:
            del OPS[name]


def measure_scaling(bench: Workbench) -> dict[str, Any]:
    """Times a search step at each number of blocks, filters, candidate ops and each batch size, all in turns.

    Returns:
        `blocks`, `filters`, `batch_size` and `num_ops`: for each a list of its values with `ms` a step, and but for the
        batch size `parameters` and `weight_bytes` of the supernet; for ops also `ratio`, the median over the rounds of
        the time divided by that with the fewest ops.

    Raises:
        ValueError: If more ops are asked for than there are.
    """
    settings, genotype = bench.settings, bench.cells(1)[0]
    steps = max(1, bench.steps // 2)  # of a piece: half as many as elsewhere, for there are many variants
    networks: dict[tuple[str, int], nn.Module] = {}
    work: dict[str, Work] = {}

    def enter(axis: str, value: int, cell: Genotype, network: nn.Module, *, batch_size: int | None = None) -> None:
        networks[axis, value] = network
        trainer = bench.search_trainer(network)
        work[f"{axis} {value}"] = bench.search_steps(cell, trainer, steps=steps, batch_size=batch_size)

    with enough_ops() as ops:
        if settings.num_ops[-1] > len(ops):
            raise ValueError(f"bench.num_ops must be at most {len(ops)}, got {settings.num_ops[-1]}")
        largest = bench.make_space(blocks=settings.blocks[-1])
        actions = bench.actions(largest, 1, stream="bench scaling")[0]
        for blocks in settings.blocks:
            space = bench.make_space(blocks=blocks)
            enter("blocks", blocks, space.decode(shortened(actions, largest, space)), bench.supernet(space))
        for filters in settings.filters:
            enter("filters", filters, genotype, bench.supernet(bench.space, filters=filters))
        for batch_size in settings.batch_sizes:  # each with a supernet of its own: a recorded step is of one size
            enter("batch_size", batch_size, genotype, bench.supernet(bench.space), batch_size=batch_size)
        fewest = bench.make_space(ops=list(ops[: settings.num_ops[0]]))
        shared = fewest.decode(bench.actions(fewest, 1, stream="bench scaling")[0])
        for number in settings.num_ops:
            enter("num_ops", number, shared, bench.supernet(bench.make_space(ops=list(ops[:number]))))
        times = bench.time(work)
    figures: dict[str, Any] = {}
    for (axis, value), network in networks.items():
        own = times[f"{axis} {value}"]
        row: dict[str, Any] = {"value": value, "ms": statistics.median(own) / steps}
        if axis != "batch_size":
            row |= {"parameters": count_parameters(network), "weight_bytes": held_bytes(network.parameters())}
        if axis == "num_ops":
            row["ratio"] = median_ratio(own, times[f"{axis} {settings.num_ops[0]}"])
        figures.setdefault(axis, []).append(row)
    fewest, most = figures["num_ops"][0], figures["num_ops"][-1]
    bench.results.append(
        f"{most['value']} candidate ops instead of {fewest['value']}: {most['ratio']:.3f} times the time of a step, "
        f"{most['weight_bytes'] / fewest['weight_bytes']:.1f} times the weights"
    )
    return figures


def shortened(actions: Sequence[int], larger: WeightSharingSpace, smaller: WeightSharingSpace) -> list[int]:
    """Returns the answers that make the cell of the first blocks out of those of a cell of more blocks.

    A mixer is decided after the last block, and so has another step: it gets the first choice.
    """

    def place(decision: Decision) -> tuple[object, ...]:
        return decision.group, decision.step, decision.kind, decision.slot

    answers = {place(decision): action for decision, action in zip(larger.decisions, actions, strict=True)}
    return [answers.get(place(decision), 0) for decision in smaller.decisions]
