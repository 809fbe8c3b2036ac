"""Cells with figures, from files: those of an earlier search, of `nas score`, or of a table made elsewhere."""

import csv
import io
import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import torch

from nas.models.genotype_files import load_genotype
from nas.searching.settings import WarmUpSettings
from nas.searching.table_files import number, read_text
from search_spaces.genotype import Genotype
from search_spaces.space import SearchSpace

SCORED = "scored.csv"
ACTIONS = "actions"
Row = tuple[int, ...]


def read_cells(path: str | Path, space: SearchSpace) -> list[tuple[Genotype, dict[str, str]]]:
    """Returns the cells of a file, each with its row by the names of the columns.

    Args:
        path: The run folder of a search, or a CSV file, perhaps compressed (.gz). Cells are in its column `actions` or
            else in its first, there in any notation that `genotype=` takes.
        space: Of the cells.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no rows, or a row is no cell of the space.
    """
    file = Path(path).expanduser()
    file = file / SCORED if file.is_dir() else file
    if not file.is_file():
        raise FileNotFoundError(
            f"no cells at {file}: name a search's run folder, or a CSV file like that of `nas score`"
        )
    rows = csv.DictReader(io.StringIO(read_text(file), newline=""))
    names = list(rows.fieldnames or [])
    found = []
    try:
        for row in rows:
            whole = {name: row[name] or "" for name in names}
            if ACTIONS in names:
                genotype = space.decode([int(word) for word in whole[ACTIONS].split()])
            else:
                genotype = load_genotype(whole[names[0]])
                space.encode(genotype)  # only to check it
            found.append((genotype, whole))
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"{file}, line {rows.line_num}: {error}") from None
    if not found:
        raise ValueError(f"{file} holds no cells")
    return found


def read_values(path: str | Path, space: SearchSpace, *, column: str) -> dict[Row, float]:
    """Returns the values of a column by the cells' actions; cells without a finite value are left out.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there is no such column, or it holds no finite number.
    """
    cells = read_cells(path, space)
    if column not in cells[0][1]:
        raise ValueError(f"{path} has no column {column!r}; it has {', '.join(cells[0][1])}")
    values = {space.encode(genotype): number(row[column]) for genotype, row in cells}
    found = {actions: value for actions, value in values.items() if math.isfinite(value)}
    if not found:
        raise ValueError(f"the column {column!r} of {path} holds no number")
    return found


def rows_by_function(path: str | Path, space: SearchSpace) -> Mapping[Hashable, dict[str, str]]:
    """Returns the rows of a file by what their cells compute, of several that compute the same the last."""
    return {space.canonical(genotype): row for genotype, row in read_cells(path, space)}


def first_cells(settings: WarmUpSettings, space: SearchSpace, *, seed: int) -> Sequence[Row]:
    """Returns the cells with which a search begins: the best by a score among some drawn from a file, best first.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there is no such column.
    """
    if settings.file is None:
        return ()
    scores = read_values(settings.file, space, column=settings.by)
    cells = list(scores)
    drawn = torch.randperm(len(cells), generator=torch.Generator().manual_seed(seed)).tolist()
    among = [cells[number] for number in drawn[: settings.among]]
    distinct: dict[Hashable, Row] = {}
    for row in sorted(among, key=lambda row: -scores[row]):
        distinct.setdefault(space.canonical(space.decode(row)), row)
    return list(distinct.values())[: settings.cells]
