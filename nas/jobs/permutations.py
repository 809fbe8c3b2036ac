"""Permutations: the papers' demonstrations of learned permutations, with tables and pictures."""

from collections.abc import Callable, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from nas.compute.device import Runtime
from nas.jobs.building.config import build, chosen_names, plain
from nas.jobs.building.parts import build_data, build_runtime
from nas.jobs.building.run_folder import keep_data, write_report
from nas.runs.checkpoints import write_csv
from nas.runs.console import header, note, result, shown
from nas.runs.seeds import seed_everything
from nas.studies.demonstrations import TASKS
from nas.studies.demonstrations import plots as draw
from nas.studies.demonstrations.bodies import bodies
from nas.studies.demonstrations.costs import mixer_costs, model_costs
from nas.studies.demonstrations.permuted_images import permuted_images
from nas.studies.demonstrations.planted import graph_matching, two_layer
from nas.studies.demonstrations.structured import structured
from search_spaces.shuffles import check_mixer

MAX_WIDTH = 140  # characters of a printed row

Figures = dict[str, Any]


DEMONSTRATIONS: dict[str, Callable[..., Figures]] = {
    "graph_matching": graph_matching,
    "two_layer": two_layer,
    "structured": structured,
    "permuted_images": permuted_images,
    "mixer_costs": mixer_costs,
    "model_costs": model_costs,
    "bodies": bodies,
}
PICTURES: dict[str, dict[str, Callable[[Figures, Path], None]]] = {
    "graph_matching": {"matrices": draw.matrices_over_time},
    "two_layer": {"matrices": draw.matrices_over_time},
    "structured": {
        "constructed": draw.constructed_plot,
        "learned": draw.learned_plot,
        "matrices": draw.descent_film,
    },
    "permuted_images": {
        "pictures": draw.pictures_plot,
        "accuracy": draw.accuracy_plot,
        "matrices": draw.permutation_film,
    },
}
"""By task, what is drawn of all figures, by the last part of the file's name."""


def _curves(task: str, settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the success curves that are drawn of a task, by the last part of the file's name."""
    if task == "graph_matching":
        sizes = {f"size-noise{noise:g}": {"along": "n", "where": {"noise": noise}} for noise in settings["size_noises"]}
        return {"noise": {"along": "noise", "where": {"n": settings["noise_size"]}}, **sizes}
    if task == "two_layer":
        where = {"noise": settings["base_noise"], "samples_per_unit": settings["base_samples"]}
        before = {"rate": "success", "title": "planted permutation found, before rounding (%)"}
        return {"size": {"along": "n", "where": where, **before}, "size-rounded": {"along": "n", "where": where}}
    return {}


def run(cfg: DictConfig, out: Path) -> dict[str, Any]:
    """Runs the demonstrations of `cfg.tasks`, one after the other; one that is done is not done again.

    Each leaves its figures as JSON, its rows as CSV and its pictures as SVG in the run folder `out`.

    Returns:
        The figures by task.

    Raises:
        ValueError: If a task is unknown or a setting is out of range.
        FileNotFoundError: If a data set is not there; with several tasks the one that needs it is left out instead.
    """
    tasks = chosen_names("tasks", plain(cfg, "the config")["tasks"], TASKS)
    settings = {task: build(cfg[task], task) for task in tasks}
    for task, one in settings.items():
        for mixer in getattr(one, "mixers", ()):
            try:
                check_mixer(mixer)
            except ValueError as error:
                raise ValueError(f"{task}.mixers: {error}") from None
    runtime = build_runtime(cfg)
    header("permutations", {"run folder": shown(out), "tasks": ", ".join(tasks), "seed": cfg.seed})
    figures = {}
    for task in tasks:
        try:
            figures[task] = _run_task(task, settings[task], cfg, out, runtime)
        except FileNotFoundError as error:
            if len(tasks) == 1:
                raise
            note(f"left out {task}: {error}")
    return figures


def _run_task(task: str, settings: Any, cfg: DictConfig, out: Path, runtime: Runtime) -> Figures:
    file = out / f"{task}.json"
    if file.exists():
        note(f"{task} is done: {shown(file)}")
        return {}
    demonstrate = DEMONSTRATIONS[task]
    result(f"\n{task.replace('_', ' ')}: {(demonstrate.__doc__ or '').splitlines()[0]}")
    rows: list[dict[str, Any]] = []

    def on_row(row: dict[str, Any]) -> None:
        if not rows or list(row) != list(rows[-1]):
            result(_line({key: key for key in row}))
        result(_line(row))
        rows.append(row)

    resources: dict[str, Any] = {}
    if task == "bodies":
        data = build_data(cfg, runtime)
        keep_data(out, data.record)  # members that are trained already are taken from their files
        resources = {"data": data, "runtime": runtime, "folder": out / "members"}
    seed_everything(cfg.seed)
    figures = demonstrate(settings, seed=cfg.seed, on_row=on_row, **resources)
    for name, picture in PICTURES.get(task, {}).items():
        picture(figures, out / f"{task}-{name}.svg")
    for name, chosen in _curves(task, figures["settings"]).items():
        draw.success_curves(figures["rows"], out / f"{task}-{name}.svg", **chosen)
    write_csv(out / f"{task}.csv", rows)
    note(f"figures in {shown(file)}, rows in {task}.csv")
    return write_report(file, figures, runtime, seed=cfg.seed)


def _line(row: Mapping[str, object]) -> str:
    """Sets a row, or its titles, in columns as wide as the titles, as many as a wide terminal shows; a CSV has all."""
    texts = {key: f"{value:.4g}" if isinstance(value, float) else str(value) for key, value in row.items()}
    cells = [f"{'-' if row[key] is None else text:>{max(len(key), 9)}}" for key, text in texts.items()]
    ends = accumulate(len(cell) + 2 for cell in cells)
    return "  ".join(cell for cell, end in zip(cells, ends, strict=True) if end <= MAX_WIDTH)
