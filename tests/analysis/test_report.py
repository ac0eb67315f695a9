"""The report in a browser: it loads without errors and requests, and hover, click, filters and keyboard work."""

import csv
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from itertools import islice, pairwise

import numpy as np
import pytest

from analysis import report
from analysis.data.queries import read_tables
from analysis.output import registry
from analysis.report import build, planes, trials
from tests.support import vega_bundle
from tests.support.browser import READY, needs_browser
from tests.support.synthetic_results import trial, write

POINTS = '#chart path[aria-roledescription="point"]'


def test_vega_s_bundle_is_the_one_that_was_made():
    assert hashlib.sha256(vega_bundle.FILE.read_bytes()).hexdigest() == vega_bundle.CHECKSUM


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
    assert [url for url in page.requests if not url.startswith(("data:", "blob:"))] == [page_file.as_uri()]
    context.close()


@needs_browser
def test_it_fits_the_screen_and_every_picture_is_there(page, tmp_path):
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 100)")
    assert page.locator("#questions article").count() == 19
    assert page.locator("#answer article figure").count() == 2
    assert page.locator(".missing").count() == 0
    assert len({link.bounding_box()["y"] for link in page.locator("nav a").all()}) == 1
    hints = page.evaluate(
        """[...document.querySelectorAll(".scroll")].filter((one) => one.checkVisibility())
        .map((one) => [one.scrollWidth > one.clientWidth + 1, getComputedStyle(one, "::before").content])"""
    )
    assert [wide for wide, _ in hints] == ["sideways" in hint for _, hint in hints]
    assert any(wide for wide, _ in hints) or page.viewport_size["width"] > 1000
    looks = "image => [getComputedStyle(image).filter, getComputedStyle(image).backgroundColor].join(' ')"
    assert set(page.evaluate(f"[...document.images].map({looks})")) == {"none rgb(255, 255, 255)"}  # as they were drawn
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
    assert tip.locator("tr").count() <= 7  # a larger box hides the neighbours
    assert tip.evaluate("box => [...box.querySelectorAll('td')].every(cell => cell.scrollWidth <= cell.clientWidth)")
    point.click(force=True)
    page.wait_for_selector("#detail:not([hidden])")
    assert key in page.locator("#detail h3").inner_text()
    assert page.evaluate("location.hash") == f"#trial={key}"


@needs_browser
def test_a_trial_opens_with_members_paths_and_reliability(page):
    page.locator("#role").select_option("reference")
    page.locator("#list tbody button").first.click()
    page.wait_for_selector("#detail .plots > :last-child svg .mark-symbol path")
    assert page.locator("#detail .plots table tr").count() == 5
    assert page.locator("#detail svg").count() == 2
    panel = page.locator("#detail").bounding_box()
    boxes = [svg.bounding_box() for svg in page.locator("#detail svg").all()]
    assert all(box["width"] > 200 and box["x"] + box["width"] <= panel["x"] + panel["width"] for box in boxes)
    assert page.locator("#detail svg").first.locator(".role-axis-label text").count() > 7


@needs_browser
def test_a_trial_says_first_what_differs_from_the_defaults_and_names_its_commands(page):
    page.locator("#find").fill("distilled search")
    page.locator("#list tbody button").first.click()
    key = page.locator("#detail h3").inner_text().rpartition(" ")[2]
    sections = page.locator("#detail summary").all_inner_texts()
    assert sections[0].startswith("Different from the defaults")
    first = page.locator("#detail details").first.inner_text()
    assert re.search(r"temperature.*default 2", first, re.S)
    assert "epochs" not in first
    codes = page.locator("#detail .copied code").all_inner_texts()
    assert codes[0].startswith(f"python launch.py show {key}")
    assert codes[1].startswith(f"python launch.py rerun {key}")
    assert codes[-1].endswith(f"#trial={key}")
    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', { value: { writeText: (text) => { window.copy = text; } } })"
    )
    page.locator("#detail .copied button").first.click()
    page.wait_for_function("document.querySelector('#detail .copied button').textContent === 'copied'")
    assert page.evaluate("window.copy") == codes[0]


@needs_browser
def test_a_link_opens_its_trial(browser, page_file):
    page = browser.new_page()
    page.goto(f"{page_file.as_uri()}#trial=r-deep-1")
    page.wait_for_function(READY)
    assert page.locator("#detail h3").inner_text() == "deep, trial r-deep-1"
    page.evaluate("location.hash = '#trial=r-deep-2'")
    page.wait_for_function("document.querySelector('#detail h3').textContent === 'deep, trial r-deep-2'")
    page.close()


