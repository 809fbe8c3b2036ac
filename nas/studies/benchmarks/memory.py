"""What a search occupies: weights, optimizer, and what a training step needs besides."""

import itertools
import os
from typing import Any

import torch
from torch import Tensor

from nas.compute.cuda_graphs import WARMUP
from nas.costs.latency.peak_memory import PeakMemory, held_bytes
from nas.models.derived import count_parameters
from nas.studies.benchmarks.workbench import Work, Workbench
from nas.training.weight_trainer import WeightTrainer
from search_spaces.genotype import Genotype

HOW = {
    "cuda": "torch.cuda.max_memory_allocated above what was allocated before the step",
    "cpu": "torch.profiler: allocations of torch within the step, scratch memory of its libraries apart",
}
"""How `peak_bytes` measures, by type of device."""


def measure_memory(bench: Workbench) -> dict[str, Any]:
    """Measures the memory of the search's supernet and of the same cell as a derived model, in bytes.

    Returns:
        `supernet` and `derived`, see `training_memory`; `how` the peak was taken; on a GPU `max_allocated`, the most
        that this process had held until then.
    """
    genotype, kind = bench.cells(1)[0], bench.runtime.device.type
    figures: dict[str, Any] = {"how": HOW.get(kind, HOW["cpu"])}
    if kind == "cuda":
        figures["max_allocated"] = torch.cuda.max_memory_allocated(bench.runtime.device)  # before steps reset it
    networks = {"supernet": bench.search.evaluator.trainer.network, "derived": bench.derived(genotype)}
    for name, network in networks.items():
        figures[name] = training_memory(bench, bench.search_trainer(network), genotype)
    supernet = figures["supernet"]
    weights, optimizer, step = (supernet[f"{part}_bytes"] / 1e6 for part in ("parameter", "optimizer", "step"))
    bench.results.append(
        f"memory: supernet of {supernet['parameters']:,} parameters, {weights:.1f} MB, optimizer {optimizer:.1f} MB, "
        f"a step at most {step:.0f} MB more"
    )
    return figures


def training_memory(bench: Workbench, trainer: WeightTrainer, genotype: Genotype) -> dict[str, int]:
    """Measures what a trainer occupies.

    Returns:
        `parameters`, their number; `parameter_bytes`; `buffer_bytes`, of batch norm; `optimizer_bytes`, its state;
        `step_bytes`, the most that a step holds beside all these: activations, gradients, images; with steps that are
        recorded, what recording one needs.
    """
    network = trainer.network
    bench.search_steps(genotype, trainer, steps=1)()  # what lives on after the first step is no cost of a step
    trainer.optimizer.zero_grad(set_to_none=True)
    steps = 1 if trainer.recorder is None else WARMUP + 1
    states = [value for state in trainer.optimizer.state.values() for value in state.values()]
    return {
        "parameters": count_parameters(network),
        "parameter_bytes": held_bytes(network.parameters()),
        "buffer_bytes": held_bytes(network.buffers()),
        "optimizer_bytes": held_bytes(value for value in states if isinstance(value, Tensor)),
        "step_bytes": peak_bytes(bench.search_steps(genotype, trainer, steps=steps), device=bench.runtime.device),
    }


def peak_bytes(work: Work, *, device: torch.device) -> int:
    """Runs a piece of work and returns the most that it held at once beyond what was there before."""
    if device.type == "cuda":
        with PeakMemory(device) as peak:
            work()
        assert peak.num_bytes is not None
        return peak.num_bytes
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else it writes to stderr that it starts and stops
    cpu = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=cpu, profile_memory=True) as profile:
        work()
    assert profile.profiler is not None
    # `profile.events()` leaves out what was allocated within an op; the raw events have every allocation and release.
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes: list[int] = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return max(itertools.accumulate(changes, initial=0))
