"""The figures that a search and a retraining leave in their run folders."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nas.reporting.figures.drawing import write_figure
from nas.reporting.figures.learning import retrain_chart, reward_chart, single_chart
from nas.reporting.figures.policy import choice_charts


def search_curves(rows: Sequence[Mapping[str, float]], path: str | Path) -> None:
    """Draws how a search went: the rewards and their baseline, the policy's entropy, the loss of the shared weights.

    Args:
        rows: One an epoch, with `epoch` and any of `reward` (mean of the sampled architectures), `best` (highest so
            far), `baseline`, `entropy` in nats, and `loss` in nats. What is missing, None or NaN is left out.
        path: Where the SVG goes.

    Raises:
        ValueError: If there are no values.
    """
    write_figure(path, reward_chart(rows), single_chart(rows, "entropy"), single_chart(rows, "loss"))


def choice_curves(rows: Sequence[Mapping[str, float]], path: str | Path) -> None:
    """Draws how often each op, and each mixer, was chosen as the policy evolved, stacked to 100 %.

    Args:
        rows: One an epoch, with `epoch` and shares in 0 … 1 by `kind.choice`, as `op.identity`; those of a kind sum
            to 1. Each is drawn as its mean over up to ten epochs, since an epoch has few samples.
        path: Where the SVG goes.

    Raises:
        ValueError: If `rows` is empty or holds no shares.
    """
    write_figure(path, *choice_charts(rows))


def training_curves(rows: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Draws the test accuracy of retrained architectures, a line each, in one colour per kind of cell.

    Args:
        rows: One an epoch of each run, with `label` ("found", "random"), `seed`, `epoch` and `test_accuracy` in
            0 … 1. Epochs without a test accuracy (missing, None or NaN) are left out; other keys are not read.
        path: Where the SVG goes.

    Raises:
        ValueError: If there are no values.
    """
    write_figure(path, retrain_chart(rows, "test_accuracy"))