@needs_browser
def test_filters_leave_out_what_is_not_wanted(page):
    before = page.locator(POINTS).count()
    page.locator('input[value="constrained"]').uncheck()
    page.wait_for_function(f"document.querySelectorAll('{POINTS}').length < {before}")
    names = page.locator("#list tbody td:nth-child(2)").all_inner_texts()
    assert names
    assert "constrained" not in names
    page.locator("#explore summary", has_text="Ranges").click()
    page.get_by_label("least temperature").fill("4")
    page.get_by_label("least temperature").blur()
    page.wait_for_function(
        "[...document.querySelectorAll('#list tbody tr')].every(row => row.innerText.includes('distilled'))"
    )
    page.locator("#clear").click()
    page.locator("#role").select_option("reference")
    page.wait_for_function(f"document.querySelectorAll('{POINTS}').length === 3")
    page.locator("#y").select_option("test_nll")
    page.wait_for_selector("#chart svg >> text=test_nll")


@needs_browser
def test_outliers_are_counted_and_shown_on_demand(page):
    said = page.locator("#count").inner_text()
    missing = int(re.search(r"(\d+) outliers not drawn", said).group(1))
    before = page.locator(POINTS).count()
    page.locator("#outliers").check()
    page.wait_for_function(f"document.querySelectorAll('{POINTS}').length === {before + missing}")
    assert "fail" not in said


def assert_lines_are_drawn_that_the_caption_names(page):
    assert ("line" in page.locator("#line").inner_text().lower()) == bool(
        page.locator("#chart .mark-line path").count()
    )
    assert page.locator("#dashed").is_visible() == bool(page.locator("#chart .mark-rule line").count())


@needs_browser
def test_any_two_columns_make_a_chart_with_the_front_of_what_is_on_view(page):
    page.locator("#x").select_option("test_nll")
    page.locator("#y").select_option("test_ece")
    page.wait_for_selector("#chart svg >> text=test_ece")
    state = json.loads(page.locator("#state").text_content())
    columns = state["trials"]["varied"]
    points = dict(zip(columns["key"], zip(columns["test_nll"], columns["test_ece"], strict=True), strict=True))
    place = page.locator("#setting").input_value()
    here = [f"{d} · {m}" == place for d, m in zip(columns["dataset"], columns["model"], strict=True)]
    kept = {key: at for (key, at), on in zip(points.items(), here, strict=True) if on and None not in at}

    def dominated(a):
        return any(b[0] <= a[0] and b[1] <= a[1] and b != a for b in kept.values())

    expected = {key for key, at in kept.items() if not dominated(at)}
    page.locator("#more").click()
    bold = page.locator("#list tr.front button").evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    assert {label.partition("open trial ")[2].partition(",")[0] for label in bold} == expected
    assert_lines_are_drawn_that_the_caption_names(page)
    page.locator("#role").select_option("reference")
    page.locator("#explore summary", has_text="Ranges").click()
    page.get_by_label("most test_nll").fill(str(min(at[0] for key, at in kept.items() if key.startswith("r-deep"))))
    page.get_by_label("most test_nll").blur()
    page.wait_for_function("document.querySelector('#line').textContent.startsWith('Ringed: trials on view')")
    assert_lines_are_drawn_that_the_caption_names(page)
    page.locator("#clear").click()
    page.locator("#x").select_option("beta")
    page.wait_for_function("document.querySelector('#line').textContent.startsWith('No front')")
    assert page.locator("#list tr.front").count() == 0


@needs_browser
def test_the_table_is_sorted_searched_and_exported(page):
    page.locator("#list th", has_text="beta").get_by_role("button").click()
    assert page.locator("#list th[aria-sort=ascending]").inner_text().startswith("beta")
    page.locator("#find").fill("constrained search")
    page.locator("#more").click()
    index = page.locator("#list thead th").all_inner_texts().index("beta ▴")
    shown = [float(text) for text in page.locator(f"#list tbody tr > :nth-child({index + 1})").all_inner_texts()]
    assert shown == sorted(shown)
    assert len(shown) == 30
    with page.expect_download() as waiting:
        page.locator("#csv").click()
    rows = list(csv.DictReader(io.StringIO(waiting.value.path().read_text(encoding="utf-8"))))
    assert {(row["construction"], row["role"]) for row in rows} == {("constrained", "search")}
    assert [float(f"{float(row['beta']):.4g}") for row in rows] == shown
    assert waiting.value.suggested_filename.endswith("-trials.csv")


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
        stops.add(page.evaluate("document.activeElement.getAttribute('aria-label') || document.activeElement.id"))
    assert {"find", "csv", "Table of trials"} <= stops or page.viewport_size["width"] > 1000
    assert any("open trial" in stop for stop in stops)
    page.locator("#theme").focus()
    page.keyboard.press("Enter")
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert page.evaluate("document.documentElement.dataset.theme") == ("light" if dark else "dark")


