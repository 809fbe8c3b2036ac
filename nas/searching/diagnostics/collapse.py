"""The rules by which a search goes wrong: a collapsed policy, a takeover by ops without weights, repeats, no gain.

Each rule looks at the last epochs alone: two of them, or as many as hold enough samples where an epoch has few. A
policy that is sure of itself is what a search works towards, so that one question is asked first: did it pay? Where the
mean reward has come at least half of the way from where it began to the best reward seen, and the search is not at its
very beginning, the policy is said to have converged, and nothing is done about it.
"""

import itertools
from collections.abc import Mapping, Sequence

from nas.searching.diagnostics.settings import GuardSettings

Row = Mapping[str, float]

CONVERGED = "converged"
"""The only kind of finding that is no fault."""
ROUNDING = 1e-9
"""Rewards that differ by no more are equal."""
REMEDY = "a higher controller.entropy.weight with controller.entropy.part_of=loss, or a lower learning rate, helps"


def judge(
    rows: Sequence[Row],
    settings: GuardSettings,
    *,
    num_epochs: int,
    num_genotypes: int,
    weight_free: Sequence[str],
    chance: float,
) -> dict[str, str]:
    """Applies all rules to the epochs of a controller.

    Args:
        rows: As `nas.searching.diagnostics.watch` makes them, from the controller's start.
        settings: Thresholds.
        num_epochs: Epochs of the controller, from its start to the end of the search.
        num_genotypes: Genotypes in the space.
        weight_free: Names of the space's ops without weights.
        chance: Their share in uniform samples.

    Returns:
        What holds now, in words, by kind: `collapsed`, `repeats`, `skip_ops`, `no_gain`, `converged`.
    """
    if len(rows) < 2 or count(rows) < settings.samples:
        return {}
    last = tail(rows, settings.samples, num_epochs=2)
    found = _narrowness(last, settings, num_genotypes)
    shown = " and ".join(found.values())
    if found and (gain := _gain(rows, last, settings, num_epochs)):
        found = {CONVERGED: f"the policy has converged: {gain}; {shown}"}
    elif "collapsed" in found:
        found = {"collapsed": f"the policy has collapsed: {shown}; {REMEDY}"}
    elif "repeats" in found and count(rows) >= 2 * settings.reward_samples:
        gained, error = rise(rows, settings)
        if gained > max(error, ROUNDING):
            found = {}  # it goes where rewards are high, and has choices left
    share = mean(last, "weight_free")
    if share > max(settings.skip_share, (1 + chance) / 2):
        found["skip_ops"] = (
            f"ops without weights ({', '.join(weight_free)}) took over: {percent(share)} of the ops, "
            f"{percent(chance)} by chance; leave some out of search_space.ops, or raise the entropy bonus"
        )
    return found | _no_gain(rows, settings)


def _narrowness(last: Sequence[Row], settings: GuardSettings, num_genotypes: int) -> dict[str, str]:
    """Whether the policy has hardly a choice left, or draws hardly anything new."""
    found = {}
    if all("entropy_share" in row for row in last):
        share = mean(last, "entropy_share")
        if share < settings.entropy:
            found["collapsed"] = f"its entropy is {percent(share)} of a uniform policy's"
    repeats = mean(last, "repeats")
    if repeats > settings.repeats and 10 * last[-1]["rewarded"] < num_genotypes:
        found["repeats"] = (
            f"{percent(repeats)} of the last {count(last)} samples had been seen before, "
            f"{last[-1]['unique']} architectures are known so far"
        )
    return found


def _gain(rows: Sequence[Row], last: Sequence[Row], settings: GuardSettings, num_epochs: int) -> str | None:
    """Says what a narrow policy has gained, if that is enough to say that it converged, and not too early."""
    if count(rows) < settings.reward_samples or len(rows) < settings.earliest * num_epochs:
        return None
    first = head(rows, settings.reward_samples)
    began, now, best = mean(first, "reward"), mean(last, "reward"), last[-1]["best"]
    if best <= began or (now - began) / (best - began) < settings.gain:
        return None
    left = num_epochs - len(rows)
    return f"mean reward {now:.4g}, {began:.4g} at its start, best {best:.4g}, {left} epochs left"


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


def rise(rows: Sequence[Row], settings: GuardSettings) -> tuple[float, float]:
    """Returns the mean of the last `reward_samples` rewards minus that of the first, and its standard error."""
    first, last = head(rows, settings.reward_samples), tail(rows, settings.reward_samples)
    return mean(last, "reward") - mean(first, "reward"), (squared_error(first) + squared_error(last)) ** 0.5


def head(rows: Sequence[Row], num_samples: int, *, num_epochs: int = 1) -> Sequence[Row]:
    """Returns the fewest first rows that are `num_epochs` and hold `num_samples`; all where these are not so many."""
    held = enumerate(itertools.accumulate(row["samples"] for row in rows), start=1)
    return rows[: next((place for place, samples in held if samples >= num_samples and place >= num_epochs), len(rows))]


def tail(rows: Sequence[Row], num_samples: int, *, num_epochs: int = 1) -> Sequence[Row]:
    """Returns the fewest last rows, as `head` the first."""
    return head(rows[::-1], num_samples, num_epochs=num_epochs)[::-1]


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
