"""What a search shows at the foot of a terminal, and that it shows nothing elsewhere."""

import io
import time

import pytest
from rich.console import Console

from nas.reporting.dashboard import BLOCKS, cell_lines, curve_lines, dashboard, sparkline
from search_spaces.published import PUBLISHED

ROWS = [{"epoch": i, "reward": i / 8, "best": i / 8, "entropy": 20.0 - i} for i in range(5)]


def terminal(*, width: int = 100, height: int = 40, encoding: str = "utf-8") -> tuple[Console, io.StringIO]:
    class Stream(io.StringIO):
        @property
        def encoding(self) -> str:
            return encoding

    stream = Stream()
    return Console(file=stream, force_terminal=True, width=width, height=height, _environ={"TERM": "xterm"}), stream


def drawn(console: Console, rows=ROWS, cell="shufflenasnet_a") -> str:
    """What the dashboard of a search that has some rows draws."""
    with dashboard(
        "searching", rows, total=10, best=lambda: PUBLISHED[cell].genotype if cell else None, console=console
    ) as view:
        view.advance()
        return str(view.drawing())


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7], BLOCKS),
        ([0, 10], "▁█"),
        ([5.0, 5.0, 5.0], "▅▅▅"),
        ([0, float("nan"), 1], "▁ █"),
        ([float("inf"), float("nan")], "  "),
        ([], ""),
    ],
)
def test_a_sparkline_rises_from_the_lowest_to_the_highest_value(values, expected):
    assert sparkline(values, width=8) == expected


def test_a_sparkline_averages_what_does_not_fit():
    assert sparkline([0, 2, 4, 4, 8, 8], width=3) == sparkline([1, 4, 8], width=3)
    assert len(sparkline(range(630), width=60)) == 60
    assert sparkline([0, float("nan"), 7, 9], width=2) == "▁█"


def test_a_sparkline_of_ten_values_in_seven_places_leaves_none_out():
    assert sparkline([0] * 9 + [1], width=7)[-1] == "█"
    assert sparkline([1] + [0] * 9, width=7)[0] == "█"


def test_the_curves_name_the_last_and_best_reward_and_the_entropy():
    lines = curve_lines(ROWS, width=80)
    assert lines == ["reward   ▁▃▅▇█  0.5000, best 0.5000", "entropy  █▇▅▃▁  16.000 nats"]
    assert curve_lines([{"reward": 0.5}], width=80) == ["reward   ▅  0.5000"]
    assert curve_lines([], width=80) == []
    assert max(map(len, curve_lines(ROWS * 200, width=80))) <= 80


def test_cells_stand_side_by_side_where_there_is_room():
    genotype = PUBLISHED["shufflenasnet_a"].genotype
    wide = cell_lines(genotype, width=100, unicode=True, merge="sum")
    assert wide[0].split() == ["normal", "cell", "reduction", "cell"]
    narrow = cell_lines(genotype, width=60, unicode=True, merge="sum")
    assert len(narrow) == 2 * len(wide)
    assert max(map(len, wide)) <= 100
    assert [line[:40].rstrip() for line in wide] == narrow[: len(wide)]


def test_a_terminal_shows_curves_best_cell_and_bar_and_is_clean_afterwards():
    console, stream = terminal()
    text = drawn(console)
    assert "reward   ▁▃▅▇█" in text
    assert "sep_conv_3x3 ← 0" in text
    shown = stream.getvalue()
    assert "searching" in shown
    assert "6/10" in shown
    assert "best cell" in shown
    assert shown.rstrip().endswith("\x1b[2K")  # the last line that was cleared


def test_a_low_terminal_goes_without_the_cell_and_an_old_one_without_blocks():
    assert "cell" not in drawn(terminal(height=12)[0])
    text = drawn(terminal(encoding="ascii")[0])
    assert text.isascii()
    assert "sep_conv_3x3 <- 0" in text


def test_rows_printed_meanwhile_stand_above_the_dashboard():
    console, stream = terminal()
    with dashboard("searching", ROWS, total=10, best=lambda: None, console=console):
        console.print("a row of the table")
    assert "a row of the table\n" in stream.getvalue()


def test_no_terminal_gets_nothing_and_the_search_is_not_asked_for_its_best():
    stream = io.StringIO()

    def never() -> None:
        raise AssertionError

    with dashboard("searching", ROWS, total=10, best=never, console=Console(file=stream)) as view:
        view.advance()
        view.reach(7)
    assert stream.getvalue() == ""


def test_an_epoch_costs_the_search_next_to_nothing():
    console, _ = terminal()
    rows = [ROWS[i % 5] for i in range(630)]
    genotype = PUBLISHED["enas"].genotype
    with dashboard("searching", rows, total=1000, best=lambda: genotype, console=console) as view:
        started = time.thread_time()
        for _ in range(100):
            view.advance()
        assert (time.thread_time() - started) / 100 < 1e-3  # of CPU time; epochs take tenths of a second at least
