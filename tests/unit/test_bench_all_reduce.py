import pytest

from nas.studies.benchmarks.communication import Link, fit_link, time_all_reduce

GIGABIT_100 = Link(gigabytes_per_second=12.5, latency_us=15)


def test_a_ring_of_eight_sends_fourteen_eighths_of_the_bytes_in_fourteen_messages():
    assert GIGABIT_100.ring_ms(8_000_000, ranks=8) == pytest.approx(14 / 12.5 + 14 * 0.015)


def test_a_tree_of_eight_sends_all_bytes_twice_in_six_messages():
    assert GIGABIT_100.tree_ms(8_000_000, ranks=8) == pytest.approx(16 / 12.5 + 6 * 0.015)


def test_one_rank_sends_nothing():
    assert GIGABIT_100.ring_ms(10**9, ranks=1) == GIGABIT_100.tree_ms(10**9, ranks=1) == 0


@pytest.mark.parametrize(("size", "best"), [(1_000, "tree_ms"), (10**9, "ring_ms")])
def test_small_buffers_go_by_tree_and_large_ones_by_ring(size, best):
    assert GIGABIT_100.least_ms(size, ranks=64) == getattr(GIGABIT_100, best)(size, ranks=64)
    assert GIGABIT_100.ring_ms(size, ranks=64) != GIGABIT_100.tree_ms(size, ranks=64)


@pytest.mark.parametrize("ranks", [2, 8])
def test_the_link_that_made_the_times_is_found(ranks):
    times = {size: GIGABIT_100.ring_ms(size, ranks=ranks) for size in (1_000, 50_000, 4_000_000)}
    link = fit_link(times, ranks=ranks)
    assert link.gigabytes_per_second == pytest.approx(12.5)
    assert link.latency_us == pytest.approx(15)


def test_a_process_that_ends_early_is_an_error():
    with pytest.raises(OSError, match="a process of the all-reduce ended"):
        time_all_reduce([-4], ranks=2, rounds=1)
