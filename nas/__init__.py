"""WHAT TO DO with spaces and controllers: networks, training, search, retraining, latency, and the command line.

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
