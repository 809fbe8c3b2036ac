"""Tables of what somebody has trained before, read from CSV files: reward, report and cost of every cell."""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.runs.checkpoints import file_digest

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
            if cost is not None and not isinstance(cost, str):
                cost = next((name for name in cost if name in names), None)
            wanted = {"key": key, "reward": reward, "report": report, "cost": cost, "group": group}
            places = _places(names, wanted, file)
            columns = _read_rows(((rows.line_num, row) for row in rows), names=names, places=places, file=file)
        except csv.Error as error:
            raise ValueError(f"{file}, line {rows.line_num}: no valid CSV: {error}") from None
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


def _places(names: Sequence[str], wanted: Mapping[str, str | None], file: Path) -> dict[str, int]:
    """Returns the place of each wanted column by its role."""
    if len(names) > MAX_COLUMNS:
        raise ValueError(f"{file}, line 1: has {len(names)} columns, more than {MAX_COLUMNS}")
    places = {}
    for role, name in wanted.items():
        if name is None:
            continue
        if names.count(name) != 1:
            found = "has no column" if name not in names else "has more than one column"
            known = f"it has {', '.join(names[:20])}; table.{role}=COLUMN names one"
            known += "; a table of `nas tabulate` is read with table=cells" if names[:1] == ["cell"] else ""
            raise ValueError(f"{file}, line 1: {found} {brief(name)} for the {role}; {known}")
        places[role] = names.index(name)
    return places


def _read_rows(
    rows: Iterable[tuple[int, list[str]]], *, names: Sequence[str], places: Mapping[str, int], file: Path
) -> dict[str, dict[str, float]]:
    """Returns the values of each role but the key, by key."""
    columns: dict[str, dict[str, float]] = {role: {} for role in places if role != "key"}
    for line, row in rows:
        if not row:
            continue  # an empty line
        try:
            _add_row(columns, row, names=names, places=places)
        except ValueError as error:  # the place is put into words only here, since rows are many
            raise ValueError(f"{file}, line {line}{error}") from None
    return columns


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
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or "_" in text:  # Python takes 1_000 for a number, other readers do not
            raise ValueError(f", column {names[places[role]]}: must be a finite number, got {brief(text)}")
        values[key] = value


def brief(text: str) -> str:
    """Returns a text for a message: in quotes, and no longer than can be read."""
    return repr(text if len(text) <= SHOWN_LENGTH else text[:SHOWN_LENGTH] + "…")
