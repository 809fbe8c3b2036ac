"""When a search goes wrong: the policy collapses, ops without weights take over, samples repeat, no reward is gained.

Each rule looks at the last epochs alone: two of them, or as many as hold enough samples where an epoch has few. A
policy that is sure of itself is what a search works towards, so that one question is asked first: did it pay? Where the
mean reward has come at least half of the way from where it began to the best reward seen, and the search is not at its
very beginning, the policy is said to have converged, and nothing is done about it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nas.searching.diagnostics.settings import GuardSettings

Row = Mapping[str, float]

CONVERGED = "converged"
"""The only kind of finding that is no fault."""
ROUNDING = 1e-9
"""Rewards that differ by no more are equal."""
REMEDY = "a higher controller.entropy.weight with controller.entropy.part_of=loss, or a lower learning rate, helps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the rules need to know of a search.

    Attributes:
        num_epochs: Epochs of the controller, from its start to the end of the search.
        num_genotypes: Of the space.
        weight_free: Names of the space's ops without weights.
        chance: Their share in uniform samples.
    """

    num_epochs: int
    num_genotypes: int
    weight_free: Sequence[str]
    chance: float


def judge(rows: Sequence[Row], settings: GuardSettings, bounds: Bounds) -> dict[str, str]:
    """Applies all rules to the epochs of a controller.

    Args:
        rows: As `nas.searching.diagnostics.recording` makes them, from the controller's start.
        settings: Thresholds.
        bounds: Of the search.

    Returns:
        What holds now, in words, by kind: `collapsed`, `repeats`, `skip_ops`, `no_gain`, `converged`.
    """
    last = tail(rows, num_samples=settings.samples, num_epochs=2)
    if last is None:
        return {}
    narrow = _narrowness(last, settings, bounds)
    gain = _gain(rows, last, settings, bounds) if narrow else None
    shown = " and ".join(narrow.values())
    if gain is not None:
        narrow = {CONVERGED: f"the policy has converged: {gain}; {shown}"}
    elif "collapsed" in narrow:
        narrow = {"collapsed": f"the policy has collapsed: {shown}; {REMEDY}"}
    elif "repeats" in narrow and _has_risen(rows, settings):
        narrow = {}  # it goes where rewards are high, and has choices left
    return narrow | _takeover(last, settings, bounds) | _no_gain(rows, settings)


def _narrowness(last: Sequence[Row], settings: GuardSettings, bounds: Bounds) -> dict[str, str]:
    """Whether the policy has hardly a choice left, or draws hardly anything new."""
    found = {}
    if all("entropy_share" in row for row in last):
        share = mean(last, "entropy_share")
        if share < settings.entropy:
            found["collapsed"] = f"its entropy is {percent(share)} of a uniform policy's"
    repeats = mean(last, "repeats")
    if repeats > settings.repeats and 10 * last[-1]["rewarded"] < bounds.num_genotypes:
        found["repeats"] = (
            f"{percent(repeats)} of the last {count(last)} samples had been seen before, "
            f"{last[-1]['unique']} architectures are known so far"
        )
    return found


def _gain(rows: Sequence[Row], last: Sequence[Row], settings: GuardSettings, bounds: Bounds) -> str | None:
    """Says what a narrow policy has gained, if that is enough to say that it converged, and not too early."""
    first = head(rows, num_samples=settings.reward_samples)
    if first is None or len(rows) < settings.earliest * bounds.num_epochs:
        return None
    began, now, best = mean(first, "reward"), mean(last, "reward"), last[-1]["best"]
    if best <= began or (now - began) / (best - began) < settings.gain:
        return None
    left = bounds.num_epochs - len(rows)
    return f"mean reward {now:.4g}, {began:.4g} at its start, best {best:.4g}, {left} epochs left"


def _takeover(last: Sequence[Row], settings: GuardSettings, bounds: Bounds) -> dict[str, str]:
    """Whether ops without weights took over."""
    share = mean(last, "weight_free")
    if share <= max(settings.skip_share, (1 + bounds.chance) / 2):
        return {}
    names = ", ".join(bounds.weight_free)
    return {
        "skip_ops": f"ops without weights ({names}) took over: {percent(share)} of the ops, "
        f"{percent(bounds.chance)} by chance; leave some out of search_space.ops, or raise the entropy bonus"
    }


def _no_gain(rows: Sequence[Row], settings: GuardSettings) -> dict[str, str]:
    """Whether the mean reward has not risen by a standard error, or later on has fallen by one.

    It is judged only where another `reward_after` rewards are complete: who looks all the time sees chance.
    """
    rewarded = rows[-1]["rewarded"] - rows[0]["rewarded"] + rows[0]["samples"]
    looks = rewarded // settings.reward_after
    if looks == (rewarded - rows[-1]["samples"]) // settings.reward_after:
        return {}
    gained, error = rise(rows, settings)
    if gained > (max(error, ROUNDING) if looks == 1 else -error):
        return {}
    word = "not risen" if looks == 1 else "fallen"
    return {
        "no_gain": f"the mean reward of the last {settings.reward_samples} samples has {word}: {gained:+.2g} against "
        f"the first ones, standard error {error:.2g}; a higher learning rate, more samples an update or a longer "
        "search may help"
    }


def _has_risen(rows: Sequence[Row], settings: GuardSettings) -> bool:
    """Whether the last rewards are above the first ones by more than a standard error."""
    if head(rows, num_samples=2 * settings.reward_samples) is None:
        return False
    gained, error = rise(rows, settings)
    return gained > max(error, ROUNDING)


def rise(rows: Sequence[Row], settings: GuardSettings) -> tuple[float, float]:
    """Returns the mean of the last `reward_samples` rewards minus that of the first, and its standard error."""
    first = head(rows, num_samples=settings.reward_samples)
    last = tail(rows, num_samples=settings.reward_samples)
    assert first is not None
    assert last is not None
    return mean(last, "reward") - mean(first, "reward"), (squared_error(first) + squared_error(last)) ** 0.5


def head(rows: Iterable[Row], *, num_samples: int, num_epochs: int = 1) -> list[Row] | None:
    """Returns the fewest first rows that are `num_epochs` and hold `num_samples`; None if there are not so many."""
    taken: list[Row] = []
    samples = 0.0
    for row in rows:
        taken.append(row)
        samples += row["samples"]
        if samples >= num_samples and len(taken) >= num_epochs:
            return taken
    return None


def tail(rows: Sequence[Row], *, num_samples: int, num_epochs: int = 1) -> list[Row] | None:
    """Returns the fewest last rows, as `head` the first."""
    taken = head(reversed(rows), num_samples=num_samples, num_epochs=num_epochs)
    return None if taken is None else taken[::-1]


def count(rows: Sequence[Row]) -> int:
    """Returns the number of samples of rows."""
    return int(sum(row["samples"] for row in rows))


def mean(rows: Sequence[Row], key: str) -> float:
    """Returns the mean over the samples of rows."""
    return sum(row["samples"] * row[key] for row in rows) / count(rows)


def squared_error(rows: Sequence[Row]) -> float:
    """Returns the squared standard error of the mean reward of rows, two samples at least."""
    samples, center = count(rows), mean(rows, "reward")
    squares = sum(row["samples"] * (row["reward_std"] ** 2 + (row["reward"] - center) ** 2) for row in rows)
    return squares / (samples * (samples - 1))


def percent(share: float) -> str:
    """Returns a share as text, in whole percent."""
    return f"{100 * share:.0f} %"
