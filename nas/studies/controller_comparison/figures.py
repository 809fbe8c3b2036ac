"""Figures of a comparison's trials: means and spreads, whether a difference is shown, and curves."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from nas.runs.intervals import FRACTIONS, UNBOUNDED, Comparison, Interval, compare_samples, mean_interval, spread
from nas.studies.controller_comparison.settings import ComparisonSettings

Figures = Mapping[str, Any]
"""What a trial returned."""


def by_controller(trials: Sequence[Figures], part: str, names: Sequence[str]) -> dict[str, list[Figures]]:
    """Returns the trials of a part by controller, in order of their seeds; controllers without any are left out."""
    chosen = {
        name: sorted(
            (trial for trial in trials if trial["part"] == part and trial["controller"] == name),
            key=lambda trial: int(trial["seed"]),
        )
        for name in names
    }
    return {name: group for name, group in chosen.items() if group}


def accuracy_figures(
    groups: Mapping[str, Sequence[Figures]], *, settings: ComparisonSettings, bounds: Interval
) -> list[dict[str, Any]]:
    """Summarises the trials that were rewarded for accuracy alone, one row a controller.

    Args:
        groups: Trials by controller.
        settings: The protocol.
        bounds: The lowest and the highest report of the table.
    """
    marks = settings.marks
    compared = settings.opponent if settings.opponent in groups else None
    rows = []
    for name, group in groups.items():
        reached = {mark: [trial["reports"][mark - 1] for trial in group] for mark in marks}
        last = [trial["last_mean"] for trial in group]
        row: dict[str, Any] = {"controller": name, "seeds": len(group), "samples_per_update": settings.batch(name)}
        for mark, values in reached.items():
            row |= {f"mean_at_{mark}": spread(values).mean, f"std_at_{mark}": spread(values).std}
            row[f"median_regret_at_{mark}"] = bounds[1] - statistics.median(values)
        row |= {
            "last_mean": statistics.fmean(last),
            "last_worst": min(last),
            "proposals_per_query": statistics.fmean(trial["proposals"] for trial in group) / settings.budget,
            "own": statistics.fmean(trial["own"] for trial in group),
            "seconds_per_query": statistics.median(trial["seconds"] for trial in group) / settings.budget,
        }
        if compared is not None and name != compared:
            for mark in marks:
                others = [trial["reports"][mark - 1] for trial in groups[compared]]
                found = compare_samples(reached[mark], others, bounds=bounds)
                row |= _difference(found, mark=mark)
            row["verdict"] = found.sentence((name, compared), digits=3)  # at the last mark, the budget
        row["published"] = list(settings.published.get(name, ())) or None
        rows.append(row)
    return rows


def front_figures(
    groups: Mapping[str, Sequence[Figures]], *, settings: ComparisonSettings, true_area: float
) -> list[dict[str, Any]]:
    """Summarises the trials that were rewarded for accuracy and cost, one row a controller.

    Args:
        groups: Trials by controller.
        settings: The protocol.
        true_area: Area of the front of the whole table.
    """
    compared = settings.opponent if settings.opponent in groups else None
    ratios = {
        name: {mark: [trial["areas"][str(mark)] / true_area for trial in group] for mark in settings.marks}
        for name, group in groups.items()
    }
    rows = []
    for name, reached in ratios.items():
        row: dict[str, Any] = {"controller": name, "seeds": len(groups[name])}
        for mark, values in reached.items():
            low, high = mean_interval(values, bounds=FRACTIONS) or (math.nan, math.nan)
            row |= {f"ratio_at_{mark}": spread(values).mean, f"std_at_{mark}": spread(values).std}
            row |= {f"low_at_{mark}": low, f"high_at_{mark}": high}
        row["ratio_worst"] = min(reached[settings.budget])
        if compared is not None and name != compared:
            others = ratios[compared][settings.budget]
            row |= _difference(
                compare_samples(reached[settings.budget], others, bounds=FRACTIONS), mark=settings.budget
            )
        rows.append(row)
    return rows


def joined_rows(rows: Sequence[Figures], fronts: Sequence[Figures]) -> list[dict[str, Any]]:
    """Returns a row a controller for `compare.csv`, the figures of its fronts with the prefix `front_`.

    Args:
        rows: As `accuracy_figures` returned them.
        fronts: As `front_figures` returned them; may be empty.
    """
    joined: dict[str, dict[str, Any]] = {}
    for row in rows:
        mean, std = row["published"] or (None, None)
        figures = {key: value for key, value in row.items() if key != "published"}
        joined[row["controller"]] = {**figures, "published_mean": mean, "published_std": std}
    for row in fronts:
        figures = {f"front_{key}": value for key, value in row.items() if key != "controller"}
        joined.setdefault(row["controller"], {"controller": row["controller"]}).update(figures)
    return list(joined.values())


def _difference(found: Comparison, *, mark: int) -> dict[str, Any]:
    low, high = found.interval or (None, None)
    return {f"p_at_{mark}": found.p, f"gain_low_at_{mark}": low, f"gain_high_at_{mark}": high}


def curves(groups: Mapping[str, Sequence[Figures]], *, part: str, bounds: Interval = UNBOUNDED) -> list[dict[str, Any]]:
    """Returns, by controller and number of queries, the mean report of the incumbents and its 95 % interval.

    Args:
        groups: Trials by controller.
        part: Which part of the comparison they are of.
        bounds: The lowest and the highest report of the table.
    """
    rows: list[dict[str, Any]] = []
    for name, group in groups.items():
        for number, values in enumerate(zip(*(trial["reports"] for trial in group), strict=True), start=1):
            low, high = mean_interval(values, bounds=bounds) or (math.nan, math.nan)
            rows.append(
                {
                    "part": part,
                    "controller": name,
                    "queries": number,
                    "mean": statistics.fmean(values),
                    "low": low,
                    "high": high,
                    "seeds": len(values),
                }
            )
    return rows
