"""The straightforward loop in a process of its own, as a script would run it.

What `nas` tells its own process, such as to keep freed memory (`nas.compute.allocator`), does not hold there.
"""

import io
import weakref
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import torch
from torch import nn

from nas.studies.benchmarks.eager.loop import EagerLoop, EagerSettings
from search_spaces.genotype import Genotype

_loop: EagerLoop
"""Of the other process."""


class EagerProcess:
    """An `EagerLoop` in another process, which waits between epochs; it ends when this object goes.

    Args:
        network: On the CPU, contiguous; copied to the other process.
        genotype: The path to train; None for a network without choices.
        settings: Images and protocol.
        threads: CPU threads within an op.

    Raises:
        OSError: If the process cannot set up the loop.
    """

    def __init__(self, network: nn.Module, genotype: Genotype | None, *, settings: EagerSettings, threads: int) -> None:
        written = io.BytesIO()  # given as it is, a network would share its memory, with an open file for every tensor
        torch.save(network, written)
        context = get_context("forkserver")  # a process forked from this one may hang in torch's thread pool
        given = (written.getvalue(), genotype, settings, threads)
        self._pool = ProcessPoolExecutor(1, context, initializer=_start, initargs=given)
        self._finalizer = weakref.finalize(self, self._pool.shutdown)
        self._run(epochs=0)

    def epoch(self) -> float:
        """Takes the steps of an epoch; returns the mean loss.

        Raises:
            OSError: If the process is gone.
        """
        return self._run(epochs=1)

    def _run(self, *, epochs: int) -> float:
        try:
            return self._pool.submit(_take, epochs).result()
        except BrokenProcessPool:
            raise OSError("the process of the eager loop ended; its error stands above") from None


def _start(written: bytes, genotype: Genotype | None, settings: EagerSettings, threads: int) -> None:
    global _loop
    torch.set_num_threads(threads)
    _loop = EagerLoop(torch.load(io.BytesIO(written), weights_only=False), genotype, settings=settings)


def _take(epochs: int) -> float:
    return sum(_loop.epoch() for _ in range(epochs))
