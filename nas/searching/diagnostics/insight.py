"""What a finished search has learned, in words: which choices mattered, how noisy rewards are, what to do next.

Rewards are compared within an epoch, since those of an epoch rest on the same weights. A decision is said to matter
only if an F-test rejects at 5 % divided by the number of decisions tested (Bonferroni), and an op to be harmful only if
it is as clearly worse than the second worst: of searches without anything to find, one in twenty says the
one, and one in twenty the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.searching.diagnostics.watch import Finding
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
            off (Hays 1963); of an op the change of the reward where it stands in place of the average op.
        low: Lower end of a 95 % interval: of a decision a bootstrap over cells, of an op Student's.
        high: Upper end.
        p: Of a decision, that it explains nothing (F-test); of an op, that it is as good as the next better (t-test).
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
        findings: Sentences by kind: `decisions`, `no_signal`, `harmful_op`, `noise`, `one_size`, and the kinds of the
            watch over the policy, such as `collapsed`.
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
    warned: Sequence[Finding] = (),
) -> Insight:
    """Returns what a finished search has learned.

    Args:
        decisions: Of the search space.
        scored: The rewarded cells: `epoch`, `reward`, `actions` as text, and `accuracy` where images were looked at.
        candidates: The best cells: `parameters` of each, if known.
        images: Reward images that a cell's `accuracy` is of; None where rewards are exact.
        warned: What the watch over the policy found; a policy that was begun anew does not count.
    """
    findings, advice = _one_size(candidates)
    findings |= {one.kind: f"since epoch {one.epoch} {one.message}" for one in warned if one.action != "restart"}
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
    important.sort(key=lambda one: -one.value)
    uses = {op: _within(counts, epochs) for op, counts in _uses(decisions, actions).items()}
    ops = _op_effects(uses, rewards, freedom) if len(uses) > 1 else []

    shown = [one for one in important if one.p * len(important) <= LEVEL]
    if shown:
        named = ", ".join(f"{one.name} ({100 * one.value:.0f} %)" for one in shown[:3])
        findings["decisions"] = f"the decisions that explain most of the rewards' variance: {named}"
    if ops and ops[0].value < 0 and ops[0].p * len(ops) <= LEVEL:
        worst = ops[0]
        findings["harmful_op"] = (
            f"each {worst.name} in place of the average op lowers the reward by {-worst.value:.4f} "
            f"({-worst.high:.4f} … {-worst.low:.4f})"
        )
        advice.append(f"leave {worst.name} out of search_space.ops")
    if not shown and "harmful_op" not in findings:
        findings["no_signal"] = "rewards are not shown to depend on any one choice"
    noise = _noise(scored, rewards, epochs, images) if images else None
    if noise is not None:
        findings["noise"] = (
            f"{100 * noise:.0f} % of the variance of rewards within an epoch comes from the draw of {images} images, "
            "not from the cells"
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
    said = f"all {len(sizes)} candidates have about as many parameters, {min(sizes):,.0f} to {max(sizes):,.0f}"
    finals = "" if any("stand_alone_reward" in one for one in candidates) else "search.finalists=10 "
    return {"one_size": said}, [f"{finals}search.random_finalists=0.25 trains cells of other sizes, too"]


def _within(values: Floats, groups: NDArray[np.int64]) -> Floats:
    """Returns values with the mean of their group taken off."""
    sums, counts = np.bincount(groups, values), np.bincount(groups)
    centred: Floats = values - (sums / counts)[groups]
    return centred


def _importance(name: str, choices: NDArray[np.int64], rewards: Floats, epochs: NDArray[np.int64]) -> Importance:
    """Returns ω², at least 0, of a decision's choices, as they and the rewards differ within epochs."""
    from scipy.special import fdtrc

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
        return explained, float(fdtrc(ways, freedom, between / ways / error))

    value, p = analysis(np.arange(len(rewards)))
    low, high = _interval(len(rewards), lambda drawn: analysis(drawn)[0])
    return Importance(name, value, low, high, p)


def _op_effects(uses: Mapping[str, Floats], rewards: Floats, freedom: int) -> list[Importance]:
    """Returns what each op changes beside the average op, by least squares over the uses of all; the worst first."""
    from scipy.special import stdtr, stdtrit

    counts = np.stack(list(uses.values()), axis=1)
    among = np.eye(len(uses)) - 1 / len(uses)  # each beside their mean: uses of all ops often sum to a constant
    inverse = among @ np.linalg.pinv(counts.T @ counts) @ among
    effects = inverse @ counts.T @ rewards
    left = rewards - counts @ np.linalg.lstsq(counts, rewards, rcond=None)[0]
    freedom -= int(np.linalg.matrix_rank(counts))
    variance = float(left @ left) / freedom * inverse
    reach = float(stdtrit(freedom, 1 - LEVEL / 2))
    order, names, ops = np.argsort(effects), list(uses), []
    for place, worse in enumerate(order):
        better = order[min(place + 1, len(order) - 1)]
        gap = max(0.0, variance[worse, worse] + variance[better, better] - 2 * variance[worse, better]) ** 0.5
        far = float(effects[better] - effects[worse])
        p = 2 * float(stdtr(freedom, -far / gap)) if gap else float(far == 0)
        spread = reach * max(0.0, variance[worse, worse]) ** 0.5
        ops.append(Importance(names[worse], effects[worse], effects[worse] - spread, effects[worse] + spread, p))
    return ops


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
