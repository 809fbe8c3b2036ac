import math

import pytest

from nas.statistics import difference_interval, mean_interval, paired_verdict, spread, verdict


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


def test_verdict_claims_nothing_inside_the_interval():
    names = ("A", "B")
    assert verdict([0.9], [0.8, 0.7], names=names).startswith("no interval")
    assert verdict([0.90, 0.92], [0.91, 0.905], names=names).startswith("no difference shown (95 %")
    assert verdict([0.90, 0.901, 0.902], [0.80, 0.801, 0.802], names=names).startswith("A is better")
    assert verdict([0.80, 0.801, 0.802], [0.90, 0.901, 0.902], names=names).startswith("B is better")
    assert verdict([0.9, 0.9], [0.9, 0.9], names=names).startswith("no difference shown")


def test_a_verdict_on_pairs_takes_the_interval_of_their_differences():
    """Differences 1, 2, 3 points: 2 ± 2.48414 as above; far fewer when each is near 2."""
    names = ("A", "B")
    assert paired_verdict([0.01, 0.02, 0.03], names=names) == (
        "no difference shown (95 % interval of the difference -0.48 … +4.48 points)"
    )
    assert paired_verdict([0.019, 0.02, 0.021], names=names).startswith("A is better")
    assert paired_verdict([-0.019, -0.02, -0.021], names=names).startswith("B is better")
    assert paired_verdict([0.5], names=names).startswith("no interval")
