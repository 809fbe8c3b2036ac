"""Ways of running a model's forward pass: eager, compiled, as a CUDA graph, in ONNX Runtime.

All have one interface: `prepare(model, example)` returns a function without arguments that computes the logits of the
example, (N, C, H, W), on every call. Preparing may take long: it compiles, captures or exports, with a first pass. What
a machine cannot do is said by `lack` beforehand.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from nas.compute.cuda_graphs import WARMUP, CudaGraphs
from nas.models.exporting.formats import make_program, missing_onnx, onnx_program, onnx_session, quiet

Pass = Callable[[], Tensor]
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The data type that each precision computes in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """An entry of the table of backends.

    Attributes:
        prepare: Makes the function that computes the logits of an example.
        lack: Returns why it does not work on a device in a precision; None if it does.
        verb: What preparing does, in a word, where it takes long.
    """

    prepare: Callable[[nn.Module, Tensor], Pass]
    lack: Callable[[torch.device, str], str | None] = lambda *_: None
    verb: str | None = None


def prepare_compiled(model: nn.Module, example: Tensor) -> Pass:
    """Compiles the model with `torch.compile` for the shape of the example."""

    def forward(images: Tensor) -> Tensor:
        logits: Tensor = model(images)
        return logits

    # torch.compile keeps what it compiled by code object, and stops after a few: every model and shape gets its own.
    forward.__code__ = forward.__code__.replace()
    run = partial(torch.compile(forward, dynamic=False, fullgraph=True), example)
    with quiet():
        run()
    return run


def prepare_cuda_graph(model: nn.Module, example: Tensor) -> Pass:
    """Captures a pass as a CUDA graph; a call replays it, with one launch for all kernels."""
    recorder, logits = CudaGraphs(example.device), list[Tensor]()
    with recorder.stream():
        for _ in range(WARMUP):
            model(example)
    replay = recorder.record(lambda: logits.append(model(example)))

    def run() -> Tensor:
        replay()
        return logits[0]

    run()
    return run


_EXPORTED: WeakKeyDictionary[nn.Module, bytes] = WeakKeyDictionary()


def prepare_onnxruntime(model: nn.Module, example: Tensor) -> Pass:
    """Exports the model to ONNX, once for all batch sizes, and opens a session with torch's number of threads."""
    if model not in _EXPORTED:
        images = torch.zeros((2, *example.shape[1:]))  # of one image, the batch size would be taken for a constant
        exported = onnx_program(make_program(model, images, dynamic=True), dynamic=True)
        _EXPORTED[model] = exported.model_proto.SerializeToString()
    session = onnx_session(_EXPORTED[model], spins=False)  # what is timed next needs the threads' time
    feed = {"images": example.contiguous().numpy()}

    def run() -> Tensor:
        return torch.from_numpy(session.run(["logits"], feed)[0])

    run()
    return run


def _lacks_onnxruntime(device: torch.device, precision: str) -> str | None:
    if missing := missing_onnx():
        return f"needs {', '.join(missing)}: pip install 'shufflenas[export]'"
    if device.type != "cpu":
        return f"is measured on the CPU, this is {device}; add device=cpu"
    return None if precision == "fp32" else f"computes in fp32 on the CPU, not in {precision}"


BACKENDS: dict[str, Backend] = {
    "eager": Backend(prepare=partial),
    "compile": Backend(prepare=prepare_compiled, verb="compiling"),
    "cuda_graph": Backend(
        prepare=prepare_cuda_graph,
        lack=lambda device, _: None if device.type == "cuda" else f"needs a CUDA device, this is {device}",
        verb="capturing",
    ),
    "onnxruntime": Backend(prepare=prepare_onnxruntime, lack=_lacks_onnxruntime, verb="exporting"),
}


def precision_name(autocast: torch.dtype | None) -> str:
    """Returns the name of the precision in which a runtime computes that autocasts to a data type, or to none."""
    return next((name for name, dtype in PRECISIONS.items() if dtype == autocast), "fp32")
