"""The report without a mouse, with a screen reader, in both colour schemes: axe-core finds nothing, Tab reaches all."""

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.support.browser import READY, needs_browser

SIZES = {"desktop": (1400, 900), "phone": (390, 844)}
CONTROLS = "a[href], button, input, select, summary, [tabindex='0']"


@pytest.fixture(params=["light", "dark"])
def scheme(request):
    return request.param


@pytest.fixture(params=SIZES)
def page(request, scheme, browser, page_file):
    width, height = SIZES[request.param]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.goto(page_file.as_uri())
    page.wait_for_function(READY)
    yield page
    context.close()


def violations(page):
    """Rule, and the first element that breaks it."""
    found = Axe().run(page).response["violations"]
    return [(one["id"], one["impact"], one["nodes"][0]["html"], one["nodes"][0]["failureSummary"]) for one in found]


@needs_browser
def test_axe_finds_nothing(page):
    assert violations(page) == []
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    page.locator("#role").select_option("reference")
    page.locator("#find").fill("deep")
    page.locator("#list tbody button").first.click()
    page.wait_for_selector("#detail .plots > :last-child svg .mark-symbol path")
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
    page.wait_for_selector("#coordinates svg .mark-line path")
    assert violations(page) == []


FOCUS = """() => {
    const here = document.activeElement;
    if (here === document.body) return null;
    here.dataset.reached = "yes";
    const style = getComputedStyle(here);
    const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
    return here.matches(":focus-visible") && outlined ? "" : here.outerHTML.slice(0, 100);
}"""
"""None outside the page; of an element with an outline nothing, of another its beginning."""
MISSED = f"""[...document.querySelectorAll("{CONTROLS}")]
    .filter(one => one.checkVisibility({{ visibilityProperty: true }}) && !one.disabled && one.type !== "radio")
    .filter(one => !one.dataset.reached).map(one => one.outerHTML.slice(0, 100))"""


@needs_browser
def test_tab_reaches_every_control_and_shows_where_it_is(page):
    page.evaluate("document.querySelectorAll('#explore details').forEach(one => { one.open = true })")
    page.locator("#list tbody button").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail:not([hidden])")
    left, faint = 0, []
    for _ in range(1000):
        page.keyboard.press("Tab")
        said = page.evaluate(FOCUS)
        left += said is None
        faint += [said] if said else []
        if left == 2:  # once from the trial to the end, once from the beginning
            break
    assert left == 2
    assert faint == []
    assert page.evaluate(MISSED) == []


@needs_browser
def test_escape_closes_the_trial_from_any_of_its_controls(page):
    opener = page.locator("#list tbody button").first
    opener.focus()
    for presses in range(4):
        page.keyboard.press("Enter")
        page.wait_for_selector("#detail:not([hidden])")
        for _ in range(presses):
            page.keyboard.press("Tab")
        page.keyboard.press("Escape")
        assert page.locator("#detail").is_hidden()
        assert opener.evaluate("one => one === document.activeElement")
