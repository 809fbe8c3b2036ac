"""Does a step on a sampled cell of the supernet cost what the same cell costs as a plain network?"""

import statistics
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from nas.compute.timing import median_ratio, timing
from nas.models.derived import copy_shared_weights
from nas.studies.benchmarks.workbench import Work, Workbench
from search_spaces.genotype import Genotype


def measure_ratio(bench: Workbench) -> dict[str, Any]:
    """Times training steps of the supernet's path and of the derived model, both with the search's trainer, in turns.

    Returns:
        `cells`, for each its genotype, both times and the median of their ratio; `median_ratio` and `worst_ratio`.
    """
    cells: list[dict[str, Any]] = [
        {
            "genotype": timed.genotype.to_dict(),
            **{name: asdict(timing([ms / bench.steps for ms in values])) for name, values in timed.times.items()},
            "ratio": median_ratio(timed.times["supernet"], timed.times["plain"]),
        }
        for timed in bench.time_cells("supernet and plain network", partial(_cell_work, bench))
    ]
    ratios = [cell["ratio"] for cell in cells]
    return {"median_ratio": statistics.median(ratios), "worst_ratio": max(ratios), "cells": cells}


def _cell_work(bench: Workbench, genotype: Genotype) -> Mapping[str, Work]:
    plain = bench.derived(genotype)
    copy_shared_weights(plain, bench.search.evaluator.trainer.network.state_dict())
    return {
        "supernet": bench.search_steps(bench.search.evaluator.trainer, genotype),
        "plain": bench.search_steps(bench.search_trainer(plain), genotype),
    }
