"""A training step with one process and with several, each on a core and with its share of the batch.

    python -m tests.scale.steps OUT [RANKS]

Makes the folder OUT and writes OUT/steps.json. One process and RANKS of them (2) take turns, so that a machine that
drifts hits both; a turn is a step of each cell.
"""

import copy
import os
import statistics
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from controllers.uniform import Uniform
from nas.compute.device import make_runtime
from nas.compute.distributed.ranks import Ranks
from nas.compute.environment import environment
from nas.compute.settings import RuntimeSettings
from nas.models.genotype_files import load_genotype
from nas.models.shufflenasnet import ShuffleNASNet
from nas.runs.checkpoints import write_json
from nas.training.sgd import make_sgd
from nas.training.weight_trainer import WeightTrainer
from search_spaces.cells import genotype_candidates
from search_spaces.genotype import Genotype
from search_spaces.shufflenas import ShuffleNASSpace
from tests.ranks import together

BATCH_SIZE, CELLS, TURNS = 144, 6, 3
SIZE = {"in_channels": 3, "num_classes": 10}


def main() -> None:
    """Measures the supernet and the 236K model, and writes what came out."""
    out, sizes = Path(sys.argv[1]), [1, int(sys.argv[2]) if len(sys.argv) > 2 else 2]
    out.mkdir(parents=True)
    torch.set_num_threads(1)
    figures: dict[str, Any] = {"batch_size": BATCH_SIZE, "cells": CELLS, "turns": TURNS, "load": os.getloadavg()}
    figures["environment"] = environment(make_runtime(RuntimeSettings(threads=1), device="cpu"), seed=0)
    for name, (network, cells) in networks().items():
        times: dict[int, list[float]] = {size: [] for size in sizes}
        for _ in range(TURNS):
            for size in sizes:
                times[size] += together(partial(seconds_of_steps, network=network, cells=cells), size=size)[0]
        medians = {size: 1000 * statistics.median(values) for size, values in times.items()}
        figures[name] = {"median_ms": medians, "times_as_fast": medians[sizes[0]] / medians[sizes[1]]}
        print(name, figures[name], flush=True)
        write_json(out / "steps.json", figures)


def networks() -> dict[str, tuple[nn.Module, Sequence[Genotype]]]:
    """Returns by name the networks, and the cells whose steps are timed."""
    torch.manual_seed(0)
    space, cell_a = ShuffleNASSpace(blocks=5), load_genotype("shufflenasnet_a")
    drawn = [space.decode(row) for row in Uniform(space.decisions).sample(CELLS).actions.tolist()]
    supernet = ShuffleNASNet(space.candidates(), filters=20, cells_per_stage=2, **SIZE)
    model_a = ShuffleNASNet(genotype_candidates(cell_a), filters=36, cells_per_stage=4, **SIZE)
    return {"search, F = 20": (supernet, drawn), "236K model": (model_a, [cell_a] * CELLS)}


def seconds_of_steps(ranks: Ranks, *, network: nn.Module, cells: Sequence[Genotype]) -> list[float]:
    """Returns how long a step of each cell takes on this rank, after one that is not counted."""
    trained = copy.deepcopy(network)
    trainer = WeightTrainer(
        network=trained,
        optimizer=make_sgd(trained, momentum=0.9, weight_decay=1e-4),
        learning_rate=lambda _: 0.01,
        drop_prob=lambda _: 0.0,
        ranks=ranks,
        one_path=len(set(cells)) == 1,
    )
    torch.manual_seed(0)
    images = torch.randn(BATCH_SIZE, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (BATCH_SIZE,))
    batch = images.tensor_split(ranks.size)[ranks.rank], labels.tensor_split(ranks.size)[ranks.rank]
    times = []
    for cell in [cells[0], *cells]:
        started = time.perf_counter()
        trainer.train_epoch([batch], iter([cell]), epoch=0, num_batches=1)
        times.append(time.perf_counter() - started)
    return times[1:]


if __name__ == "__main__":
    main()
