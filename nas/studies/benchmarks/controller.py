"""What a controller costs for each architecture, beside training a mere trifle unless it samples one by one."""

import copy
from typing import Any

import torch

from nas.compute.timing import time_in_turns, timing
from nas.runs.seeds import derive_seed, seed_everything
from nas.studies.benchmarks.workbench import Workbench

ROUNDS = 20
"""More than of other parts, for a round takes milliseconds."""


def measure_controller(bench: Workbench) -> dict[str, Any]:
    """Times sampling a batch of architectures, decoding it, and learning from its rewards, on a copy of the controller.

    Returns:
        `samples`, the architectures in a batch; for `sample`, `decode` and `update` `batch_ms`, median of the batch,
        and `ms`, an architecture's share of it.
    """
    controller, space = copy.deepcopy(bench.search.controller), bench.search.space
    count = bench.settings.samples
    seed_everything(derive_seed(bench.seed, "bench controller"))
    actions = controller.sample(count).actions
    rewards = torch.rand(count, dtype=torch.float64)

    def update() -> object:
        return controller.observe(actions, rewards)

    times = time_in_turns(
        {
            "sample": lambda: controller.sample(count),
            "decode": lambda: [space.decode(row) for row in actions.tolist()],
            "update": update,
        },
        rounds=ROUNDS,
        warmup=2,
        device=bench.runtime.device,
    )
    medians = {name: timing(values).median_ms for name, values in times.items()}
    return {
        "samples": count,
        **{name: {"batch_ms": median, "ms": median / count} for name, median in medians.items()},
    }
