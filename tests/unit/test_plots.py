import subprocess
import sys
import xml.etree.ElementTree as ET
from math import nan

import pytest

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
    """The words of a figure: matplotlib writes each above the glyphs it becomes, as a comment."""
    root = ET.parse(path, ET.XMLParser(target=ET.TreeBuilder(insert_comments=True))).getroot()
    return [element.text.strip() for element in root.iter(ET.Comment)]


def color_count(path, color):
    return path.read_text().count(f"stroke: {color}")


@pytest.mark.parametrize(("draw", "values"), FIGURES)
def test_a_figure_is_valid_and_the_same_every_time(draw, values, tmp_path):
    first, second = tmp_path / "new" / "first.svg", tmp_path / "second.svg"
    draw(values, first)
    draw(values, second)
    assert first.read_bytes() == second.read_bytes()
    assert ET.parse(first).getroot().tag.endswith("svg")
    assert "dc:date" not in first.read_text()


@pytest.mark.parametrize(("draw", "values"), [(search_curves, []), (training_curves, [])])
def test_nothing_to_draw_is_an_error(draw, values, tmp_path):
    with pytest.raises(ValueError, match="nothing to draw"):
        draw(values, tmp_path / "figure.svg")
    assert not list(tmp_path.iterdir())


def test_search_curves_name_every_curve(tmp_path):
    search_curves(SEARCH, tmp_path / "search.svg")
    words = {"reward", "mean", "best", "baseline", "policy entropy (nats)", "shared-weight training loss (nats)"}
    assert words <= set(texts(tmp_path / "search.svg"))


def test_search_curves_say_what_was_not_recorded(tmp_path):
    search_curves([{"epoch": 1, "reward": 0.3}], tmp_path / "search.svg")
    words = texts(tmp_path / "search.svg")
    assert words.count("not recorded") == 2
    assert "baseline" not in words


def test_training_curves_count_the_runs_of_each_label(tmp_path):
    training_curves([*TRAINING, {"label": "random", "seed": 2, "epoch": 1}], tmp_path / "training.svg")
    assert {"found (n = 2)", "random (n = 3)"} <= set(texts(tmp_path / "training.svg"))


def test_training_curves_draw_one_line_a_run_in_its_labels_colour(tmp_path):
    training_curves(TRAINING, tmp_path / "training.svg")
    for color in ("#0072b2", "#d55e00"):
        assert color_count(tmp_path / "training.svg", color) == 3  # two runs and the legend


def test_training_curves_skip_epochs_without_a_test(tmp_path):
    rows = [{"label": "found", "seed": 0, "epoch": epoch, "loss": 1.0} for epoch in (1, 2)]
    tested = {"label": "found", "seed": 0, "epoch": 3, "test_accuracy": 0.5}
    training_curves([*rows, {**tested, "test_accuracy": nan}], tmp_path / "none.svg")
    training_curves([*rows, tested], tmp_path / "one.svg")
    assert "found (n = 1)" in texts(tmp_path / "none.svg")
    assert color_count(tmp_path / "none.svg", "#0072b2") == 1  # the legend alone
    assert color_count(tmp_path / "one.svg", "#0072b2") > 1


def test_a_dollar_sign_in_a_name_is_only_a_dollar_sign(tmp_path):
    training_curves([{**row, "label": "$\\nonsense$"} for row in TRAINING], tmp_path / "training.svg")
    assert "$\\nonsense$ (n = 2)" in texts(tmp_path / "training.svg")


def test_matplotlib_is_loaded_only_to_draw():
    code = "import sys, nas.reporting.plots; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_drawing_leaves_the_settings_of_matplotlib_alone(tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    search_curves(SEARCH, tmp_path / "search.svg")
    assert dict(matplotlib.rcParams) == before


def test_every_choice_is_named_in_the_figure_of_choices(tmp_path):
    choice_curves(CHOICES, tmp_path / "choices.svg")
    assert {"a", "b", "c", "ops chosen (%)", "mixers chosen (%)"} <= set(texts(tmp_path / "choices.svg"))


def test_rows_without_shares_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no shares"):
        choice_curves(SEARCH, tmp_path / "choices.svg")
