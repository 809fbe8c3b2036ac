import subprocess
import sys
import xml.etree.ElementTree as ET
from math import nan

import pytest

from nas.reporting.figures.colours import BLUE, GREY, PALETTE
from nas.reporting.figures.figures import is_gap
from nas.reporting.figures.searches import retrain_chart
from nas.reporting.plots import choice_curves, search_curves, training_curves

SEARCH = [
    {"epoch": 1, "loss": 2.3, "reward": 0.3, "baseline": nan, "entropy": 5.0, "best": 0.4},
    {"epoch": 2, "loss": 2.0, "reward": 0.4, "baseline": 0.3, "entropy": 4.5, "best": 0.5},
    {"epoch": 3, "loss": 1.8, "reward": 0.5, "baseline": 0.35, "best": None},
]
TRAINING = [
    {"label": label, "seed": seed, "epoch": epoch, "test_accuracy": accuracy + 0.01 * seed + 0.02 * epoch}
    for label, accuracy in (("found", 0.8), ("random", 0.7))
    for seed in (0, 1)
    for epoch in (1, 2, 3)
]
CHOICES = [
    {"epoch": epoch, "op.a": 0.1 * epoch, "op.b": 1 - 0.1 * epoch, "mixer.c": 1.0, "loss": 2.0} for epoch in range(5)
]
FIGURES = [(search_curves, SEARCH), (choice_curves, CHOICES), (training_curves, TRAINING)]


def texts(path):
    """The words of a figure."""
    return [element.text for element in ET.parse(path).iter("{http://www.w3.org/2000/svg}text")]


def lines(path, colour):
    """How many lines a figure has in a colour."""
    paths = ET.parse(path).iter("{http://www.w3.org/2000/svg}path")
    return sum(one.get("stroke") == colour and "L" in one.get("d", "") for one in paths)


@pytest.mark.parametrize(("draw", "values"), FIGURES)
def test_a_figure_is_valid_and_the_same_every_time(draw, values, tmp_path):
    first, second = tmp_path / "new" / "first.svg", tmp_path / "second.svg"
    draw(values, first)
    draw(values, second)
    assert first.read_bytes() == second.read_bytes()
    assert ET.parse(first).getroot().tag.endswith("svg")


@pytest.mark.parametrize(("draw", "values"), [(search_curves, []), (choice_curves, []), (training_curves, [])])
def test_nothing_to_draw_is_an_error(draw, values, tmp_path):
    with pytest.raises(ValueError, match="nothing to draw"):
        draw(values, tmp_path / "figure.svg")
    assert not list(tmp_path.iterdir())


def test_search_curves_name_every_curve(tmp_path):
    search_curves(SEARCH, tmp_path / "search.svg")
    words = {"Reward", "mean", "best so far", "baseline", "Entropy of the policy", "entropy (nats)"}
    assert {*words, "Training loss of the shared weights"} <= set(texts(tmp_path / "search.svg"))


def test_search_curves_leave_out_what_was_not_recorded(tmp_path):
    search_curves([{"epoch": 1, "reward": 0.3}], tmp_path / "search.svg")
    words = texts(tmp_path / "search.svg")
    assert "Reward" in words
    assert not {"baseline", "Entropy of the policy"} & set(words)


def test_epochs_have_whole_ticks(tmp_path):
    search_curves(SEARCH[:2], tmp_path / "search.svg")
    assert not {"1.5", "1.2"} & set(texts(tmp_path / "search.svg"))
    assert {"1", "2"} <= set(texts(tmp_path / "search.svg"))


def test_training_curves_count_the_runs_of_each_kind(tmp_path):
    training_curves([*TRAINING, {"label": "random", "seed": 2, "epoch": 1}], tmp_path / "training.svg")
    assert {"found cell (n = 2)", "random cells (n = 3)"} <= set(texts(tmp_path / "training.svg"))


def test_training_curves_draw_all_runs_of_a_kind_in_its_colour(tmp_path):
    training_curves(TRAINING, tmp_path / "training.svg")
    (found,) = [one.y for one in retrain_chart(TRAINING, "test_accuracy").series if one.name.startswith("found")]
    assert sum(is_gap(y) for y in found) == 1  # between the two runs
    for number in (BLUE, GREY):
        assert lines(tmp_path / "training.svg", PALETTE[number]) == 1


def test_training_curves_skip_epochs_without_a_test(tmp_path):
    rows = [{"label": "found", "seed": 0, "epoch": epoch, "loss": 1.0} for epoch in (1, 2)]
    tested = {"label": "found", "seed": 0, "epoch": 3, "test_accuracy": 0.5}
    with pytest.raises(ValueError, match="nothing to draw"):
        training_curves([*rows, {**tested, "test_accuracy": nan}], tmp_path / "none.svg")
    training_curves([*rows, tested], tmp_path / "one.svg")
    assert "found cell (n = 1)" in texts(tmp_path / "one.svg")


def test_signs_in_a_name_are_only_signs(tmp_path):
    name = "$\\nonsense$ 'and' \"more\" <b> [0]"
    training_curves([{**row, "label": name} for row in TRAINING], tmp_path / "training.svg")
    assert f"{name} (n = 2)" in texts(tmp_path / "training.svg")


def test_libraries_are_loaded_only_to_draw():
    code = "import sys, nas.reporting.plots; sys.exit(bool({'vl_convert', 'jinja2', 'PIL'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_choice_is_named_in_the_figure_of_choices(tmp_path):
    choice_curves(CHOICES, tmp_path / "choices.svg")
    assert {"a", "b", "c", "Ops chosen", "Mixers chosen"} <= set(texts(tmp_path / "choices.svg"))


def test_rows_without_shares_are_refused(tmp_path):
    with pytest.raises(ValueError, match="nothing to draw"):
        choice_curves(SEARCH, tmp_path / "choices.svg")
