"""The config of a run, read back to build its parts: a run folder may come from a stranger."""

from collections.abc import Collection
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from nas.jobs.building.config import named_modules
from nas.runs.configs import read_config_file
from nas.runs.trust import check_recorded


def recorded_config(run: Path, cfg: DictConfig, *, parts: Collection[str] | None = None) -> DictConfig:
    """Returns the config of a run, in which everything that is to be built is trusted; its logger is left out.

    Args:
        run: Its folder.
        cfg: Of the command, which may name modules to be trusted.
        parts: The top-level keys that are needed; None means all.

    Raises:
        FileNotFoundError: If it has no config.
        ValueError: If the config is damaged, or names what this command must not call or import.
    """
    file, modules = run / "config.yaml", named_modules(cfg)
    recorded = {
        key: value
        for key, value in read_config_file(file).items()
        if key != "logger" and (parts is None or key in parts)
    }
    check_recorded(recorded, "", source=file, modules=modules)
    made = OmegaConf.create(recorded)
    assert isinstance(made, DictConfig)
    return made