@needs_browser
def test_every_control_has_a_name_and_every_region_one_of_its_own(page):
    page.locator("#list tbody button").first.click()
    unnamed = page.evaluate(
        """[...document.querySelectorAll("input, select, button, [role=region], [role=group], nav, img, summary")]
        .filter(one => !(one.getAttribute("aria-label") || one.getAttribute("alt") || one.labels?.length
            || one.textContent.trim())).map(one => one.outerHTML.slice(0, 100))"""
    )
    assert unnamed == []
    ids = page.evaluate("[...document.querySelectorAll('main [id]')].map(one => one.id)")
    ours = [one for one in ids if not one.startswith(("clip", "gradient"))]
    assert len(set(ours)) == len(ours)
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map(one => Number(one.tagName[1]))")
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert page.evaluate("[...document.querySelectorAll('th')].every(one => one.scope)")


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


def test_the_answer_comes_first_and_the_rest_of_it_folds(page_file):
    text = page_file.read_text(encoding="utf-8")
    names = re.findall(r'<section id="(\S+)">', text)
    assert names[:5] == ["answer", "explore", "valleys", "questions", "references"]
    lead = re.search(r'<p class="lead">(.*?)</p>', text).group(1)
    assert lead.startswith("Halfway between two independent networks accuracy falls to")
    answer = text[text.index('id="answer"') : text.index('id="explore"')]
    places = [answer.index(mark) for mark in ('class="lead"', "<img", "<table", "<ul>", "<details>")]
    assert places == sorted(places)
    assert answer[places[3] : places[4]].count("<li>") == 2
    groups = re.findall(r'class="question"><h3>(.*?)</h3>', text)
    assert groups == [one for one in registry.QUESTIONS if one in groups]
    assert len(groups) == 8


def test_what_is_missing_is_named_with_its_command_and_text_is_escaped(tmp_path):
    row = trial("a", "<script>alert(1)</script>", test_accuracy=90.0, test_q_bar_reset=0.0)
    write(tmp_path / "demo", "trials", "a", [row])
    text = report.write_report(read_tables(tmp_path / "demo"), formats=["svg"]).read_text(encoding="utf-8")
    assert "no trial has a reliability table on the test split" in text
    assert "no trial has a reliability table" not in text[: text.index('id="not-shown"')]
    commands = [f"python launch.py sweep quickstart --storage {tmp_path}"]
    commands.append(f"python launch.py report demo --with quickstart --storage {tmp_path}")
    assert all(f"<code>{command}</code>" in text for command in commands)
    assert "<script>alert" not in text


def held(count, **columns):
    rows = [trial(f"k{n:05}", "constrained", role="search", **columns) for n in range(count)]
    return [
        row | {"test_accuracy": 90 + n % 7 * 0.5, "test_q_bar_reset": -(n % 11) * 0.3} for n, row in enumerate(rows)
    ]


def test_beyond_a_thousand_trials_the_rest_is_counted_and_said(tmp_path):
    import pyarrow as pa

    from analysis.data.results import Tables

    best = {"key": "best", "val_accuracy": 99.0, "val_q_bar_reset": 0.0, "beta": 9.0}
    rows = [*held(1500, val_accuracy=50.0, val_q_bar_reset=-5.0), trial("reference"), held(1)[0] | best]
    rows[-2] |= {"role": "reference", "test_accuracy": 95.0, "test_q_bar_reset": -60.0}
    tables = Tables(tmp_path, pa.Table.from_pylist(rows))
    chosen = trials.shown_rows(tables)
    keys = {row["key"] for row in chosen}
    assert len(chosen) == trials.MOST
    assert {"best", "reference"} <= keys
    cells = trials.counted_cells(tables, [row for row in tables.rows if row["key"] not in keys])
    assert sum(cell["count"] for cell in cells) == 1502 - trials.MOST
    assert all(cell["x"] < cell["x2"] and cell["y"] < cell["y2"] for cell in cells)
    assert trials.counted_cells(tables, []) == []


