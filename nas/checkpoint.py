"""Files that are whole or absent: atomic writes, and checkpoints read without unpickling code."""

import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a file so that it is seen whole or not at all, even if the machine stops in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, data: object) -> None:
    """Writes indented JSON atomically; infinities and NaN become null."""
    write_text(path, json.dumps(_finite(data), indent=2, ensure_ascii=False) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes rows as CSV atomically, columns in order of first appearance; a lacking value is left empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, *([_csv_field(row.get(column)) for column in columns] for row in rows)]
    write_text(path, "".join(",".join(line) + "\n" for line in lines))


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a state of tensors, numbers, texts, lists and dicts atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Reads what `save_checkpoint` wrote, on the CPU; None if there is no such file.

    Raises:
        ValueError: If the file is not a checkpoint.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail in many ways
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is not a readable checkpoint: {reason}") from error
    return state


def save_weights(path: Path, weights: Mapping[str, Tensor], *, metadata: Mapping[str, str]) -> None:
    """Writes weights as safetensors atomically."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    write_bytes(path, save(tensors, metadata=dict(metadata)))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Reads weights from safetensors, on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not in safetensors' format.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; `nas retrain` writes them")
    try:
        return dict(load_file(path))
    except Exception as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error


def read_metadata(path: Path) -> dict[str, str]:
    """Reads the texts that `save_weights` wrote beside the weights; empty if the file is not there or not readable."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except Exception:  # a damaged file can fail in many ways
        return {}


def _finite(data: object) -> object:
    if isinstance(data, float) and not math.isfinite(data):
        return None
    if isinstance(data, Mapping):
        return {str(key): _finite(value) for key, value in data.items()}
    if isinstance(data, Iterable) and not isinstance(data, str):
        return [_finite(value) for value in data]
    return data


def _csv_field(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return f'"{text}"' if "," in text else text
