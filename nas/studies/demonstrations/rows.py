"""The shape that all demonstrations share: a generator of rows, which may return further figures at its end."""

from collections.abc import Callable, Generator
from dataclasses import asdict
from functools import wraps
from typing import Any

Row = dict[str, Any]
Rows = Generator[Row, None, Row]


def demonstration(*parts: str) -> Callable[[Callable[..., Rows]], Callable[..., dict[str, Any]]]:
    """Makes the decorated generator of rows a function that runs to its end.

    The function takes what the generator takes, settings first, and `on_row`, which is called with each row. It returns
    JSON-ready figures: `settings`, the `rows`, and what the generator returns.

    Args:
        parts: Values of `part` in the rows of a demonstration in several, under which they are returned instead.
    """

    def decorate(rows_of: Callable[..., Rows]) -> Callable[..., dict[str, Any]]:
        @wraps(rows_of)
        def run(
            settings: Any, *, seed: int, on_row: Callable[[Row], object] = lambda _: None, **resources: Any
        ) -> dict[str, Any]:
            figures: dict[str, Any] = {"settings": asdict(settings), **{part: [] for part in parts or ("rows",)}}

            def until_the_end() -> Rows:
                figures.update((yield from rows_of(settings, seed=seed, **resources)))
                return {}

            for row in until_the_end():
                on_row(row)
                figures[row.get("part", "rows")].append({key: row[key] for key in row if key != "part"})
            return figures

        return run

    return decorate
