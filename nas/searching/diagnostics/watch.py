"""A watch over a search: records every epoch, says what it finds, and acts on it.

All that it knows follows from its rows, its findings and the architectures rewarded,
so that a resumed search finds what an uninterrupted one would have found.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from controllers.protocol import Controller, Samples
from nas.searching.diagnostics.collapse import CONVERGED, Bounds, Row, judge
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


class Watch:
    """What happens after every epoch of a search besides learning.

    Args:
        space: What is searched.
        settings: When to warn, and what to do.
        num_epochs: Of the search.
        first_epoch: Those before it do not count: the controller does not learn there, and what rewards do has other
            reasons.
        renew: Makes a fresh controller from its number, 1 for the first restart; needed for `action: restart` alone.

    Raises:
        ValueError: If controllers are to be restarted and cannot.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        settings: GuardSettings,
        num_epochs: int,
        first_epoch: int = 0,
        renew: Callable[[int], Controller] | None = None,
    ) -> None:
        if settings.action == "restart" and renew is None:
            raise ValueError("guard.action=restart needs a way to make a fresh controller")
        self.settings = settings
        self.num_epochs = num_epochs
        self.first_epoch = first_epoch
        self.renew = renew
        self.weight_free = settings.weight_free(space.decisions)
        self.recorder = Recorder(space, weight_free=self.weight_free)
        self.num_genotypes = size(space)
        self.chance = self.recorder.chance
        self.rows: list[dict[str, float]] = []
        self.findings: list[Finding] = []
        self._current: list[Row] = []  # rows of the present controller

    @property
    def stopped(self) -> bool:
        """Whether the search is to end."""
        return any(finding.action == "stop" for finding in self.findings)

    @property
    def restarts(self) -> list[int]:
        """The epochs after which the controller was made anew."""
        return list(dict.fromkeys(finding.epoch for finding in self.findings if finding.action == "restart"))

    @property
    def news(self) -> list[Finding]:
        """What the last epoch brought."""
        return [finding for finding in self.findings if finding.epoch == len(self.rows) - 1]

    def note(self, samples: Sequence[Samples], rewards: Tensor, *, best: float) -> dict[str, float]:
        """Records an epoch; returns what is worth logging beside its rewards.

        Args:
            samples: Draws of N architectures in all.
            rewards: (N,).
            best: The highest reward so far.
        """
        row = self.recorder.row(samples, rewards, epoch=len(self.rows), best=best)
        if len(self.rows) >= self.first_epoch:
            self._current.append(row)
        self.rows.append(row)
        return {key: row[key] for key in SUMMARY if key in row}

    def act(self, controller: Controller) -> Controller:
        """Looks at the epochs recorded; returns the controller to go on with, the given one or a fresh one.

        Each kind of finding is reported once for each controller. A controller is not made anew where what is left of
        the search is shorter than what a policy needs to converge.
        """
        if not self._current:
            return controller
        found = judge(self._current, self.settings, self._bounds)
        known = {finding.kind for finding in self.findings if finding.epoch >= len(self.rows) - len(self._current)}
        if known & {CONVERGED, "collapsed"}:
            known.add("repeats")  # goes without saying
        found = {kind: message for kind, message in found.items() if kind not in known}
        if "no_gain" in found and not controller.state_dict():
            del found["no_gain"]  # what keeps no state is not meant to learn
        action = "warn" if self.settings.action == "restart" and not self._may_restart else self.settings.action
        for kind, message in found.items():
            done = "none" if kind == CONVERGED else action
            self.findings.append(Finding(epoch=len(self.rows) - 1, kind=kind, message=message, action=done))
        if action != "restart" or set(found) <= {CONVERGED}:
            return controller
        assert self.renew is not None
        self._current = []
        return self.renew(len(self.restarts))

    @property
    def _may_restart(self) -> bool:
        left = self.num_epochs - len(self.rows)
        return len(self.restarts) < self.settings.max_restarts and left >= max(
            1, self.settings.earliest * self.num_epochs
        )

    @property
    def _bounds(self) -> Bounds:
        return Bounds(
            num_epochs=self.num_epochs - (len(self.rows) - len(self._current)),
            num_genotypes=self.num_genotypes,
            weight_free=self.weight_free,
            chance=self.chance,
        )

    def state_dict(self) -> dict[str, Any]:
        """Returns the rows and the findings."""
        return {"rows": self.rows, "findings": [asdict(finding) for finding in self.findings]}

    def load_state_dict(self, state: Mapping[str, Any], *, scored: Iterable[Mapping[str, Any]]) -> None:
        """Restores what `state_dict` returned.

        Args:
            state: What it returned.
            scored: Every architecture rewarded until then, with `actions` as text.
        """
        self.rows = state["rows"]
        self.findings = [Finding(**finding) for finding in state["findings"]]
        self._current = [*self.rows[self.restarts[-1] + 1 if self.restarts else self.first_epoch :]]
        self.recorder.take([int(word) for word in row["actions"].split()] for row in scored)
