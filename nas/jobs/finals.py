"""The finals of a search: its best candidates trained stand-alone, each resumable, then put in order by that."""

import json
import shutil
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from nas.checkpoint import write_csv, write_json
from nas.console import Column, Table, header, progress
from nas.finals import Finals, by_stand_alone_reward, finals_data, finals_seed, finals_settings
from nas.jobs.derived_models import initial_network
from nas.runtime import Runtime
from nas.search import Search
from search_spaces.genotype import Genotype

COLUMNS = (
    Column("label", "candidate", "s"),
    Column("parameters", "parameters", ",d"),
    Column("shared_accuracy", "shared %", ".2f", 100),
    Column("stand_alone_accuracy", "stand-alone %", ".2f", 100),
    Column("seconds", "seconds", ".2f"),
)


def run(search: Search, cfg: DictConfig, out: Path, runtime: Runtime) -> list[dict[str, Any]]:
    """Trains the finalists, or goes on with those not done, and writes their epochs to `finals.csv`.

    The candidates are scored once: a search that goes on elsewhere has the same finalists, though another machine might
    have put them in another order.

    Returns:
        All candidates, the finalists first.
    """
    ranks = search.ranks
    folder = _folder(out)
    candidates = ranks.from_first(lambda: _read(folder))
    if candidates is None:
        candidates = search.candidates()
        if ranks.first:
            write_json(_candidates_file(folder), candidates)
    settings, data = finals_settings(search.settings), finals_data(search.data)
    finals = Finals(
        settings=settings,
        data=data,
        runtime=runtime,
        make_network=lambda member: initial_network(member, cfg, data, settings),
        reward=search.reward.reward_function,
        seed=finals_seed(search.seed),
        folder=folder,
    )
    number = min(search.settings.finalists, len(candidates))
    header(
        "finals",
        {
            "cells": f"the best {number} of {len(candidates)} candidates, {settings.epochs} epochs each from scratch",
            "data": f"{data.name}: {len(data.full)} train, {len(data.test)} reward images",
        },
    )
    epochs: list[dict[str, Any]] = []
    table = Table(COLUMNS)
    with progress("training finalists", total=number) as bar:
        for place, candidate in enumerate(candidates[:number]):
            result, rows = finals.train(place, Genotype.from_dict(candidate["genotype"]))
            candidate.update(result)
            epochs += rows
            if ranks.first:
                write_csv(out / "finals.csv", epochs)
            table.row({"label": f"{place}", **candidate, "seconds": sum(row["seconds"] for row in rows)})
            bar.advance()
    return by_stand_alone_reward(candidates)


def remove_checkpoints(out: Path) -> None:
    """Removes the finalists' checkpoints, of no more use where the search has written down what it found."""
    shutil.rmtree(_folder(out), ignore_errors=True)


def _folder(out: Path) -> Path:
    return out / "finals"


def _candidates_file(folder: Path) -> Path:
    return folder / "candidates.json"


def _read(folder: Path) -> list[dict[str, Any]] | None:
    """Returns the candidates of an earlier start; None if there are none.

    Raises:
        ValueError: If the file is damaged.
    """
    file = _candidates_file(folder)
    if not file.exists():
        return None
    try:
        return [dict(entry) for entry in json.loads(file.read_text(encoding="utf-8"))]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is damaged, remove it to score the candidates anew: {error}") from error
