import random

import numpy as np
import torch

from nas.runs.seeds import derive_seed, seed_everything


def test_streams_of_one_seed_differ_and_repeat():
    seeds = {derive_seed(seed, name, epoch) for seed in (0, 1) for name in ("a", "b") for epoch in range(50)}
    assert len(seeds) == 200
    assert derive_seed(3, "a", 7) == derive_seed(3, "a", 7)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeding_repeats_every_global_stream():
    draws = []
    for _ in range(2):
        seed_everything(derive_seed(0, "x"))
        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert draws[0] == draws[1]
