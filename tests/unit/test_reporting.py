"""Parts of a report: figures, files that are broken, and what stands in the page."""

import json
import math
import re
import shutil
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from nas.reporting.figures.colours import PALETTE, ROLES, recoloured
from nas.reporting.figures.drawing import COLUMNS, specification, write_figure
from nas.reporting.figures.figures import Axis, Chart, HeatMap, Images, Series
from nas.reporting.figures.mixing import off_shuffle
from nas.reporting.figures.series import curve, thinned
from nas.reporting.figures.swept import swept_charts
from nas.reporting.page.contents import report_sections
from nas.reporting.page.records import Problem, RunRecord, find_runs, slug
from nas.reporting.page.report import embedded_json, page, write_report
from nas.reporting.page.summary import duration, summary_row
from nas.runs.checkpoints import write_csv
from search_spaces.genotype import Genotype
from search_spaces.shuffles import shuffle_index
from tests.conftest import make_cell
from tests.reporting import EVIL, write_run

NAN = math.nan

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """What a page holds: tags with attributes, texts of scripts, and whether every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = attributes, text + data


def some_genotype() -> Genotype:
    cell = make_cell((0, "identity"), (1, "conv_1x1"))
    return Genotype(space="shufflenas", normal=cell, reduction=cell)


def page_of(folder: Path) -> tuple[str, list[Problem]]:
    """The page of the runs in a folder, without the files beside it."""
    runs = find_runs([folder])
    sections = report_sections(runs, [summary_row(run) for run in runs])
    return page(sections, title="", subtitle="", problems=[]), [problem for run in runs for problem in run.problems]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, str, Page]:
    """A report of two runs, one with a name that would be a tag."""
    folder = tmp_path_factory.mktemp("report")
    write_run(folder / "runs" / "<img src=x onerror=alert(1)>", some_genotype())
    write_run(folder / "runs" / "second", some_genotype(), shift=0.01, blocks=5)
    write_report([folder / "runs"], folder / "out")
    text = (folder / "out" / "report.html").read_text()
    return folder, text, Page(text)


def chart_of(*series: Series, **axes: Axis) -> Chart:
    return Chart("k", "t", "c", axes.get("x", Axis("x")), axes.get("y", Axis("y")), series)


def paths(file: Path, colour: int) -> list[str]:
    """The outlines of a figure's lines in a colour."""
    found = ET.parse(file).iter("{http://www.w3.org/2000/svg}path")
    return [path.get("d", "") for path in found if path.get("stroke") == PALETTE[colour]]


def test_a_lifted_pen_breaks_a_line(tmp_path):
    write_figure(tmp_path / "a.svg", chart_of(Series(x=[0, 1, NAN, 3, 4], y=[0, 1, NAN, 3, 4], colour=1)))
    (line,) = paths(tmp_path / "a.svg", 1)
    assert (line.count("M"), line.count("L")) == (2, 2)


def test_a_line_keeps_the_order_of_its_points(tmp_path):
    write_figure(tmp_path / "a.svg", chart_of(Series(x=[0, 2, 1], y=[0, 0, 1], colour=1)))
    (line,) = paths(tmp_path / "a.svg", 1)
    places = [float(place) for place in re.findall(r"[ML]([\d.]+),", line)]
    assert places[0] < places[2] < places[1]


def test_equal_values_and_a_single_point_are_drawn(tmp_path):
    for log in (0, 10):
        axis = Axis("y", log=log)
        write_figure(tmp_path / f"{log}.svg", chart_of(Series(x=[1, 2], y=[3, 3], colour=1), y=axis))
        assert "NaN" not in (tmp_path / f"{log}.svg").read_text()
    write_figure(tmp_path / "one.svg", chart_of(Series(x=[1], y=[3], colour=1)))
    assert f'fill="{PALETTE[1]}"' in (tmp_path / "one.svg").read_text()


def test_figures_have_the_colours_of_a_dark_page_too(tmp_path):
    write_figure(tmp_path / "a.svg", chart_of(Series(x=[1, 2], y=[3, 4])))
    text = (tmp_path / "a.svg").read_text()
    used = set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]{6})"', text))
    assert used
    assert used <= {light for light, _ in ROLES.values()}
    assert recoloured(variable=False) in text
    assert "var(" not in text


