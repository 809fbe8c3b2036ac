"""`nas report` as a user starts it, and its page in a browser where there is one."""

import shutil
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from nas.jobs.report import run
from nas.reporting.page.report import write_report
from tests.commands import nas
from tests.reporting import EVIL, write_run
from tests.unit.test_reporting import some_genotype


@pytest.fixture(scope="module")
def page_path(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    write_run(folder / "runs" / "<b>first", some_genotype(), shift=0.01)
    write_run(folder / "runs" / "second", some_genotype(), blocks=5)
    (folder / "runs" / "second" / "scored.csv").write_bytes(b"\xff")
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
    resize(browser, 1280)
    browser.get(page_path.as_uri())
    yield browser
    browser.execute_script("localStorage.clear()")


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


def tooltip_at(browser, figure: str, *, x: float, y: float = 150) -> str:
    """Moves the pointer to a place in a figure's drawing; returns what the tooltip then says, empty if it is hidden."""
    left, top, scale = browser.execute_script(
        "const svg = document.getElementById(arguments[0]).querySelector('svg');"
        "svg.scrollIntoView({block: 'center', behavior: 'instant'});"
        "const box = svg.getBoundingClientRect(); return [box.left, box.top, box.width / svg.viewBox.baseVal.width]",
        figure,
    )
    place = {"x": left + scale * x, "y": top + scale * y}
    browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", **place})
    deadline, text = time.monotonic() + 2, ""
    while not text and time.monotonic() < deadline:
        text = browser.execute_script(
            "const t = document.getElementById('tooltip'); return t.hidden ? '' : t.innerText"
        )
    return text


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
        "const marks = [...d.querySelectorAll('[data-series] path, .area')];"
        "return [f.id, r.width, r.height, d.tagName === 'IMG' ? d.naturalWidth : marks.length]})"
    )
    assert len(figures) > 30
    for name, width, height, marks in figures:
        assert width > 200, name
        assert height > 60, name
        assert marks > 0, name


def test_a_click_on_a_title_sorts_and_another_one_turns_it_round(page):
    titles = page.find_elements("css selector", "#summary th button")
    number = [title.text for title in titles].index("test accuracy (%)")
    titles[number].click()
    first = column(page, number)
    assert first == sorted(first, reverse=True)
    titles[number].click()
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
    text = tooltip_at(page, "second--reward", x=300)
    assert "epoch of the search" in text
    assert "best so far" in text
    assert tooltip_at(page, "all-best", x=300).count("\n") >= 2
    page.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": 2, "y": 2})
    assert page.execute_script("return document.getElementById('tooltip').hidden")


def test_the_pointer_finds_dots_and_names_what_they_are(page):
    pen = "return document.querySelector('#all-accuracy-parameters path.dots.s0').getAttribute('d')"
    x, y = map(float, page.execute_script(pen).removeprefix("M").removesuffix("h0").split())
    text = tooltip_at(page, "all-accuracy-parameters", x=x + 5, y=y - 3)
    assert "<b>first" in text
    assert "98 (96.586 … 99.414)" in text


def test_a_click_in_the_legend_hides_a_series_and_its_values(page):
    assert "baseline" in tooltip_at(page, "second--reward", x=300)
    key = page.find_element("css selector", "#second--reward .key[data-series='2']")
    page.execute_script("arguments[0].click()", key)
    hidden = "return getComputedStyle(document.querySelector('#second--reward g[data-series=\"2\"]')).display"
    assert page.execute_script(hidden) == "none"
    page.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": 2, "y": 2})
    assert "baseline" not in tooltip_at(page, "second--reward", x=300)


def test_a_phone_never_scrolls_sideways(page):
    resize(page, 390)
    widths = page.execute_script("return [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert widths == [390, 390]


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
