"""`nas report` as a user starts it, and its page in a browser where there is one."""

import fcntl
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import vl_convert
from omegaconf import OmegaConf

from nas.jobs.report import run
from nas.reporting.figures.drawing import bundle
from nas.reporting.page.report import write_report
from tests.commands import nas, started
from tests.figures import DRAWN
from tests.reporting import EVIL, write_run
from tests.unit.test_reporting import some_genotype


@pytest.fixture(scope="module")
def page_path(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_run(folder / "runs" / "<b>first", some_genotype(), shift=0.01)
    write_run(folder / "runs" / "second", some_genotype(), blocks=5)
    (folder / "runs" / "second" / "scored.csv").write_bytes(b"\xff")
    vl_convert.javascript_bundle = DRAWN["javascript_bundle"]  # the page draws its figures by itself
    bundle.cache_clear()
    return write_report([folder / "runs"], folder / "out").page


@pytest.fixture(scope="module")
def browser():
    """A browser without a window, driven through the DevTools protocol."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("needs chromium and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    yield opened
    opened.quit()


@pytest.fixture
def page(browser, page_path):
    """The page, opened anew in a window of a desk's width."""
    resize(browser, 1440)
    opened(browser, page_path)
    yield browser
    browser.execute_script("localStorage.clear()")


def opened(browser, path: Path) -> float:
    """Opens a page; returns the seconds until all its figures are drawn."""
    begun = time.monotonic()
    browser.get(path.as_uri())
    drawn = "return document.documentElement.dataset.drawn"
    while not browser.execute_script(drawn) and time.monotonic() < begun + 120:
        time.sleep(0.05)
    return time.monotonic() - begun


def resize(browser, width: int, *, height: int = 900) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def media(browser, **features: str) -> None:
    """Pretends a medium (`media`) or a preference of the reader's."""
    kind = features.pop("media", "")
    listed = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": kind, "features": listed})


def background(browser) -> str:
    return browser.execute_script("return getComputedStyle(document.body).backgroundColor")


def column(browser, number: int) -> list[str]:
    script = "return [...document.querySelectorAll('#summary tbody tr')].map(r => r.children[arguments[0]].textContent)"
    return browser.execute_script(script, number)


def tooltip_at(browser, figure: str, point: int) -> str:
    """Moves the pointer to a point of a figure; returns what the tooltip then says."""
    x, y = browser.execute_script(
        "const point = [...document.querySelectorAll(`#${arguments[0]} .mark-symbol`)].pop().children[arguments[1]];"
        "point.scrollIntoView({block: 'center', behavior: 'instant'});"
        "const box = point.getBoundingClientRect(); return [box.left + box.width / 2, box.top + box.height / 2]",
        figure,
        point,
    )
    tooltip = "const tip = document.querySelector('.vg-tooltip.visible'); return tip && tip.innerText"
    deadline, text = time.monotonic() + 5, ""
    while not text and time.monotonic() < deadline:
        for shift in (1, 0):
            browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x + shift, "y": y})
        text = browser.execute_script(tooltip)
    return text or ""


def marks(browser, figure: str) -> int:
    """How many visible lines and dots a figure has, those under the pointer left out."""
    script = "return document.querySelectorAll(`#${arguments[0]} .mark-line path, #${arguments[0]} .mark-symbol path`)"
    return browser.execute_script(f"{script}.length", figure)


