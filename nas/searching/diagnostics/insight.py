"""What a finished search has learned, in words: which choices mattered, how noisy rewards are, what to do next.

Rewards are compared within an epoch, since those of an epoch rest on the same weights. A choice is said to matter only
if an F-test rejects at 5 % divided by the number of choices tested (Bonferroni): of a search without anything to find,
one in twenty says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from search_spaces.genotype import Decision

LEVEL = 0.05
RESAMPLES = 200
LEAST_CELLS = 20
"""Rewarded cells below which nothing is said of choices."""
MUCH_NOISE = 0.5
"""Share of the rewards' variance above which something better than rewards is to decide."""
ONE_SIZE = 0.05
"""Relative difference of parameters up to which cells are of one size."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Importance:
    """How much one decision, or the number of times an op is used, has to do with rewards.

    Attributes:
        name: The decision, such as `normal.0.op`, or the op.
        value: Of a decision ω², the share of the rewards' variance within epochs that its choices explain, chance taken
            off (Hays 1963); of an op the change of the reward for each more use of it.
        low: Lower end of a 95 % interval, a bootstrap over cells.
        high: Upper end.
        p: Of the F-test that it explains nothing.
    """

    name: str
    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Insight:
    """What a search has learned.

    Attributes:
        decisions: The most important first; empty if there are too few cells.
        ops: The most harmful first.
        noise: Share of the rewards' variance within epochs that the choice of images makes; None if it is not known.
        findings: Sentences by kind: `decisions`, `no_signal`, `harmful_op`, `noise`, `one_size`.
        advice: What to do next, a sentence each.
    """

    decisions: list[Importance] = field(default_factory=list)
    ops: list[Importance] = field(default_factory=list)
    noise: float | None = None
    findings: dict[str, str] = field(default_factory=dict)
    advice: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Returns it as JSON has it."""
        return asdict(self)


def find_insight(
    decisions: Sequence[Decision],
    scored: Sequence[Mapping[str, Any]],
    candidates: Sequence[Mapping[str, Any]],
    *,
    images: int | None = None,
) -> Insight:
    """Returns what a finished search has learned.

    Args:
        decisions: Of the search space.
        scored: The rewarded cells: `epoch`, `reward`, `actions` as text, and `accuracy` where images were looked at.
        candidates: The best cells: `parameters` of each, if known.
        images: Reward images that a cell's `accuracy` is of; None where rewards are exact.
    """
    findings, advice = _one_size(candidates)
    if len(scored) < LEAST_CELLS:
        return Insight(findings=findings, advice=advice)
    actions = np.array([[int(word) for word in row["actions"].split()] for row in scored])
    epochs = np.unique([row["epoch"] for row in scored], return_inverse=True)[1]
    rewards = _within(np.array([float(row["reward"]) for row in scored]), epochs)
    freedom = len(rewards) - len(set(epochs.tolist()))
    if freedom < LEAST_CELLS or not rewards.any():
        return Insight(findings=findings, advice=advice)

    varied = [(place, one) for place, one in enumerate(decisions) if len(set(actions[:, place])) > 1]
    important = [_importance(one.name, actions[:, place], rewards, epochs) for place, one in varied]
    uses = _uses(decisions, actions)
    ops = [_slope(op, _within(counts, epochs), rewards, freedom) for op, counts in uses.items()]
    important.sort(key=lambda one: -one.value)
    ops.sort(key=lambda one: one.value)

    shown = [one for one in important if one.p * len(important) <= LEVEL]
    if shown:
        named = ", ".join(f"{one.name} ({100 * one.value:.0f} %)" for one in shown[:3])
        findings["decisions"] = f"the decisions that explain most of the rewards' variance: {named}"
    harmful = [one for one in ops if one.value < 0 and one.p * len(ops) <= LEVEL]
    if harmful:
        worst = harmful[0]
        findings["harmful_op"] = (
            f"each {worst.name} lowers the reward by {-worst.value:.4f} ({-worst.high:.4f} … {-worst.low:.4f})"
        )
        advice.append(f"leave {worst.name} out of search_space.ops")
    if not shown and not harmful:
        findings["no_signal"] = "rewards are not shown to depend on any one choice"
    noise = _noise(scored, rewards, epochs, images) if images else None
    if noise is not None:
        findings["noise"] = (
            f"{100 * noise:.0f} % of the spread of an epoch's rewards is the choice of its {images} images"
        )
    if noise is not None and (noise > MUCH_NOISE or "no_signal" in findings):
        if not any("stand_alone_reward" in one for one in candidates):
            advice.append("let finals decide (search.finalists), or take evaluator=stand_alone")
    elif "no_signal" in findings:
        advice.append("reward more cells: search.epochs, search.controller_samples or search.queries")
    return Insight(decisions=important, ops=ops, noise=noise, findings=findings, advice=advice)


