"""Random streams: a seed for each of them, derived from that of the run."""

import hashlib
import random

import numpy as np
import torch


def derive_seed(seed: int, *stream: str | int) -> int:
    """Returns a seed in [0, 2⁶³) for a named stream of random numbers, such as `derive_seed(0, "epoch", 7)`.

    Every epoch starts from seeds of its own. So a resumed run draws exactly what an uninterrupted one would have, with
    no generator state to save.
    """
    digest = hashlib.sha256(repr((seed, *stream)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seed_everything(seed: int) -> None:
    """Seeds the global generators of Python, NumPy and torch on every device."""
    seed_cpu(seed)
    torch.manual_seed(seed)


def seed_cpu(seed: int) -> None:
    """Seeds the global generators of Python, NumPy and the CPU.

    `torch.manual_seed` also notes the seed for accelerators that are not in use, which takes longer than an update.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