def test_columns_say_once_what_is_the_same(tmp_path):
    import pyarrow as pa

    from analysis.data.results import Tables

    found = trials.trial_columns(Tables(tmp_path, pa.Table.from_pylist(held(2, commit="abc"))), held(2, commit="abc"))
    assert found["same"]["commit"] == "abc"
    assert found["varied"]["test_accuracy"] == [90.0, 90.5]
    assert json.dumps(found, allow_nan=False)


def test_the_classes_and_their_images_are_told(tmp_path):
    counts = {f"c{label}": {"train": 3, "test": 1} for label in range(102)}
    (tmp_path / "sweep.json").write_text(json.dumps({"data": {"images": counts}}))
    text = build._class_facts(tmp_path)
    assert text.startswith("c0 (3 training, 1 test), c1 (3 training, 1 test), ")
    assert text.endswith("c99 (3 training, 1 test) and 2 more")
    (tmp_path / "sweep.json").write_text("{}")
    assert build._class_facts(tmp_path) == ""
    assert build._class_facts(tmp_path / "nowhere") == ""


@needs_browser
def test_what_is_dragged_over_on_the_chart_is_what_the_table_lists(page):
    page.locator("#parallel summary").click()
    page.wait_for_selector("#coordinates svg .mark-line path")
    chart = page.locator("#chart svg")
    chart.evaluate("node => node.scrollIntoView({ block: 'center' })")  # not below the header
    box = chart.bounding_box()
    page.mouse.move(box["x"] + box["width"] - 8, box["y"] + 12)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + box["height"] * 0.3, steps=5)
    page.mouse.up()
    every = page.locator(POINTS).count()
    page.wait_for_function(f"parseInt(document.querySelector('#list caption').textContent) < {every}")
    kept = int(page.locator("#list caption").inner_text().split()[0])
    page.wait_for_selector('#coordinates svg .mark-line path[opacity="0.7"]')
    assert page.locator('#coordinates svg .mark-line path[opacity="0.7"]').count() <= max(kept, 1)


def plane_points(page_file, key):
    """The networks of a plane and its vertices, from the table."""
    import pyarrow.parquet as pq

    points = pq.read_table(page_file.parent / "tables" / "planes" / f"{key}.parquet").to_pylist()
    return [p for p in points if p["vertex"] is None], [p for p in points if p["vertex"] is not None]


def numbers(text):
    return [float(one) for one in re.findall(r"-?\d+\.?\d*", text.replace("−", "-"))]


def said_of_plane(page, at=0):
    """What the page says: (x, y), accuracy, loss, the nearest member and its distance."""
    return numbers(page.locator(".readout").nth(at).inner_text())