def test_nothing_to_draw_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="nothing to draw"):
        write_figure(tmp_path / "a.svg", chart_of(Series(x=[1], y=[NAN])))


def test_matrices_are_blue_red_and_white_and_must_be_finite(tmp_path):
    figure = Images("i", "t", "c", {"a row": [("step 1", [[1.0, -1.0], [0.0, 0.5]])]})
    write_figure(tmp_path / "a.png", figure)
    with Image.open(tmp_path / "a.png") as image:
        colours = {colour[:3] for _, colour in image.convert("RGB").getcolors(1 << 20)}
    assert {(8, 48, 107), (178, 23, 43), (255, 255, 255)} <= colours
    with pytest.raises(ValueError, match="not finite"):
        write_figure(tmp_path / "b.svg", Images("i", "t", "c", {"": [("", [[math.inf]])]}))


def test_a_heat_map_has_its_scale_and_marks_the_nearest_column(tmp_path):
    figure = HeatMap("h", "t", "c", Axis("epoch"), [0, 10, 20], ["a", "b"], [[0, 50, 100], [NAN, 1, 2]], [11])
    write_figure(tmp_path / "a.svg", figure)
    texts = {text.text for text in ET.parse(tmp_path / "a.svg").iter("{http://www.w3.org/2000/svg}text")}
    assert {"a", "b", "0", "10", "20", "100", "%"} <= texts
    assert specification(figure)["layer"][1]["encoding"]["x"]["datum"] == 10


def test_the_page_gets_all_values_of_a_chart_with_five_digits():
    one = Series(name="a", x=[1, 2], y=[1 / 3, NAN], low=[0, NAN], high=[1, NAN], notes=["n", ""], mark="dots")
    rows = specification(chart_of(one), page=True)["data"]["values"]
    assert [{key: value for key, value in zip(COLUMNS, row, strict=False) if value is not None} for row in rows] == [
        {"s": 0, "x": 1, "y": 0.33333, "low": 0, "high": 1, "note": "n"},
        {"s": 0, "x": 2},
    ]


def test_a_series_of_unequal_lengths_is_refused():
    with pytest.raises(ValueError, match="2 y for 3 x"):
        Series(name="a", x=[1, 2, 3], y=[1, 2])


def test_long_curves_keep_their_ends_and_unknown_values_are_left_out():
    rows = [{"epoch": float(i), "loss": None if i == 3 else float(i)} for i in range(1000)]
    one = curve(rows, "loss", along="epoch", name="")
    assert (one.x[0], one.x[-1]) == (0, 999)
    assert len(one.x) <= 180
    assert 3 not in one.x
    assert thinned([1, 2, 3], 5) == [1, 2, 3]


def test_the_fixed_shuffle_is_off_nowhere_and_the_identity_nearly_everywhere():
    assert off_shuffle(shuffle_index(20, 2).tolist()) == 0
    assert off_shuffle(list(range(20))) == 18


def test_durations_are_read_at_a_glance():
    assert [duration(value) for value in (4.2, 59.9, 725, 12000)] == ["4 s", "1 min 0 s", "12 min 5 s", "3 h 20 min"]


def test_embedded_json_cannot_end_its_element():
    text = embedded_json({"name": EVIL})
    assert "<" not in text
    assert json.loads(text) == {"name": EVIL}


def test_the_page_is_well_formed_and_loads_nothing(written):
    _, text, page = written
    assert page.open == []
    for tag, attributes in page.tags:
        for name in ("src", "href"):
            target = attributes.get(name)
            assert target is None or target.startswith(("data:image/svg+xml;base64,", "#")), (tag, target)
    assert "default-src 'none'" in text
    assert len(text.encode()) < 2_000_000


def test_ids_are_unique_and_links_lead_somewhere(written):
    _, _, page = written
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links
    assert all(link[1:] in ids for link in links)


def test_texts_of_files_are_never_tags(written):
    _, text, page = written
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert not any("onerror" in attributes for _, attributes in page.tags)
    executable = [script for attributes, script in page.scripts if attributes.get("type") != "application/json"]
    assert len(executable) == 2
    assert not any("alert(1)" in script for script in executable)


