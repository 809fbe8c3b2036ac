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

`nas.load_model` is imported when it is first used, so that the command line starts without torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.models.loading import load_model

__all__ = ["__version__", "load_model"]

__version__ = "0.2.0"
"""The only place that holds the version; `nas/CHANGES.md` tells what changed."""


def __getattr__(name: str) -> Any:
    if name == "load_model":
        from nas.models.loading import load_model

        return load_model
    raise AttributeError(f"module 'nas' has no attribute {name!r}")
