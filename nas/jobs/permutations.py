"""Permutations: the papers' demonstrations of learned permutations, with tables and pictures."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from nas.compute.device import Runtime
from nas.compute.environment import environment
from nas.jobs.building.config import build, chosen_names, plain
from nas.jobs.building.parts import build_data, build_runtime
from nas.jobs.building.run_folder import keep_data
from nas.reporting.trackers import Tracker
from nas.runs.checkpoints import write_csv, write_json
from nas.runs.console import header, note, result, shown
from nas.runs.seeds import seed_everything
from nas.studies.demonstrations import TASKS, bodies, mixer_costs, model_costs, structured, two_layer
from nas.studies.demonstrations.matching import graph_matching
from nas.studies.demonstrations.matching.plots import matrices_over_time, success_curves
from nas.studies.demonstrations.permuted import images as permuted_images
from nas.studies.demonstrations.permuted.plots import accuracy_plot, pictures_plot
from nas.studies.demonstrations.permuted.plots import film_plot as permuted_film
from nas.studies.demonstrations.structured_plots import constructed_plot, film_plot, learned_plot
from search_spaces.shuffles import check_mixer

MAX_WIDTH = 140  # characters of a printed row

Draw = Callable[[dict[str, Any], Path], None]


def _graph_matching_plots(figures: dict[str, Any], folder: Path) -> None:
    settings = figures["settings"]
    matrices_over_time(figures["snapshots"], folder / "graph_matching-matrices.svg")
    success_curves(
        figures["rows"], folder / "graph_matching-noise.svg", along="noise", where={"n": settings["noise_size"]}
    )
    for noise in settings["size_noises"]:
        path = folder / f"graph_matching-size-noise{noise:g}.svg"
        success_curves(figures["rows"], path, along="n", where={"noise": noise})


def _two_layer_plots(figures: dict[str, Any], folder: Path) -> None:
    settings = figures["settings"]
    matrices_over_time(figures["snapshots"], folder / "two_layer-matrices.svg")
    where = {"noise": settings["base_noise"], "samples_per_unit": settings["base_samples"]}
    success_curves(
        figures["rows"],
        folder / "two_layer-size.svg",
        along="n",
        where=where,
        rate="success",
        title="planted permutation found, before rounding (%)",
    )
    success_curves(figures["rows"], folder / "two_layer-size-rounded.svg", along="n", where=where)


def _structured_plots(figures: dict[str, Any], folder: Path) -> None:
    constructed_plot(figures, folder / "structured-constructed.svg")
    learned_plot(figures, folder / "structured-learned.svg")
    film_plot(figures, folder / "structured-matrices.svg")


def _permuted_plots(figures: dict[str, Any], folder: Path) -> None:
    pictures_plot(figures, folder / "permuted_images-pictures.svg")
    accuracy_plot(figures, folder / "permuted_images-accuracy.svg")
    permuted_film(figures, folder / "permuted_images-matrices.svg")


DEMONSTRATIONS: dict[str, tuple[Any, Draw | None]] = {
    "graph_matching": (graph_matching, _graph_matching_plots),
    "two_layer": (two_layer, _two_layer_plots),
    "structured": (structured, _structured_plots),
    "permuted_images": (permuted_images, _permuted_plots),
    "mixer_costs": (mixer_costs, None),
    "model_costs": (model_costs, None),
    "bodies": (bodies, None),
}


def run(cfg: DictConfig, out: Path, *, tracker: Tracker | None = None) -> dict[str, Any]:  # noqa: ARG001
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
            _check_mixer(mixer, f"{task}.mixers")
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


def _check_mixer(name: str, key: str) -> None:
    try:
        check_mixer(name)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None


def _run_task(task: str, settings: Any, cfg: DictConfig, out: Path, runtime: Runtime) -> dict[str, Any]:
    file = out / f"{task}.json"
    if file.exists():
        note(f"{task} is done: {shown(file)}")
        return {}
    demonstration, draw = DEMONSTRATIONS[task]
    result(f"\n{task.replace('_', ' ')}: {demonstration.__doc__.splitlines()[0]}")
    rows: list[dict[str, Any]] = []

    def on_row(row: dict[str, Any]) -> None:
        if not rows or list(row) != list(rows[-1]):
            result(_line(list(row), list(row)))
        result(_line(list(row), list(row.values())))
        rows.append(row)

    compute = demonstration.run
    if demonstration is bodies:
        data = build_data(cfg, runtime)
        keep_data(out, data.record)  # members that are trained already are taken from their files
        compute = partial(compute, data=data, runtime=runtime, folder=out / "members")
    seed_everything(cfg.seed)
    figures: dict[str, Any] = compute(settings, seed=cfg.seed, on_row=on_row)
    figures = {"settings": asdict(settings), **figures}
    if draw is not None:
        draw(figures, out)
    write_csv(out / f"{task}.csv", rows)
    write_json(file, {**figures, "environment": environment(runtime, seed=cfg.seed)})
    note(f"figures in {shown(file)}, rows in {task}.csv")
    return figures


def _line(keys: Sequence[str], values: Sequence[object]) -> str:
    """Sets a row, or its titles, in columns as wide as the titles, as many as a wide terminal shows; a CSV has all."""
    cells = [f"{_cell(value):>{max(len(key), 9)}}" for key, value in zip(keys, values, strict=True)]
    ends = accumulate(len(cell) + 2 for cell in cells)
    return "  ".join(cell for cell, end in zip(cells, ends, strict=True) if end <= MAX_WIDTH)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
