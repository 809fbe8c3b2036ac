"""The finals of a search: its best candidates trained stand-alone, each resumable, then put in order by that."""

import json
import shutil
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from nas.compute.device import Runtime
from nas.jobs.building.derived_models import initial_network
from nas.reporting.trackers import Tracker
from nas.runs.checkpoints import write_csv, write_json
from nas.runs.console import Column, Table, header, note, progress
from nas.runs.listing import FINALS_FOLDER
from nas.searching.finals import (
    Finals,
    Row,
    by_stand_alone_reward,
    check_accuracy_reward,
    finals_data,
    finals_seed,
    finals_settings,
)
from nas.searching.search import Search
from nas.searching.shared_weights import SharedWeights
from search_spaces.genotype import Genotype

COLUMNS = (
    Column("label", "candidate", "s"),
    Column("parameters", "parameters", ",d"),
    Column("shared_accuracy", "shared %", ".2f", 100),
    Column("stand_alone_accuracy", "stand-alone %", ".2f", 100),
    Column("seconds", "seconds", ".2f"),
)


def check_reward(search: Search[SharedWeights]) -> None:
    """Checks before a search that its finals will get along with the accuracy alone.

    Raises:
        ValueError: If the reward function asks for the loss.
    """
    check_accuracy_reward(search.evaluator.reward, search.space.decode([0] * len(search.space.decisions)))


def run(
    search: Search[SharedWeights], cfg: DictConfig, out: Path, runtime: Runtime, *, tracker: Tracker
) -> list[dict[str, Any]]:
    """Trains the finalists, or goes on with those not done, and writes their epochs to `finals.csv`.

    The candidates are scored once: a search that goes on elsewhere has the same finalists, though another machine might
    have put them in another order.

    Returns:
        All candidates, the finalists first.
    """
    ranks = search.evaluator.ranks
    file = out / FINALS_FOLDER / "candidates.json"
    candidates = ranks.from_first(lambda: _read(file))
    if candidates is None:
        candidates = search.candidates()
        if ranks.first:
            write_json(file, candidates)
    count = min(search.settings.finalists, len(candidates))
    if count < 2:
        note("the candidates are one and the same cell: there is nothing to choose in finals")
        return candidates
    finals = _finals(search, cfg, file.parent, runtime)
    each = finals.settings.epochs
    header(
        "finals",
        {
            "cells": f"the best {count} of {len(candidates)} candidates, {each} epochs each from scratch",
            "data": f"{finals.data.name}: {len(finals.data.full)} train, {len(finals.data.test)} reward images",
        },
    )
    epochs: list[Row] = []
    table = Table(COLUMNS)
    with progress("training finalists", total=count * each) as bar:
        for number, candidate in enumerate(candidates[:count]):
            before = len(epochs)

            def on_epoch(row: Row, offset: int = number * each) -> None:
                epochs.append(row)
                write_csv(out / "finals.csv", epochs)
                tracker.log(row, step=offset + row["epoch"], section="finals")
                bar.advance()

            result, rows = finals.train(number, Genotype.from_dict(candidate["genotype"]), on_epoch=on_epoch)
            candidate.update(result)
            if rows:  # with those of an earlier start; of what diverged, those that were logged stay
                epochs[before:] = rows
                write_csv(out / "finals.csv", epochs)
            table.row({**candidate, "seconds": sum(row["seconds"] for row in rows)})
            if "diverged" in result:
                note(f"warning: {result['label']} diverged, and counts as the last: {result['diverged']}")
            bar.reach((number + 1) * each)
    return by_stand_alone_reward(candidates)


def _finals(search: Search[SharedWeights], cfg: DictConfig, folder: Path, runtime: Runtime) -> Finals:
    settings, data = finals_settings(search.evaluator.settings), finals_data(search.evaluator.data)
    return Finals(
        settings=settings,
        data=data,
        runtime=runtime,
        make_network=lambda member: initial_network(member, cfg, data, settings),
        reward=search.evaluator.reward,
        seed=finals_seed(search.seed),
        folder=folder,
    )


def remove_checkpoints(out: Path) -> None:
    """Removes the finalists' checkpoints, of no more use where the search has written down what it found."""
    shutil.rmtree(out / FINALS_FOLDER, ignore_errors=True)


def _read(file: Path) -> list[dict[str, Any]] | None:
    """Returns the candidates of an earlier start; None if there are none.

    Raises:
        ValueError: If the file is damaged.
    """
    if not file.exists():
        return None
    try:
        return [dict(entry) for entry in json.loads(file.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is damaged, remove its folder to begin the finals anew: {error}") from error