def test_nothing_goes_wrong_and_nothing_runs_that_is_not_ours(page):
    assert [entry for entry in page.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert (
        page.execute_script("return performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:'))")
        == []
    )
    assert page.execute_script("return document.querySelectorAll('h2 b').length") == 0
    assert EVIL in page.execute_script("return document.body.textContent")


def test_every_figure_is_seen_and_has_marks(page):
    figures = page.execute_script(
        "return [...document.querySelectorAll('figure')].map(f => {"
        "const d = f.querySelector('svg, img'), r = d.getBoundingClientRect();"
        "const kinds = ['line', 'area', 'symbol', 'rect'].map(kind => `.mark-${kind} path`).join();"
        "const marks = d.querySelectorAll(`${kinds}, image`);"
        "return [f.id, r.width, r.height, d.tagName === 'IMG' ? d.naturalWidth : marks.length]})"
    )
    assert len(figures) > 30
    for name, width, height, drawn in figures:
        assert width > 200, (name, width)
        assert height > 60, name
        assert drawn > 0, name


def test_the_page_opens_with_what_was_found_and_its_cell(page):
    first = page.execute_script("return document.querySelector('main p, main figure').innerText")
    assert first.startswith("Of 2 runs the best cell is <b>first's: it classifies 98.00 ± 1.41 % of the test images")
    assert page.execute_script("return document.querySelector('main figure').id").endswith("first--cells")


@pytest.mark.parametrize("width", [1440, 390])
def test_nothing_is_cut_and_labels_do_not_overlap(browser, page_path, width):
    resize(browser, width)
    opened(browser, page_path)
    shown, wide = "document.documentElement.clientWidth", "document.documentElement.scrollWidth"
    assert browser.execute_script(f"return {wide} - {shown}") == 0
    if width == 1440:
        cut = "return [...document.querySelectorAll('.scroll')].filter(s => s.scrollWidth > s.clientWidth).length"
        assert browser.execute_script(cut) == 0
    overlapping = browser.execute_script(
        "return [...document.querySelectorAll('.role-axis-label')].flatMap(axis => {"
        "const boxes = [...axis.querySelectorAll('text')].filter(t => +t.getAttribute('opacity') !== 0)"
        ".map(t => t.getBoundingClientRect());"
        "return boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b => a.left < b.right - 1 && b.left < a.right - 1 && "
        "a.top < b.bottom - 2 && b.top < a.bottom - 2)).length ? [axis.closest('figure').id] : []})"
    )
    assert overlapping == []
    cells = browser.execute_script(
        "const top = image => image.getBoundingClientRect().top;"
        "return [...document.querySelectorAll('.cells')].map(cells => [...cells.children].map(top))"
    )
    assert all(len(set(tops)) == len(tops) for tops in cells if width == 390)


def test_a_click_on_a_title_sorts_and_another_one_turns_it_round(page):
    titles = page.find_elements("css selector", "#summary th button")
    number = [title.text for title in titles].index("test accuracy (%)")
    page.execute_script("arguments[0].click()", titles[number])
    first = column(page, number)
    assert first == sorted(first, reverse=True)
    page.execute_script("arguments[0].click()", titles[number])
    assert column(page, number) == first[::-1] != first
    assert page.execute_script("return document.querySelector('#summary th[aria-sort]').ariaSort") == "ascending"


def test_the_theme_goes_with_the_reader_and_with_the_button_and_is_remembered(page):
    button = page.find_element("id", "theme")
    media(page, prefers_color_scheme="dark")
    dark = background(page)
    media(page, prefers_color_scheme="light")
    light = background(page)
    assert dark != light
    button.click()
    button.click()
    assert background(page) == dark
    page.refresh()
    assert background(page) == dark
    media(page, media="print", prefers_color_scheme="dark")
    assert background(page) == light
    media(page)


def test_the_pointer_shows_values(page):
    text = tooltip_at(page, "second--reward", 3)
    assert [line.split("\t") for line in text.splitlines()] == [
        ["best so far"],
        ["epoch of the search", "3"],
        ["reward", "0.55"],
    ]


def test_the_pointer_names_what_a_dot_is_and_how_far_it_may_be_off(page):
    texts = [tooltip_at(page, "all-test-accuracy", point) for point in range(4)]
    assert any("<b>first" in text and "98 (96.586 … 99.414)" in text for text in texts), texts


def test_a_click_in_the_legend_hides_a_series_and_another_one_shows_it(page):
    before = marks(page, "second--reward")
    key = page.find_element("css selector", "#second--reward .key[data-series='2']")
    for pressed, expected in (("false", False), ("true", True)):
        page.execute_script("arguments[0].click()", key)
        assert key.get_attribute("aria-pressed") == pressed
        deadline = time.monotonic() + 5
        while (marks(page, "second--reward") == before) != expected and time.monotonic() < deadline:
            time.sleep(0.05)
        assert (marks(page, "second--reward") == before) == expected


def test_figures_have_the_colours_of_the_theme(page):
    colour = "return getComputedStyle(document.querySelector('#second--loss .mark-line path')).stroke"
    found = []
    for theme in ("light", "dark"):
        media(page, prefers_color_scheme=theme)
        found.append(page.execute_script(colour))
    media(page)
    assert found == ["rgb(0, 114, 178)", "rgb(86, 180, 233)"]


def test_paper_shows_all_runs_and_no_buttons(page):
    page.execute_script("document.querySelectorAll('details.run').forEach(d => d.open = false)")
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert page.execute_script("return [...document.querySelectorAll('details.run')].every(d => d.open)")
    media(page, media="print")
    shown = "return getComputedStyle(document.querySelector(arguments[0])).display"
    assert page.execute_script(shown, "#theme") == "none"
    assert page.execute_script(shown, "nav") == "none"
    media(page)
    page.execute_script("dispatchEvent(new Event('afterprint'))")
    assert not page.execute_script("return document.querySelector('details.run').open")
    assert len(page.execute_cdp_cmd("Page.printToPDF", {})["data"]) > 10_000


def test_a_page_that_follows_a_run_keeps_the_readers_place_until_its_last_version(browser, tmp_path, monkeypatch):
    """The figure that the reader looks at stays where it is while others come above it, and nothing is asked for."""
    monkeypatch.setattr("nas.reporting.page.report.RELOAD_SECONDS", 1)
    vl_convert.javascript_bundle = DRAWN["javascript_bundle"]
    bundle.cache_clear()
    write_run(tmp_path / "runs" / "b", some_genotype())
    file = write_report([tmp_path / "runs"], tmp_path / "out", live="b search 8/9").page
    resize(browser, 1440)
    opened(browser, file)
    top = "return document.getElementById('b--loss').getBoundingClientRect().top"
    stamp, live = "window.isSame = true", "document.querySelector('header').innerText.includes('at work: b search 8/9')"
    mark = f"return [window.isSame ?? false, document.documentElement.dataset.drawn, {live}]"
    browser.execute_script("scrollBy({top: arguments[0] + 40, behavior: 'instant'})", browser.execute_script(top))
    place, scrolled = browser.execute_script(top), browser.execute_script("return scrollY")

    def loaded(*, at_work: bool) -> None:
        wait_for(lambda: browser.execute_script(mark) == [False, "all", at_work])
        time.sleep(0.2)

    browser.execute_script(stamp)
    loaded(at_work=True)
    assert browser.execute_script(top) == pytest.approx(place, abs=2)
    write_run(tmp_path / "runs" / "a", some_genotype(), shift=0.01)
    write_report([tmp_path / "runs"], tmp_path / "out")  # the last version
    loaded(at_work=False)
    assert browser.execute_script(top) == pytest.approx(place, abs=2)
    assert browser.execute_script("return scrollY") > scrolled + 500
    browser.execute_script(stamp)
    time.sleep(2.5)
    assert browser.execute_script(mark) == [True, "all", False]
    fetched = "return performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length"
    assert browser.execute_script(fetched) == 0
    assert [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_watch_begins_before_the_run_and_ctrl_c_ends_it_plainly(tmp_path):
    with started("report", "runs=results/runs/four", "watch=true", cwd=tmp_path) as command:
        wait_for(lambda: "waiting for a run to begin in results/runs/four" in command.stderr)
        folder = write_run(tmp_path / "results" / "runs" / "four", some_genotype())
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            wait_for((folder / "report.html").exists)
            assert "location.reload" in (folder / "report.html").read_text()
            os.kill(command.process.pid, signal.SIGINT)
            done = command.wait()
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "report of 1 run: results/runs/four/report.html" in done.stdout
    assert "location.reload" not in (folder / "report.html").read_text()


def test_the_command_writes_beside_the_run_and_names_what_is_broken(tmp_path):
    folder = write_run(tmp_path / "results" / "runs" / "four", some_genotype())
    (folder / "metrics.json").write_text("{")
    done = nas("report", "runs=results/runs/four", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "report of 1 run: results/runs/four/report.html" in done.stdout
    assert "left out four/metrics.json: not JSON" in done.stderr
    assert (folder / "report.html").exists()
    assert (folder / "report_files" / "four--reward.svg").exists()


def test_a_mistake_ends_in_a_line(tmp_path):
    done = nas("report", "runs=[absent]", cwd=tmp_path)
    assert done.returncode == 1
    assert "absent is not there; `nas runs` lists" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_without_runs_says_what_to_add():
    cfg = OmegaConf.create({"runs": None, "out": None, "report": {"_target_": "nas.jobs.report.ReportSettings"}})
    with pytest.raises(ValueError, match="runs is not set; add runs=RUN"):
        run(cfg, Path())
