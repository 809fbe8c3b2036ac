"""The division of a data set: stratified, disjoint, and frozen for good."""

import numpy as np

from nas.data.stratified_split import partition, stratified_choice


def test_the_division_is_stratified_and_follows_its_seed():
    labels = np.repeat([0, 1, 2], [100, 200, 300])
    settings = {"class_names": ("a", "b", "c"), "held_out": 60, "test_fraction": 0.5}
    first, again, other = (partition(labels, split_seed=seed, **settings) for seed in (0, 0, 1))
    assert np.bincount(labels[first.test]).tolist() == [50, 100, 150]
    assert np.bincount(labels[first.reward]).tolist() == [10, 20, 30]
    assert np.array_equal(first.reward, again.reward)
    assert not np.array_equal(first.reward, other.reward)


def test_the_division_of_a_seed_never_changes():
    """Figures of two versions can be compared only if their splits are the same."""
    assert stratified_choice(np.arange(20) % 2, 6, seed=0).tolist() == [1, 8, 10, 17, 18, 19]


def test_shares_are_rounded_by_largest_remainders():
    labels = np.repeat([0, 1, 2], [5, 3, 2])
    assert np.bincount(labels[stratified_choice(labels, 5, seed=3)]).tolist() == [3, 1, 1]
    assert np.bincount(labels[stratified_choice(labels, 7, seed=3, spare=1)]).tolist() == [4, 2, 1]


def test_a_smaller_sample_lies_within_a_larger_one():
    labels = np.arange(1000) % 10
    small, large = (set(stratified_choice(labels, count, seed=5).tolist()) for count in (100, 300))
    assert small < large
