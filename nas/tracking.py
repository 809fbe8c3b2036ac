"""Where metrics go besides the run folder. Values are never read back from here."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from nas.checkpoint import write_json

WANDB_MODES = ("online", "offline", "disabled")


class Tracker(Protocol):
    """Receives what a run logs."""

    def start(self, config: Mapping[str, Any], *, out: Path) -> None:
        """Begins, or goes on with, the run of a folder."""

    def log(self, values: Mapping[str, Any], *, step: int, section: str) -> None:
        """Takes the values of one step (an epoch) of a section such as `search`."""

    def finish(self, summary: Mapping[str, Any], *, completed: bool) -> None:
        """Ends the run with what it found."""


class FilesOnly:
    """Leaves it at the files in the run folder."""

    def start(self, config: Mapping[str, Any], *, out: Path) -> None:
        """Does nothing."""

    def log(self, values: Mapping[str, Any], *, step: int, section: str) -> None:
        """Does nothing."""

    def finish(self, summary: Mapping[str, Any], *, completed: bool) -> None:
        """Does nothing."""


class WandbTracker:
    """Sends metrics to Weights & Biases; a resumed run keeps its id.

    Args:
        project: Of the run.
        entity: User or team; None means the account's own.
        mode: `online`, `offline` (written into the run folder, sent later with `wandb sync`) or `disabled`.
        tags: Of the run.

    Raises:
        ValueError: If `mode` is unknown.
    """

    def __init__(
        self,
        *,
        project: str = "shufflenas",
        entity: str | None = None,
        mode: str = "online",
        tags: list[str] | None = None,
    ) -> None:
        if mode not in WANDB_MODES:
            raise ValueError(f"logger.mode must be one of {', '.join(WANDB_MODES)}, got {mode!r}")
        self.project = project
        self.entity = entity
        self.mode = mode
        self.tags = tags or []
        self._run: Any = None

    def start(self, config: Mapping[str, Any], *, out: Path) -> None:
        """Starts or resumes the run; the config is written at once."""
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        init: Any = wandb.init  # its annotation lists the modes as literals
        record = out / "wandb.json"
        run_id = json.loads(record.read_text())["id"] if record.exists() else None
        self._run = init(
            project=self.project,
            entity=self.entity,
            mode=self.mode,
            tags=self.tags,
            name=out.name,
            dir=str(out),
            id=run_id,
            resume="allow" if self.mode == "online" else None,
            config=dict(config),
        )
        write_json(record, {"id": self._run.id, "project": self.project, "mode": self.mode})

    def log(self, values: Mapping[str, Any], *, step: int, section: str) -> None:
        """Logs values as `section/name`, against `section/step`."""
        self._run.log({f"{section}/step": step, **{f"{section}/{key}": value for key, value in values.items()}})

    def finish(self, summary: Mapping[str, Any], *, completed: bool) -> None:
        """Writes the summary and closes the run, as failed unless completed."""
        if self._run is not None:
            self._run.summary.update(dict(summary))
            self._run.finish(exit_code=0 if completed else 1)
            self._run = None
