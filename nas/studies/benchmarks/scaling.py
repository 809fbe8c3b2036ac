"""The memory and time of a supernet as it grows with blocks, filters, batch size and candidate ops.

More candidates must cost memory and no time: a step computes only the chosen path.
"""

import itertools
import os
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from nas.compute.cuda_graphs import WARMUP
from nas.compute.timing import median_ratio
from nas.costs.latency.peak_memory import held_bytes, with_peak
from nas.models.derived import count_parameters
from nas.studies.benchmarks.workbench import Work, Workbench
from nas.training.weight_trainer import WeightTrainer
from search_spaces.genotype import Genotype
from search_spaces.ops import OPS, register_separable_conv
from search_spaces.shufflenas import PAPER_OPS
from search_spaces.space import WeightSharingSpace

HOW = {
    "cuda": "torch.cuda.max_memory_allocated above what was allocated before the step",
    "cpu": "torch.profiler: allocations of torch within the step, scratch memory of its libraries apart",
}
"""How `peak_bytes` measures, by type of device."""
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


def measure_memory(bench: Workbench) -> dict[str, Any]:
    """Measures the memory of the search's supernet and of the same cell as a derived model, in bytes.

    Returns:
        `supernet` and `derived`, see `training_memory`; `how` the peak was taken; on a GPU `max_allocated`, the most
        that this process had held until then.
    """
    (genotype,) = bench.cells(1)
    device = bench.runtime.device
    figures: dict[str, Any] = {"how": HOW.get(device.type, HOW["cpu"])}
    if device.type == "cuda":
        figures["max_allocated"] = torch.cuda.max_memory_allocated(device)  # before steps reset it
    networks = {"supernet": bench.search.evaluator.trainer.network, "derived": bench.derived(genotype)}
    figures |= {
        name: training_memory(bench, bench.search_trainer(network), genotype) for name, network in networks.items()
    }
    supernet = figures["supernet"]
    bench.results.append(
        f"memory: supernet of {supernet['parameters']:,} parameters, {supernet['parameter_bytes'] / 1e6:.1f} MB, "
        f"optimizer {supernet['optimizer_bytes'] / 1e6:.1f} MB, a step at most {supernet['step_bytes'] / 1e6:.0f} MB "
        "more"
    )
    return figures


def training_memory(bench: Workbench, trainer: WeightTrainer, genotype: Genotype) -> dict[str, int]:
    """Measures the memory that a trainer occupies.

    Returns:
        `parameters`, their number; `parameter_bytes`; `buffer_bytes`, of batch norm; `optimizer_bytes`, its state;
        `step_bytes`, the most that a step holds in addition: activations, gradients, images; with steps that are
        recorded, what recording one needs.
    """
    bench.search_steps(genotype, trainer, steps=1)()  # what lives on after the first step is no cost of a step
    trainer.optimizer.zero_grad(set_to_none=True)
    states = [value for state in trainer.optimizer.state.values() for value in state.values()]
    step = bench.search_steps(genotype, trainer, steps=1 if trainer.recorder is None else WARMUP + 1)
    return {
        "parameters": count_parameters(trainer.network),
        "parameter_bytes": held_bytes(trainer.network.parameters()),
        "buffer_bytes": held_bytes(trainer.network.buffers()),
        "optimizer_bytes": held_bytes(value for value in states if isinstance(value, Tensor)),
        "step_bytes": peak_bytes(step, device=bench.runtime.device),
    }


def peak_bytes(work: Work, *, device: torch.device) -> int:
    """Runs a piece of work and returns the most that it held at once beyond what was there before."""
    if device.type == "cuda":
        return with_peak(work, device)[1] or 0
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it writes to stderr that it starts and stops
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu, profile_memory=True) as profile:
        work()
    assert profile.profiler is not None
    # `profile.events()` leaves out what was allocated within an op; the raw events have every allocation and release.
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes: list[int] = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(itertools.accumulate(changes, initial=0))


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
    settings, stream = bench.settings, "bench scaling"
    steps = max(1, bench.steps // 2)  # of a piece: half as many as elsewhere, for there are many variants
    networks: dict[tuple[str, int], nn.Module] = {}
    work: dict[str, Work] = {}

    def enter(
        axis: str, value: int, cell: Genotype, space: WeightSharingSpace, *, batch_size: int = 0, **changed: int
    ) -> None:
        networks[axis, value] = bench.supernet(space, **changed)
        trainer = bench.search_trainer(networks[axis, value])
        work[f"{axis} {value}"] = bench.search_steps(cell, trainer, steps=steps, batch_size=batch_size)

    with enough_ops() as ops:
        if settings.num_ops[-1] > len(ops):
            raise ValueError(f"bench.num_ops must be at most {len(ops)}, got {settings.num_ops[-1]}")
        (cell,) = bench.cells(1)
        largest = bench.make_space(blocks=settings.blocks[-1])
        actions = largest.encode(bench.cells(1, space=largest, stream=stream)[0])
        for blocks in settings.blocks:
            space = bench.make_space(blocks=blocks)
            enter("blocks", blocks, space.decode(shortened(actions, largest, space)), space)
        for filters in settings.filters:
            enter("filters", filters, cell, bench.space, filters=filters)
        for batch_size in settings.batch_sizes:  # each with a supernet of its own: a recorded step is of one size
            enter("batch_size", batch_size, cell, bench.space, batch_size=batch_size)
        spaces = {number: bench.make_space(ops=list(ops[:number])) for number in settings.num_ops}
        (shared,) = bench.cells(1, space=spaces[settings.num_ops[0]], stream=stream)
        for number, space in spaces.items():
            enter("num_ops", number, shared, space)
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
    answers = {
        (decision.group, decision.step, decision.kind, decision.slot): action
        for decision, action in zip(larger.decisions, actions, strict=True)
    }
    return [answers.get((one.group, one.step, one.kind, one.slot), 0) for one in smaller.decisions]
