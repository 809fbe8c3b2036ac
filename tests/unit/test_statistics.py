import math

import pytest

from nas.runs.intervals import (
    Comparison,
    compare_pairs,
    compare_samples,
    difference_interval,
    mann_whitney_p,
    mean_interval,
    paired_verdict,
    plus_minus,
    signed_rank_p,
    spread,
    verdict,
    wilson_interval,
)

NAMES = ("A", "B")


def test_spread_by_hand():
    values = spread([0.9, 0.92, 0.94])
    assert (values.mean, values.n) == (pytest.approx(0.92), 3)
    assert values.std == pytest.approx(0.02)
    assert values.percent() == "92.00 ± 2.00 % (n = 3)"


def test_one_value_has_no_deviation():
    assert math.isnan(spread([0.5]).std)
    assert spread([0.5]).percent() == "50.00 % (n = 1)"
    with pytest.raises(ValueError, match="at least one value"):
        spread([])


def test_welch_interval_by_hand():
    """Means 2 and 4, variances 1 and 1, n = 3: half width t(4 dof, 97.5 %) · √(2/3) = 2.7764 · 0.8165."""
    low, high = difference_interval([1, 2, 3], [3, 4, 5])
    assert (low, high) == (pytest.approx(-2 - 2.26696, abs=1e-4), pytest.approx(-2 + 2.26696, abs=1e-4))


def test_students_interval_by_hand():
    """Mean 2, standard deviation 1, n = 3: half width t(2 dof, 97.5 %) / √3 = 4.3027 / 1.7321."""
    low, high = mean_interval([1, 2, 3])
    assert (low, high) == (pytest.approx(2 - 2.48414, abs=1e-4), pytest.approx(2 + 2.48414, abs=1e-4))
    assert mean_interval([1]) is None


def test_no_interval_without_spread_or_beyond_the_bounds():
    assert mean_interval([0.1 + 0.2, 0.3]) is None  # equal but for rounding
    assert difference_interval([0.98, 0.98], [0.97, 0.97]) is None
    assert difference_interval([0.5, 0.5], [0.4, 0.5], bounds=(0, 1)) == (
        pytest.approx(0.05 - 12.7062 * 0.05),
        pytest.approx(0.05 + 12.7062 * 0.05),
    )
    assert difference_interval([0.0, 1.0], [0.2, 0.9], bounds=(0, 1)) == (-1, 1)
    assert mean_interval([0.0, 1.0], bounds=(0, 1)) == (0, 1)


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        ([1, 2, 3], [4, 5, 6], 2 / 20),
        ([1, 2, 3, 4], [5, 6, 7, 8], 2 / 70),
        ([1, 1], [2, 2], 2 / 6),
        ([1, 2], [2, 3], 2 * 2 / 6),  # ranks 1, 2.5, 2.5, 4: sums 3.5, 3.5, 5, 5, 6.5, 6.5
        ([1, 4], [2, 3], 1),
        ([5.0], [5.0, 5.0], 1),
        ([1] * 2, [2] * 8, 2 / 45),
    ],
)
def test_the_rank_test_of_two_samples_counts_all_ways_to_deal_the_ranks(first, second, p):
    assert mann_whitney_p(first, second) == pytest.approx(p)
    assert mann_whitney_p(second, first) == pytest.approx(p)


def test_beyond_small_samples_the_rank_test_is_the_normal_approximation():
    low, high = [float(i) for i in range(31)], [float(i) + 0.5 for i in range(31)]
    z = (31 * 31 / 2 - 30 * 31 / 2 - 0.5) / math.sqrt(31 * 31 * 63 / 12)  # U = 0 + 1 + … + 30, a step of continuity
    assert mann_whitney_p(low, high) == pytest.approx(math.erfc(z / math.sqrt(2)))
    assert mann_whitney_p(low[:30], [one + 100 for one in high[:30]]) == pytest.approx(2 / math.comb(60, 30))


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1, 2, 3, 4, 5, 6], 2 / 64),
        ([-1, -2, -3, -4, -5], 2 / 32),
        ([1, 1, 1], 2 / 8),
        ([0, 0, 0], 1),
        ([0, 1, 2], 2 / 4),
        ([-1, 2, 3], 2 * 2 / 8),  # the sums 0 and 1 of 0 … 6 are at most 1
        ([0.1 + 0.2 - 0.3, 1, 2], 2 / 4),  # 0 but for rounding
    ],
)
def test_the_rank_test_of_pairs_counts_all_signs(differences, p):
    assert signed_rank_p(differences) == pytest.approx(p)
    assert signed_rank_p([-one for one in differences]) == pytest.approx(p)


