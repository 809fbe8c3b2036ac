"""Trackers, which send metrics to other places than the run folder. Values are never read back from them.

A tracker may be given a step twice: a run that was killed resumes from its checkpoint, and repeats the steps it did
since. A tracker keeps such a step once.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from nas.reporting.figures.drawing import write_cells_png
from nas.runs.checkpoints import write_json, write_text
from nas.runs.listing import read_run

WANDB_MODES = ("online", "offline", "disabled")
FLUSH_SECONDS = 0.5  # what wandb may hold back before it is in the run folder
FINAL = ("best_reward", "shared_accuracy", "test_accuracy", "parameters", "latency_ms")
"""What a run came to: fields of `nas.runs.listing.RunSummary`."""
ARTIFACTS = {"genotype.json": ("genotype", "genotype"), "weights.safetensors": ("weights", "model")}
"""By file of a run, the name and the type of wandb's artifact of it."""


class Tracker:
    """Receives what a run logs; this one does nothing with it."""

    def start(self, config: Mapping[str, Any], *, out: Path) -> None:
        """Begins or resumes the run of a folder."""

    def log(self, values: Mapping[str, Any], *, step: int, section: str) -> None:
        """Takes the values of one step (an epoch) of a section such as `search`."""

    def finish(self, summary: Mapping[str, Any], *, completed: bool) -> None:
        """Ends the run with what it found."""


def final_figures(out: Path) -> dict[str, float]:
    """Returns the figures that a run folder has come to, such as the found cell's test accuracy in [0, 1]."""
    found = read_run(out)
    figures = {name: getattr(found, name) for name in FINAL}
    return {name: value for name, value in figures.items() if value is not None}


class FilesOnly(Tracker):
    """Leaves it at the files in the run folder."""


@dataclass(kw_only=True)
class WandbTracker(Tracker):
    """Sends metrics to Weights & Biases; a resumed run keeps its id and has every step once, online and offline.

    Every step is first written to `wandb.jsonl` in the run folder, since wandb holds some back and a kill loses them. A
    resumed run is given what it lacks from there: online what the server does not have, offline, where a start is a
    folder `wandb/offline-run-*` of its own, everything, and the earlier folders go. `wandb sync` sends the one that is
    left. The key of the account is wandb's own affair, and nothing of it is written here.

    Attributes:
        project: Project that the run belongs to.
        entity: User or team; None means the account's own.
        mode: `online`, `offline` (written into the run folder, sent later with `wandb sync`) or `disabled`.
        tags: Tags of the run.

    Raises:
        ValueError: If `mode` is unknown.
    """

    project: str = "shufflenas"
    entity: str | None = None
    mode: str = "online"
    tags: list[str] | None = None
    _run: Any = field(default=None, init=False)
    _out: Path = field(default=Path(), init=False)
    _sections: set[str] = field(default_factory=set, init=False)
    _logged: set[tuple[str, int]] = field(default_factory=set, init=False)
    _journal: TextIO | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.mode not in WANDB_MODES:
            raise ValueError(f"logger.mode must be one of {', '.join(WANDB_MODES)}, got {self.mode!r}")

    def start(self, config: Mapping[str, Any], *, out: Path) -> None:
        """Starts or resumes the run; the config is written at once.

        Raises:
            ValueError: If wandb refuses, for want of an account for instance.
        """
        if self.mode == "disabled":
            return
        record, self._out = out / "wandb.json", out
        known = json.loads(record.read_text(encoding="utf-8"))["id"] if record.exists() else None
        earlier = list(out.glob(f"wandb/offline-run-*-{known}")) if known else []
        self._run = self._begun(config, known)
        write_json(record, {"id": self._run.id, "project": self.project, "mode": self.mode})
        rows = _read_journal(out / "wandb.jsonl")
        self._logged = {(row["section"], row["step"]) for row in rows}
        for row in rows[self._run.step :]:  # a row is a step of wandb's
            self._send(row)
        for folder in earlier:
            shutil.rmtree(folder)
        write_text(out / "wandb.jsonl", "".join(json.dumps(row) + "\n" for row in rows))  # whole lines only
        self._journal = (out / "wandb.jsonl").open("a", encoding="utf-8", buffering=1)  # a line leaves at once

    def log(self, values: Mapping[str, Any], *, step: int, section: str) -> None:
        """Logs values as `section/name`, against `section/step`, unless an earlier start of the run has."""
        if self._run is None or (section, step) in self._logged:
            return
        row = {"section": section, "step": step, "values": dict(values)}
        assert self._journal is not None
        self._journal.write(json.dumps(row) + "\n")
        self._send(row)

    def finish(self, summary: Mapping[str, Any], *, completed: bool) -> None:
        """Writes the summary and closes the run, failed unless completed; if it is, with its figures, cell and weights.

        The cell is there as a drawing and as an artifact, the weights are one. Files of artifacts are not copied:
        offline, `wandb sync` reads them where they lie.
        """
        if self._run is None:
            return
        figures = final_figures(self._out) if completed else {}
        self._run.summary.update({**summary, **figures})
        drawing = self._out / "cells.svg"
        if completed and drawing.exists():
            import wandb

            write_cells_png(drawing.with_suffix(".png"), drawing.read_text(encoding="utf-8"))
            self._run.summary["cells"] = wandb.Image(str(drawing.with_suffix(".png")))
        for file in ARTIFACTS if completed else ():
            self._keep(self._out / file, metadata=figures)
        self._run.finish(exit_code=0 if completed else 1)
        self._run = None
        if self._journal is not None:
            self._journal.close()

    def _keep(self, file: Path, *, metadata: Mapping[str, float]) -> None:
        """Logs a file of the run as an artifact, if it is there."""
        if file.exists():
            import wandb

            name, kind = ARTIFACTS[file.name]
            artifact = wandb.Artifact(f"{name}-{self._run.id}", type=kind, metadata=dict(metadata))
            artifact.add_file(str(file.resolve()), policy="immutable", skip_cache=True)
            self._run.log_artifact(artifact)

    def _begun(self, config: Mapping[str, Any], run_id: str | None) -> Any:
        """Returns wandb's run, a new one or the one of that id."""
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        often = {"x_transaction_log_flush_interval": FLUSH_SECONDS}  # wandb before 0.31 has no such setting
        settings = often if set(often) <= set(wandb.Settings.model_fields) else {}
        init: Any = wandb.init  # its annotation lists the modes as literals
        try:
            return init(
                project=self.project,
                entity=self.entity,
                mode=self.mode,
                tags=self.tags or [],
                name=self._out.name,
                dir=str(self._out),
                id=run_id,
                resume="allow" if self.mode == "online" else None,
                config=dict(config),
                settings=settings,
            )
        except wandb.Error as error:
            raise ValueError(f"Weights & Biases: {error}; logger.mode=offline needs no account") from error

    def _send(self, row: Mapping[str, Any]) -> None:
        section = row["section"]
        if section not in self._sections:
            self._sections.add(section)
            self._run.define_metric(f"{section}/*", step_metric=f"{section}/step")
        values = {f"{section}/{key}": value for key, value in row["values"].items()}
        self._run.log({f"{section}/step": row["step"], **values})


def _read_journal(path: Path) -> list[dict[str, Any]]:
    """Returns the rows that a run has logged; a line that a kill cut short is none."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]