def test_embedded_data_parses_and_every_figure_has_marks_and_a_caption(written):
    _, text, page = written
    data = [json.loads(script) for attributes, script in page.scripts if attributes.get("type") == "application/json"]
    assert len(data) > 20
    assert all(figure["data"]["values"] and figure["layer"] for figure in data)
    figures = re.findall(r"<figure.*?</figure>", text, flags=re.DOTALL)
    for figure in figures:
        assert re.search(r"<(script|img) ", figure)
        assert re.search(r"<figcaption>.{20,}</figcaption>", figure, flags=re.DOTALL)


@pytest.mark.parametrize(
    "expected",
    [
        "Reward",
        "Entropy of each decision",
        "Probability of each op",
        "Accuracy and latency of the cells",
        "Test accuracy in retraining",
        "Learned permutations",
        "Ranking by the shared weights of a",
        "a is better than the best of 5 random ones",
        "Best cell by queries",
        "Latency",
        "Test accuracy and parameters",
        "Test accuracy by search_space.blocks",
        "Epoch 3: samples repeat",
        "nas pipeline name=second &#39;data.root=my data&#39;",
        "97.00 ± 1.41",
        "Of 2 runs the best cell is second&#39;s: it classifies 98.00 ± 1.41 % of the test images correctly",
        "p95 (ms)",
    ],
)
def test_what_the_files_hold_is_in_the_page(written, expected):
    assert expected in written[1]


def test_figures_and_tables_lie_beside_the_page(written):
    files = written[0] / "out" / "report_files"
    assert {"second--reward.svg", "second--cells.svg", "latency.svg", "summary.csv", "summary.json"} <= {
        path.name for path in files.iterdir()
    }
    assert json.loads((files / "summary.json").read_text())["runs"][1]["test_accuracy"] == pytest.approx(0.98)
    assert "var(" not in (files / "second--reward.svg").read_text()


def test_equal_files_give_an_equal_page(written):
    folder, text, _ = written
    write_report([folder / "runs"], folder / "again")
    assert (folder / "again" / "report.html").read_text() == text


def test_a_png_of_each_figure_is_written_where_asked(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "search.csv").write_text("epoch,reward\n0,0.5\n1,0.6\n")
    report = write_report([run], tmp_path / "out", png=True)
    assert (report.files / "run--reward.png").read_bytes().startswith(b"\x89PNG")


BROKEN = {
    "candidates.json": '{"a": ',
    "metrics.json": '{"found": {"test_accuracy": 3}}',
    "latency.json": '{"latency": [{"batch_size": 1}]}',
    "rank.json": "[1, 2]",
    "compare.json": '"text"',
    "pareto.json": "[[1]]",
    "genotype.json": "{}",
    "warnings.json": '{"findings": [{}]}',
    "environment.json": '{"command": 5}',
    "config.yaml": "a: [",
    "retrain.csv": "epoch\n0,1,2\n",
    "weights.safetensors": "not weights",
    "curves.csv": "part,controller\naccuracy,lstm\n",
}


@pytest.mark.parametrize("file", BROKEN)
def test_a_broken_file_is_named_and_does_not_stop_the_report(tmp_path, file):
    run = write_run(tmp_path / "run", some_genotype())
    (run / file).write_text(BROKEN[file])
    text, problems = page_of(run)
    assert [problem.file for problem in problems] == [f"run/{file}"]
    assert ">Reward<" in text


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("pareto.json", '{"a": 1}'),
        ("pareto.json", "[1]"),
        ("candidates.json", '[{"shared_accuracy": 0.5, "parameters": "10"}]'),
        ("search.csv", "epoch,reward,op.a\n0,0.5,\n1,0.6,\n"),
    ],
)
def test_odd_contents_leave_the_rest_of_the_report_as_it_is(tmp_path, file, content):
    run = write_run(tmp_path / "run", some_genotype())
    (run / file).write_text(content)
    text, _ = page_of(run)
    assert ">Reward<" in text
    assert ">Retraining" in text or "Test accuracy" in text


def test_curves_need_no_optimum_and_steps_may_repeat(tmp_path):
    write_run(tmp_path / "run", some_genotype())
    (tmp_path / "run" / "compare.json").unlink()
    file = tmp_path / "run" / "diagnostics.csv"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, lines[-1], lines[1]]) + "\n")
    text, problems = page_of(tmp_path)
    assert problems == []
    assert "Best cell by queries" in text
    assert "Entropy of each decision" in text


