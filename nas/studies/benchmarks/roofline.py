"""A lower bound of the time of a training step: what its operations and bytes take at the device's two ceilings.

The bound counts every convolution, matrix product, pooling and batch norm as one kernel that reads its operands and
writes its result once, and takes element-wise operations and copies as fused into these (roofline model, Williams et
al. 2009, doi:10.1145/1498765.1498785). Each kernel takes at least its operations at the rate of a large matrix product,
and at least its bytes at the rate of a large copy; the longer of the two counts. Tensors that fit the caches can move
faster than that.
"""

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from nas.compute.device import Runtime
from nas.costs.operation_costs import Operation
from nas.costs.operations import record_operations
from nas.studies.benchmarks.workbench import Work, Workbench

COPY_BYTES = {"cpu": 2**28, "cuda": 2**31}
MATMUL_SIDE = {"cpu": 2048, "cuda": 8192}
WEIGHT_BYTES = 4  # weights, gradients and momentum are float32
UPDATE_PASSES = 5  # reads weight, gradient and momentum, writes weight and momentum


class KernelCost(NamedTuple):
    """The cost of an operation of the network, or of the update of its weights, in a training step.

    Attributes:
        flops: Floating-point operations forward and backward, a multiply-add being two.
        bytes: Least bytes read and written.
    """

    flops: int
    bytes: int


def measure_roofline(bench: Workbench) -> dict[str, Any]:
    """Times a search step and the two ceilings in turns, and computes the least time of the step.

    Returns:
        `flops` and `bytes` of a step; `flops_per_second` and `bytes_per_second` of the device; `compute_ms` and
        `traffic_ms`, what either alone would take; `floor_ms`, kernel by kernel; `measured_ms`; `gap`, their ratio.
    """
    genotype, runtime, evaluator = bench.cells(1)[0], bench.runtime, bench.search.evaluator
    operations, _ = record_operations(bench.derived(genotype), genotype, image_shape=evaluator.data.image_shape)
    element_bytes = 4 if runtime.autocast is None else runtime.autocast.itemsize
    costs = training_costs(operations, batch_size=evaluator.settings.batch_size, element_bytes=element_bytes)
    work = {"step": bench.search_steps(genotype), **ceiling_work(runtime)}
    medians = {name: statistics.median(times) / 1000 for name, times in bench.time(work).items()}
    figures = floor(
        costs,
        flops_per_second=2 * MATMUL_SIDE[runtime.device.type] ** 3 / medians["matmul"],
        bytes_per_second=2 * COPY_BYTES[runtime.device.type] / medians["copy"],
        measured_ms=1000 * medians["step"] / bench.steps,
    )
    bench.results.append(
        f"floor of a search step: {figures['floor_ms']:.2f} ms, measured {figures['gap']:.2f} times that "
        f"({figures['flops_per_second'] / 1e9:,.0f} GFLOP/s, {figures['bytes_per_second'] / 1e9:,.1f} GB/s)"
    )
    return figures


def floor(
    costs: Sequence[KernelCost], *, flops_per_second: float, bytes_per_second: float, measured_ms: float
) -> dict[str, float]:
    """Returns the figures of `measure_roofline` from what was counted and measured."""
    flops, moved = sum(cost.flops for cost in costs), sum(cost.bytes for cost in costs)
    floor_ms = 1000 * sum(max(cost.flops / flops_per_second, cost.bytes / bytes_per_second) for cost in costs)
    return {
        "flops": flops,
        "bytes": moved,
        "flops_per_second": flops_per_second,
        "bytes_per_second": bytes_per_second,
        "compute_ms": 1000 * flops / flops_per_second,
        "traffic_ms": 1000 * moved / bytes_per_second,
        "floor_ms": floor_ms,
        "measured_ms": measured_ms,
        "gap": measured_ms / floor_ms,
    }


def training_costs(operations: Sequence[Operation], *, batch_size: int, element_bytes: int) -> list[KernelCost]:
    """Returns what the operations of a forward pass cost in a training step, and last the update of the weights.

    The backward pass of a convolution or product computes the gradients of its input and of its weights, each as many
    operations as the forward pass; of the first one, that of its weights alone.

    Args:
        operations: Those of one image, as `record_operations` gives them.
        batch_size: Images N.
        element_bytes: Bytes of an activation.
    """
    weights = sum(operation.new_parameters for operation in operations)
    kernels = [one for one in operations if one.name == "batch_norm" or one.kind not in ("element-wise", "movement")]
    costs = [
        _kernel_cost(operation, batch_size=batch_size, element_bytes=element_bytes, first=number == 0)
        for number, operation in enumerate(kernels)
    ]
    return [*costs, KernelCost(flops=0, bytes=UPDATE_PASSES * WEIGHT_BYTES * weights)]


def _kernel_cost(operation: Operation, *, batch_size: int, element_bytes: int, first: bool) -> KernelCost:
    """Returns the cost of one operation forward and backward; the first needs no gradient of its input."""
    # The forward pass reads the input and writes the output. The backward pass reads the output's gradient and writes
    # the input's; what has weights, batch norm too, reads the input a second time.
    learns, written, weights = operation.parameters > 0, operation.output_elements, operation.parameters
    is_norm = operation.name == "batch_norm"
    read = written if is_norm else operation.memory_access_elements - written - weights
    passes = 1 + learns + (not first)  # forward, gradient of the weights, gradient of the input
    # Weights are read forward and for the input's gradient, and their own gradient is written.
    return KernelCost(
        flops=2 * passes * operation.multiply_adds * batch_size,
        bytes=batch_size * (passes * read + 2 * written) * element_bytes + weights * (3 - first) * WEIGHT_BYTES,
    )


def ceiling_work(runtime: Runtime) -> dict[str, Work]:
    """Returns a large copy and a large matrix product in the number format of the runtime."""
    device = runtime.device
    side = MATMUL_SIDE[device.type]
    source = torch.ones(COPY_BYTES[device.type] // 4, device=device)
    factor = torch.ones((side, side), device=device, dtype=runtime.autocast or torch.float32)
    target, product = torch.empty_like(source), torch.empty_like(factor)
    return {"copy": lambda: target.copy_(source), "matmul": lambda: torch.mm(factor, factor, out=product)}
