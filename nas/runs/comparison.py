"""Comparison of two runs to the bit: their rows, genotypes, figures and weights, but not their times."""

import csv
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.runs.checkpoints import load_checkpoint, load_json, load_weights

TIMES = frozenset({"seconds", "compile_seconds", "train_seconds"})
"""Keys of what is measured with a clock."""


@dataclass(frozen=True, slots=True)
class FileComparison:
    """A file that two runs have.

    Attributes:
        file: Its name in the run folder.
        difference: Where it differs first, and both values; None if it is equal.
    """

    file: str
    difference: str | None


def compare_runs(first: Path, second: Path) -> list[FileComparison]:
    """Compares the results of two run folders, in the order in which one follows from the other.

    Raises:
        ValueError: If a file is broken.
    """
    members = sorted({f"members/{path.name}" for run in (first, second) for path in (run / "members").glob("*.pt")})
    wholes = [name for name in members if ".previous." not in name and ".diverged." not in name]
    readers: dict[str, Callable[[Path], Any]] = {
        "data.json": load_json,
        "search.csv": _read_rows,
        "scored.csv": _read_rows,
        "checkpoint.pt": load_checkpoint,
        "finals.csv": _read_rows,
        "candidates.json": load_json,
        "random.json": load_json,
        "pareto.json": load_json,
        "genotype.json": load_json,
        "retrain.csv": _read_rows,
        **dict.fromkeys(wholes, load_checkpoint),
        "metrics.json": load_json,
        "weights.safetensors": load_weights,
    }
    compared = []
    for name, read in readers.items():
        there = [run for run in (first, second) if (run / name).is_file()]
        if len(there) == 2:
            compared.append(FileComparison(name, first_difference(read(first / name), read(second / name))))
        elif there:
            compared.append(FileComparison(name, f"only in {there[0]}"))
    return compared


def first_difference(first: object, second: object, *, where: str = "") -> str | None:
    """Returns where two structures of dicts, lists, tensors and plain values differ first; None if they are equal.

    Times are left out, and NaN equals NaN.
    """
    place = where or "it"
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return _tensor_difference(first, second, place)
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for key in [key for key in dict.fromkeys([*first, *second]) if key not in TIMES]:
            below = f"{where}.{key}" if where else str(key)
            if (key in first) != (key in second):
                return f"{below} is only in the {'first' if key in first else 'second'}"
            if (found := first_difference(first[key], second[key], where=below)) is not None:
                return found
        return None
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        for number, (one, other) in enumerate(zip(first, second, strict=False)):
            if (found := first_difference(one, other, where=f"{where}[{number}]")) is not None:
                return found
        return None if len(first) == len(second) else f"{place} has {len(first)} entries and {len(second)}"
    both_nan = all(isinstance(value, float) and math.isnan(value) for value in (first, second))
    if both_nan or (type(first) is type(second) and first == second):
        return None
    return f"{place} is {str(first)[:60]} and {str(second)[:60]}"


def _tensor_difference(first: Tensor, second: Tensor, place: str) -> str | None:
    if first.shape != second.shape or first.dtype != second.dtype:
        kinds = [f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}" for x in (first, second)]
        return f"{place} is {kinds[0]} and {kinds[1]}"
    if torch.equal(first, second):
        return None
    gap = (first.double() - second.double()).abs()
    if not gap.nan_to_num(nan=math.inf).any() or bool(torch.equal(first.isnan(), second.isnan()) and not gap.nansum()):
        return None  # NaN in the same places
    return f"{place} differs in {int((first != second).sum())} of {first.numel()} numbers, by up to {gap.max():.3g}"


def _read_rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
