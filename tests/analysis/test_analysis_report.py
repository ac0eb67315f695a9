"""The report in a browser: it loads without errors and requests, and hover, click, filters and keyboard work."""

import json
import re
import shutil
from html.parser import HTMLParser

import pytest
import synthetic_results
from synthetic_results import trial, write

from analysis import report
from analysis.queries import read
from analysis.report import trials

CHROMIUM = shutil.which("chromium")
READY = "document.documentElement.dataset.ready === 'yes'"
POINTS = '#chart path[aria-roledescription="point"]'
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: apt-get install chromium")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    folder = synthetic_results.full(tmp_path_factory.mktemp("report") / "demo")
    grids = synthetic_results.grids(tmp_path_factory.mktemp("report") / "grids", seeds=1)
    return report.write(read(folder, more=[grids]), formats=["svg"])


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(params=[(1280, 900, "light"), (390, 844, "dark")], ids=["desktop", "phone"])
def page(request, browser, page_file):
    width, height, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.problems, page.requests = [], []
    page.on("console", lambda message: page.problems.append(message.text))
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("request", lambda asked: page.requests.append(asked.url))
    page.goto(page_file.as_uri())
    page.wait_for_function(READY)
    yield page
    assert page.problems == []
    assert [url for url in page.requests if not url.startswith("data:")] == [page_file.as_uri()]
    context.close()


@needs_browser
def test_it_fits_the_screen_and_every_picture_is_there(page, tmp_path):
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 100)")
    assert page.locator("#figures article").count() == 11
    assert page.locator(".missing").count() == 0
    assert page.screenshot(path=tmp_path / "page.png", full_page=True)


@needs_browser
def test_hover_says_what_a_trial_is_and_click_opens_it(page):
    point = page.locator(POINTS).nth(5)
    page.locator("#chart").scroll_into_view_if_needed()
    point.hover(force=True)
    tip = page.locator("#vg-tooltip-element.visible")
    tip.wait_for()
    key = re.search(r"trial\s+(\S+)", tip.inner_text()).group(1)
    assert "test_accuracy" in tip.inner_text()
    point.click(force=True)
    page.wait_for_selector("#detail:not([hidden])")
    assert key in page.locator("#detail h3").inner_text()
    assert page.locator("#detail dt").count() > 20


@needs_browser
def test_a_trial_opens_with_members_paths_and_reliability(page):
    page.locator("#role").select_option("reference")
    page.locator("#list button").first.click()
    page.wait_for_selector("#detail .plots > :last-child svg .mark-symbol path")
    assert page.locator("#detail .plots table tr").count() == 5
    assert page.locator("#detail svg").count() == 2
    assert page.locator("#detail svg").first.bounding_box()["width"] > 200


@needs_browser
def test_filters_leave_out_what_is_not_wanted(page):
    before = page.locator(POINTS).count()
    page.locator('input[value="constrained"]').uncheck()
    page.wait_for_function(f"document.querySelectorAll('{POINTS}').length < {before}")
    names = page.locator("#list tbody td:nth-child(2)").all_inner_texts()
    assert names
    assert "constrained" not in names
    assert "filtered out" in page.locator("#count").inner_text()
    page.locator("#role").select_option("reference")
    page.wait_for_function(f"document.querySelectorAll('{POINTS}').length === 3")
    page.locator("#quality").select_option("nll")
    page.wait_for_selector("#chart svg >> text=NLL")


@needs_browser
def test_everything_can_be_done_from_the_keyboard(page):
    page.locator("#chart").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    said = page.locator("#count").inner_text()
    assert said.startswith("3 of ")
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail:not([hidden])")
    assert re.search(r"trial (\S+),", said).group(1) in page.locator("#detail h3").inner_text()
    assert page.evaluate("document.activeElement.id") == "detail"
    page.keyboard.press("Escape")
    assert page.locator("#detail").is_hidden()
    assert page.evaluate("document.activeElement.id") == "chart"
    stops = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        stops.add(page.evaluate("document.activeElement.id || document.activeElement.name || 'a trial'"))
    assert {"a trial"} <= stops
    page.locator("#theme").focus()
    page.keyboard.press("Enter")
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert page.evaluate("document.documentElement.dataset.theme") == ("light" if dark else "dark")


class Tags(HTMLParser):
    """Attributes that could fetch something."""

    def __init__(self):
        super().__init__()
        self.fetched = []

    def handle_starttag(self, tag, attrs):
        self.fetched += [
            value for name, value in attrs if name in ("src", "href") and not value.startswith(("#", "data:"))
        ]


def test_nothing_in_the_page_is_elsewhere(page_file):
    text = page_file.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert tags.fetched == []
    assert "default-src 'none'" in text


def test_what_is_missing_is_named_with_its_command_and_text_is_escaped(tmp_path):
    row = trial("a", "<script>alert(1)</script>", test_accuracy=90.0, test_q_bar_reset=0.0)
    write(tmp_path / "demo", "trials", "a", [row])
    text = report.write(read(tmp_path / "demo"), formats=["svg"]).read_text(encoding="utf-8")
    assert "no trial has a reliability table on the test split; to make the data: python launch.py sweep demo" in text
    assert "<script>alert" not in text


def held(count, **columns):
    rows = [trial(f"k{n:05}", "constrained", role="search", **columns) for n in range(count)]
    return [
        row | {"test_accuracy": 90 + n % 7 * 0.5, "test_q_bar_reset": -(n % 11) * 0.3} for n, row in enumerate(rows)
    ]


def test_beyond_a_thousand_trials_the_rest_is_counted_and_said(tmp_path):
    import pyarrow as pa

    from analysis.results import Tables

    best = {"key": "best", "val_accuracy": 99.0, "val_q_bar_reset": 0.0}
    rows = [*held(1500, val_accuracy=50.0, val_q_bar_reset=-5.0), trial("reference"), held(1)[0] | best]
    rows[-2] |= {"role": "reference", "test_accuracy": 95.0, "test_q_bar_reset": -60.0}
    tables = Tables(tmp_path, pa.Table.from_pylist(rows))
    chosen = trials.shown(tables)
    keys = {row["key"] for row in chosen}
    assert len(chosen) == trials.MOST
    assert {"best", "reference"} <= keys
    cells = trials.counted(tables, [row for row in tables.rows if row["key"] not in keys])
    assert sum(cell["count"] for cell in cells) == 1502 - trials.MOST
    assert all(cell["x"] < cell["x2"] and cell["y"] < cell["y2"] for cell in cells)
    assert trials.counted(tables, []) == []


def test_columns_say_once_what_is_the_same(tmp_path):
    import pyarrow as pa

    from analysis.results import Tables

    found = trials.columns(Tables(tmp_path, pa.Table.from_pylist(held(2, commit="abc"))), held(2, commit="abc"))
    assert found["same"]["commit"] == "abc"
    assert found["varied"]["test_accuracy"] == [90.0, 90.5]
    assert json.dumps(found, allow_nan=False)
