"""Retrain: train derived models from a found cell, next to random ones at the same budget, and measure them."""

import itertools
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nas.compute.device import Runtime
from nas.compute.distributed.ranks import Ranks
from nas.data.named import ImageData
from nas.jobs.budget import Plan, make_plan
from nas.jobs.building.config import build
from nas.jobs.building.derived_models import derived_network_config, derived_sizes, epoch_seconds, initial_network
from nas.jobs.building.parts import (
    build_data,
    build_runtime,
    command_line,
    described_ranks,
    measure_size,
    merge_name,
    read_genotype,
)
from nas.jobs.building.run_folder import keep_data
from nas.models.genotype_files import load_genotype, load_genotypes
from nas.models.model_card import model_text
from nas.reporting.cells.drawing import genotype_svg
from nas.reporting.plots import training_curves
from nas.reporting.trackers import FilesOnly, Tracker
from nas.runs.checkpoints import save_weights, write_csv, write_json, write_text
from nas.runs.console import Column, Table, header, next_command, note, progress, result, shown
from nas.runs.intervals import spread, verdict
from nas.training.member import Member, final_accuracy, train_member
from nas.training.settings import RetrainSettings
from search_spaces.genotype import Genotype

COLUMNS = (
    Column("label", "cell", "s"),
    Column("seed", "seed", "d"),
    Column("epoch", "epoch", "d"),
    Column("loss", "loss", ".4f"),
    Column("train_accuracy", "train %", ".2f", 100),
    Column("test_accuracy", "test %", ".2f", 100),
    Column("seconds", "seconds", ".2f"),
)
HARDENING = {
    "epoch": "epoch",
    "distance": "hardening_distance",
    "soft_test_accuracy": "soft_test_accuracy",
    "hard_test_accuracy": "hard_test_accuracy",
}
"""By name in `metrics.json`, the key of the row of the epoch before which learned mixers were hardened."""


