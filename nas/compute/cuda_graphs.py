"""Work recorded once and replayed: CUDA graphs, since small networks are bound by launching kernels, not by them."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from nas.runs.console import note

WARMUP = 3  # times the work is done eagerly first: libraries choose their algorithms then, compilers compile


class Recorder(Protocol):
    """Records work on a device."""

    def stream(self) -> contextlib.AbstractContextManager[None]:
        """Within the context, work goes where it can be recorded."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Records the work without doing it; the function returned does it, again and again."""


class CudaGraphs:
    """Records on a CUDA device.

    Args:
        device: The device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    @contextlib.contextmanager
    def stream(self) -> Iterator[None]:
        """Within the context, work goes to a stream of its own: the default one cannot be recorded."""
        outer = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(outer)
        with torch.cuda.stream(self._stream):
            yield
        outer.wait_stream(self._stream)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Records the work in a graph with memory of its own, which is freed with the function returned."""
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as one that pins the memory of a loader's batches, may continue.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            work()
        replay: Callable[[], None] = graph.replay
        return replay


class Repeated:
    """Work on a batch, done again and again: at first eagerly, then recorded and replayed.

    Args:
        work: Takes tensors and returns nothing; what it finds out it leaves in tensors that outlive it. It must launch
            the same kernels whatever the tensors hold.
        recorder: None never records.
    """

    def __init__(self, work: Callable[..., None], *, recorder: Recorder | None) -> None:
        self.work = work
        self.recorder = recorder
        self._done = 0
        self._shapes: list[torch.Size] = []
        self._inputs: tuple[Tensor, ...] = ()
        self._replay: Callable[[], None] | None = None

    @property
    def recorded(self) -> bool:
        """Whether the work is replayed by now."""
        return self._replay is not None

    def __call__(self, *tensors: Tensor) -> None:
        """Does the work on tensors; those of other shapes than at first it does eagerly."""
        shapes = [tensor.shape for tensor in tensors]
        if self._done == 0:
            self._shapes = shapes
        self._done += 1
        if self.recorder is None or self._done <= WARMUP or shapes != self._shapes:
            self.work(*tensors)
        elif self._replay is not None or self._record(self.recorder, tensors):
            for mine, given in zip(self._inputs, tensors, strict=True):
                mine.copy_(given)
            assert self._replay is not None
            self._replay()
        else:
            self.work(*tensors)

    def _record(self, recorder: Recorder, tensors: tuple[Tensor, ...]) -> bool:
        """Records the work on copies of the tensors; whether that was possible."""
        self._inputs = tuple(tensor.clone() for tensor in tensors)
        try:
            self._replay = recorder.record(lambda: self.work(*self._inputs))
        except RuntimeError as error:
            note(f"this step cannot be recorded as a CUDA graph, it runs as it stands: {str(error).splitlines()[0]}")
            self.recorder = None
        return self._replay is not None