def test_a_test_needs_values():
    for empty in (lambda: mann_whitney_p([], [1.0]), lambda: compare_samples([1.0], [])):
        with pytest.raises(ValueError, match="at least one value on each side"):
            empty()
    with pytest.raises(ValueError, match="at least one pair"):
        compare_pairs([])


@pytest.mark.parametrize(
    ("found", "decidable", "shown"),
    [
        (compare_samples([0.9], [0.8] * 50), False, 0),  # one value has no interval
        (compare_samples([0.98, 0.98], [0.97, 0.97]), False, 0),
        (compare_samples([0.9, 0.91, 0.92], [0.8, 0.81, 0.82]), False, 0),
        (compare_samples([0.9, 0.91, 0.92, 0.93], [0.8, 0.81, 0.82, 0.83]), True, 1),
        (compare_samples([0.8, 0.81, 0.82, 0.83], [0.9, 0.91, 0.92, 0.93]), True, -1),
        (compare_samples([0.98] * 4, [0.97] * 4), True, 1),  # the test decides, without an interval
        (compare_samples([0.9] * 4, [0.9] * 4), True, 0),
        (compare_samples([0.5, 0.5, 0.5, 0.99], [0.4, 0.41, 0.42, 0.43]), True, 0),  # p = 2/70, but a wide interval
        (compare_samples([0.9, 0.91, 0.92, 0.7], [0.8, 0.81, 0.82, 0.83]), True, 0),
        (compare_pairs([0.02]), False, 0),
        (compare_pairs([0.019, 0.02, 0.021, 0.02, 0.019]), False, 0),
        (compare_pairs([0.019, 0.02, 0.021, 0.02, 0.019, 0.022]), True, 1),
        (compare_pairs([-0.019, -0.02, -0.021, -0.02, -0.019, -0.022]), True, -1),
        (compare_pairs([0.6 - 0.5, 0.7 - 0.6, 0.8 - 0.7] * 2), True, 1),  # equal but for rounding: no interval
        (compare_pairs([0.01, 0.02, 0.03, 0.04, 0.05, -0.01]), True, 0),
    ],
)
def test_better_is_what_both_the_test_and_the_interval_show(found, decidable, shown):
    assert (found.decidable, found.shown) == (decidable, shown)
    assert ("is better" in found.sentence(NAMES)) == bool(shown)
    assert found.interval is None or found.interval[0] < found.interval[1]


def test_a_sentence_gives_p_and_the_interval_or_says_why_there_is_none():
    found = Comparison(counts="4 and 9 values", p=0.0042, least_p=0.003, interval=(0.0031, 0.0092), sign=1)
    assert found.sentence(NAMES, scale=100) == (
        "A is better (p = 0.0042; 95 % interval of the difference +0.31 … +0.92 points)"
    )
    assert verdict([0.1, 0.2, 0.4], [0.1, 0.3, 0.4], names=NAMES) == (
        "too few to tell (3 and 3 values: the least possible p is 0.10)"
    )
    assert verdict([0.1], [0.1, 0.3], names=NAMES) == "too few to tell (1 and 2 values)"
    assert paired_verdict([0.1, 0.2], names=NAMES) == "too few to tell (2 pairs: the least possible p is 0.50)"
    assert paired_verdict([0.1], names=NAMES) == "too few to tell (1 pair)"
    assert "0.00" not in verdict([0.98] * 4, [0.97] * 4, names=NAMES)
    assert verdict([0.0, 1.0], [0.0, 0.9] * 4, names=NAMES).endswith("-100.00 … +100.00 points)")


def test_a_mean_stands_with_its_deviation_if_there_is_one():
    assert plus_minus(97.314, 0.2) == "97.31 ± 0.20"
    assert plus_minus(97.314, None) == plus_minus(97.314, math.nan) == "97.31"


def test_wilson_intervals_of_known_values():
    assert wilson_interval(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson_interval(0.5, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    low, high = wilson_interval(1.0, 20)
    assert (low, high) == (pytest.approx(20 / (20 + 1.96**2)), pytest.approx(1.0))
    assert wilson_interval(0.0, 20) == pytest.approx((0.0, 1 - low), abs=1e-12)
    for rate, trials in ((1.0, 0), (-0.2, 5), (1.2, 5)):
        with pytest.raises(ValueError, match="successes"):
            wilson_interval(rate, trials)
