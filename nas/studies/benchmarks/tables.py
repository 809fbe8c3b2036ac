"""The figures of a benchmark as tables."""

from collections.abc import Iterator, Mapping
from typing import Any

from nas.runs.console import in_columns, note


def print_tables(part: str, figures: Mapping[str, Any]) -> None:
    """Prints all figures of a part, groups of the same columns as one table."""
    tables: dict[tuple[str, ...], list[list[str]]] = {}
    for name, row in groups(part, figures):
        tables.setdefault(tuple(row), [["", *row]]).append([name, *map(_text, row.values())])
    for lines in tables.values():
        note("\n" + "\n".join(in_columns(lines, left={0})))


def groups(name: str, figures: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yields the name and the figures of each group in nested figures; genotypes are left out."""
    row = {key: value for key, value in figures.items() if isinstance(value, int | float | str)}
    if row:
        yield name, row
    for key, value in figures.items():
        if isinstance(value, Mapping) and key != "genotype":
            yield from groups(f"{name}: {key}", value)
        elif isinstance(value, list):
            for number, part in enumerate(value):
                yield from groups(f"{name}: {key} {number}", part)


def _text(value: float | str) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,d}" if isinstance(value, int) else value
