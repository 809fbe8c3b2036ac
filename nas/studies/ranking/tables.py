"""The text that a person sees of a ranking: three tables, and sentences that say no more than their intervals."""

import math
from collections.abc import Mapping
from typing import Any

from nas.runs.console import Column, Table, note, result
from nas.studies.ranking.figures import FEWEST

Figures = Mapping[str, Any]
WIDE = 22  # characters of "+0.45 (+0.20 … +0.64)"


def print_figures(figures: Figures) -> None:
    """Prints what `nas.studies.ranking.figures.ranking_figures` returned, the sentences as the result."""
    print_tables(figures["runs"])
    for run, found in figures["runs"].items():
        if (log_prob := found["log_prob"]) is not None:
            note(
                f"{run}: the policy's log-probability against stand-alone accuracy tau "
                f"{signed(log_prob['stand_alone']['tau'])}, against the shared weights' "
                f"{signed(log_prob['shared']['tau'])}"
            )
    for sentence in sentences(figures):
        result(sentence)


def sentences(figures: Figures) -> list[str]:
    """Says what a ranking comes to: of each run, of what later runs differ by, and of stand-alone training."""
    said = [run_sentence(name, run) for name, run in figures["runs"].items()]
    said += [difference_sentence(difference) for difference in figures["differences"]]
    reliability = figures["reliability"]
    return said if reliability is None else [*said, reliability_sentence(reliability)]


def print_tables(runs: Mapping[str, Figures]) -> None:
    """Prints the figures of all runs, those of one kind together so that runs stand side by side.

    Args:
        runs: By name what `nas.studies.ranking.figures.run_figures` returned.
    """
    name = Column("run", f"{'run':>{max(8, *map(len, runs))}}", "")
    tau, rho, gain = _wide("tau"), _wide("rho"), _wide("gain", "tau against own")
    note("rank correlation of shared-weight with stand-alone accuracy (95 % interval)")
    within = Table([name, Column("subset", f"{'cells':>26}", ""), Column("cells", "number", "d"), tau, rho])
    for kind in next(iter(runs.values()))["within"]:
        for run, figures in runs.items():
            within.row({"run": run, "subset": kind, **_row(figures["within"][kind])})
    note("over all cells, by treatment of batch norm (* the run's own)")
    modes = Table([name, Column("mode", f"{'batch norm':>16}", ""), tau, rho, gain])
    for run, figures in runs.items():
        for mode, entry in figures["modes"].items():
            difference = entry["tau_difference"]
            marked, gained = (f"{mode} *", None) if difference is None else (mode, signed(difference))
            modes.row({"run": run, "mode": marked, **_row(entry), "gain": gained})
    note(
        "best of k retrained, % (95 % interval); the random ones are of these cells, richer in good ones than the space"
    )
    shown = [_wide("top", "top k"), _wide("random", "k random"), _wide("gain", "difference")]
    best = Table([name, Column("k", "k", "d"), *shown])
    for run, figures in runs.items():
        for entry in figures["top"]:
            cells = {key: signed(entry[key], scale=100, sign="") for key in ("top", "random")}
            best.row({"run": run, "k": entry["k"], **cells, "gain": signed(entry["gain"], scale=100)})


def _wide(key: str, title: str = "") -> Column:
    return Column(key, f"{title or key:>{WIDE}}", "")


def _row(entry: Figures) -> dict[str, Any]:
    return {"cells": entry["cells"], "tau": signed(entry["tau"]), "rho": signed(entry["rho"])}


def signed(estimate: Mapping[str, float], *, scale: float = 1.0, sign: str = "+") -> str:
    """Returns an estimate with its interval as text, or why there is none: too few cells, or all of one value."""
    value, low, high = (scale * estimate[key] for key in ("value", "low", "high"))
    if math.isnan(value):
        return "too few" if estimate["cells"] < FEWEST else "undefined"
    return f"{value:{sign}.2f} ({low:{sign}.2f} … {high:{sign}.2f})"


def run_sentence(run: str, figures: Figures) -> str:
    """Says what a run's shared weights are good for, and no more than the intervals show."""
    overall, half = (figures["within"][name] for name in ("all", "better half by stand-alone"))
    last = figures["top"][-1]
    gain = last["gain"]
    verb = _verb(gain, "is better than", "is worse than", "is not shown to differ from")
    return (
        f"{run}: tau {signed(overall['tau'])} over all {overall['cells']} cells, {signed(half['tau'])} among the "
        f"{half['cells']} of the better half; the best of its top {last['k']} {verb} the best of {last['k']} random "
        f"ones, difference {signed(gain, scale=100)} points"
    )


def _verb(estimate: Mapping[str, float], better: str, worse: str, unknown: str) -> str:
    return better if estimate["low"] > 0 else worse if estimate["high"] < 0 else unknown


def difference_sentence(difference: Figures) -> str:
    """Says whether a run ranks the same cells better than the first."""
    tau = difference["tau_difference"]
    verb = _verb(tau, "ranks better than", "ranks worse than", "is not shown to rank otherwise than")
    return f"{difference['run']} {verb} {difference['against']} on the same cells, difference in tau {signed(tau)}"


def reliability_sentence(reliability: Figures) -> str:
    """Says how well stand-alone training agrees with itself, and what that leaves for a proxy."""
    between, ceiling = reliability["between_seeds"]["tau"], reliability["ceiling"]["rho"]
    return (
        f"stand-alone training agrees with itself by tau {signed(between)} between seeds; against the mean of "
        f"{reliability['seeds']} seeds no proxy is expected beyond rho {signed(ceiling)}"
    )