def test_binary_rubbish_is_not_text(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "search.csv").write_bytes(b"\xff\xfe\x00")
    report = write_report([run], tmp_path / "out")
    assert [(problem.file, problem.reason) for problem in report.problems] == [
        ("run/search.csv", "not a text in UTF-8")
    ]


def test_runs_below_a_folder_are_found_once_and_names_stay_apart(tmp_path):
    for name in ("a/x", "b/x", "b/y"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "b" / "sweep.json").write_text("{}")
    (tmp_path / "b" / "config.yaml").write_text("seed: 0\n")
    runs = find_runs([tmp_path / "a", tmp_path / "b", tmp_path / "b" / "x"])
    assert [run.name for run in runs] == ["x", "x-2", "y"]
    assert len({run.key for run in runs}) == 3


def test_a_comparison_that_was_joined_is_reported_instead_of_its_portions(tmp_path):
    for name in ("c/portion=0", "c/portion=1"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.yaml").write_text("seed: 0\n")
    (tmp_path / "c" / "multirun.yaml").write_text("")
    assert [run.name for run in find_runs([tmp_path / "c"])] == ["portion=0", "portion=1"]
    (tmp_path / "c" / "config.yaml").write_text("seed: 0\n")
    assert [run.name for run in find_runs([tmp_path / "c"])] == ["c"]


def test_names_that_differ_only_in_signs_get_anchors_of_their_own(tmp_path):
    for name in ("a+1", "a 1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text("seed: 0\n")
    assert len({run.key for run in find_runs([tmp_path])}) == 2
    assert slug("<script>") == "script"


def test_figures_of_runs_never_share_an_anchor_with_others(tmp_path):
    for name in ("all", "a", "a-retrain", "summary"):
        write_run(tmp_path / "runs" / name, some_genotype())
    parsed = Page(page_of(tmp_path / "runs")[0])
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) > 60


def test_folders_without_runs_are_refused_in_a_line(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no run folder at .*absent"):
        find_runs([tmp_path / "absent"])
    with pytest.raises(ValueError, match="holds no run"):
        find_runs([tmp_path])


def test_a_swept_setting_is_drawn_with_mean_and_spread_by_hand(tmp_path):
    runs = []
    for blocks, seed in ((2, 0), (2, 1), (3, 0)):
        folder = tmp_path / f"{blocks}-{seed}"
        folder.mkdir()
        (folder / "config.yaml").write_text(f"seed: {seed}\nspace: {{blocks: {blocks}}}\n")
        runs.append(RunRecord(folder=folder, name=folder.name, key=folder.name))
    rows = [{"test_accuracy": 0.9}, {"test_accuracy": 0.8}, {"test_accuracy": 0.7}]
    (chart,) = swept_charts(runs, rows)
    dots = chart.series[1]
    assert list(dots.x) == [2, 3]
    assert list(dots.y) == pytest.approx([85, 70])
    assert dots.low[0] == pytest.approx(85 - math.sqrt(50))
    assert math.isnan(dots.low[1])
    assert dots.notes == ["n = 2", "n = 1"]


@pytest.mark.parametrize(("runs", "epochs"), [(8, 630), (40, 20)])
def test_many_runs_and_long_ones_fit_into_two_megabytes(tmp_path, runs, epochs):
    first = write_run(tmp_path / "r0", some_genotype())
    ops = {f"op.op_{i}": 1 / 6 for i in range(6)}
    rows = [
        {
            "epoch": i,
            "loss": 1 / (i + 1.37),
            "train_accuracy": i / 700,
            "reward": i / 711,
            "best": i / 703,
            "entropy": 9.1,
        }
        | {"baseline": i / 777, "latency_ms": 1 + i / 313, **ops}
        for i in range(epochs)
    ]
    write_csv(first / "search.csv", rows)
    cloud = [
        {"accuracy": i / 7001, "parameters": 1000 + i, "multiply_adds": 7 * i, "latency_ms": i / 77}
        for i in range(3000)
    ]
    write_csv(first / "scored.csv", cloud)
    for number in range(1, runs):
        shutil.copytree(first, tmp_path / f"r{number}")
    assert len(page_of(tmp_path)[0].encode()) < 2_000_000
