"""Portions: one job's work cut among several runs, which any launcher can take to any machine.

Every portion is a run in a folder of its own below that of the whole. The whole job, started as if there were no
portions, takes over what lies there and does what is left. Nothing else joins them, so that a portion may be killed,
started again, or never run.
"""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")
JOIN = "the same command without portions, under the same name, joins what is done and does what is left"


def check_portion(portion: int, portions: int) -> None:
    """Checks which portion of how many a run is to do.

    Raises:
        ValueError: If there is no such portion.
    """
    if portions < 1:
        raise ValueError(f"portions must be at least 1, got {portions}")
    if not 0 <= portion < portions:
        raise ValueError(f"portion must be in 0 … portions - 1 = {portions - 1}, got {portion}")


def portion_of(work: Sequence[T], portion: int, portions: int) -> Sequence[T]:
    """Returns every n-th piece, so that portions have similar cost where pieces grow or shrink in order.

    Args:
        work: All pieces.
        portion: Which, from 0.
        portions: How many there are.

    Raises:
        ValueError: If there are more portions than pieces.
    """
    if portions > len(work):
        raise ValueError(f"portions must be at most {len(work)}, the pieces of work there are, got {portions}")
    return work[portion::portions]
