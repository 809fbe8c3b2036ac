"""Neural architecture search: spaces and controllers put to use.

Imports go up this list, never down:

    runs: A run is a folder.
    compute: The machine.
    data: Images in, batches out.
    models: Networks, and trained networks made ready for use.
    training: Weights move.
    costs: The costs of architectures.
    searching: Cells proposed, rewarded, watched and put through finals.
    reporting: Pages, figures and tables for people.
    studies: Experiments about the method.
    jobs: One `run(cfg, out)` for each command.
    command_line: The words of a command line, its help and its mistakes.
    cli: The command line.
    api: The jobs from Python.

Beside the list stands `settings`: dataclasses in which each setting has one default, range and description.

What `nas` offers is imported when it is first used, so that the command line starts without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.api import RunResult, latency, load_run, pipeline, retrain, search, sweep
    from nas.models.loading import load_model

__all__ = [
    "RunResult",
    "__version__",
    "latency",
    "load_model",
    "load_run",
    "pipeline",
    "retrain",
    "search",
    "sweep",
]

__version__ = "0.2.0"
"""The only place that holds the version; `nas/CHANGES.md` tells what changed."""


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = "nas.models.loading" if name == "load_model" else "nas.api"
        return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'nas' has no attribute {name!r}")
