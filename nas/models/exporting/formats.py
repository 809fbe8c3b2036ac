"""Writing a trained model for use elsewhere: as ONNX, as a torch.export program, as one Python file; and checking it.

Whatever is written is read back from its file and compared with the model that it was made of.
"""

import importlib
import importlib.util
import io
import logging
import runpy
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas import __version__
from nas.models.exporting.source_code import WEIGHTS_NAME, write_source
from nas.runs.checkpoints import write_bytes, write_text

TOLERANCE = 1e-4  # of a logit, in units of the largest one
DYNAMIC_SHARE = 0.01  # of images that a shuffle of their own may, by a tie, send another way in another runtime
OPSETS = (18, 23)
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")

Run = Callable[[Tensor], Tensor]
"""Maps images to logits, with a written file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A model in a file.

    Attributes:
        files: What was written, the model first.
        run: Computes with it.
    """

    files: tuple[Path, ...]
    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far a written model is from the one it was made of.

    Attributes:
        images: Compared.
        largest: Difference of a logit.
        relative: The same in units of the largest logit of its batch.
        beyond: Images whose `relative` is above `TOLERANCE`.
    """

    images: int
    largest: float
    relative: float
    beyond: int


def make_program(model: nn.Module, example: Tensor, *, dynamic: bool) -> torch.export.ExportedProgram:
    """Writes down what a model computes, as both ONNX and torch.export need it.

    Args:
        model: The model, in evaluation mode, on the CPU.
        example: Images (N, C, H, W), at least two where the batch size is dynamic.
        dynamic: Whether it takes any batch size; otherwise that of the example.
    """
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    with quiet(), torch.inference_mode(False), torch.no_grad():
        return torch.export.export(model, (example,), dynamic_shapes=shapes)


def write_onnx(program: torch.export.ExportedProgram, folder: Path, *, opset: int, dynamic: bool) -> Written:
    """Writes `model.onnx`, input `images`, output `logits`.

    Args:
        program: From `make_program`.
        folder: Where to.
        opset: Version of ONNX's operators, in `OPSETS`.
        dynamic: Whether the program takes any batch size.

    Raises:
        ValueError: If the optional packages are missing or the opset is out of range.
    """
    check_onnx(opset)
    path = folder / "model.onnx"
    folder.mkdir(parents=True, exist_ok=True)
    written = onnx_program(program, dynamic=dynamic, opset=opset)
    with quiet():
        written.save(path, external_data=False)
    session = onnx_session(str(path))
    found = dict(written.model.opset_imports)
    if found.get("", opset) != opset:
        raise ValueError(f"export.opset={opset}: the model could only be written in opset {found['']}")

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["logits"], {"images": images.contiguous().numpy()})[0])

    return Written(files=(path,), run=run)


def onnx_program(
    program: torch.export.ExportedProgram, *, dynamic: bool, opset: int | None = None
) -> torch.onnx.ONNXProgram:
    """Returns a program from `make_program` in ONNX, input `images`, output `logits`; arguments as in `write_onnx`."""
    with quiet(), torch.inference_mode(False), torch.no_grad():
        written = torch.onnx.export(
            program,
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            opset_version=opset,
            dynamic_shapes=({0: "batch"},) if dynamic else None,  # what the file calls it
            verbose=False,
        )
    assert written is not None
    return written


def onnx_session(model: str | bytes, *, spins: bool = True) -> Any:
    """Opens a model, a file or its bytes, in ONNX Runtime on the CPU, with torch's number of threads.

    Args:
        model: The model in ONNX.
        spins: Whether idle threads spin, which takes time from whatever else runs.
    """
    onnxruntime = importlib.import_module("onnxruntime")  # an optional package
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spins)))
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def missing_onnx() -> list[str]:
    """Returns which of the packages that ONNX needs are not installed."""
    return [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]


def check_onnx(opset: int) -> None:
    """Raises ValueError unless ONNX's packages are there and the opset is in `OPSETS`."""
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise ValueError(f"export.opset must lie in {OPSETS[0]} … {OPSETS[1]}, got {opset}")
    if missing := missing_onnx():
        raise ValueError(f"format=onnx needs {', '.join(missing)}: pip install 'shufflenas[export]'")


def write_program(program: torch.export.ExportedProgram, folder: Path) -> Written:
    """Writes `model.pt2`, for `torch.export.load`; `program` is from `make_program`."""
    path = folder / "model.pt2"
    with quiet():
        buffer = io.BytesIO()
        torch.export.save(program, buffer)
        write_bytes(path, buffer.getvalue())
        module = torch.export.load(path).module()
    return Written(files=(path,), run=module)


def write_python(
    model: nn.Module, folder: Path, example: Tensor, *, title: str, images: str, takes: str = "normalised"
) -> Written:
    """Writes `model.py` and its weights; it takes any batch size.

    Args:
        model: Model of plain layers, in evaluation mode, on the CPU.
        folder: Where to.
        example: Images (N, C, H, W).
        title: What the model is, in one line.
        images: What it takes, in words.
        takes: The same as a word for `nas.models.exporting.plain_layers.ImageCheck`, which refuses other images.

    Raises:
        ValueError: If the model does what cannot be written as source code.
    """
    shape = ", ".join(map(str, example.shape))
    make = (
        f"torch.randint(256, ({shape}), dtype=torch.uint8)" if example.dtype == torch.uint8 else f"torch.rand({shape})"
    )
    text, values = write_source(
        model, example, title=title, version=__version__, images=images, takes=takes, make_images=make
    )
    path, weights = folder / "model.py", folder / WEIGHTS_NAME
    buffer = io.BytesIO()
    torch.save({name: value.detach().clone() for name, value in values.items()}, buffer)
    write_bytes(weights, buffer.getvalue())
    write_text(path, text)
    return Written(files=(path, weights), run=runpy.run_path(str(path))["load"]())


@torch.no_grad()
def difference(pairs: Iterable[tuple[Tensor, Tensor]]) -> Difference:
    """Compares logits with those expected, both (N, classes), batch by batch.

    Raises:
        ValueError: If those expected are not finite.
    """
    absolute: list[float] = []
    scaled: list[float] = []
    for got, expected in pairs:
        if not expected.isfinite().all():
            raise ValueError("the trained model's logits are not finite: its training diverged")
        apart = (got - expected).abs().amax(dim=1).nan_to_num(nan=float("inf"))  # (N,)
        absolute += apart.tolist()
        scaled += (apart / (float(expected.abs().max()) or 1.0)).tolist()
    beyond = sum(one > TOLERANCE for one in scaled)
    largest, relative = max(absolute, default=0.0), max(scaled, default=0.0)
    return Difference(images=len(scaled), largest=largest, relative=relative, beyond=beyond)


def check_difference(found: Difference, *, what: str, dynamic_shuffle: bool) -> None:
    """Refuses a written model that computes something else.

    Where the model permutes each image's channels by what it sees, a tie that another runtime rounds the other way
    sends a single image another way; `DYNAMIC_SHARE` of the images may differ there.

    Raises:
        ValueError: If it differs.
    """
    allowed = DYNAMIC_SHARE * found.images if dynamic_shuffle else 0
    if found.beyond > allowed:
        raise ValueError(
            f"{what} differs from the trained model: by {found.largest:.3g}, {found.relative:.3g} of the largest logit "
            f"(at most {TOLERANCE:g} is allowed), on {found.beyond} of {found.images} images"
        )


@contextmanager
def quiet() -> Iterator[None]:
    """Silences the warnings of compilers and exporters, which concern their own code."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
