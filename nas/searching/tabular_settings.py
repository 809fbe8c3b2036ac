"""What a search in a table is told."""

from dataclasses import dataclass, field

from nas.searching.diagnostics.settings import GuardSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class TabularSearchSettings:
    """The protocol of a search in a table.

    Attributes:
        queries: Cells looked up, those met before counted again.
        samples_per_update: Cells averaged in one update of the controller.
        top_k: Cells written to `candidates.json`.
        checkpoint_seconds: Time between two checkpoints.
        guard: When to warn of a policy that collapsed, and what to do.
    """

    queries: int = 500
    samples_per_update: int = 5
    top_k: int = 10
    checkpoint_seconds: float = 10.0
    guard: GuardSettings = field(default_factory=GuardSettings)

    def __post_init__(self) -> None:
        for name in ("queries", "samples_per_update", "top_k"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.checkpoint_seconds < 0:
            raise ValueError(f"checkpoint_seconds must be at least 0, got {self.checkpoint_seconds}")
