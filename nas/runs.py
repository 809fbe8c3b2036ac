"""A run is a folder: opened once, by one process at a time, with the config and the machine written down."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from nas.checkpoint import write_json, write_text
from nas.config import check_resumable, plain
from nas.runtime import Runtime, environment

SETUP_FILES = {".lock", "config.yaml", "environment.json", "data.json", "genotype.json", "cells.svg"}


@contextmanager
def opened_run(cfg: DictConfig, out: Path, *, runtime: Runtime) -> Iterator[None]:
    """Holds a run folder while the context lasts; writes `config.yaml` and `environment.json` into it.

    Raises:
        ValueError: If another process holds the folder, or it was started with another config.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"another process is at work in {out}; wait for it or choose another name") from None
        config = out / "config.yaml"
        begun = config.exists()
        if begun:
            check_resumable(config, plain(cfg, "the config"))
        else:
            write_text(config, OmegaConf.to_yaml(cfg, resolve=True))
        write_json(out / "environment.json", environment(runtime, seed=cfg.seed))
        try:
            yield
        except (ValueError, FileNotFoundError):
            if not begun:
                _remove_if_bare(out)
            raise


def _remove_if_bare(out: Path) -> None:
    """Removes a run folder in which a mistake of the user's left nothing but the setup."""
    if {path.name for path in out.iterdir()} <= SETUP_FILES:
        for path in out.iterdir():
            path.unlink()
        out.rmdir()
