"""Pipeline: search, retrain the found cell beside random ones, and time it, in one run folder."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from nas.console import note, shown
from nas.jobs import latency, retrain, search
from nas.tracking import FilesOnly, Tracker


def run(cfg: DictConfig, out: Path, *, tracker: Tracker | None = None) -> dict[str, Any]:
    """Runs the three jobs one after the other; one that is done is not done again.

    Returns:
        What the jobs returned, by name.

    Raises:
        ValueError: If a setting is out of range.
        FileNotFoundError: If the data set is not there.
    """
    tracker = tracker or FilesOnly()
    check_settings(cfg)
    found = search.run(cfg, out, tracker=tracker)
    joined = with_genotype(cfg, out)
    metrics = retrain.run(joined, out, tracker=tracker)
    settings = retrain.read_settings(joined)
    figures = latency.run(retrain.derived_network_config(joined, settings), out, tracker=tracker)
    note(f"everything is in {shown(out)}")
    return {"search": found, "retrain": metrics, "latency": figures}


def check_settings(cfg: DictConfig) -> None:
    """Builds the settings of the later jobs, so that a mistake in them shows before the search."""
    retrain.read_settings(cfg)
    latency.read_settings(cfg)


def with_genotype(cfg: DictConfig, out: Path) -> DictConfig:
    """Returns the config with the found genotype and the random cells as inputs of the next jobs."""
    found: dict[str, Any] = {"genotype": str(out / "genotype.json")}
    if cfg.search.random_cells:
        found["random_cells"] = str(out / "random.json")
    if cfg.retrain.warm_start == "search":
        found["retrain"] = {"warm_start": str(out)}
    joined = OmegaConf.merge(cfg, found)
    assert isinstance(joined, DictConfig)
    return joined
