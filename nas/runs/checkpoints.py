"""Files that are whole or absent: atomic writes, and checkpoints that are sealed and read without unpickling code.

Of a checkpoint the last two are kept. Each ends in a digest of what stands before it, so that a truncated or damaged
file is known as such, and the one before takes its place.
"""

import hashlib
import io
import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.runs.console import note

if TYPE_CHECKING:  # torch is loaded where tensors are
    from torch import Tensor

SEAL = b"\nsha256:"
SEAL_LENGTH = len(SEAL) + 64


def write_bytes(path: Path, *parts: bytes | memoryview, keep_old_as: Path | None = None) -> None:
    """Writes a file so that it is seen whole or not at all, even if the machine stops in between.

    Args:
        path: The file, replaced if it exists.
        parts: Its content, one after the other.
        keep_old_as: Where the file that is replaced goes; None lets it go.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:  # names the file that was meant
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(parts)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        if keep_old_as is not None and path.exists():
            path.replace(keep_old_as)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def file_digest(path: Path) -> str:
    """Returns the SHA-256 digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, data: object) -> None:
    """Writes indented JSON atomically; infinities and NaN become null."""
    write_text(path, json.dumps(_finite(data), indent=2, ensure_ascii=False) + "\n")


def load_json(path: Path, *, cure: str = "") -> Any:
    """Reads a JSON file.

    Args:
        path: The file.
        cure: Advice for a damaged file, such as `, remove it`.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is damaged; the message names it and the cure.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged{cure}: {error}") from None


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Writes rows as CSV atomically, columns in order of first appearance; a lacking value is left empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines: list[list[object]] = [[*columns], *([row.get(column) for column in columns] for row in rows)]
    write_text(path, "".join(",".join(map(_csv_field, line)) + "\n" for line in lines))


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Writes a state of tensors, numbers, texts, lists and dicts atomically, and keeps the one before.

    A file is written by one process at a time, the one that holds the run folder.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    data = buffer.getvalue()
    # A damaged file must not push out the one before it, which may be the only whole one.
    keep = previous_checkpoint(path) if path.exists() and _damage(path.read_bytes()) is None else None
    write_bytes(path, data, _seal(data), keep_old_as=keep)
    for leftover in path.parent.glob(f".{path.name}.*"):  # of a process that was killed while it wrote
        leftover.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Reads what `save_checkpoint` wrote, on the CPU; None if there is nothing.

    Where the file is damaged or missing, the one before is read instead, and a note says so.

    Raises:
        ValueError: If there are checkpoints and none of them is whole.
    """
    damaged = []
    for file in filter(Path.exists, (path, previous_checkpoint(path))):
        try:
            state = _read_checkpoint(file)
        except ValueError as error:
            damaged.append(str(error))
            continue
        if file != path:
            note(f"warning: {damaged[0] if damaged else f'{path} is missing'}; resuming from {file}, the one before")
        return state
    if damaged:
        raise ValueError("; ".join([*damaged, "there is no other; to start again, choose another name"]))
    return None


def previous_checkpoint(path: Path) -> Path:
    """Returns where the checkpoint before that of `path` is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def _read_checkpoint(path: Path) -> dict[str, Any]:
    """Reads one file; raises ValueError if it is not whole or not a checkpoint."""
    import torch

    data = path.read_bytes()
    try:
        if (damage := _damage(data)) is not None:
            raise ValueError(damage)
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail in many ways
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is not a readable checkpoint: {reason}") from error
    return state


def _seal(data: bytes | memoryview) -> bytes:
    """Returns what is put behind a checkpoint; readers of zip files, as torch's are, look past it."""
    return SEAL + hashlib.sha256(data).hexdigest().encode()


def _damage(data: bytes) -> str | None:
    """Returns what is wrong with the bytes of a checkpoint; None if they are those that were written."""
    content, seal = memoryview(data)[:-SEAL_LENGTH], data[-SEAL_LENGTH:]
    if not seal.startswith(SEAL):
        return "its checksum is missing, it is not whole"
    return None if seal == _seal(content) else "its checksum does not fit, it is damaged"


def _sync_folder(folder: Path) -> None:
    """Makes the names in a folder outlast a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_weights(path: Path, weights: "Mapping[str, Tensor]", *, metadata: Mapping[str, str]) -> None:
    """Writes weights as safetensors atomically."""
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    write_bytes(path, save(tensors, metadata=dict(metadata)))


def load_weights(path: Path) -> "dict[str, Tensor]":
    """Reads weights from safetensors, on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not in safetensors' format.
    """
    from safetensors.torch import load_file

    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; `nas retrain` writes them")
    try:
        return dict(load_file(path))
    except Exception as error:
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error


def read_metadata(path: Path) -> dict[str, str]:
    """Reads the texts that `save_weights` wrote with the weights; empty if the file is not there.

    Raises:
        ValueError: If the file is not in safetensors' format.
    """
    from safetensors import safe_open

    if not path.is_file():
        return {}
    try:
        with safe_open(path, framework="np") as file:
            return dict(file.metadata() or {})
    except Exception as error:  # a damaged file can fail in many ways
        raise ValueError(f"{path} is not a readable safetensors file: {error}") from error


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
    return '"' + text.replace('"', '""') + '"' if any(sign in text for sign in ',"\n\r') else text
