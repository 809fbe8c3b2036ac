import pytest

from nas.runs.shards import check_portion, portion_of


@pytest.mark.parametrize("portions", [1, 2, 3, 7])
def test_portions_are_disjoint_and_together_the_whole_and_alike_in_size(portions):
    parts = [portion_of(range(7), portion, portions) for portion in range(portions)]
    assert sorted(piece for part in parts for piece in part) == list(range(7))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_portion_has_early_and_late_pieces():
    assert list(portion_of(range(7), 1, 3)) == [1, 4]


def test_more_portions_than_pieces_are_refused():
    with pytest.raises(ValueError, match="portions must be at most 2, the pieces of work there are, got 3"):
        portion_of("ab", 0, 3)


@pytest.mark.parametrize(("portion", "portions"), [(0, 0), (1, 1), (-1, 2), (2, 2)])
def test_a_portion_that_there_is_not_is_refused(portion, portions):
    with pytest.raises(ValueError, match="portion"):
        check_portion(portion, portions)
