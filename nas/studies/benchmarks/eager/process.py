"""The straightforward loop in a process of its own, as a script would run it.

What `nas` tells its own process, such as to keep freed memory (`nas.compute.allocator`), does not hold there.
"""

import io
import weakref
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import torch
from torch import nn

from nas.studies.benchmarks.eager.loop import EagerLoop, EagerSettings
from search_spaces.genotype import Genotype


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
        context = get_context("forkserver")  # a process forked from this one may hang in torch's thread pool
        self._connection, other = context.Pipe()
        process = context.Process(target=_serve, args=(other, _written(network), genotype, settings, threads))
        process.start()
        other.close()
        self._finalizer = weakref.finalize(self, _end, self._connection, process)
        self._answer()

    def epoch(self) -> float:
        """Takes the steps of an epoch; returns the mean loss.

        Raises:
            OSError: If the process is gone.
        """
        self._connection.send("epoch")
        return self._answer()

    def _answer(self) -> float:
        try:
            answer: float = self._connection.recv()
        except EOFError:
            raise OSError("the process of the eager loop ended; its error stands above") from None
        return answer


def _written(network: nn.Module) -> bytes:
    """Returns a network as bytes; given as it is, it would share its memory, with an open file for every tensor."""
    buffer = io.BytesIO()
    torch.save(network, buffer)
    return buffer.getvalue()


def _serve(
    connection: Connection, written: bytes, genotype: Genotype | None, settings: EagerSettings, threads: int
) -> None:
    """Answers every message with the mean loss of an epoch, and the start with 0, until the connection closes."""
    torch.set_num_threads(threads)
    network = torch.load(io.BytesIO(written), weights_only=False)
    loop = EagerLoop(network, genotype, settings=settings)
    connection.send(0.0)
    while True:
        try:
            connection.recv()
        except EOFError:
            return
        connection.send(loop.epoch())


def _end(connection: Connection, process: BaseProcess) -> None:
    connection.close()
    process.join()
