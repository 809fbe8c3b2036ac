"""A watch over a search: records every epoch, says what it finds, and acts on it.

An epoch is recorded by how unsure the policy is, what is new, and how far the best is. Nothing is known of a search
space but its decisions and which genotypes compute the same, and nothing of a controller but the distributions that it
drew from; a controller that has none is described by what it drew. All that the watch knows follows from its rows, its
findings and the architectures rewarded, so that a resumed search finds what an uninterrupted one would have found.
"""

import math
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from controllers.protocol import Controller, Samples
from nas.searching.diagnostics.collapse import CONVERGED, judge
from nas.searching.diagnostics.settings import GuardSettings
from search_spaces.genotype import Decision
from search_spaces.space import SearchSpace, size

SUMMARY = ("entropy_share", "unique", "repeats", "weight_free", "regret")
"""What of a row is worth a column next to the rewards; the other columns are one a decision."""


class Recorder:
    """Turns what was sampled of a space in an epoch into a row of figures; ops without weights are given by name."""

    def __init__(self, space: SearchSpace, *, weight_free: Collection[str]) -> None:
        self.space = space
        self.num_choices = max(len(decision.choices) for decision in space.decisions)
        lacking = [
            torch.tensor(
                [decision.kind == "op" and name in weight_free for name in decision.choices], dtype=torch.float
            )
            for decision in space.decisions
        ]
        self.weight_free = nn.utils.rnn.pad_sequence(lacking, batch_first=True)  # (T, K), 1 where an op has no weights
        self.num_ops = sum(decision.kind == "op" for decision in space.decisions)
        self._actions: set[tuple[int, ...]] = set()  # seen; to be canonical takes longer
        self._seen: set[Hashable] = set()
        self.rewarded = 0

    @property
    def chance(self) -> float:
        """The share of ops without weights in uniform samples."""
        lengths = torch.tensor([len(decision.choices) for decision in self.space.decisions])
        return self._weight_free_share(1 / lengths[:, None].expand(-1, self.num_choices).double())

    def row(self, samples: Sequence[Samples], rewards: Tensor, *, epoch: int, best: float) -> dict[str, float]:
        """Describes an epoch.

        Args:
            samples: Its samples, one or several draws, N architectures of T decisions in all.
            rewards: (N,).
            epoch: Its number.
            best: The highest reward so far, this epoch's included.

        Returns:
            `epoch`; `samples`, N; `rewarded`, the samples so far; `reward` and `reward_std`, mean and deviation;
            `best`; `regret`, best − reward; `unique`, different architectures so far, those that compute the same
            counted once; `repeats`, the share of samples seen before; `weight_free`, the probability of ops without
            weights, averaged over the decisions on ops; `probability.KIND.CHOICE`, averaged over its kind's. If the
            controller has distributions also `entropy.DECISION` in nats, a mean over samples, `entropy_share.DECISION`,
            the same divided by the logarithm of the number of choices, and `entropy_share`, the mean of these.
        """
        actions = torch.cat([draw.actions for draw in samples])
        known = [draw.probabilities.double() for draw in samples if draw.probabilities is not None]
        probabilities = torch.cat(known) if len(known) == len(samples) else None  # (N, T, K)
        drawn = F.one_hot(actions, self.num_choices).double() if probabilities is None else probabilities
        means = drawn.mean(dim=0)  # (T, K)
        repeats = self.take(actions.tolist())
        reward = rewards.mean().item()
        row = {
            "epoch": epoch,
            "samples": len(actions),
            "rewarded": self.rewarded,
            "reward": reward,
            "reward_std": rewards.std(correction=0).item(),
            "best": best,
            "regret": best - reward,
            "unique": len(self._seen),
            "repeats": repeats / len(actions),
            "weight_free": self._weight_free_share(means),
        }
        likely = choice_probabilities(self.space.decisions, means)
        row |= {f"probability.{choice}": probability for choice, probability in likely.items()}
        return row if probabilities is None else row | self._entropies(probabilities)

    def take(self, rows: Iterable[Sequence[int]]) -> int:
        """Takes note of architectures, given as actions; returns how many had been seen before."""
        repeats = 0
        for actions in map(tuple, rows):
            self.rewarded += 1
            if actions in self._actions:
                repeats += 1
                continue
            key = self.space.canonical(self.space.decode(actions))
            repeats += key in self._seen
            self._actions.add(actions)
            self._seen.add(key)
        return repeats

    def _entropies(self, probabilities: Tensor) -> dict[str, float]:
        """Returns the entropies of distributions (N, T, K), decision by decision and as one share."""
        entropies = torch.special.entr(probabilities).sum(dim=2).mean(dim=0).tolist()
        nats, shares = {}, {}
        for decision, entropy in zip(self.space.decisions, entropies, strict=True):
            nats[f"entropy.{decision.name}"] = entropy
            if len(decision.choices) > 1:
                shares[f"entropy_share.{decision.name}"] = entropy / math.log(len(decision.choices))
        mean = {"entropy_share": sum(shares.values()) / len(shares)} if shares else {}
        return {**mean, **nats, **shares}

    def _weight_free_share(self, probabilities: Tensor) -> float:
        """Returns the probability of ops without weights, averaged over the decisions on ops; from (T, K)."""
        return (probabilities * self.weight_free).sum().item() / max(self.num_ops, 1)


def choice_shares(decisions: Sequence[Decision], actions: Tensor) -> dict[str, float]:
    """Returns how often each word of a vocabulary was chosen, as a share of the decisions of its kind.

    Args:
        decisions: T of them.
        actions: (N, T).

    Returns:
        Shares by `kind.choice`, such as `op.conv_1x1`, of every kind but inputs; those of a kind sum to 1.
    """
    shares: dict[str, float] = {}
    for kind, columns, choices in vocabularies(decisions):
        counts = torch.bincount(actions[:, columns].flatten(), minlength=len(choices))
        shares |= _by_choice(kind, choices, counts / counts.sum())
    return shares


def choice_probabilities(decisions: Sequence[Decision], probabilities: Tensor) -> dict[str, float]:
    """Returns how likely each word of a vocabulary is, averaged over the decisions of its kind.

    Args:
        decisions: T of them.
        probabilities: (T, K), of the choices of each decision.

    Returns:
        Probabilities by `kind.choice`, as `choice_shares` has them.
    """
    means: dict[str, float] = {}
    for kind, columns, choices in vocabularies(decisions):
        means |= _by_choice(kind, choices, probabilities[columns, : len(choices)].mean(dim=0))
    return means


def vocabularies(decisions: Sequence[Decision]) -> Iterator[tuple[str, list[int], tuple[str, ...]]]:
    """Gives every kind of decision but inputs, the numbers of its decisions, and the choices that they share."""
    for kind in dict.fromkeys(decision.kind for decision in decisions if decision.kind != "input"):
        columns = [number for number, decision in enumerate(decisions) if decision.kind == kind]
        yield kind, columns, decisions[columns[0]].choices


def _by_choice(kind: str, choices: Sequence[str], values: Tensor) -> dict[str, float]:
    return {f"{kind}.{choice}": value for choice, value in zip(choices, values.tolist(), strict=True)}


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
        num_epochs: Epochs of the search.
        first_epoch: Those before it do not count: the controller does not learn there, and what rewards do has other
            reasons.
        renew: Makes a fresh controller from its number, 1 for the first restart; needed for `action: restart` alone.
        rows: One an epoch.
        findings: The findings of all epochs.

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