def run(
    cfg: DictConfig,
    out: Path,
    *,
    tracker: Tracker | None = None,
    started: float | None = None,
    time_plan: Plan | None = None,
) -> dict[str, Any]:
    """Trains every member, or resumes those not done, in the run folder `out`.

    Args:
        cfg: Config of the job.
        out: The run folder.
        tracker: Logs metrics.
        started: When the job began, by the clock of the budget; None: now.
        time_plan: Of a job that the retraining is a part of.

    Returns:
        What `metrics.json` holds: accuracies with their spread, and the comparison with random cells.

    Raises:
        ValueError: If a setting is out of range or a genotype file is not valid.
        FileNotFoundError: If a genotype file or the data set is not there.
    """
    tracker = tracker or FilesOnly()
    settings: RetrainSettings = build(cfg.retrain, "retrain")
    runtime = build_runtime(cfg)
    ranks = runtime.ranks
    members = _members(cfg, settings, ranks)
    genotype = members[0].genotype
    network_cfg = derived_network_config(cfg, settings)
    data = build_data(cfg, runtime)
    ranks.from_first(lambda: keep_data(out, data.record))
    if genotype is not None:
        ranks.from_first(lambda: _keep_genotype(genotype, out, merge=merge_name(cfg)))
    # Before training, since a cell that does not fit the network shows here.
    sizes = {member.label: measure_size(network_cfg, member.genotype, data.kind) for member in members}

    def seconds() -> float:
        cells = [member.genotype for member in members]
        return len(members) * settings.epochs * epoch_seconds(cells, network_cfg, settings, data, runtime)

    if time_plan is None:
        least = 1 / settings.epochs
        time_plan = make_plan(cfg, out, runtime, lambda: {"retrain": (seconds(), least)}, started=started)
        settings = build(time_plan.config(cfg).retrain, "retrain")
    if not ranks.from_first((out / "members").exists):  # what is begun keeps its length
        settings = replace(settings, **time_plan.cut("retrain", settings, seconds))
    if time_plan.lengths:  # in turns, so that those that are trained when the time is up can be compared
        turns = itertools.zip_longest(members[: len(settings.seeds)], members[len(settings.seeds) :])
        members = [member for turn in turns for member in turn if member is not None]
    members = members[: time_plan.decided.get("trainings", len(members))]
    _describe(members, settings, data, runtime, out)

    rows: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    table = Table(COLUMNS)
    with progress("retraining", total=len(members) * settings.epochs) as bar:
        for number, member in enumerate(members):
            checkpoint = out / "members" / f"{member.name}.pt"
            each = ranks.from_first(partial(sum, [row["seconds"] for row in rows])) / max(1, number)
            if number and not ranks.from_first(checkpoint.exists) and time_plan.left("retrain") < each:
                ended = time_plan.decide("trainings", partial(len, results))
                note(f"the retraining ends after {ended} of {len(members)} trainings: the time is up")
                break
            network = runtime.place(initial_network(member, network_cfg, data, settings, ranks=ranks))

            def on_epoch(row: dict[str, Any], offset: int = number * settings.epochs) -> None:
                tracker.log(row, step=offset + row["epoch"], section="retrain")
                table.row(row)
                bar.advance()
                time_plan.keep()

            member_rows = train_member(
                member,
                network,
                data=data,
                settings=settings,
                runtime=runtime,
                checkpoint=checkpoint,
                on_epoch=on_epoch,
            )
            bar.reach((number + 1) * settings.epochs)
            rows += member_rows
            accuracy = final_accuracy(member_rows, last_epochs=settings.last_epochs)
            results.append(
                {"label": member.label, "seed": member.seed, "test_accuracy": accuracy, **_hardening(member_rows)}
            )
            if number == 0:
                record = {"model": model_text(genotype, OmegaConf.to_container(network_cfg.network))}
                save_weights(out / "weights.safetensors", network.state_dict(), metadata=record)
            write_csv(out / "retrain.csv", rows)
    metrics = summarise(results, settings=settings, data=data, sizes=sizes)
    if not ranks.first:
        return metrics
    write_json(out / "metrics.json", metrics)
    training_curves(rows, out / "retrain.svg")
    _conclude(metrics, settings, out)
    return metrics


def _members(cfg: DictConfig, settings: RetrainSettings, ranks: Ranks) -> list[Member]:
    """Returns what is trained: the found cell with each of its seeds, then every random cell with its own."""
    genotype = ranks.from_first(lambda: read_genotype(cfg))
    random_cells = ranks.from_first(lambda: [] if cfg.random_cells is None else load_genotypes(str(cfg.random_cells)))
    searched = ranks.from_first(lambda: _best_of_random_search(cfg.get("random_search")))
    if genotype is None and [*random_cells, *searched]:
        raise ValueError("random_cells and random_search need a network made of cells, such as shufflenasnet")
    members = [Member(label="found", seed=cfg.seed + seed, genotype=genotype) for seed in settings.seeds] + [
        Member(label=f"random-{i}", seed=cfg.seed + seed, genotype=cell)
        for i, cell in enumerate(random_cells)
        for seed in settings.seeds_of_random(i)
    ]
    return members + [
        Member(label="random_search", seed=cfg.seed + seed, genotype=cell)
        for cell in searched
        for seed in settings.seeds
    ]


def _best_of_random_search(file: str | None) -> list[Genotype]:
    return [] if file is None else load_genotypes(file)[:1]


def _keep_genotype(genotype: Genotype, out: Path, *, merge: str) -> None:
    """Writes the cell down; a resumed run must find the same one.

    Raises:
        ValueError: If the run folder holds another cell.
    """
    if (out / "genotype.json").exists() and load_genotype(out) != genotype:
        raise ValueError(f"the run {out} retrains another cell; choose another name")
    write_text(out / "genotype.json", genotype.to_json())
    write_text(out / "cells.svg", genotype_svg(genotype, title=out.name, merge=merge))


