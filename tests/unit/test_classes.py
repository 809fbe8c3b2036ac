"""Draws over the classes of genotypes that compute the same."""

import pytest
import torch

from search_spaces.classes import CanonicalClasses
from search_spaces.nasbench201 import NASBench201Space
from search_spaces.shufflenas import ShuffleNASSpace

SPACE = NASBench201Space()


@pytest.fixture(scope="module")
def classes() -> CanonicalClasses:
    return CanonicalClasses(SPACE)


def test_every_genotype_is_in_one_of_5260_classes(classes):
    assert len(classes.sizes) == 5_260
    assert len(classes.actions) == len(classes.actions.unique(dim=0)) == classes.sizes.sum() == 15_625


def test_a_class_holds_all_genotypes_of_one_function_and_no_other(classes):
    number = int(classes.sizes.argmax())
    size = int(classes.sizes[number])
    members = classes.members(torch.full((size,), number), torch.arange(size))
    (key,) = {SPACE.canonical(SPACE.decode(row)) for row in members.tolist()}
    rest = set(map(tuple, classes.actions.tolist())) - set(map(tuple, members.tolist()))
    assert len(rest) == 15_625 - size
    assert all(SPACE.canonical(SPACE.decode(row)) != key for row in list(rest)[::40])


def test_the_numbers_below_the_size_of_a_class_are_its_genotypes_and_others_repeat_them(classes):
    numbers = torch.arange(len(classes.sizes)).repeat_interleave(classes.sizes)
    within = torch.cat([torch.arange(int(size)) for size in classes.sizes])
    for turn in (0, 1, 2**40):
        assert torch.equal(classes.members(numbers, within + turn * classes.sizes[numbers]), classes.actions)


def test_draws_are_spread_over_the_classes_and_over_a_class():
    small = CanonicalClasses(
        ShuffleNASSpace(blocks=2, ops=("identity", "conv_1x1", "max_pool_3x3"), mixers=("identity",))
    )
    torch.manual_seed(0)
    draws = small.sample(400 * len(small.sizes))
    probabilities = (1 / (len(small.sizes) * small.sizes.double())).repeat_interleave(small.sizes)
    rows = {tuple(row): i for i, row in enumerate(small.actions.tolist())}
    counts = torch.bincount(torch.tensor([rows[tuple(row)] for row in draws.tolist()]), minlength=len(rows))
    expected = len(draws) * probabilities
    statistic = ((counts - expected) ** 2 / expected).sum().item()
    freedom = len(rows) - 1
    assert abs(statistic - freedom) < 4 * (2 * freedom) ** 0.5


def test_the_generators_seed_fixes_the_draws(classes):
    first, second, third = (torch.manual_seed(seed) and classes.sample(50) for seed in (7, 7, 8))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert first.shape == (50, 6)


def test_a_space_too_large_to_be_enumerated_is_refused():
    with pytest.raises(ValueError, match=r"at most 100000 genotypes, .*shufflenas has \d+"):
        CanonicalClasses(ShuffleNASSpace())
