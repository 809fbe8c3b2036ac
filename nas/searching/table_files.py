"""Cells with figures from CSV files: tables of what somebody has trained before, an earlier search, `nas score`."""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nas.models.genotype_files import load_genotype
from nas.runs.checkpoints import file_digest
from nas.searching.settings import WarmUpSettings
from search_spaces.genotype import Genotype
from search_spaces.space import SearchSpace

MAX_BYTES = 256 * 2**20
MAX_ROWS = 1_000_000
MAX_COLUMNS = 1_000
MAX_KEY_LENGTH = 10_000
SHOWN_LENGTH = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Columns of a CSV file by the key of each row.

    Attributes:
        path: The file.
        reward: What a search sees.
        report: What counts in the end; None without such a column.
        cost: Such as parameters, milliseconds or seconds; None without such a column.
        group: Numbers of groups whose cells are compared among themselves; None without such a column.
    """

    path: Path
    reward: Mapping[str, float]
    report: Mapping[str, float] | None = None
    cost: Mapping[str, float] | None = None
    group: Mapping[str, float] | None = None

    @classmethod
    def read(
        cls,
        path: str | Path,
        *,
        key: str,
        reward: str,
        report: str | None = None,
        cost: str | Sequence[str] | None = None,
        group: str | None = None,
    ) -> "Table":
        """Reads a comma-separated file in UTF-8, compressed if its name ends in `.gz`.

        Its first line names the columns; those not asked for are not looked at.

        Args:
            path: The file, at most 256 MiB when decompressed and of 1,000,000 rows.
            key: Name of the column that tells the rows apart.
            reward: Name of a column of finite numbers, and so are the others.
            report: See the attributes.
            cost: See the attributes; of several names, the first that the file has, if any.
            group: See the attributes.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it cannot be read, lacks a column or all rows, or a row breaks a rule; the message names the
                line and the column.
        """
        file = Path(path).expanduser()
        rows = csv.reader(io.StringIO(read_text(file), newline=""), strict=True)
        try:
            names = next(rows, [])
            if len(names) > MAX_COLUMNS:
                raise ValueError(f": has {len(names)} columns, more than {MAX_COLUMNS}")
            if cost is not None and not isinstance(cost, str):
                cost = next((name for name in cost if name in names), None)
            wanted = {"key": key, "reward": reward, "report": report, "cost": cost, "group": group}
            places = {role: _place(names, name, role) for role, name in wanted.items() if name is not None}
            columns: dict[str, dict[str, float]] = {role: {} for role in places if role != "key"}
            for row in filter(None, rows):  # some lines may be empty
                _add_row(columns, row, names=names, places=places)
        except (csv.Error, ValueError) as error:  # the place is put into words only here, since rows are many
            rule = ": no valid CSV: " if isinstance(error, csv.Error) else ""
            raise ValueError(f"{file}, line {max(1, rows.line_num)}{rule}{error}") from None
        if not columns["reward"]:
            raise ValueError(f"{file}: has no rows below its header")
        return cls(path=file, **columns)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.reward)

    @property
    def optimum(self) -> float:
        """The highest report of all rows, from which regret is measured.

        Raises:
            ValueError: If there is no report column.
        """
        return max(self.column("report").values())

    @property
    def record(self) -> dict[str, Any]:
        """What is known of the file: `table`, its name, `sha256` and `rows`."""
        return {"table": self.path.name, "sha256": file_digest(self.path), "rows": len(self)}

    def column(self, role: str) -> Mapping[str, float]:
        """Returns the column `reward`, `report` or `cost`.

        Raises:
            ValueError: If it was not read.
        """
        values: Mapping[str, float] | None = getattr(self, role)
        if values is None:
            raise ValueError(f"{self.path} was read without a {role} column; name one with {role}=COLUMN")
        return values


def read_text(file: Path) -> str:
    """Returns a file's text, decompressing no more than is allowed."""
    if not file.is_file():
        raise FileNotFoundError(f"no such table: {file}")
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{file}: cannot be read: {error}") from error
    if len(data) > MAX_BYTES:
        raise ValueError(f"{file}: holds more than {MAX_BYTES // 2**20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{file}, line {line}: is not text in UTF-8") from None


def _place(names: Sequence[str], name: str, role: str) -> int:
    if names.count(name) != 1:
        found = "has no column" if name not in names else "has more than one column"
        known = f"it has {', '.join(names[:20])}; table.{role}=COLUMN names one"
        known += "; a table of `nas tabulate` is read with table=cells" if names[:1] == ["cell"] else ""
        raise ValueError(f": {found} {brief(name)} for the {role}; {known}")
    return names.index(name)


def _add_row(
    columns: dict[str, dict[str, float]], row: Sequence[str], *, names: Sequence[str], places: Mapping[str, int]
) -> None:
    if len(row) != len(names):
        raise ValueError(f": has {len(row)} fields, the header {len(names)}")
    key = row[places["key"]]
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        raise ValueError(f", column {names[places['key']]}: must have 1 to {MAX_KEY_LENGTH} characters")
    if key in columns["reward"]:
        raise ValueError(f", column {names[places['key']]}: {brief(key)} is there already")
    if len(columns["reward"]) == MAX_ROWS:
        raise ValueError(f": there are more than {MAX_ROWS} rows")
    for role, values in columns.items():
        text = row[places[role]]
        values[key] = number(text)
        if not math.isfinite(values[key]):
            raise ValueError(f", column {names[places[role]]}: must be a finite number, got {brief(text)}")


def number(text: str) -> float:
    """Returns the number that a text writes; nan if it writes none, and for 1_000, which other readers do not take."""
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


def brief(text: str) -> str:
    """Returns a text for a message: in quotes, and no longer than can be read."""
    return repr(text if len(text) <= SHOWN_LENGTH else text[:SHOWN_LENGTH] + "…")


SCORED = "scored.csv"
ACTIONS = "actions"
Row = tuple[int, ...]


def read_cells(path: str | Path, space: SearchSpace) -> list[tuple[Genotype, dict[str, str]]]:
    """Returns the cells of a file, each with its row by the names of the columns.

    Args:
        path: The run folder of a search, or a CSV file, perhaps compressed (.gz). Cells are in its column `actions` or
            else in its first, there in any notation that `genotype=` takes.
        space: The space of the cells.

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