def _one_size(candidates: Sequence[Mapping[str, Any]]) -> tuple[dict[str, str], list[str]]:
    """Says so if all of several candidates have about the same number of parameters."""
    sizes = [float(one["parameters"]) for one in candidates if "parameters" in one]
    if len(sizes) < 3 or max(sizes) > (1 + ONE_SIZE) * min(sizes):
        return {}, []
    said = f"all {len(sizes)} candidates are of one size, {min(sizes):,.0f} to {max(sizes):,.0f} parameters"
    return {"one_size": said}, ["search.random_finalists=0.25 has the finals look at other sizes"]


def _within(values: Floats, groups: NDArray[np.int64]) -> Floats:
    """Returns values with the mean of their group taken off."""
    sums, counts = np.bincount(groups, values), np.bincount(groups)
    centred: Floats = values - (sums / counts)[groups]
    return centred


def _importance(name: str, choices: NDArray[np.int64], rewards: Floats, epochs: NDArray[np.int64]) -> Importance:
    """Returns ω², at least 0, of a decision's choices, as they and the rewards differ within epochs."""
    marks = np.stack([_within((choices == one).astype(float), epochs) for one in np.unique(choices)[1:]], axis=1)
    freedom = len(rewards) - len(np.unique(epochs)) - marks.shape[1]

    def analysis(drawn: NDArray[np.int64]) -> tuple[float, float]:
        fitted = marks[drawn] @ np.linalg.lstsq(marks[drawn], rewards[drawn], rcond=None)[0]
        between, ways = float(fitted @ fitted), marks.shape[1]
        total = float(rewards[drawn] @ rewards[drawn])
        error = (total - between) / freedom
        if error <= 0:
            return float(between > 0), float(between == 0)
        explained = max(0.0, (between - ways * error) / (total + error))
        return explained, float(stats.f.sf(between / ways / error, ways, freedom))

    value, p = analysis(np.arange(len(rewards)))
    low, high = _interval(len(rewards), lambda drawn: analysis(drawn)[0])
    return Importance(name, value, low, high, p)


def _slope(name: str, uses: Floats, rewards: Floats, freedom: int) -> Importance:
    """Returns the change of the reward for each more use of an op, by least squares."""

    def slope(drawn: NDArray[np.int64]) -> float:
        spread = float(uses[drawn] @ uses[drawn])
        return float(uses[drawn] @ rewards[drawn]) / spread if spread else 0.0

    value = slope(np.arange(len(rewards)))
    explained = value * float(uses @ rewards)
    error = (float(rewards @ rewards) - explained) / (freedom - 1)
    low, high = _interval(len(rewards), slope)
    return Importance(
        name, value, low, high, float(stats.f.sf(explained / error, 1, freedom - 1)) if error > 0 else 0.0
    )


def _interval(count: int, figure: Any) -> tuple[float, float]:
    """Returns the 95 % percentile interval of a figure of some of `count` cells, drawn with replacement."""
    random = np.random.default_rng(0)
    figures = [figure(random.integers(count, size=count)) for _ in range(RESAMPLES)]
    low, high = np.quantile(figures, [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def _uses(decisions: Sequence[Decision], actions: NDArray[np.int64]) -> dict[str, Floats]:
    """Returns how often each cell uses each op, of ops whose number varies."""
    uses: dict[str, Floats] = {}
    for place, decision in enumerate(decisions):
        if decision.kind == "op":
            for number, op in enumerate(decision.choices):
                uses[op] = uses.get(op, np.zeros(len(actions))) + (actions[:, place] == number)
    return {op: counts for op, counts in uses.items() if len(set(counts.tolist())) > 1}


def _noise(
    scored: Sequence[Mapping[str, Any]], rewards: Floats, epochs: NDArray[np.int64], images: int
) -> float | None:
    """Returns the binomial variance of accuracies on some images as a share of their variance within epochs."""
    if any("accuracy" not in row for row in scored):
        return None
    accuracies = np.array([float(row["accuracy"]) for row in scored])
    spread = _within(accuracies, epochs)
    variance = float(spread @ spread) / max(1, len(rewards) - len(set(epochs.tolist())))
    return None if not variance else min(1.0, float((accuracies * (1 - accuracies)).mean()) / images / variance)
