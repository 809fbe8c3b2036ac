"""What the jobs that search tell of the watch over a search: lines as they come, files at the end."""

from dataclasses import asdict
from pathlib import Path

from omegaconf import DictConfig

from controllers.protocol import Controller
from nas.jobs.building.config import build
from nas.reporting.plots import diagnostics_plot
from nas.reporting.trackers import Tracker
from nas.runs.checkpoints import write_csv, write_json
from nas.runs.console import note, shown
from nas.runs.seeds import derive_seed, seed_everything
from nas.searching.diagnostics.collapse import CONVERGED
from nas.searching.diagnostics.watch import Watch
from search_spaces.space import SearchSpace

DONE = {
    "none": "",
    "warn": "",
    "restart": "; the controller begins anew",
    "stop": "; the search ends here",
}


def build_controller(cfg: DictConfig, space: SearchSpace, restart: int = 0) -> Controller:
    """Makes the controller of `cfg.controller`, for each restart another one; the seed fixes all of them."""
    seed_everything(derive_seed(cfg.seed, "controller", *([restart] if restart else [])))
    controller: Controller = build(cfg.controller, "controller", space.decisions)
    return controller


def tell(watch: Watch, out: Path, *, tracker: Tracker) -> None:
    """Logs the last epoch, and prints and writes down what it brought."""
    tracker.log(watch.rows[-1], step=len(watch.rows) - 1, section="diagnostics")
    for finding in watch.news:
        word = "note" if finding.kind == CONVERGED else "warning"
        note(f"{word}, epoch {finding.epoch}: {finding.message}{DONE[finding.action]}")
    if watch.news:
        write_warnings(watch, out)


def conclude_watch(watch: Watch, out: Path) -> None:
    """Writes `diagnostics.csv`, `diagnostics.svg` and `warnings.json`, and says where warnings are."""
    write_csv(out / "diagnostics.csv", watch.rows)
    diagnostics_plot(watch.rows, out / "diagnostics.svg", marks=[finding.epoch for finding in watch.findings])
    write_warnings(watch, out)
    count = sum(finding.kind != CONVERGED for finding in watch.findings)
    if count:
        plural = "warning" if count == 1 else "warnings"
        note(f"{count} {plural} in {shown(out / 'warnings.json')}, see {shown(out / 'diagnostics.svg')}")


def write_warnings(watch: Watch, out: Path) -> None:
    """Writes what was found, with the thresholds that it was found by."""
    findings = [asdict(finding) for finding in watch.findings]
    write_json(out / "warnings.json", {"settings": asdict(watch.settings), "findings": findings})
