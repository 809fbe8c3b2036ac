"""A watch over a search: records every epoch, says what it finds, and acts on it.

All that it knows follows from its rows, its findings and the architectures rewarded, so that a resumed search finds
what an uninterrupted one would have found.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from controllers.protocol import Controller, Samples
from nas.searching.diagnostics.collapse import CONVERGED, judge
from nas.searching.diagnostics.recording import SUMMARY, Recorder
from nas.searching.diagnostics.settings import GuardSettings
from search_spaces.space import SearchSpace, size


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that a user should know of a search.

    Attributes:
        epoch: In which it was noticed.
        kind: See `nas.searching.diagnostics.collapse.judge`.
        message: In words.
        action: What was done: `warn`, `restart` or `stop`; `none` about what is no fault.
    """

    epoch: int
    kind: str
    message: str
    action: str


@dataclass(slots=True)
class Watch:
    """What happens after every epoch of a search besides learning.

    Attributes:
        space: What is searched.
        settings: When to warn, and what to do.
        num_epochs: Of the search.
        first_epoch: Those before it do not count: the controller does not learn there, and what rewards do has other
            reasons.
        renew: Makes a fresh controller from its number, 1 for the first restart; needed for `action: restart` alone.
        rows: One an epoch.
        findings: Of all epochs.

    Raises:
        ValueError: If controllers are to be restarted and cannot.
    """

    space: SearchSpace
    settings: GuardSettings
    num_epochs: int
    first_epoch: int = 0
    renew: Callable[[int], Controller] | None = None
    rows: list[dict[str, float]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        if self.settings.action == "restart" and self.renew is None:
            raise ValueError("guard.action=restart needs a way to make a fresh controller")
        self.recorder = Recorder(self.space, weight_free=self.settings.weight_free(self.space.decisions))

    @property
    def stopped(self) -> bool:
        """Whether the search is to end."""
        return any(finding.action == "stop" for finding in self.findings)

    @property
    def restarts(self) -> list[int]:
        """The epochs after which there was a fresh controller."""
        return list(dict.fromkeys(finding.epoch for finding in self.findings if finding.action == "restart"))

    @property
    def news(self) -> list[Finding]:
        """What the last epoch brought."""
        return [finding for finding in self.findings if finding.epoch == len(self.rows) - 1]

    def note(self, samples: Sequence[Samples], rewards: Tensor, *, best: float) -> dict[str, float]:
        """Records an epoch; returns what is worth logging next to its rewards.

        Args:
            samples: Draws of N architectures in all.
            rewards: (N,).
            best: The highest reward so far.
        """
        row = self.recorder.row(samples, rewards, epoch=len(self.rows), best=best)
        self.rows.append(row)
        return {key: row[key] for key in SUMMARY if key in row}

    def act(self, controller: Controller) -> Controller:
        """Looks at the epochs recorded; returns the controller to continue with, the given one or a fresh one.

        Each kind of finding is reported once for each controller. There is no fresh controller where what is left of
        the search is shorter than what a policy needs to converge.
        """
        began = self.restarts[-1] + 1 if self.restarts else self.first_epoch
        if began >= len(self.rows):
            return controller
        found = judge(
            self.rows[began:],
            self.settings,
            num_epochs=self.num_epochs - began,
            num_genotypes=size(self.space),
            weight_free=self.settings.weight_free(self.space.decisions),
            chance=self.recorder.chance,
        )
        known = {finding.kind for finding in self.findings if finding.epoch >= began}
        if known & {CONVERGED, "collapsed"}:
            known.add("repeats")  # goes without saying
        if not controller.state_dict():
            known.add("no_gain")  # what keeps no state is not meant to learn
        found = {kind: message for kind, message in found.items() if kind not in known}
        action, left = self.settings.action, self.num_epochs - len(self.rows)
        too_late = left < max(1, self.settings.earliest * self.num_epochs)
        if action == "restart" and (too_late or len(self.restarts) >= self.settings.max_restarts):
            action = "warn"
        for kind, message in found.items():
            done = "none" if kind == CONVERGED else action
            self.findings.append(Finding(epoch=len(self.rows) - 1, kind=kind, message=message, action=done))
        if action != "restart" or set(found) <= {CONVERGED}:
            return controller
        assert self.renew is not None
        return self.renew(len(self.restarts))

    def state_dict(self) -> dict[str, Any]:
        """Returns the rows and the findings."""
        return {"rows": self.rows, "findings": [asdict(finding) for finding in self.findings]}

    def load_state_dict(self, state: Mapping[str, Any], *, scored: Iterable[Mapping[str, Any]]) -> None:
        """Restores what `state_dict` returned, given all rewarded architectures with `actions` as text."""
        self.rows = state["rows"]
        self.findings = [Finding(**finding) for finding in state["findings"]]
        self.recorder.take([int(word) for word in row["actions"].split()] for row in scored)