def expected_of_plane(page_file, key, x, y):
    grid, vertices = plane_points(page_file, key)
    network = min(grid, key=lambda p: (p["x"] - x) ** 2 + (p["y"] - y) ** 2)
    here = np.array([network["x"], network["y"], 0.0])
    far = [np.linalg.norm(here - [v["x"], v["y"], v["residual"]]) for v in vertices[: len(vertices) // 2]]
    return network["accuracy"], network["loss"], int(np.argmin(far)), min(far)


@needs_browser
def test_a_network_of_a_plane_says_its_scores_and_the_nearest_member(page, page_file):
    cell = page.locator(".map").first.locator(".mark-rect path").nth(40)
    cell.evaluate("node => node.scrollIntoView({ block: 'center' })")
    if page.viewport_size["width"] > 1000:
        cell.hover()
    else:
        cell.click()
    page.wait_for_function("document.querySelector('.readout').textContent.includes('nearest')")
    x, y, *said = said_of_plane(page)
    assert said == pytest.approx(expected_of_plane(page_file, "r-deep-0", x, y), rel=5e-3)
    page.locator(".map").first.focus()
    page.keyboard.press("ArrowUp")
    moved_x, moved_y, *said = said_of_plane(page)
    assert moved_x == x
    assert moved_y > y
    assert said == pytest.approx(expected_of_plane(page_file, "r-deep-0", x, moved_y), rel=5e-3)
    page.keyboard.press("m")
    assert re.match(
        r"Member 0: accuracy 94 %, loss 0.2 nats; in the plane", page.locator(".readout").first.inner_text()
    )
    for _ in range(2):
        page.keyboard.press("m")
    assert "18 away from the plane" in page.locator(".readout").first.inner_text()


@needs_browser
def test_the_surfaces_turn_together_by_drag_and_by_keys(page, page_file):
    def drawn():
        return page.locator(".surface svg").evaluate_all("all => all.map(one => one.innerHTML)")

    before = drawn()
    assert [one.count("patch") for one in before] == [64, 64]  # 9 times 9 networks
    surface = page.locator(".surface").nth(1)
    surface.scroll_into_view_if_needed()
    surface.evaluate("node => node.scrollIntoView({ block: 'center' })")
    box = surface.bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(*middle)
    page.wait_for_function("document.querySelectorAll('.readout')[1].textContent.includes('nearest')")
    x, y, *said = said_of_plane(page, 1)
    assert said == pytest.approx(expected_of_plane(page_file, "r-constrained-0", x, y), rel=5e-3)
    page.mouse.down()
    page.mouse.move(middle[0] + 60, middle[1], steps=3)
    page.mouse.up()
    dragged = drawn()
    assert all(one != other for one, other in zip(before, dragged, strict=True))
    surface.focus()
    page.keyboard.press("ArrowUp")
    assert all(one != other for one, other in zip(dragged, drawn(), strict=True))
    page.keyboard.press("Home")
    assert drawn()[0] == before[0]


@needs_browser
def test_planes_are_chosen_by_construction_seed_and_score(page, page_file):
    offered = page.locator(".plane .choice").first.locator("option").all_inner_texts()
    assert offered[0] == "deep, seed 0"
    assert {"constrained, seed 0", "permuted, seed 0", "deep, seed 1"} <= set(offered)
    page.locator(".plane .choice").first.select_option(label="permuted, seed 0")
    page.wait_for_function("document.querySelector('.map').getAttribute('aria-label').includes('permuted')")
    page.locator("#plane-score").select_option("accuracy")
    page.wait_for_selector(".map >> text=test accuracy (%)")
    grid, vertices = plane_points(page_file, "r-permuted-0")
    ends = [end([p["accuracy"] for p in grid]) for end in (min, max)]
    label = page.locator(".surface").first.get_attribute("aria-label")
    assert numbers(label.partition("from")[2])[:2] == pytest.approx(ends, rel=1e-3)
    page.locator(".plane summary").first.click()
    lines = page.locator(".members").first.locator("tbody tr").all_inner_texts()
    assert len([line for line in lines if line.startswith("member")]) == len(vertices) // 2
    assert numbers(lines[0]) == pytest.approx([0, 94, 0.2, 0])
    widen = "new MutationObserver(() => { one.firstElementChild.style.minWidth = '3000px'; })"
    fix = "one = document.querySelector('.members'); one.style.height = '300px'"
    page.evaluate(f"{fix}; {widen}.observe(one, {{ childList: true }})")
    page.locator(".plane .choice").first.select_option(label="deep, seed 1")
    page.wait_for_selector(".members.wide[tabindex]")  # the new table is wider than the page


def test_planes_in_the_page_are_bounded_and_those_of_first_seeds_come_first(full_results, full_tables, monkeypatch):
    whole = planes.page_planes(full_tables)
    assert [one["seed"] for one in whole["planes"]] == sorted(one["seed"] for one in whole["planes"])
    assert whole["left_out"] == 0
    first = whole["planes"][0]
    grid, _ = plane_points(full_results / "report.html", first["key"])
    given = np.array([p["loss"] for p in sorted(grid, key=lambda p: (p["y"], p["x"]))])
    assert np.allclose(first["loss"], given, rtol=5e-4)
    assert first["ends"]["loss"] == pytest.approx([given.min(), given.max()], rel=5e-4)
    read = planes.planes_of  # of one construction the first seed has no plane
    monkeypatch.setattr(
        planes, "planes_of", lambda of, one: islice(read(of, one), one.construction == "permuted", None)
    )
    late = planes.page_planes(full_tables)
    assert [late["planes"][at]["construction"] for at in late["shown"]] == ["deep", "permuted"]
    monkeypatch.setattr(planes, "planes_of", read)
    monkeypatch.setattr(planes, "MOST_SIDE", 5)
    thin = planes.page_planes(full_tables)["planes"][0]
    assert (thin["every"], len(thin["x"]), len(thin["loss"])) == (2, 5, 25)
    assert thin["ends"] == first["ends"]
    assert np.allclose(thin["loss"], given.reshape(9, 9)[::2, ::2].ravel(), rtol=5e-4)
    monkeypatch.setattr(planes, "MOST_NETWORKS", 60)
    short = planes.page_planes(full_tables)
    assert (len(short["planes"]), short["left_out"]) == (2, len(whole["planes"]) - 2)