def _hardening(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns what happened when learned mixers were hardened, if there were any."""
    hardened = [row for row in rows if "hard_test_accuracy" in row]
    return {"hardening": {name: hardened[0][key] for name, key in HARDENING.items()}} if hardened else {}


def summarise(
    results: list[dict[str, Any]],
    *,
    settings: RetrainSettings,
    data: ImageData,
    sizes: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Puts the members' accuracies together.

    A value of `found` is one training; a value of `random` is one cell, the mean over its trainings. So `comparison` is
    about this cell; what a search is worth shows over several of them (`nas.reporting.sweeps.summary.aggregate`).
    """
    found = [entry["test_accuracy"] for entry in results if entry["label"] == "found"]
    searched = [entry["test_accuracy"] for entry in results if entry["label"] == "random_search"]
    labels = list(dict.fromkeys(entry["label"] for entry in results if entry["label"].startswith("random-")))
    cells = [spread([entry["test_accuracy"] for entry in results if entry["label"] == label]).mean for label in labels]
    metrics: dict[str, Any] = {
        "data": data.name,
        "epochs": settings.epochs,
        "test_images": len(data.test),
        "accuracy": f"mean of the last {min(settings.last_epochs, settings.epochs)} epochs, fraction of test images",
        "found": {"test_accuracy": asdict(spread(found)), **sizes["found"]},
        "members": [{**entry, **sizes[entry["label"]]} for entry in results],
    }
    if cells:
        metrics["random"] = {"test_accuracy": asdict(spread(cells)), "cells": len(cells)}
        metrics["comparison"] = verdict(found, cells, names=("the found cell", "the average random cell"))
    if searched:
        metrics["random_search"] = {"test_accuracy": asdict(spread(searched)), **sizes["random_search"]}
        metrics["comparison_at_equal_cost"] = verdict(
            found, searched, names=("the found cell", "that of random search")
        )
    return metrics


def _describe(members: list[Member], settings: RetrainSettings, data: ImageData, runtime: Runtime, out: Path) -> None:
    labels = dict.fromkeys(member.label for member in members)
    header(
        "retrain",
        {
            "run folder": shown(out),
            "data": f"{data.name}: {len(data.full)} train, {len(data.test)} test images",
            "cells": f"{', '.join(labels)}: {len(members)} trainings of {settings.epochs} epochs",
            "start": f"shared weights of {settings.warm_start}" if settings.warm_start else "from scratch",
            "device": f"{described_ranks(runtime)}{runtime.device}",
        },
    )


def _conclude(metrics: dict[str, Any], settings: RetrainSettings, out: Path) -> None:
    found = spread(metrics["found"]["test_accuracy"]["values"])
    result(f"found cell:   test accuracy {found.percent()}, {metrics['found']['parameters']:,} parameters")
    for member in metrics["members"]:
        if (gap := member.get("hardening")) and member["label"] == "found":
            before, after = 100 * gap["soft_test_accuracy"], 100 * gap["hard_test_accuracy"]
            result(
                f"hardened:     before epoch {gap['epoch']}, {gap['distance']:.3f} from permutations, "
                f"test accuracy {before:.2f} % soft, {after:.2f} % hard (seed {member['seed']})"
            )
    if "random" in metrics:
        random = spread(metrics["random"]["test_accuracy"]["values"])
        result(f"random cells: test accuracy {random.percent()}, one value a cell")
        result(f"comparison:   {metrics['comparison']}")
    if "random_search" in metrics:
        best = spread(metrics["random_search"]["test_accuracy"]["values"])
        parameters = metrics["random_search"]["parameters"]
        result(
            f"equal cost:   the best of random cells in the same finals: {best.percent()}, {parameters:,} parameters"
        )
        result(f"comparison:   {metrics['comparison_at_equal_cost']}")
    note(f"weights in {shown(out / 'weights.safetensors')}, figures in {shown(out / 'metrics.json')}")
    derived = [f"network.{name}={value}" for name, value in derived_sizes(settings).items()]
    cell = [f"genotype={shown(out)}"] if (out / "genotype.json").exists() else []
    next_command(command_line("latency", *cell, *derived))
